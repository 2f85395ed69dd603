//! The thread that does everything that may block: commits, reads ahead, moves the cursor.
//!
//! Input: commands of writers and reader. Appends that come within the commit interval share a
//! commit; done records move the cursor at once. While the reader keeps up, what is durable goes on
//! from memory; else the thread reads ahead, a piece between two commits. It ends when writers and
//! reader are gone.

mod keeping;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::count::{Count, Position};
use super::cursor::Cursor;
use super::disk::Disk;
use super::error::SpoolError;
use super::feed::{Feed, Step};
use super::limits::Limits;
use super::log::{Log, LogSetup, Payload, Place};
use super::progress::Progress;
use super::reader::Record;
use super::ready::Shared;
use super::recover::Found;
use crate::metrics::{Metrics, Stage};
use crate::model::Share;

/// Payload bytes after which a commit is not made larger.
const COMMIT_BYTES: usize = 4 << 20;
/// Payload bytes read ahead between two commits.
const READ_BYTES: usize = 4 << 20;
/// How long the cursor may be ahead of what is durable of it, and the pause after a failed open.
const SOON: Duration = Duration::from_secs(1);

/// What the worker is asked for.
pub(super) enum Command {
    Append(Entry),
    Done {
        number: u64,
        reply: oneshot::Sender<()>,
    },
    /// Memory has room for what is on the disk.
    ReadOn,
    NoMoreWriters,
}

/// A payload to append.
pub(super) struct Entry {
    pub(super) kind: u8,
    pub(super) items: u32,
    pub(super) payload: Bytes,
    pub(super) reply: oneshot::Sender<Result<(), SpoolError>>,
    /// Its place in what is under way.
    pub(super) permit: OwnedSemaphorePermit,
    /// Whether it counts as received now.
    pub(super) is_entry: bool,
}

/// What a worker begins with.
pub(super) struct WorkerSetup {
    pub(super) disk: Box<dyn Disk>,
    pub(super) found: Found,
    pub(super) limits: Limits,
    pub(super) shared: Arc<Shared>,
    pub(super) commands: Receiver<Command>,
    pub(super) sink: Stage,
    pub(super) metrics: Metrics,
}

/// See the module.
pub(super) struct Worker {
    log: Log,
    feed: Feed,
    progress: Progress,
    cursor: Cursor,
    /// Nothing before it is on the disk any more.
    floor: Position,
    limits: Limits,
    ends: Ends,
    sink: Stage,
    metrics: Metrics,
    /// Items that are not delivered.
    share: Share,
    /// When the last commit was made.
    committed_at: Option<Instant>,
    /// When the cursor became dirty.
    dirty_since: Option<Instant>,
    /// When a segment could not be opened.
    stuck_since: Option<Instant>,
    writers_gone: bool,
    cursor_fails: bool,
}

/// The way to writers and reader; whoever waits is let go when the thread ends, however it does.
struct Ends {
    commands: Receiver<Command>,
    shared: Arc<Shared>,
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl Worker {
    pub(super) fn new(setup: WorkerSetup) -> Self {
        let log = Log::new(LogSetup {
            disk: setup.disk,
            segments: setup.found.segments,
            next: setup.found.next,
            last_segment: setup.found.last_segment,
            segment_bytes: setup.limits.segment_bytes,
        });
        let bytes = log.bytes();
        setup.shared.count(|stats| stats.disk_bytes = bytes);
        Self {
            log,
            feed: Feed::new(setup.found.start),
            progress: Progress::default(),
            cursor: setup.found.cursor,
            floor: Position::default(),
            limits: setup.limits,
            ends: Ends {
                commands: setup.commands,
                shared: setup.shared,
            },
            sink: setup.sink,
            share: setup.metrics.share(setup.sink, 0),
            metrics: setup.metrics,
            committed_at: None,
            dirty_since: None,
            stuck_since: None,
            writers_gone: false,
            cursor_fails: false,
        }
    }

    /// Works until nobody can ask for anything any more.
    pub(super) fn run(mut self) {
        loop {
            self.read_ahead();
            self.move_cursor();
            self.tell();
            match self.receive() {
                Ok(command) => self.handle(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.sync_cursor();
    }

    fn tell(&self) {
        let stats = self.ends.shared.stats();
        let sink = self.sink.name();
        self.metrics
            .spooled(sink, stats.disk_bytes, stats.waiting.records);
        self.share
            .set(i64::try_from(stats.waiting.items).unwrap_or(i64::MAX));
    }

    /// The next command, or that there is something else to do.
    fn receive(&mut self) -> Result<Command, RecvTimeoutError> {
        let behind = self.feed.is_behind(&self.log);
        let finished = self.writers_gone && !behind;
        let now = Instant::now();
        let left = |since: Instant| SOON.saturating_sub(now - since);
        let read = match self.ends.shared.is_low(behind, finished) {
            true => Some(self.stuck_since.map_or(Duration::ZERO, left)),
            false => None,
        };
        let sync = self.dirty_since.map(left);
        match read.into_iter().chain(sync).min() {
            Some(wait) => self.ends.commands.recv_timeout(wait),
            None => self.ends.commands.recv().map_err(RecvTimeoutError::from),
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Append(entry) => {
                let entries = self.gather(entry);
                self.commit(entries);
            }
            Command::Done { number, reply } => self.done(number, reply),
            Command::ReadOn => {}
            Command::NoMoreWriters => self.writers_gone = true,
        }
    }

    /// The entries that share a commit with `first`.
    fn gather(&mut self, first: Entry) -> Vec<Entry> {
        let due = self.committed_at.map(|at| at + self.limits.commit_interval);
        let mut bytes = first.payload.len();
        let mut entries = vec![first];
        while bytes < COMMIT_BYTES {
            let now = Instant::now();
            let wait = due.map_or(Duration::ZERO, |due| due.saturating_duration_since(now));
            match self.ends.commands.recv_timeout(wait) {
                Ok(Command::Append(entry)) => {
                    bytes += entry.payload.len();
                    entries.push(entry);
                }
                Ok(other) => self.handle(other),
                Err(_) => break,
            }
        }
        entries
    }

    fn commit(&mut self, entries: Vec<Entry>) {
        let payloads = entries.iter().map(|entry| Payload {
            kind: entry.kind,
            items: entry.items,
            bytes: &entry.payload,
        });
        let adds = self.log.prepare(payloads);
        while !self.log.segments.is_empty() && self.log.bytes() + adds > self.limits.disk_bytes {
            self.drop_oldest();
        }
        let result = self.log.commit();
        self.committed_at = Some(Instant::now());
        match result {
            Ok(places) => self.acknowledge(entries, places),
            Err(error) => self.refuse(entries, &error),
        }
    }

    fn acknowledge(&mut self, entries: Vec<Entry>, places: Vec<Place>) {
        let added = places.iter().zip(&entries);
        let added = added.fold(Count::default(), |sum, (_, entry)| {
            sum.plus(Count::one(entry.items))
        });
        let bytes = self.log.bytes();
        let mut failed = None;
        self.ends.shared.count(|stats| {
            stats.appended = stats.appended.plus(added);
            stats.commits += 1;
            stats.disk_bytes = bytes;
            failed = stats.failing.take();
        });
        if failed.is_some() {
            tracing::info!(sink = self.sink.name(), "the spool takes payloads again");
        }
        let entered = entries.iter().filter(|entry| entry.is_entry);
        let entered = entered.map(|entry| u64::from(entry.items)).sum();
        self.metrics.received(self.sink, entered);
        // Who hears of it may ask at once what waits.
        self.tell();
        for (entry, place) in entries.into_iter().zip(places) {
            let Entry {
                kind,
                items,
                payload,
                reply,
                permit,
                ..
            } = entry;
            let number = place.start.before.records;
            // Who went away meanwhile may append it again.
            let _ = reply.send(Ok(()));
            let record = Record {
                kind,
                items,
                payload,
                number,
            };
            self.hand_on(record, &place);
            drop(permit);
        }
    }

    /// Gives the reader from memory what it is waiting for.
    fn hand_on(&mut self, record: Record, place: &Place) {
        let keeps_up = self.feed.at.before.records == record.number;
        if !keeps_up || !self.ends.shared.has_room(record.payload.len()) {
            return;
        }
        self.progress.add(record.number, record.items, place.start);
        self.feed.skip_to(place.end);
        self.ends.shared.count(|stats| stats.from_memory += 1);
        self.ends.shared.push(record);
    }

    fn refuse(&mut self, entries: Vec<Entry>, error: &std::io::Error) {
        self.metrics.error(self.sink);
        let error = SpoolError::of_write(error);
        let bytes = self.log.bytes();
        let mut before = None;
        self.ends.shared.count(|stats| {
            stats.disk_bytes = bytes;
            before = stats.failing.replace(error.to_string());
        });
        if before.is_none() {
            tracing::warn!(sink = self.sink.name(), %error, "the spool takes no payloads now");
        }
        for entry in entries {
            let _ = entry.reply.send(Err(error.clone()));
        }
    }

    /// Reads from the segments while memory has room and it is worth it.
    fn read_ahead(&mut self) {
        let behind = self.feed.is_behind(&self.log);
        let retry = self.stuck_since.is_none_or(|since| since.elapsed() >= SOON);
        if !retry || !self.ends.shared.is_low(behind, false) {
            return;
        }
        self.stuck_since = None;
        let mut read = 0;
        while read < READ_BYTES && self.ends.shared.has_room(0) {
            match self.feed.step(&self.log) {
                Step::Record(record, start, lost) => {
                    read += record.payload.len();
                    self.lose(lost);
                    self.progress.add(record.number, record.items, start);
                    self.ends.shared.count(|stats| stats.from_disk += 1);
                    self.ends.shared.push(record);
                }
                Step::Lost(lost) => self.lose(lost),
                Step::CaughtUp => break,
                Step::Stuck(error) => {
                    self.stuck_since = Some(Instant::now());
                    self.metrics.error(self.sink);
                    tracing::warn!(sink = self.sink.name(), %error, "a segment of the spool cannot be opened");
                    break;
                }
            }
        }
    }
}

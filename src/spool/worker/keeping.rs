//! Where delivery is, and which segments are kept for it.

use std::time::Instant;

use tokio::sync::oneshot;

use super::{SOON, Worker};
use crate::metrics::Loss;
use crate::spool::count::{Count, Position};
use crate::spool::cursor::Mark;

impl Worker {
    /// Counts what cannot be read.
    pub(super) fn lose(&self, lost: Count) {
        if lost == Count::default() {
            return;
        }
        let Count { records, items } = lost;
        tracing::error!(
            sink = self.sink.name(),
            records,
            items,
            "records of the spool are damaged and lost"
        );
        self.metrics.dropped(Loss::spool_damaged(self.sink), items);
        self.ends
            .shared
            .count(|stats| stats.damaged = stats.damaged.plus(lost));
    }

    /// Makes room: drops the oldest segment, and counts those of its records that nobody has.
    pub(super) fn drop_oldest(&mut self) {
        let Some(oldest) = self.log.segments.front().copied() else {
            return;
        };
        let after = self.log.segment_after(oldest.number);
        let end = Position {
            segment: oldest.number.saturating_add(1),
            offset: 0,
            before: self.log.next,
        };
        let floor = after.map_or(end, |after| after.start());
        let to = floor.before.records;
        let from = self.ends.shared.discard(to);
        let in_memory = from.map_or(Count::default(), |from| self.progress.forget(from, to));
        let unread = floor.before.minus(self.feed.at.before);
        if self.feed.at.segment <= oldest.number {
            let before = floor.before.further(self.feed.at.before);
            self.feed.skip_to(Position { before, ..floor });
        }
        self.floor = floor;
        // The cursor goes first: else the next start would take them for damaged.
        self.write_cursor(floor);
        self.sync_cursor();
        self.log.remove_oldest();
        self.count_dropped(in_memory.plus(unread));
    }

    fn count_dropped(&self, dropped: Count) {
        if dropped == Count::default() {
            return;
        }
        let Count { records, items } = dropped;
        let sink = self.sink.name();
        tracing::error!(
            sink,
            records,
            items,
            "the spool is full: its oldest records are dropped"
        );
        self.metrics.dropped(Loss::spool_full(self.sink), items);
        let shared = &self.ends.shared;
        shared.count(|stats| stats.dropped = stats.dropped.plus(dropped));
    }

    pub(super) fn done(&mut self, number: u64, reply: oneshot::Sender<()>) {
        if let Some(count) = self.progress.done(number) {
            let shared = &self.ends.shared;
            shared.count(|stats| stats.delivered = stats.delivered.plus(count));
            self.move_cursor();
        }
        // Who does not wait any more knows less, and nothing else changes.
        let _ = reply.send(());
    }

    /// Writes where delivery is, syncs that once a second, and removes what is behind it.
    pub(super) fn move_cursor(&mut self) {
        let target = self.progress.first().unwrap_or(self.feed.at);
        let target = self.floor.further(target);
        let written = self.write_cursor(target);
        let oldest = self.log.segments.front();
        let removable = written && oldest.is_some_and(|oldest| oldest.number < target.segment);
        let due = self
            .dirty_since
            .is_some_and(|since| since.elapsed() >= SOON);
        if !removable {
            if due {
                self.sync_cursor();
            }
            return;
        }
        if !self.sync_cursor() {
            return;
        }
        while let Some(oldest) = self.log.segments.front() {
            if oldest.number >= target.segment {
                break;
            }
            self.log.remove_oldest();
        }
        let bytes = self.log.bytes();
        self.ends.shared.count(|stats| stats.disk_bytes = bytes);
    }

    fn write_cursor(&mut self, delivered: Position) -> bool {
        let mark = Mark {
            delivered,
            durable: self.log.next,
        };
        let written = self.cursor.write(self.log.disk.as_ref(), mark);
        if self.cursor.is_dirty() {
            self.dirty_since.get_or_insert_with(Instant::now);
        }
        self.tell_of_cursor(written)
    }

    pub(super) fn sync_cursor(&mut self) -> bool {
        let synced = self.cursor.sync();
        // A disk that failed is asked again in a second.
        self.dirty_since = synced.is_err().then(Instant::now);
        self.tell_of_cursor(synced)
    }

    /// Tells of a failure once, and whether there was none.
    fn tell_of_cursor(&mut self, result: std::io::Result<()>) -> bool {
        let succeeded = result.is_ok();
        if let Err(error) = result {
            let sink = self.sink.name();
            self.metrics.error(self.sink);
            if !self.cursor_fails {
                tracing::warn!(sink, %error, "the spool's cursor is not written: records may come twice");
            }
        }
        self.cursor_fails = !succeeded;
        succeeded
    }
}

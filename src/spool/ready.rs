//! What worker, writers and reader share: the records that wait in memory, and the figures.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::count::Count;
use super::reader::Record;
use super::stats::Stats;

/// What a record takes beside its payload.
const OVERHEAD: usize = 128;

#[derive(Default)]
struct State {
    ready: VecDeque<Record>,
    bytes: usize,
    /// There are records on the disk behind those in memory.
    behind: bool,
    /// The worker was told to read on.
    woken: bool,
    /// Nothing will come any more.
    finished: bool,
    ended: bool,
    stats: Stats,
}

/// See the module.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Bytes that may wait in memory.
    limit: usize,
    readable: Notify,
    ended: Notify,
}

/// What the reader got.
pub(super) enum Taken {
    Record {
        record: Record,
        /// The worker must be told to read on.
        wake: bool,
    },
    Nothing,
    Finished,
}

impl Shared {
    pub(super) fn new(limit: usize, found: Count) -> Self {
        let stats = Stats {
            found,
            ..Stats::default()
        };
        Self {
            state: Mutex::new(State {
                stats,
                ..State::default()
            }),
            limit,
            readable: Notify::new(),
            ended: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the figures.
    pub(super) fn count(&self, change: impl FnOnce(&mut Stats)) {
        change(&mut self.lock().stats);
    }

    pub(super) fn stats(&self) -> Stats {
        let state = self.lock();
        let mut stats = state.stats.clone();
        stats.memory_bytes = state.bytes;
        let gone = stats.delivered.plus(stats.dropped).plus(stats.damaged);
        stats.waiting = stats.found.plus(stats.appended).minus(gone);
        stats
    }

    /// Whether a payload of that size may wait in memory.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let state = self.lock();
        state.ready.is_empty() || state.bytes + bytes + OVERHEAD <= self.limit
    }

    /// Whether so little is left that reading on is worth it. If not, the reader will say when;
    /// `behind`: there is something to read, `finished`: nor will there ever be.
    pub(super) fn is_low(&self, behind: bool, finished: bool) -> bool {
        let mut state = self.lock();
        state.behind = behind;
        state.woken = false;
        if finished && !state.finished {
            state.finished = true;
            self.readable.notify_one();
        }
        behind && state.bytes <= self.limit / 2
    }

    /// Adds the newest.
    pub(super) fn push(&self, record: Record) {
        let mut state = self.lock();
        state.bytes += record.payload.len() + OVERHEAD;
        state.ready.push_back(record);
        drop(state);
        self.readable.notify_one();
    }

    /// Takes the oldest.
    pub(super) fn take(&self) -> Taken {
        let mut state = self.lock();
        let Some(record) = state.ready.pop_front() else {
            return if state.finished || state.ended {
                Taken::Finished
            } else {
                Taken::Nothing
            };
        };
        state.bytes -= record.payload.len() + OVERHEAD;
        let wake = state.behind && !state.woken && state.bytes <= self.limit / 2;
        state.woken |= wake;
        Taken::Record { record, wake }
    }

    /// Waits until there may be something to take.
    pub(super) async fn readable(&self) {
        self.readable.notified().await;
    }

    /// Takes away those before the record of that number that were not handed out, and says what
    /// number the oldest of them has.
    pub(super) fn discard(&self, before: u64) -> Option<u64> {
        let mut state = self.lock();
        let oldest = state.ready.front().map(|record| record.number);
        let gone = state.ready.partition_point(|record| record.number < before);
        let bytes = |record: Record| record.payload.len() + OVERHEAD;
        let freed: usize = state.ready.drain(..gone).map(bytes).sum();
        state.bytes -= freed;
        oldest
    }

    /// The worker has ended.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.readable.notify_one();
        self.ended.notify_waiters();
    }

    /// Waits until the worker has ended.
    pub(super) async fn ended(&self) {
        let ended = self.ended.notified();
        if !self.lock().ended {
            ended.await;
        }
    }
}

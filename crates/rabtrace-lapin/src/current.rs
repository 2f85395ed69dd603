//! Which delivery the running task works on, so that a publish in the body of a loop over a
//! consumer belongs to the delivery without a changed line.
//!
//! The delivery that a task took last from a consumer is its current one, until all of it is
//! dropped or the task takes the next. Where a task takes a delivery while it still holds an
//! earlier one (it collects a batch, or handles several at a time), it cannot be told which of
//! them a publish belongs to: it has none then, until all of them are gone. A delivery that moved to
//! another task counts until it is dropped, as nobody sees it move; one whose work is stated by
//! [`instrument`](crate::Acker::instrument) does not, unless that work runs in the same task.
//!
//! A task is a tokio task, or the thread whose `block_on` runs outside of one. Elsewhere nothing
//! is current. The table is the process's, since a publish may go through another channel; an
//! entry lives as long as a delivery that it stands for.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::ThreadId;

use crate::process::Process;

/// Parts of the table, each with its own lock.
const SHARDS: usize = 16;

/// Deliveries that are in the table; while there is none, no lock is taken.
static HELD: AtomicUsize = AtomicUsize::new(0);
static TABLE: LazyLock<Table> = LazyLock::new(Table::default);

/// A task or a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Worker {
    Task(tokio::task::Id),
    Thread(ThreadId),
}

/// What a worker holds.
#[derive(Debug)]
struct Holding {
    /// How many deliveries it took that are not dropped yet, and whose work is not stated.
    held: usize,
    /// The one that it works on, if that can be told.
    current: Weak<Process>,
}

/// Workers whose ids mix to the same part of the table. Most often it is one at a time, which is
/// found without a look-up.
#[derive(Debug, Default)]
struct Shard {
    first: Option<(Worker, Holding)>,
    others: HashMap<Worker, Holding, BuildHasherDefault<Mix>>,
}

#[derive(Debug, Default)]
struct Table([Mutex<Shard>; SHARDS]);

impl Shard {
    fn is_first(&self, worker: Worker) -> bool {
        self.first
            .as_ref()
            .is_some_and(|(first, _)| *first == worker)
    }

    fn find(&self, worker: Worker) -> Option<&Holding> {
        match &self.first {
            Some((first, holding)) if *first == worker => Some(holding),
            _ => self.others.get(&worker),
        }
    }

    fn find_mut(&mut self, worker: Worker) -> Option<&mut Holding> {
        match &mut self.first {
            Some((first, holding)) if *first == worker => Some(holding),
            _ => self.others.get_mut(&worker),
        }
    }

    /// What the worker holds, nothing so far if it is not there yet.
    fn hold(&mut self, worker: Worker) -> &mut Holding {
        let nothing = || Holding {
            held: 0,
            current: Weak::new(),
        };
        let is_free = self.first.is_none() && !self.others.contains_key(&worker);
        if is_free || self.is_first(worker) {
            return &mut self.first.get_or_insert_with(|| (worker, nothing())).1;
        }
        self.others.entry(worker).or_insert_with(nothing)
    }

    fn remove(&mut self, worker: Worker) {
        if self.is_first(worker) {
            self.first = None;
        } else {
            self.others.remove(&worker);
        }
    }
}

/// Ids of tasks and threads are numbers that count up: mixing them is enough.
#[derive(Debug, Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(u64::try_from(number).unwrap_or(0));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Table {
    fn shard(&self, worker: Worker) -> MutexGuard<'_, Shard> {
        let mut hasher = Mix::default();
        worker.hash(&mut hasher);
        let place = usize::try_from(hasher.finish() >> 60).unwrap_or(0);
        let shard = self.0.get(place).unwrap_or(&self.0[0]);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is running.
pub(crate) fn worker() -> Option<Worker> {
    if let Some(task) = tokio::task::try_id() {
        return Some(Worker::Task(task));
    }
    tokio::runtime::Handle::try_current().ok()?;
    Some(Worker::Thread(std::thread::current().id()))
}

/// `worker` took that delivery.
pub(crate) fn take(worker: Worker, process: &Arc<Process>) {
    HELD.fetch_add(1, Ordering::Relaxed);
    let mut shard = TABLE.shard(worker);
    let holding = shard.hold(worker);
    holding.held += 1;
    holding.current = if holding.held == 1 {
        Arc::downgrade(process)
    } else {
        Weak::new()
    };
}

/// The work on a delivery that `worker` took is stated: it does not stand in the way of the next.
pub(crate) fn state(worker: Worker) {
    if let Some(holding) = TABLE.shard(worker).find_mut(worker) {
        holding.held = holding.held.saturating_sub(1);
    }
}

/// Work that was stated runs in the task that took the delivery: it holds it after all.
pub(crate) fn hold(worker: Worker, process: &Arc<Process>) {
    let mut shard = TABLE.shard(worker);
    let holding = shard.hold(worker);
    holding.held += 1;
    let current = holding.current.upgrade();
    let is_another = current.is_some_and(|current| !Arc::ptr_eq(&current, process));
    holding.current = if holding.held == 1 && !is_another {
        Arc::downgrade(process)
    } else {
        Weak::new()
    };
}

/// A delivery that `worker` took is gone; `is_stated` if [`state`] was called for it.
pub(crate) fn release(worker: Worker, is_stated: bool) {
    HELD.fetch_sub(1, Ordering::Relaxed);
    let mut shard = TABLE.shard(worker);
    if let Some(holding) = shard.find_mut(worker) {
        if !is_stated {
            holding.held = holding.held.saturating_sub(1);
        }
        if holding.held == 0 && holding.current.strong_count() == 0 {
            shard.remove(worker);
        }
    }
}

/// Whether `worker` is in the table.
#[cfg(test)]
pub(crate) fn holds(worker: Worker) -> bool {
    TABLE.shard(worker).find(worker).is_some()
}

/// Whether anybody in the process works on a delivery.
pub(crate) fn is_any() -> bool {
    HELD.load(Ordering::Relaxed) > 0
}

/// The delivery that the running task works on.
pub(crate) fn delivery() -> Option<Arc<Process>> {
    if !is_any() {
        return None;
    }
    let worker = worker()?;
    TABLE.shard(worker).find(worker)?.current.upgrade()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_of_one_shard_do_not_mix() {
        let thread = |_| std::thread::spawn(|| std::thread::current().id()).join();
        let workers = [0, 1, 2, 3].map(|number| Worker::Thread(thread(number).unwrap()));
        let mut shard = Shard::default();
        for (held, worker) in (1..).zip(workers) {
            shard.hold(worker).held = held;
        }
        shard.remove(workers[0]);
        assert!(shard.find(workers[0]).is_none());
        // The place of the first one is free now; those beside it are found where they are.
        for (held, worker) in (1..).zip(workers).skip(1) {
            assert_eq!(shard.hold(worker).held, held);
            assert_eq!(
                shard.find_mut(worker).map(|holding| holding.held),
                Some(held)
            );
            shard.remove(worker);
            assert!(shard.find(worker).is_none());
        }
        assert!(shard.first.is_none() && shard.others.is_empty());
    }
}

//! Which records are out, and up to where all are done. Pure.

use std::collections::VecDeque;

use super::count::{Count, Position};

/// A record between the disk and its end.
struct Out {
    number: u64,
    items: u32,
    start: Position,
    done: bool,
}

/// The records that were read and are not all done, in their order.
#[derive(Default)]
pub(super) struct Progress {
    out: VecDeque<Out>,
}

impl Progress {
    /// The record of that number begins at `start`, what is missing before it included.
    pub(super) fn add(&mut self, number: u64, items: u32, start: Position) {
        self.out.push_back(Out {
            number,
            items,
            start,
            done: false,
        });
    }

    /// The reader is done with a record. Says what that was, the first time.
    pub(super) fn done(&mut self, number: u64) -> Option<Count> {
        let at = self
            .out
            .binary_search_by_key(&number, |out| out.number)
            .ok()?;
        let out = self.out.get_mut(at).filter(|out| !out.done)?;
        out.done = true;
        let count = Count::one(out.items);
        while self.out.front().is_some_and(|out| out.done) {
            self.out.pop_front();
        }
        Some(count)
    }

    /// Where the oldest begins that is not done.
    pub(super) fn first(&self) -> Option<Position> {
        self.out.front().map(|out| out.start)
    }

    /// Forgets those from `from` to before `to`, and says how many they were: they were never
    /// handed out, and will not be.
    pub(super) fn forget(&mut self, from: u64, to: u64) -> Count {
        let mut forgotten = Count::default();
        self.out.retain(|out| {
            let stays = out.number < from || out.number >= to;
            if !stays {
                forgotten = forgotten.plus(Count::one(out.items));
            }
            stays
        });
        forgotten
    }
}

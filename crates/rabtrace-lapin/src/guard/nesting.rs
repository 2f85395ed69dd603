//! The tables and arrays that are open at one point of a frame, and the room left in each.
//!
//! Every length is checked against the room around it before anything inside is looked at, as
//! lapin does. The memory is one row per level, bounded by the limit.

use super::layout::{self, Container};

/// A type octet and a length; in a table there is a key besides.
const BYTES_PER_LEVEL: u64 = 5;

#[derive(Debug)]
struct Open {
    container: Container,
    /// Bytes of it that nobody has asked for yet.
    left: u64,
}

/// Open containers, the outermost first; never more than the limit.
#[derive(Debug)]
pub(super) struct Nesting {
    open: Vec<Open>,
    limit: usize,
}

impl Nesting {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            open: Vec::new(),
            limit,
        }
    }

    /// Whether one more level would be too deep.
    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= self.limit
    }

    /// Whether whatever is in a container of `length` bytes, opened here, stays within the limit:
    /// each level in it takes the bytes of a type octet and a length at least.
    pub(super) fn has_room_for(&self, length: u64) -> bool {
        let levels = self.open.len() as u64 + 1 + length / BYTES_PER_LEVEL;
        levels <= self.limit as u64
    }

    /// Whether the limit holds for a table of these bytes, opened here, whatever they mean: each
    /// level in it needs a type octet of its own.
    pub(super) fn has_room_for_all_in(&self, bytes: &[u8]) -> bool {
        let nested = |octet: &u8| u8::from(matches!(*octet, layout::TABLE | layout::ARRAY));
        // A sum of 255 fits into one octet: many are added at once.
        let rows = bytes
            .chunks(255)
            .map(|row| row.iter().map(nested).sum::<u8>());
        self.open.len() + 1 + rows.map(usize::from).sum::<usize>() <= self.limit
    }

    /// Opens a container whose `length` bytes were taken from what is around it.
    pub(super) fn open(&mut self, container: Container, length: u64) {
        self.open.push(Open {
            container,
            left: length,
        });
    }

    /// Closes what has no room left; the innermost container that has some.
    pub(super) fn settle(&mut self) -> Option<Container> {
        while self.open.pop_if(|open| open.left == 0).is_some() {}
        self.open.last().map(|open| open.container)
    }

    /// Takes `count` bytes of the innermost container; `false` if it does not have them.
    pub(super) fn take(&mut self, count: u64) -> bool {
        let Some(open) = self.open.last_mut() else {
            return false;
        };
        let left = open.left.checked_sub(count);
        open.left = left.unwrap_or(open.left);
        left.is_some()
    }

    /// Closes everything: the bytes that were left.
    pub(super) fn abandon(&mut self) -> u64 {
        self.open.drain(..).map(|open| open.left).sum()
    }
}

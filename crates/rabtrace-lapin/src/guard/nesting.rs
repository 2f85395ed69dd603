//! The tables and arrays that are open at one point of a frame, and the room left in each.
//!
//! Every length is checked against the room around it before anything inside is looked at, as
//! lapin does. The memory is one row per level, bounded by the limit.

use super::layout::Container;

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

//! A count, or none, in the room of a count: much is remembered of each of ten thousand queues.

/// No count; none is ever as large.
const NONE: u64 = u64::MAX;

/// A count, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Small(u64);

impl Small {
    pub(super) const NONE: Self = Self(NONE);

    pub(super) fn new(count: Option<u64>) -> Self {
        Self(count.unwrap_or(NONE))
    }

    pub(super) fn count(self) -> Option<u64> {
        (self.0 != NONE).then_some(self.0)
    }
}

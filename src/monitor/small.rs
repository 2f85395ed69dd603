//! A count, or none, in the room of a count: much is remembered of each of ten thousand queues.

/// No count; none is ever as large.
const NONE: u64 = u64::MAX;

/// A count, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Small(u64);

impl Default for Small {
    fn default() -> Self {
        Self::NONE
    }
}

impl Small {
    pub(super) const NONE: Self = Self(NONE);

    pub(crate) fn new(count: Option<u64>) -> Self {
        Self(count.unwrap_or(NONE))
    }

    pub(crate) fn count(self) -> Option<u64> {
        (self.0 != NONE).then_some(self.0)
    }
}

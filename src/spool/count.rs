//! How many: records, and the items in them. Pure.

/// Records and the items in them. As a place it is how many came before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Records: payloads that were appended.
    pub records: u64,
    /// Items in them: lines, spans, points; what the appender said.
    pub items: u64,
}

impl Count {
    /// One record of `items` items.
    pub(super) const fn one(items: u32) -> Self {
        Self {
            records: 1,
            items: items as u64,
        }
    }

    /// Both together.
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            records: self.records.saturating_add(other.records),
            items: self.items.saturating_add(other.items),
        }
    }

    /// What is left without `other`, at least nothing.
    pub(super) const fn minus(self, other: Self) -> Self {
        Self {
            records: self.records.saturating_sub(other.records),
            items: self.items.saturating_sub(other.items),
        }
    }

    /// Of two places the one that is further.
    pub(super) const fn further(self, other: Self) -> Self {
        if other.records > self.records {
            other
        } else {
            self
        }
    }
}

/// A place between two records: in which segment, where in it, and how many came before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) before: Count,
}

impl Position {
    /// Of two places the one that is further.
    pub(super) const fn further(self, other: Self) -> Self {
        let ahead = other.before.records > self.before.records
            || other.before.records == self.before.records && other.segment > self.segment;
        if ahead { other } else { self }
    }
}

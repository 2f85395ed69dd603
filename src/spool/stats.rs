//! What a spool says of itself.

use super::count::Count;

/// Figures of a spool, since it was opened. At any time
/// `found + appended = delivered + dropped + damaged + waiting`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// What was there when it was opened.
    pub found: Count,
    /// Appended and durable.
    pub appended: Count,
    /// Done by the reader.
    pub delivered: Count,
    /// Dropped unread, because the spool was full.
    pub dropped: Count,
    /// Unreadable, or missing.
    pub damaged: Count,
    /// Durable and not done; those that the reader holds are among them.
    pub waiting: Count,
    /// Bytes of all segments on the disk.
    pub disk_bytes: u64,
    /// Bytes of payloads that wait in memory for the reader.
    pub memory_bytes: usize,
    /// Writes with a sync.
    pub commits: u64,
    /// Records that were handed on without being read from the disk.
    pub from_memory: u64,
    /// Records that were read from the disk.
    pub from_disk: u64,
    /// Why the last commit failed, until one succeeds.
    pub failing: Option<String>,
}

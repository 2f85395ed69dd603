//! How much a spool may take: of the disk, of memory, of time.

use std::time::Duration;

/// Bounds of one spool.
///
/// ```
/// use rabtrace::spool::Limits;
///
/// let limits = Limits { disk_bytes: 8 << 30, ..Limits::default() };
/// assert!(limits.segment_bytes < limits.disk_bytes);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all segments together; beyond it the oldest segment is dropped. At least 64 KiB.
    pub disk_bytes: u64,
    /// Bytes after which a segment is closed; at most a quarter of `disk_bytes`.
    pub segment_bytes: u64,
    /// Bytes of one payload at most; half of `disk_bytes` and 1 GiB if that is less.
    pub record_bytes: usize,
    /// Bytes of payloads kept in memory for the reader, beside those that it holds.
    pub memory_bytes: usize,
    /// Bytes of payloads that are under way to the disk; further appends wait.
    pub pending_bytes: usize,
    /// Shortest time between two commits. An append that comes after it is committed at once, so
    /// this is the longest that an append waits for others to share its commit. At most 50 ms.
    pub commit_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            disk_bytes: 4 << 30,
            segment_bytes: 64 << 20,
            record_bytes: 32 << 20,
            memory_bytes: 16 << 20,
            pending_bytes: 16 << 20,
            commit_interval: Duration::from_millis(5),
        }
    }
}

impl Limits {
    /// The same, with what contradicts each other put right.
    pub(super) fn sound(self) -> Self {
        let disk_bytes = self.disk_bytes.max(64 << 10);
        let half = usize::try_from(disk_bytes / 2).unwrap_or(usize::MAX);
        Self {
            disk_bytes,
            segment_bytes: self.segment_bytes.min(disk_bytes / 4),
            record_bytes: self.record_bytes.min(half).min(1 << 30),
            memory_bytes: self.memory_bytes,
            pending_bytes: self.pending_bytes.max(1 << 10),
            commit_interval: self.commit_interval.min(Duration::from_millis(50)),
        }
    }
}

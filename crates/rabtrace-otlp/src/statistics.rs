//! What became of the spans: counters that can be read at any time, from anywhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
struct Counters {
    ended: AtomicU64,
    exported: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
    retries: AtomicU64,
}

/// Counters of one exporter, in spans unless said otherwise; a clone counts with it.
///
/// ```
/// use rabtrace_otlp::Exporter;
///
/// # fn main() -> Result<(), rabtrace_otlp::BuildError> {
/// let exporter = Exporter::builder().build()?;
/// let statistics = exporter.statistics();
/// assert_eq!(statistics.exported(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Statistics(Arc<Counters>);

impl Statistics {
    /// Spans that ended. Counted by a [`BatchProcessor`](crate::BatchProcessor), and zero without.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.0.ended.load(Ordering::Acquire)
    }

    /// Spans that the server took.
    #[must_use]
    pub fn exported(&self) -> u64 {
        self.0.exported.load(Ordering::Acquire)
    }

    /// Spans that the server refused for good within a request that it took.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.0.rejected.load(Ordering::Acquire)
    }

    /// Spans of requests that failed, and so are lost.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.0.failed.load(Ordering::Acquire)
    }

    /// Requests that were sent again.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.0.retries.load(Ordering::Acquire)
    }

    /// Spans that ended and that no request has carried yet: they wait in the processor's queue, or
    /// it dropped them because the queue was full. After a `force_flush` in quiet it is the number
    /// of dropped spans.
    ///
    /// Zero without a [`BatchProcessor`](crate::BatchProcessor).
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        // What comes later in a span's life is read first: no span is then counted as two.
        let settled = self.exported() + self.rejected() + self.failed();
        self.ended().saturating_sub(settled)
    }

    pub(crate) fn count_ended(&self) {
        self.0.ended.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn count_taken(&self, spans: usize, rejected: u64) {
        let rejected = rejected.min(spans as u64);
        self.0.rejected.fetch_add(rejected, Ordering::AcqRel);
        let exported = spans as u64 - rejected;
        self.0.exported.fetch_add(exported, Ordering::AcqRel);
    }

    pub(crate) fn count_failed(&self, spans: usize) {
        self.0.failed.fetch_add(spans as u64, Ordering::AcqRel);
    }

    pub(crate) fn count_retry(&self) {
        self.0.retries.fetch_add(1, Ordering::AcqRel);
    }
}

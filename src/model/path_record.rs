//! Path metrics as they come in: one data point of one `rabtrace.path.*` instrument.

use std::sync::Arc;

use rabtrace_lapin::path::{Direction, EdgeKind};

use super::{ExplicitHistogram, Histogram};

/// Which instrument a data point is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathMeasure {
    /// `rabtrace.path.messages`: checkpoints.
    Messages,
    /// `rabtrace.path.edge.duration`: seconds since the checkpoint before.
    Edge,
    /// `rabtrace.path.duration`: seconds since the origin.
    Total,
    /// `rabtrace.path.process.duration`: seconds from hand-out of a delivery to its end.
    Process,
    /// `rabtrace.path.errors`: publishes and deliveries that failed.
    Errors,
    /// `rabtrace.path.attempts`: numbers of attempts beyond the first.
    Attempts,
    /// `rabtrace.path.skew`: seconds by which a checkpoint lies before the one it follows.
    Skew,
}

impl PathMeasure {
    /// Every instrument.
    pub const ALL: [Self; 7] = [
        Self::Messages,
        Self::Edge,
        Self::Total,
        Self::Process,
        Self::Errors,
        Self::Attempts,
        Self::Skew,
    ];

    /// Name of the instrument.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "rabtrace.path.messages",
            Self::Edge => "rabtrace.path.edge.duration",
            Self::Total => "rabtrace.path.duration",
            Self::Process => "rabtrace.path.process.duration",
            Self::Errors => "rabtrace.path.errors",
            Self::Attempts => "rabtrace.path.attempts",
            Self::Skew => "rabtrace.path.skew",
        }
    }

    /// The instrument of that name.
    ///
    /// ```
    /// use rabtrace::model::PathMeasure;
    ///
    /// assert_eq!(PathMeasure::named("rabtrace.path.errors"), Some(PathMeasure::Errors));
    /// ```
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|measure| measure.as_str() == name)
    }
}

/// The value of a data point.
#[derive(Clone, Debug, PartialEq)]
pub enum PathValue {
    /// Of a sum.
    Count(u64),
    /// Of an exponential histogram, at our scale.
    Exponential(Histogram),
    /// Of a histogram with explicit bounds, as it came: only so one state can be taken from a
    /// later one.
    Explicit(ExplicitHistogram),
}

/// One data point of a path metric.
#[derive(Clone, Debug, PartialEq)]
pub struct PathRecord {
    /// `service.name` of the resource.
    pub service: Arc<str>,
    /// `service.instance.id` of the resource, or what stands for it.
    pub instance: Arc<str>,
    /// Hash of the path up to this checkpoint.
    pub hash: u64,
    /// Hash of the path before it; none at the origin.
    pub parent: Option<u64>,
    /// Published or delivered.
    pub direction: Direction,
    /// Exchange or queue.
    pub destination: Arc<str>,
    /// What led to it.
    pub kind: EdgeKind,
    /// The name under which a delivered message came in, where that is not the queue.
    pub via: Option<Arc<str>>,
    /// `error.type`, of errors alone.
    pub error_type: Option<Arc<str>>,
    /// The instrument.
    pub measure: PathMeasure,
    /// Whether the value holds everything since the start, or only what came since the point
    /// before.
    pub cumulative: bool,
    /// Since when the value counts; nanoseconds since the Unix epoch, zero if not told.
    pub start_unix_nano: u64,
    /// Until when it counts.
    pub end_unix_nano: u64,
    /// The value.
    pub value: PathValue,
}

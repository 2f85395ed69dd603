//! The rows of the answers about paths, as the JSON API has them: units in the names, times in
//! nanoseconds since the Unix epoch, `null` for what is not known.

use serde::{Deserialize, Serialize};

/// How a path ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathEnd {
    /// Something was delivered.
    Delivered,
    /// Something was published, and nobody who is traced received it.
    Unseen,
    /// The broker gave back what was published, refused it, or was lost before it answered.
    NotDelivered,
}

/// What a step spends its time with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathPart {
    /// From publish to hand-out.
    Wait,
    /// From hand-out to publish.
    Work,
}

impl PathPart {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Work => "work",
        }
    }
}

/// The hop of a path that takes longest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlowHop {
    /// The queue that waits, or the service that works.
    pub step: String,
    /// Which of both.
    pub part: PathPart,
    /// Mean of that time.
    pub mean_ms: f64,
    /// Share of the mean time from origin to end, 0 to 1.
    pub share: f64,
}

/// One path, all hashes of the same text together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathRow {
    /// Services and destinations in order: `gateway > planner_queue > planner`.
    pub path: String,
    /// Hash of the path, 16 hexadecimal digits; of several, the busiest.
    pub hash: String,
    /// How it ends.
    pub end: PathEnd,
    /// Messages that arrived at its end.
    pub count: u64,
    /// Messages a second, since the first window of any path in the time asked for.
    pub rate_per_second: f64,
    /// Of these, those whose publish or processing failed.
    pub errors: u64,
    /// Of these, those that were delivered or published again, or were dead-lettered.
    pub redelivered: u64,
    /// Median of the time from origin to end, of messages that came the first time; of all, on a
    /// path that none takes the first time.
    pub p50_ms: Option<f64>,
    /// 95th percentile of the same.
    pub p95_ms: Option<f64>,
    /// 99th percentile of the same.
    pub p99_ms: Option<f64>,
    /// Longest of the same.
    pub max_ms: Option<f64>,
    /// Mean of the same.
    pub mean_ms: Option<f64>,
    /// Where most of that time goes.
    pub slowest_hop: Option<SlowHop>,
    /// 95th percentile of the same span an hour before.
    pub p95_before_ms: Option<f64>,
    /// By which share the 95th percentile is higher than an hour before (0.34: by 34 %); null
    /// where one of both has fewer than 20 values.
    pub p95_change: Option<f64>,
    /// Whether the path was not there an hour before, though others were.
    pub is_new: bool,
    /// Whether messages were counted from sampled spans alone.
    pub sampled: bool,
    /// The slowest sampled trace; null if none was sampled.
    pub slowest_trace_id: Option<String>,
    /// How long that took.
    pub slowest_trace_ms: Option<f64>,
    /// End of the last window in which a message arrived.
    pub last_seen_unix_nano: i64,
}

/// Percentiles of one time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Times {
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    pub mean_ms: f64,
    /// Values that were measured.
    pub count: u64,
}

/// Failures of one type, among sampled spans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorType {
    /// The attribute `error.type`.
    pub error_type: String,
    /// Spans that have it.
    pub spans: u64,
}

/// One step of a path, and one kind of edge that leads to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HopRow {
    /// Hash of the path up to this step, 16 hexadecimal digits.
    pub hash: String,
    /// Text of the path up to this step.
    pub path: String,
    /// `out`: published to the destination; `in`: delivered from it.
    pub direction: String,
    /// The service that publishes or receives.
    pub service: String,
    /// The exchange or queue.
    pub destination: String,
    /// The name under which a delivered message was published, where that is not the queue.
    pub via: Option<String>,
    /// `forward`, `reply`, `repeat`, `redelivery`, `requeue`, `dead_letter` or `merge`.
    pub kind: String,
    /// Messages that passed.
    pub count: u64,
    /// Of these, those that failed here.
    pub errors: u64,
    /// What failed, as far as sampled spans tell.
    pub error_types: Vec<ErrorType>,
    /// `in`: from publish to hand-out.
    pub wait: Option<Times>,
    /// `in`: from hand-out to the end of the processing; `out`: from hand-out to this publish.
    pub work: Option<Times>,
    /// Share of the mean time from origin to end, 0 to 1: of the wait of an `in` step, of the
    /// work of an `out` step.
    pub share: Option<f64>,
    /// The greatest number of an attempt; zero where no message came twice.
    pub max_attempt: u64,
    /// Messages stamped before the checkpoint that they follow: clocks that differ.
    pub skewed: u64,
    /// Whether sampled spans were counted, because the service sends no path metrics.
    pub sampled: bool,
}

/// One path, hop by hop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathDetail {
    /// The path as a whole.
    pub summary: PathRow,
    /// Its steps in order; branches that merge stand one after the other.
    pub hops: Vec<HopRow>,
    /// Whether branches merge: their times run side by side and do not add up.
    pub merges: bool,
    /// Mean time from origin to end less the mean times of the hops: what is left are messages
    /// that went other ways, or came again. Null where branches merge or a time is not known.
    pub remainder_ms: Option<f64>,
}

/// One path in one of two spans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as in `PathRow`")]
pub struct PathSide {
    pub count: u64,
    pub rate_per_second: f64,
    pub errors: u64,
    pub redelivered: u64,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

/// The hop whose mean changed most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HopChange {
    /// The queue that waits, or the service that works.
    pub step: String,
    /// Which of both.
    pub part: PathPart,
    /// Mean before.
    pub before_ms: f64,
    /// Mean now.
    pub now_ms: f64,
}

/// One path that is in at least one of two spans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathChange {
    /// The path.
    pub path: String,
    /// Hash of the path, 16 hexadecimal digits.
    pub hash: String,
    /// Earlier; null if it was not there.
    pub before: Option<PathSide>,
    /// Later; null if it is not there.
    pub now: Option<PathSide>,
    /// By which share the 95th percentile is higher (0.34: by 34 %).
    pub p95_change: Option<f64>,
    /// The hop whose mean changed most, in the direction of the change.
    pub hop: Option<HopChange>,
}

/// What one of two spans was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// Its beginning.
    pub since_unix_nano: i64,
    /// Its end.
    pub until_unix_nano: i64,
    /// Messages that arrived at the end of any path; zero if nothing was recorded.
    pub count: u64,
}

/// What changed between two spans of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathsDiff {
    /// The rules by which a path is in one of the lists.
    pub rules: Vec<String>,
    /// The earlier span.
    pub before: Compared,
    /// The later span.
    pub now: Compared,
    /// The greatest change first.
    pub slower: Vec<PathChange>,
    /// The greatest change first.
    pub faster: Vec<PathChange>,
    /// The busiest first.
    pub appeared: Vec<PathChange>,
    /// The busiest first.
    pub vanished: Vec<PathChange>,
    /// More of the messages fail.
    pub more_errors: Vec<PathChange>,
    /// Fewer of the messages fail.
    pub fewer_errors: Vec<PathChange>,
    /// Paths in none of the lists.
    pub unchanged: u64,
}

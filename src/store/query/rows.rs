//! The rows of the answers, as the JSON API has them: units in the names, times in nanoseconds
//! since the Unix epoch, `null` for what is not known.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The newest sample of one queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the management API's")]
pub struct QueueRow {
    pub cluster: Option<String>,
    pub vhost: String,
    pub queue: String,
    /// `classic`, `quorum` or `stream`.
    pub queue_type: Option<String>,
    pub state: Option<String>,
    pub node: Option<String>,
    pub messages: Option<i64>,
    pub messages_ready: Option<i64>,
    pub messages_unack: Option<i64>,
    pub consumers: Option<i64>,
    pub publish_rate_per_second: Option<f64>,
    pub deliver_rate_per_second: Option<f64>,
    pub ack_rate_per_second: Option<f64>,
    pub redeliver_rate_per_second: Option<f64>,
    /// How long ago the broker was asked.
    pub age_seconds: f64,
}

/// One trace: its spans by start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// Whether there are more spans than are given.
    pub truncated: bool,
    /// Its spans, the earliest first.
    pub spans: Vec<TraceSpan>,
}

/// One span of a trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceSpan {
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// Of the parent; `null` at a root.
    pub parent_span_id: Option<String>,
    /// Service.
    pub service_name: String,
    /// Name of the span.
    pub span_name: String,
    /// `internal`, `server`, `client`, `producer` or `consumer`.
    pub kind: String,
    /// `unset`, `ok` or `error`.
    pub status: String,
    /// Why it failed.
    pub status_message: Option<String>,
    /// Start.
    pub start_unix_nano: i64,
    /// Its length.
    pub duration_ms: f64,
    /// How long the message waited before it.
    pub queue_ms: Option<f64>,
    /// Queue or exchange.
    pub destination: Option<String>,
    /// The path up to here.
    pub path: Option<String>,
    /// Whether the message was delivered again.
    pub redelivered: bool,
    /// An object, empty if there are none.
    pub attributes: Value,
    /// An array of `{name, time_unix_nano, attributes}`.
    pub events: Value,
    /// An array of `{trace_id, span_id, attributes}`.
    pub links: Value,
    /// Attributes of the resource, an object.
    pub resource: Value,
}

/// One operation and how long it takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlowRow {
    /// Service.
    pub service_name: String,
    /// Name of the span.
    pub span_name: String,
    /// Kind of the span.
    pub kind: String,
    /// Queue or exchange.
    pub destination: Option<String>,
    /// Spans.
    pub count: u64,
    /// Of these, those that failed.
    pub errors: u64,
    /// Average length.
    pub avg_ms: f64,
    /// 95th percentile, within 2.2 %.
    pub p95_ms: f64,
    /// Longest.
    pub max_ms: f64,
    /// The trace with the longest one.
    pub slowest_trace_id: String,
}

/// One kind of failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorRow {
    /// Service.
    pub service_name: String,
    /// Name of the span.
    pub span_name: String,
    /// Queue or exchange.
    pub destination: Option<String>,
    /// `error.type`, else `exception.type` of an event.
    pub error_type: Option<String>,
    /// Message of the status, else `exception.message` of an event; cut at 200 characters.
    pub message: Option<String>,
    /// Spans that failed so.
    pub count: u64,
    /// Start of the last one.
    pub last_unix_nano: i64,
    /// The trace of the last one.
    pub example_trace_id: String,
}

/// One trace in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecentTrace {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// Service of the root, or of the earliest span if the root is not there.
    pub root_service_name: String,
    /// Name of that span.
    pub root_span_name: String,
    /// Start of the earliest span.
    pub start_unix_nano: i64,
    /// From the earliest start to the latest end.
    pub duration_ms: f64,
    /// Spans.
    pub spans: u64,
    /// Services in it.
    pub services: u64,
    /// Spans that failed.
    pub errors: u64,
}

/// How much the store holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStats {
    /// The database file.
    pub file: String,
    /// Spans.
    pub spans: u64,
    /// Rows of path statistics.
    pub flow_windows: u64,
    /// Points of measurements.
    pub points: u64,
    /// Distinct paths.
    pub paths: u64,
    /// Hours with data.
    pub hours: u64,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes of the file and its log on disk.
    pub file_bytes: u64,
    /// Start of the oldest hour; `null` when empty.
    pub oldest_unix_nano: Option<i64>,
    /// Start of the newest hour; `null` when empty.
    pub newest_unix_nano: Option<i64>,
}

//! Spans as they come in, and hops: spans with what messaging adds to them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rabtrace_lapin::path::{Direction, EdgeKind};

use super::{Held, PathRecord, Receipt, Share, SpanId, TraceId};

/// The value of an attribute. Arrays, maps and bytes are kept as JSON (bytes as base64).
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeValue {
    /// A text.
    Text(Arc<str>),
    /// A boolean.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// A float.
    Double(f64),
    /// Anything else.
    Json(serde_json::Value),
}

impl AttributeValue {
    /// The text, if it is one.
    #[must_use]
    pub const fn text(&self) -> Option<&Arc<str>> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Attributes in the order in which they came.
pub type Attributes = Vec<(Arc<str>, AttributeValue)>;

/// `SpanKind` of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are OpenTelemetry's")]
pub enum SpanKind {
    Internal,
    Server,
    Client,
    Producer,
    Consumer,
}

impl SpanKind {
    /// The name as tables and tags show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

/// `Status.code` of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are OpenTelemetry's")]
pub enum SpanStatus {
    Unset,
    Ok,
    Error,
}

impl SpanStatus {
    /// The name as tables and tags show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

/// An event of a span, an exception for instance.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanEvent {
    /// Its name.
    pub name: String,
    /// Nanoseconds since the Unix epoch.
    pub time_unix_nano: u64,
    /// Its attributes.
    pub attributes: Attributes,
}

/// A link to another span.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanLink {
    /// Trace of the other span.
    pub trace_id: TraceId,
    /// The other span.
    pub span_id: SpanId,
    /// Attributes of the link.
    pub attributes: Attributes,
}

/// One span as a service sent it.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace that it belongs to.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// Its parent; none at a root.
    pub parent_span_id: Option<SpanId>,
    /// `service.name` of the resource, `unknown_service` if it has none.
    pub service: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: SpanKind,
    /// Whether it failed.
    pub status: SpanStatus,
    /// Why it failed, often empty.
    pub status_message: String,
    /// Nanoseconds since the Unix epoch.
    pub start_unix_nano: u64,
    /// Nanoseconds since the Unix epoch; never before the start.
    pub end_unix_nano: u64,
    /// Attributes of the span.
    pub attributes: Attributes,
    /// Attributes of the resource, shared by the spans of one service.
    pub resource: Arc<Attributes>,
    /// Events in it.
    pub events: Vec<SpanEvent>,
    /// Links from it.
    pub links: Vec<SpanLink>,
    /// Whether its service says that it sends path metrics for every message.
    pub paths_measured: bool,
}

impl Span {
    /// End minus start; zero for a span whose clock went backwards.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.end_unix_nano.saturating_sub(self.start_unix_nano))
    }

    /// The attribute of that name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&AttributeValue> {
        self.attributes
            .iter()
            .find(|(key, _)| &**key == name)
            .map(|(_, value)| value)
    }

    /// The attribute of that name, if it is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&Arc<str>> {
        self.attribute(name)?.text()
    }
}

/// Which kind of OTLP request a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are OpenTelemetry's")]
pub enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    /// The number that stands for it on disk.
    ///
    /// ```
    /// use rabtrace::model::Signal;
    ///
    /// assert_eq!(Signal::of_code(Signal::Metrics.code()), Some(Signal::Metrics));
    /// assert_eq!(Signal::of_code(9), None);
    /// ```
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Traces => 0,
            Self::Metrics => 1,
        }
    }

    /// What that number stands for; none if it is a newer version's.
    #[must_use]
    pub const fn of_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Traces),
            1 => Some(Self::Metrics),
            _ => None,
        }
    }
}

/// One number of an OTLP gauge or sum.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricPoint {
    /// `service.name` of the resource.
    pub service: Arc<str>,
    /// Name of the instrument.
    pub name: Arc<str>,
    /// The value.
    pub value: f64,
    /// Its attributes.
    pub attributes: Attributes,
    /// Nanoseconds since the Unix epoch.
    pub time_unix_nano: u64,
}

/// One accepted OTLP request.
#[derive(Clone, Debug)]
pub struct Batch {
    /// What the payload is.
    pub signal: Signal,
    /// The request as protobuf, for the upstream; unchanged if it came as protobuf.
    pub payload: Bytes,
    /// Its spans.
    pub spans: Vec<Span>,
    /// Its numbers.
    pub metrics: Vec<MetricPoint>,
    /// Its path metrics.
    pub paths: Vec<PathRecord>,
    /// To be confirmed when its spans and path metrics are stored; none if nobody waits for that.
    pub receipt: Option<Receipt>,
    /// To be confirmed when its points are in InfluxDB's spool; none if nobody waits for that.
    pub points_receipt: Option<Receipt>,
    /// Its room, until all that is made of it is written; none if nobody counts it.
    pub held: Option<Arc<Held>>,
    /// That it waits for the flow.
    pub share: Option<Share>,
}

impl Batch {
    /// One in which nothing is, and for which nobody waits.
    #[must_use]
    pub const fn new(signal: Signal, payload: Bytes) -> Self {
        Self {
            signal,
            payload,
            spans: Vec::new(),
            metrics: Vec::new(),
            paths: Vec::new(),
            receipt: None,
            points_receipt: None,
            held: None,
            share: None,
        }
    }

    /// How many spans and data points the flow gets.
    #[must_use]
    pub fn items(&self) -> u64 {
        (self.spans.len() + self.metrics.len() + self.paths.len()) as u64
    }
}

/// One checkpoint of a path: the step by which the path grew, and how long it took.
#[derive(Clone, Debug, PartialEq)]
pub struct PathStep {
    /// Hash of the path with this step.
    pub hash: u64,
    /// Hash of the path before it; none at the origin.
    pub parent: Option<u64>,
    /// Published or delivered.
    pub direction: Direction,
    /// Exchange, or queue for the default exchange, when published; queue when delivered.
    pub destination: Arc<str>,
    /// What led to it.
    pub kind: EdgeKind,
    /// The name under which a delivered message came in, where that is not the queue.
    pub via: Option<Arc<str>>,
    /// Since the checkpoint before; none at the origin or when the clocks disagree.
    pub edge: Option<Duration>,
    /// Since the origin; none when the clocks disagree.
    pub total: Option<Duration>,
}

/// A span with what messaging adds to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Hop {
    /// The span as it came.
    pub span: Span,
    /// The queue or exchange that it concerns.
    pub destination: Option<Arc<str>>,
    /// How long the message waited between publish and delivery.
    pub queue_wait: Option<Duration>,
    /// Its place on a path.
    pub step: Option<PathStep>,
    /// The text of the path up to this step, as far as it is known when the hop is written.
    pub path: Option<Arc<str>>,
    /// The time of its points; nanoseconds since the Unix epoch.
    pub point_unix_nano: i64,
}

impl Hop {
    /// Attributes that have what service, name and destination of a span were before they became
    /// [`OTHER`](super::OTHER), because there were too many of them.
    pub const FOLDED: [&str; 3] = [
        "rabtrace.folded.service_name",
        "rabtrace.folded.span_name",
        "rabtrace.folded.destination",
    ];
}

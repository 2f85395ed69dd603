//! Plain data that travels through the agent. No I/O, no clock, no configuration.
//!
//! [`Batch`] comes in from the receiver, [`BrokerSnapshot`] from the monitor; `flow` makes
//! [`Hop`]s and [`Point`]s of them; the store and the sinks take those.

mod base64;
mod broker;
mod budget;
mod flow;
mod histogram;
mod ids;
mod json;
mod path_record;
mod point;
mod receipt;
mod share;
mod span;
mod time;

pub(crate) use base64::base64;
pub(crate) use json::{AttributesJson, attributes_json};
pub use rabtrace_lapin::path::{Direction, EdgeKind};

pub use broker::{
    AgeMethod, BindingSample, BrokerSnapshot, ExchangeSample, GlobalSample, HeadAge, NodeSample,
    OverviewSample, PeerSample, PollSample, QueueSample, QueueStatus, Source,
};
pub use budget::{Budget, Held, NoRoom};
pub use flow::{
    Checkpoint, FlowWindow, PathText, Resume, SeriesKey, SeriesState, Slowest, StepRow, StoreBatch,
};
pub use histogram::{ExplicitHistogram, Histogram, Told};
pub use ids::{InvalidId, SpanId, TraceId};
pub use path_record::{PathMeasure, PathRecord, PathValue};
pub use point::{FieldValue, OTHER, Point};
pub use receipt::{Pending, PointBatch, Receipt};
pub use share::Share;
pub use span::{
    AttributeValue, Attributes, Batch, Hop, MetricPoint, PathStep, Signal, Span, SpanEvent,
    SpanKind, SpanLink, SpanStatus,
};
pub use time::{rfc3339, unix_nano};

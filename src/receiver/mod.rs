//! OTLP comes in: traces and metrics over gRPC and HTTP become [`Batch`]es for the flow.
//!
//! ```text
//!  gRPC, HTTP ─► body: gzip, limit, room ─► read: scan, room, decode ─► Intake ─► bounded queue
//! ```
//!
//! - Input: [`serve_grpc`] and [`serve_http`] on listeners that are bound already.
//! - Output: a [`Batch`] with spans or numbers, and the payload as protobuf for the upstream:
//!   unchanged if it came as protobuf and none of its spans was rejected.
//! - A request is acknowledged only when it is in the queue. A full queue refuses retryably
//!   (UNAVAILABLE with RetryInfo; 503 with Retry-After); what can never be taken is refused for good
//!   (INVALID_ARGUMENT, RESOURCE_EXHAUSTED; 400, 413, 415).
//! - All requests together, from their first byte until they are stored, take as much memory as
//!   the process's [`Budget`](crate::model::Budget) has; who finds no room in it is refused
//!   retryably.
//! - Spans with invalid ids are rejected alone, counted, and reported as partial success.
//! - Gauges and sums become numbers, `rabtrace.path.*` of any kind path records; other histograms
//!   and summaries are counted and forwarded only.
//! - Where there is an upstream, a request is acknowledged only when the upstream's spool has it; a
//!   disk that is full or too slow (10 s) refuses retryably, and the flow does not get it.
//! - A request is acknowledged only when the store has its spans and path records, and refused
//!   retryably after 10 s. The same bytes again wait for the first, and count once.
//! - Logs are not taken: UNIMPLEMENTED, 404.
//! - Where there is a token, who does not send it gets UNAUTHENTICATED or 401 before anything of
//!   the body is read.
//! - A body is limited after decompression. [`scan`](scan()) says what it becomes before it is
//!   decoded; traces as SDKs write them are counted while they are read, and no further than they
//!   have room.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/>.
//!
//! [`Batch`]: crate::model::Batch

mod accepted;
mod attribute;
mod body;
mod codec;
mod decode;
mod grpc;
mod http;
mod intake;
mod json;
mod read;
mod refusal;
mod scan;
mod unsure;
mod wire;

use std::io;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::serve::serve;

pub use self::decode::{
    Numbers, PathRecords, numbers, reject_invalid_spans, spans, spans_of_bytes,
};
pub use self::intake::{Accepted, Encoding, Intake};
pub use self::json::{JsonError, scan as scan_json};
pub use self::refusal::Refusal;
pub use self::scan::{Counts, ScanError, scan, scan_beginning};
pub use self::wire::Malformed;

pub(crate) use self::codec::RawCodec;
pub(crate) use self::wire::{Fields, Value};

/// Paths of the gRPC services, which the forwarder calls as well.
pub(crate) const GRPC_TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// See [`GRPC_TRACES`].
pub(crate) const GRPC_METRICS: &str =
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// Serves OTLP over gRPC until `stop`.
///
/// # Errors
/// If the listener fails.
pub async fn serve_grpc(
    listener: TcpListener,
    intake: Intake,
    stop: CancellationToken,
) -> io::Result<()> {
    let access = intake.access().clone();
    serve(listener, grpc::router(intake), access, stop).await
}

/// Serves OTLP over HTTP until `stop`: POST `/v1/traces` and `/v1/metrics`, protobuf or JSON.
///
/// # Errors
/// If the listener fails.
pub async fn serve_http(
    listener: TcpListener,
    intake: Intake,
    stop: CancellationToken,
) -> io::Result<()> {
    let access = intake.access().clone();
    serve(listener, http::router(intake), access, stop).await
}

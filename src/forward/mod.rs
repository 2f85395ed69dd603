//! OTLP goes on, unchanged, to an upstream: a Collector, Jaeger, Tempo, another agent.
//!
//! - Input: requests as protobuf bytes, from a bounded channel that is always emptied.
//! - Output: the same bytes at the upstream, gzip around them, over gRPC or HTTP, one request at
//!   a time and in their order.
//! - Upstream away: requests wait in memory up to `buffer_bytes`; beyond it the oldest is dropped
//!   and counted (`forward`, `buffer_full`). What OTLP calls retryable is sent again after a
//!   jittered wait of up to 30 s, or as long as the upstream asks for; what it refuses for good
//!   is dropped and counted (`refused`).
//! - Stop: what waits is sent for at most 3 s; the rest is counted (`stopping`).

mod buffer;
mod check;
mod run;
mod upstream;

pub use self::check::check;
pub use self::run::{Forward, ForwardSetup};
pub use self::upstream::SetupError;

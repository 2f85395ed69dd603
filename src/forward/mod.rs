//! OTLP goes on, unchanged, to an upstream: a Collector, Jaeger, Tempo, another agent.
//!
//! - Input: requests as protobuf bytes from a spool, where the receiver put them before it
//!   acknowledged them, and the monitor's numbers, which [`spool_numbers`] puts there too.
//! - Output: the same bytes at the upstream, gzip around them, over gRPC or HTTP, one request at
//!   a time and in their order. A request leaves the spool when its final answer is here, so after
//!   a crash at most one comes twice.
//! - Upstream away: requests wait in the spool, up to `buffer_bytes` of them in memory too. What
//!   OTLP calls retryable is sent again after a jittered wait of up to 30 s, or as long as the
//!   upstream asks for; what it refuses for good is counted (`refused`) and kept as a
//!   dead letter.
//! - Full: the spool drops the oldest and counts them (`spool_full`). A disk without room makes the
//!   receiver refuse; the monitor's numbers are dropped and counted then (`not_spooled`).
//! - Stop: what waits is sent for at most 1.5 s, or until an attempt fails; the rest stays in the
//!   spool for the next start.

mod check;
mod letter;
mod numbers;
mod run;
mod upstream;

pub use self::check::{check, usable};
pub use self::numbers::spool_numbers;
pub use self::run::{Forward, ForwardSetup};
pub use self::upstream::SetupError;

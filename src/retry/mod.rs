//! When a sink tries again: the pause after a failure, and what `Retry-After` asks for. Pure but
//! for the jitter.

mod backoff;
mod retry_after;

pub(crate) use backoff::Backoff;
pub(crate) use retry_after::retry_after;

//! The traced channel against a real broker: one trace from publish to settlement, and the truth
//! about every publish.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail the test"
)]

mod publish;
pub(crate) mod service;
mod settle;
mod trace;

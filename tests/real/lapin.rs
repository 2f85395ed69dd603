//! The traced channel against a real broker: one trace from publish to settlement, and the truth
//! about every publish.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail the test"
)]

mod attack;
mod drop_in;
mod examples;
mod publish;
mod service;
mod settle;
mod trace;

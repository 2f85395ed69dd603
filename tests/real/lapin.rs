//! The traced channel against a real broker: one trace from publish to settlement, and the truth
//! about every publish.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail the test"
)]

mod attempts;
mod kills;
mod matrix;
mod multiple;
mod publish;
mod rules;
mod service;
mod settle;
mod task;
mod trace;

//! The traced channel against a real broker: one trace from publish to settlement, and the truth
//! about every publish.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail the test"
)]

mod attack;
mod attempts;
mod context;
mod drop_in;
mod examples;
mod kills;
mod lost;
mod matrix;
mod multiple;
mod paths;
mod publish;
mod returns;
mod rpc;
mod rules;
pub(crate) mod service;
mod settle;
mod task;
mod trace;
mod transactions;

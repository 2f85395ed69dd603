//! The traced channel against a real broker: one trace from publish to settlement, and the truth
//! about every publish.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail the test"
)]

mod attack;
mod context;
mod drop_in;
mod examples;
mod lost;
mod publish;
mod returns;
mod rpc;
pub(crate) mod service;
mod settle;
mod trace;
mod transactions;

//! The traced channel against a real broker: one trace from publish to settlement, and the truth
//! about every publish.

mod publish;
mod service;
mod settle;
mod trace;

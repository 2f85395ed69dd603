//! Ring two: the real broker and real peers, started by each test itself, on free ports.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod agent;
mod alerts;
mod back_ends;
mod broker;
mod commands;
mod compose;
mod dashboards;
mod demo;
mod durable;
mod influx;
mod interop;
mod kubernetes;
mod lapin;
mod monitor;
mod otlp;
mod paths;
mod questions;
mod support;

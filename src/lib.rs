//! rabtrace: where every RabbitMQ message goes, how long it waits, why it is late or lost.
//!
//! ```text
//!  receiver ─► flow ─┬─► store ──► api, cli
//!  monitor  ─►───────┼─► influx ─► InfluxDB
//!                    └─► forward ► Collector, Jaeger, Tempo
//! ```
//!
//! The modules stand in the order in which data flows; each imports [`model`] and what stands
//! above it. Only [`app`] sees everything and starts tasks.

pub mod model;
pub mod questions;

pub mod health;
pub mod observed;

pub mod metrics;

pub mod config;
mod retry;
pub mod serve;
pub mod tls;

pub mod monitor;
pub mod receiver;

pub mod flow;

pub mod forward;
pub mod influx;
pub mod spool;
pub mod store;

pub mod api;
pub mod reference;
pub mod render;

pub mod app;
pub mod cli;
pub mod demo;
pub mod shutdown;

/// The whole program of the library's page, compiled.
#[cfg(doctest)]
#[doc = include_str!("../crates/rabtrace-lapin/README.md")]
mod library_readme {}

/// The program of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

//! Ring two: the real broker and real peers, started by each test itself, on free ports.

mod agent;
mod broker;
mod demo;
mod influx;
mod lapin;
mod monitor;
mod otlp;
mod support;

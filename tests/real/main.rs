//! Ring two: the real broker and real peers, started by each test itself, on free ports.

mod broker;
mod otlp;
mod support;

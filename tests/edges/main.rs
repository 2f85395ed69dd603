//! The edges of the agent: TLS both ways, tokens, limits of connections, reload, stop, secrets.
//! Real processes, real handshakes; a scripted peer only where something must hang or refuse.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(
    clippy::too_many_lines,
    reason = "a fault and what comes of it is one story"
)]

mod agent;
mod authority;
mod broker;
mod check;
mod influxdb;
mod listeners;
mod reload;
mod rotation;
mod routes;
mod rules;
mod secrets;
mod slow;
mod stop;
#[expect(dead_code, reason = "ring two has peers of its own")]
#[path = "../real/support.rs"]
mod support;
mod upstream;

//! Faults, over the real program: `rabtrace agent` as a process, with what may happen to it.
//!
//! Each row has an oracle that knows what was acknowledged, a judge that compares it with what
//! arrived, and a control: the same judge on a run in which something is really lost, which it has
//! to find. A row runs for seconds by default; `make faults` runs them for minutes, `make soak` for
//! as long as docs/reliability.md says. Figures are printed, and kept in `target/faults`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at the first surprise"
)]
#![expect(clippy::print_stdout, reason = "a row prints its figures")]

mod backlog;
mod broker;
mod clock;
mod connections;
mod conservation;
mod disk_full;
mod flood;
#[path = "../real/otlp/frames.rs"]
#[expect(dead_code, reason = "the receiver's tests need more of it")]
mod frames;
mod harness;
mod hostile;
mod influx_away;
mod kill;
mod secrets;
mod sinks;
#[expect(dead_code, reason = "the rows have an agent of their own")]
#[path = "../real/support.rs"]
mod support;
mod tags;

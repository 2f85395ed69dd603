//! What the broker says of itself: queues, exchanges, nodes and totals, polled.
//!
//! ```text
//!  each node's /metrics/detailed ─► prometheus ─┐   sources: who is asked, until when (lane: one
//!  /api/queues (totals, statistics) ► management┼─►        at a time for each peer) ─► round
//!  queue.declare passive ─────────► passive ────┘     │
//!                                                     ▼
//!   merge ─► roster, totals, rates, age, verdict ─► select ─► BrokerSnapshot ─► flow
//! ```
//!
//! Input: `rabbitmq_prometheus` of every node, `rabbitmq_management`, AMQP: tried in this order in
//! every poll. Output: one [`crate::model::BrokerSnapshot`] for each poll; [`points`] and
//! [`OtlpMetrics`] turn it into what the sinks take. When the flow has no room the snapshot is
//! dropped and counted; when the broker is away that is said once, and it is asked again at the
//! next interval; a peer that hangs is waited for until the poll's deadline. A value that no source
//! has is absent, never zero. `docs/monitor.md` has the sources, fields and their limits.

mod age;
mod asking;
mod balance;
mod calm;
mod check;
mod choice;
mod consumers;
mod counting;
mod endpoint;
mod exchanges;
mod failure;
mod history;
mod known;
mod lane;
mod listing;
mod management;
mod merge;
mod narrow;
mod node;
mod otlp;
mod passive;
mod pattern;
mod peers;
mod per_name;
mod places;
mod points;
mod poll;
mod prometheus;
mod rates;
mod roster;
mod round;
mod select;
mod small;
mod sources;
mod starts;
mod summary;
mod ticks;
mod topology;
mod totals;
mod verdict;
mod watch;

#[cfg(test)]
mod tests;

pub use check::check;
pub use failure::{Cause, MonitorError, Plugin, RequestError};
pub use otlp::{OTLP_METRICS, OtlpKind, OtlpMetric, OtlpMetrics, data_points};
pub use passive::connect;
pub use points::points;
pub use poll::{Monitor, MonitorSetup};

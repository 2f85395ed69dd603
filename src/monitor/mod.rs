//! What the broker says of itself: queues, exchanges, nodes and totals, polled.
//!
//! ```text
//!  /metrics/detailed of each node ─► prometheus ─┐
//!  /api/queues, overview, nodes …  ─► management ─┴► merge (+ rates) ─► BrokerSnapshot ─► flow
//! ```
//!
//! Input: `rabbitmq_prometheus` and `rabbitmq_management`, whichever of the two answers. Output:
//! one [`crate::model::BrokerSnapshot`] for each poll; [`points`] and [`otlp_metrics`] turn it into
//! what the sinks take. When the flow has no room the snapshot is dropped and counted; when the
//! broker is away that is said once, and it is asked again at the next interval. A value that no
//! source has is absent, never zero.

mod check;
mod choice;
mod endpoint;
mod failure;
mod management;
mod merge;
mod otlp;
mod per_name;
mod points;
mod poll;
mod prometheus;
mod rates;
mod round;

pub use check::check;
pub use failure::{Cause, MonitorError, Plugin, RequestError};
pub use otlp::otlp_metrics;
pub use points::points;
pub use poll::{Monitor, MonitorSetup};

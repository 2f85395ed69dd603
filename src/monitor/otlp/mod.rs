//! A snapshot as OTLP metrics, named as the Collector's `rabbitmqreceiver` names them where it has
//! one, and as `rabbitmq.*` where it has none.
//!
//! Each queue, exchange and node is a resource of its own, and so is the cluster, which has the
//! poll. A resource's attributes say what it is and never how it is: the node of a queue's leader is
//! not among them, so that a leader that moves begins no new series. What is absent gives no point.

mod cluster;
mod encode;
mod exchange;
mod metrics;
mod node;
mod queue;
mod requests;

pub use encode::data_points;
pub use metrics::{OTLP_METRICS, OtlpKind, OtlpMetric};
pub use requests::OtlpMetrics;

#[cfg(test)]
mod tests;

//! What the plugin `rabbitmq_prometheus` tells: text to numbers, no I/O.
//!
//! Input: the text of `/metrics/detailed` or `/metrics` of one node. Output: a [`DetailedScrape`]
//! (each queue of that node) or a [`NodeScrape`] (the node itself). A row that does not fit is
//! skipped and counted; it never costs more than itself.

mod detailed;
mod node;
mod row;

pub(super) use detailed::{DetailedScrape, ScrapedQueue};
pub(super) use node::NodeScrape;

/// The families that are asked for; a broker leaves out, without a word, those it does not know.
pub(super) const DETAILED_PATH: &str = "/metrics/detailed?family=queue_coarse_metrics\
    &family=queue_consumer_count&family=queue_delivery_metrics&family=queue_exchange_metrics";
/// The aggregated numbers of one node.
pub(super) const NODE_PATH: &str = "/metrics";

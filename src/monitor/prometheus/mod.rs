//! What the plugin `rabbitmq_prometheus` tells: text to numbers, no I/O.
//!
//! Input: the text of `/metrics/detailed` or `/metrics` of one node. Output: a [`DetailedScrape`]
//! (each queue of that node, and the node) or a [`NodeScrape`] (the node with all that it does). A
//! row that does not fit is skipped and counted; it never costs more than itself.

mod detailed;
mod node;
mod reading;
mod row;
mod table;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

pub(super) use detailed::{DetailedScrape, ScrapedExchange, ScrapedQueue};
pub(super) use node::NodeScrape;
pub(super) use reading::Reading;

/// What is asked for with each poll; a broker leaves out, without a word, what it does not know.
const FAMILIES: &str = "/metrics/detailed?family=queue_coarse_metrics\
    &family=queue_delivery_metrics&family=queue_exchange_metrics&family=exchange_metrics\
    &family=node_coarse_metrics&family=node_metrics&family=connection_churn_metrics";
/// What costs the broker as much as all others together.
const CONSUMERS: &str = "&family=queue_consumer_count";
/// The aggregated numbers of one node.
pub(super) const NODE_PATH: &str = "/metrics";

/// Path and query of a scrape; of all virtual hosts if none are given, and of `only` those queues.
pub(super) fn detailed_path(consumers: Consumers, vhosts: &[String], only: Option<&str>) -> String {
    let mut path = FAMILIES.to_owned();
    if consumers == Consumers::Asked {
        path.push_str(CONSUMERS);
    }
    for vhost in vhosts {
        path.push_str("&vhost=");
        path.extend(utf8_percent_encode(vhost, NON_ALPHANUMERIC));
    }
    if let Some(only) = only {
        path.push_str("&queue=");
        path.extend(utf8_percent_encode(only, NON_ALPHANUMERIC));
    }
    path
}

/// Whether consumers are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consumers {
    Asked,
    LeftOut,
}

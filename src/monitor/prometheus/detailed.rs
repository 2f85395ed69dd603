//! `/metrics/detailed`: depth, consumers and, from 4.0 on, counters of each queue of a node, and the
//! node itself.

use std::sync::Arc;

use super::node::NodeScrape;
use super::table::{Order, Table};
use crate::model::NodeSample;
use crate::monitor::small::Small;

/// One queue as one node sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ScrapedQueue {
    pub(crate) ready: Small,
    pub(crate) unack: Small,
    pub(crate) messages: Small,
    pub(crate) consumers: Small,
    pub(crate) publish: Small,
    pub(crate) deliver_get: Small,
    pub(crate) ack: Small,
    pub(crate) redeliver: Small,
    pub(crate) get_empty: Small,
    pub(crate) deliver_no_ack: Small,
    /// `classic`, `quorum` or `stream`, from 4.1 on.
    pub(crate) queue_type: Option<&'static str>,
}

/// One exchange as one node sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ScrapedExchange {
    pub(crate) published: Option<u64>,
    pub(crate) confirmed: Option<u64>,
    pub(crate) returned: Option<u64>,
    pub(crate) dropped: Option<u64>,
}

impl ScrapedQueue {
    /// Whether the queue exists: counters of a deleted one stay for two minutes, depth does not.
    pub(crate) fn exists(&self) -> bool {
        let depths = [self.messages, self.ready, self.unack];
        depths.into_iter().any(|depth| depth.count().is_some())
    }

    pub(super) fn add(&mut self, metric: Metric, value: u64) {
        if let Metric::DeliverNoAck = metric {
            self.add(Metric::DeliverGet, value);
        }
        let place = match metric {
            Metric::Ready => &mut self.ready,
            Metric::Unack => &mut self.unack,
            Metric::Messages => &mut self.messages,
            Metric::Consumers => &mut self.consumers,
            Metric::Publish => &mut self.publish,
            Metric::DeliverGet => &mut self.deliver_get,
            Metric::Ack => &mut self.ack,
            Metric::Redeliver => &mut self.redeliver,
            Metric::GetEmpty => &mut self.get_empty,
            Metric::DeliverNoAck => &mut self.deliver_no_ack,
        };
        // Some are in several rows: one for each exchange, or each way of getting.
        *place = Small::new(Some(place.count().unwrap_or(0).saturating_add(value)));
    }
}

/// The answer of one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct DetailedScrape {
    pub(crate) node: Option<Arc<str>>,
    pub(crate) cluster: Option<Arc<str>>,
    pub(crate) version: Option<Arc<str>>,
    pub(crate) queues: Table<ScrapedQueue>,
    pub(crate) exchanges: Table<ScrapedExchange>,
    pub(crate) own: NodeScrape,
    /// Whether the node has the families of counters, be they empty.
    pub(crate) has_counters: bool,
    /// Whether it tells consumers, be there none.
    pub(crate) has_consumers: bool,
    /// Whether it has the family of exchanges.
    pub(crate) has_exchanges: bool,
    pub(crate) rows: u64,
    pub(crate) bad_rows: u64,
}

/// What a row of a queue tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Metric {
    Ready,
    Unack,
    Messages,
    Consumers,
    Publish,
    DeliverGet,
    Ack,
    Redeliver,
    GetEmpty,
    DeliverNoAck,
}

impl Metric {
    /// The order of its rows.
    pub(super) const fn order(self) -> Order {
        match self {
            Self::Publish => Order::Published,
            _ => Order::Counts,
        }
    }

    pub(super) fn of(name: &str) -> Option<Self> {
        match name.strip_prefix("rabbitmq_detailed_queue_")? {
            "messages_ready" => Some(Self::Ready),
            "messages_unacked" => Some(Self::Unack),
            "messages" => Some(Self::Messages),
            "consumers" => Some(Self::Consumers),
            "exchange_messages_published_total" => Some(Self::Publish),
            "get_ack_total" | "messages_delivered_ack_total" => Some(Self::DeliverGet),
            "get_total" | "messages_delivered_total" => Some(Self::DeliverNoAck),
            "messages_acked_total" => Some(Self::Ack),
            "messages_redelivered_total" => Some(Self::Redeliver),
            "get_empty_total" => Some(Self::GetEmpty),
            _ => None,
        }
    }
}

impl DetailedScrape {
    /// Reads a whole text; none if it is not that of `rabbitmq_prometheus`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut reading = super::Reading::new(None);
        reading.take(text.as_bytes());
        reading.finish()
    }

    /// The node, as far as this tells of it; none if it does not say its name.
    pub(crate) fn own(&self) -> Option<NodeSample> {
        self.node.as_ref().map(|_| self.own.node())
    }

    /// Connections and channels that came or went there.
    pub(crate) fn churn(&self) -> u64 {
        self.own.churn()
    }

    /// Whether the node has less memory or disk than it must have.
    pub(crate) fn is_short(&self) -> bool {
        self.own.is_short()
    }
}

#[cfg(test)]
mod tests;

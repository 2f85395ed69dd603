//! One round of requests: every source is asked at the same time, each within its own limit.
//!
//! Input: the endpoints. Output: a [`Round`], what each answered. A source that hangs costs the
//! round its time limit and no more; a listing that was slow is not asked for again until six
//! times its duration has gone by, so that the broker spends little on being watched.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Client;

use super::endpoint::Endpoint;
use super::failure::{Cause, RequestError};
use super::management::{
    self, Cluster, EXCHANGES_PATH, ExchangeList, NODES_PATH, OVERVIEW_PATH, QUEUES_PATH, QueueList,
};
use super::prometheus::{DETAILED_PATH, DetailedScrape, NODE_PATH, NodeScrape};
use crate::config::Broker;
use crate::model::NodeSample;

/// A listing takes at most one part in this many of the broker's time.
const REST: u32 = 6;

/// What one request gave.
#[derive(Debug)]
pub(super) struct Reply<T> {
    pub(super) value: T,
    pub(super) at: Instant,
    pub(super) bytes: u64,
}

/// A reply or why there is none.
pub(super) type Outcome<T> = Result<Reply<T>, RequestError>;

/// What every source answered; `None` was not asked this time.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) scrapes: Vec<Outcome<DetailedScrape>>,
    pub(super) node_scrapes: Vec<Outcome<NodeScrape>>,
    pub(super) queues: Option<Outcome<QueueList>>,
    pub(super) exchanges: Option<Outcome<ExchangeList>>,
    pub(super) nodes: Option<Outcome<Vec<NodeSample>>>,
    pub(super) overview: Option<Outcome<Cluster>>,
}

/// When something that was slow may be asked again.
#[derive(Debug, Default)]
struct Pace(Option<Instant>);

impl Pace {
    fn is_due(&self, now: Instant) -> bool {
        self.0.is_none_or(|not_before| now >= not_before)
    }

    fn took(&mut self, begun: Instant, ended: Instant, interval: Duration) {
        let rest = ended.saturating_duration_since(begun) * REST;
        self.0 = (rest > interval).then(|| ended + rest);
    }
}

/// All that is asked in a round.
pub(super) struct Sources {
    client: Client,
    timeout: Duration,
    interval: Duration,
    prometheus: Vec<Endpoint>,
    management: Endpoint,
    queues: Pace,
    exchanges: Pace,
    nodes: Pace,
    overview: Pace,
    /// Whether the management API told of nodes and totals last time.
    has_totals: bool,
}

impl Sources {
    pub(super) fn new(broker: &Broker, client: Client) -> Self {
        Self {
            client,
            timeout: broker.poll_timeout,
            interval: broker.poll_interval,
            prometheus: broker
                .prometheus_urls
                .iter()
                .map(Endpoint::prometheus)
                .collect(),
            management: Endpoint::management(broker),
            queues: Pace::default(),
            exchanges: Pace::default(),
            nodes: Pace::default(),
            overview: Pace::default(),
            has_totals: false,
        }
    }

    /// Asks every source that is due.
    pub(super) async fn ask(&mut self) -> Round {
        let asking = Asking {
            client: &self.client,
            timeout: self.timeout,
            interval: self.interval,
        };
        let nodes_wanted = if self.has_totals {
            &[]
        } else {
            &*self.prometheus
        };
        let (prometheus, management) = (&self.prometheus, &self.management);
        let (scrapes, node_scrapes, queues, exchanges, nodes, overview) = tokio::join!(
            join_all(
                prometheus
                    .iter()
                    .map(|endpoint| asking.get(endpoint, DETAILED_PATH, scrape))
            ),
            join_all(nodes_wanted.iter().map(|endpoint| asking.get(
                endpoint,
                NODE_PATH,
                node_scrape
            ))),
            asking.paced(
                &mut self.queues,
                management,
                QUEUES_PATH,
                management::queues
            ),
            asking.paced(
                &mut self.exchanges,
                management,
                EXCHANGES_PATH,
                management::exchanges
            ),
            asking.paced(&mut self.nodes, management, NODES_PATH, management::nodes),
            asking.paced(
                &mut self.overview,
                management,
                OVERVIEW_PATH,
                management::overview
            ),
        );
        self.has_totals = matches!((&nodes, &overview), (Some(Ok(_)), Some(Ok(_))));
        if !scrapes.iter().any(Result::is_ok) {
            // The listing is the only source: there is no round without it.
            self.queues = Pace::default();
        }
        Round {
            scrapes,
            node_scrapes,
            queues,
            exchanges,
            nodes,
            overview,
        }
    }
}

fn scrape(body: &str) -> Result<DetailedScrape, String> {
    DetailedScrape::parse(body).ok_or_else(|| "no queue families in it".to_owned())
}

fn node_scrape(body: &str) -> Result<NodeScrape, String> {
    NodeScrape::parse(body).ok_or_else(|| "no node in it".to_owned())
}

/// How each request of a round is made.
struct Asking<'a> {
    client: &'a Client,
    timeout: Duration,
    interval: Duration,
}

impl Asking<'_> {
    async fn get<T, E: std::fmt::Display>(
        &self,
        endpoint: &Endpoint,
        path: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Outcome<T> {
        let answer = endpoint.get(self.client, path, self.timeout).await?;
        let value = parse(&answer.body)
            .map_err(|error| endpoint.error(path, Cause::Body(error.to_string())))?;
        Ok(Reply {
            value,
            at: answer.at,
            bytes: answer.body.len() as u64,
        })
    }

    async fn paced<T, E: std::fmt::Display>(
        &self,
        pace: &mut Pace,
        endpoint: &Endpoint,
        path: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Outcome<T>> {
        let begun = Instant::now();
        if !pace.is_due(begun) {
            return None;
        }
        let outcome = self.get(endpoint, path, parse).await;
        pace.took(begun, Instant::now(), self.interval);
        Some(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;
    use std::time::{Duration, Instant};

    #[test]
    fn what_was_slow_rests_six_times_as_long() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let interval = Duration::from_secs(5);
        let mut pace = Pace::default();
        assert!(pace.is_due(begun));
        pace.took(begun, at(10), interval);
        assert!(pace.is_due(at(11)), "quick enough for every poll");
        pace.took(begun, at(10_000), interval);
        assert!(!pace.is_due(at(69_999)));
        assert!(pace.is_due(at(70_000)));
    }
}

//! One node's prometheus plugin: what is asked of it, and until when its answers are waited for.

use std::time::{Duration, Instant};

use reqwest::Client;

use super::asking::Asking;
use super::consumers::Asked;
use super::endpoint::Endpoint;
use super::failure::Cause;
use super::known::Known;
use super::lane::{Lane, Outcome};
use super::prometheus::{Consumers, DetailedScrape, NODE_PATH, NodeScrape, Reading};
use crate::config::Secret;

/// A node, asked by `client` with the time limit of a request.
#[derive(Debug)]
pub(super) struct Node {
    client: Client,
    timeout: Duration,
    pub(super) endpoint: Endpoint,
    pub(super) detailed: Lane<DetailedScrape>,
    pub(super) aggregated: Lane<NodeScrape>,
    consumers: Asked,
    /// What it answered last: the next answer has the same names.
    earlier: Option<DetailedScrape>,
}

impl Node {
    pub(super) fn new(url: &Secret, (client, timeout): (&Client, Duration)) -> Self {
        Self {
            client: client.clone(),
            timeout,
            endpoint: Endpoint::prometheus(url),
            detailed: Lane::default(),
            aggregated: Lane::default(),
            consumers: Asked::default(),
            earlier: None,
        }
    }

    fn asking(&self) -> Asking {
        Asking::new(&self.client, &self.endpoint, self.timeout)
    }

    /// Asks for its queues, by the path that is told for them with consumers or without.
    pub(super) fn ask(
        &mut self,
        known: &Known<'_>,
        now: Instant,
        path: impl Fn(Consumers) -> String,
    ) {
        let consumers = self.consumers.next((known.queues, known.turns), now);
        let reading = Reading::new(self.earlier.take());
        let scrape = self.asking().scrape(path(consumers), reading);
        self.detailed.ask(scrape);
    }

    /// Asks for its aggregated numbers, unless it still is.
    pub(super) fn ask_aggregated(&mut self) {
        if !self.aggregated.is_running() {
            let get = self.asking().get(NODE_PATH.to_owned(), node_scrape);
            self.aggregated.ask_if_due(get);
        }
    }

    /// What it says of its queues by `deadline`, which is `wait` after the round began.
    pub(super) async fn answer(
        &mut self,
        deadline: Instant,
        wait: Duration,
    ) -> Outcome<DetailedScrape> {
        let answer = self.detailed.answer(deadline).await;
        if let Some(Ok(reply)) = &answer {
            self.consumers.observe(reply);
        }
        let late = || {
            let cause = Cause::Timeout(wait);
            Err(self.endpoint.error("/metrics/detailed", cause))
        };
        answer.unwrap_or_else(late)
    }

    /// Takes an answer back.
    pub(super) fn take_back(&mut self, outcome: Outcome<DetailedScrape>) {
        self.earlier = outcome.ok().map(|reply| reply.value);
    }
}

fn node_scrape(body: &str) -> Result<NodeScrape, &'static str> {
    NodeScrape::parse(body).ok_or("no node in it")
}

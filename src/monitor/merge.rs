//! What the sources of one round say, put together: pure, but for what it keeps between rounds.
//!
//! Depth and consumers come from prometheus where it has the queue (they are at most one
//! statistics interval old), else from the listing. Counters come from prometheus if every node
//! answered and has them, else from the listing. A queue exists if either has its depth or its
//! name. What neither has is absent.

use std::sync::Arc;
use std::time::Instant;

use super::management::QueueList;
use super::per_name::PerName;
use super::prometheus::{DetailedScrape, ScrapedQueue};
use super::rates::Rates;
use super::round::{Outcome, Reply, Round};
use crate::model::{ExchangeSample, QueueSample, Source};

/// What is remembered from round to round.
#[derive(Debug, Default)]
pub(super) struct Memory {
    queue_rates: Rates<4>,
    exchange_rates: Rates<2>,
    /// Types of queues, so that a series keeps its tag in a round without a listing.
    types: PerName<Option<Arc<str>>>,
    /// Where counters came from: others count from elsewhere.
    basis: Option<Basis>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Basis(Source, Vec<Arc<str>>);

/// The numbers of all nodes.
#[derive(Debug, Default)]
struct Scraped {
    queues: PerName<ScrapedQueue>,
    nodes: Vec<Arc<str>>,
    has_counters: bool,
    at: Option<Instant>,
}

/// The queues of a round and where they came from.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) queues: Vec<QueueSample>,
    pub(super) exchanges: Vec<ExchangeSample>,
    /// Where depth came from.
    pub(super) depth: Source,
    /// Where counters came from.
    pub(super) counters: Option<Source>,
}

impl Memory {
    /// Puts a round together; none if no source told of queues.
    pub(super) fn merge(&mut self, round: &Round) -> Option<Merged> {
        let scraped = add_up(&round.scrapes);
        let listing = reply(round.queues.as_ref());
        let depth = match (&scraped, listing) {
            (Some(_), _) => Source::Prometheus,
            (None, Some(_)) => Source::Management,
            (None, None) => return None,
        };
        let scraped = scraped.unwrap_or_default();
        let mut queues = match listing {
            Some(listing) => self.with_listing(&scraped, &listing.value),
            None => self.without_listing(&scraped),
        };
        let counters = if scraped.has_counters {
            Some(Source::Prometheus)
        } else {
            listing.map(|_| Source::Management)
        };
        let at = match counters {
            Some(Source::Prometheus) => scraped.at,
            _ => listing.map(|listing| listing.at),
        };
        if let (Some(source), Some(at)) = (counters, at) {
            self.stand_on(Basis(source, scraped.nodes_of(source)));
            self.rate_queues(&mut queues, at);
        }
        Some(Merged {
            queues,
            exchanges: self.exchanges(round),
            depth,
            counters,
        })
    }

    /// Forgets all totals: the broker was away, and may have begun anew.
    pub(super) fn forget_totals(&mut self) {
        self.queue_rates.forget_all();
        self.exchange_rates.forget_all();
    }

    fn with_listing(&mut self, scraped: &Scraped, listing: &QueueList) -> Vec<QueueSample> {
        self.types.clear();
        let mut queues = listing.queues.clone();
        for queue in &mut queues {
            self.types
                .insert(&queue.vhost, &queue.queue, queue.queue_type.clone());
            if let Some(numbers) = scraped.queues.get(&queue.vhost, &queue.queue) {
                take_depth(queue, numbers);
            }
            if scraped.has_counters {
                take_counters(queue, scraped.queues.get(&queue.vhost, &queue.queue));
            }
        }
        let unlisted = |vhost: &str, queue: &str| self.types.get(vhost, queue).is_none();
        queues.extend(
            scraped
                .existing()
                .filter(|(vhost, queue, _)| unlisted(vhost, queue))
                .map(|(vhost, queue, numbers)| scraped.sample(vhost, queue, numbers)),
        );
        queues
    }

    fn without_listing(&self, scraped: &Scraped) -> Vec<QueueSample> {
        let sample = |(vhost, queue, numbers): (&Arc<str>, &Arc<str>, &ScrapedQueue)| {
            let mut sample = scraped.sample(vhost, queue, numbers);
            sample.queue_type = self.types.get(vhost, queue).cloned().flatten();
            sample
        };
        scraped.existing().map(sample).collect()
    }

    fn stand_on(&mut self, basis: Basis) {
        if self.basis.as_ref() != Some(&basis) {
            self.queue_rates.forget_all();
            self.basis = Some(basis);
        }
    }

    fn rate_queues(&mut self, queues: &mut [QueueSample], at: Instant) {
        for queue in queues {
            let totals = [
                queue.messages_publish,
                queue.messages_deliver_get,
                queue.messages_ack,
                queue.messages_redeliver,
            ];
            let name = (&*queue.vhost, &*queue.queue);
            [
                queue.messages_publish_rate,
                queue.messages_deliver_get_rate,
                queue.messages_ack_rate,
                queue.messages_redeliver_rate,
            ] = self.queue_rates.observe(name, at, totals);
        }
        self.queue_rates.forget_unseen(at);
    }

    fn exchanges(&mut self, round: &Round) -> Vec<ExchangeSample> {
        let Some(listing) = reply(round.exchanges.as_ref()) else {
            return Vec::new();
        };
        let mut exchanges = listing.value.exchanges.clone();
        for exchange in &mut exchanges {
            let totals = [exchange.messages_publish_in, exchange.messages_publish_out];
            let name = (&*exchange.vhost, &*exchange.exchange);
            [
                exchange.messages_publish_in_rate,
                exchange.messages_publish_out_rate,
            ] = self.exchange_rates.observe(name, listing.at, totals);
        }
        self.exchange_rates.forget_unseen(listing.at);
        exchanges
    }
}

impl Scraped {
    fn existing(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &ScrapedQueue)> {
        self.queues.iter().filter(|(_, _, queue)| queue.exists())
    }

    fn nodes_of(&self, source: Source) -> Vec<Arc<str>> {
        match source {
            Source::Prometheus => self.nodes.clone(),
            Source::Management => Vec::new(),
        }
    }

    fn sample(&self, vhost: &Arc<str>, queue: &Arc<str>, numbers: &ScrapedQueue) -> QueueSample {
        let mut sample = QueueSample {
            vhost: vhost.clone(),
            queue: queue.clone(),
            ..QueueSample::default()
        };
        take_depth(&mut sample, numbers);
        if self.has_counters {
            take_counters(&mut sample, Some(numbers));
        }
        sample
    }
}

fn take_depth(queue: &mut QueueSample, numbers: &ScrapedQueue) {
    if numbers.exists() {
        queue.messages = numbers.messages;
        queue.messages_ready = numbers.ready;
        queue.messages_unack = numbers.unack;
    }
    queue.consumers = numbers.consumers.or(queue.consumers);
}

fn take_counters(queue: &mut QueueSample, numbers: Option<&ScrapedQueue>) {
    queue.messages_publish = numbers.and_then(|numbers| numbers.publish);
    queue.messages_deliver_get = numbers.and_then(|numbers| numbers.deliver_get);
    queue.messages_ack = numbers.and_then(|numbers| numbers.ack);
    queue.messages_redeliver = numbers.and_then(|numbers| numbers.redeliver);
}

/// The reply of a source that was asked and answered.
pub(super) fn reply<T>(outcome: Option<&Outcome<T>>) -> Option<&Reply<T>> {
    outcome?.as_ref().ok()
}

/// Adds up what the nodes say: a queue's depth is on one of them, its counters on all. A node
/// that is reached by two URLs counts once. None if no node answered.
fn add_up(scrapes: &[Outcome<DetailedScrape>]) -> Option<Scraped> {
    let mut sum = Scraped {
        has_counters: true,
        ..Scraped::default()
    };
    for outcome in scrapes {
        let Ok(reply) = outcome else {
            // Without one node the totals are those of the others only: no totals then.
            sum.has_counters = false;
            continue;
        };
        sum.at = sum.at.max(Some(reply.at));
        let scrape = &reply.value;
        let node = scrape.node.clone().unwrap_or_default();
        if !node.is_empty() && sum.nodes.contains(&node) {
            continue;
        }
        sum.has_counters &= scrape.has_counters;
        sum.nodes.push(node);
        for (vhost, queue, numbers) in scrape.queues.iter() {
            sum.queues.entry(vhost, queue).add_all(numbers);
        }
    }
    sum.nodes.sort();
    sum.at.is_some().then_some(sum)
}

#[cfg(test)]
mod tests;

//! The monitor itself: polls, tells how it is, hands snapshots on.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::choice::Choice;
use super::failure::{MonitorError, RequestError};
use super::merge::{Memory, Merged, reply};
use super::rates::WINDOW;
use super::round::{Outcome, Round, Sources};
use crate::config::Broker;
use crate::health::Component;
use crate::metrics::Metrics;
use crate::model::{BrokerSnapshot, NodeSample, OverviewSample, PollSample, Source, unix_nano};

/// What a monitor is built from.
pub struct MonitorSetup {
    /// Which broker, how often, how long to wait.
    pub broker: Broker,
    /// The client that makes the requests.
    pub client: reqwest::Client,
    /// The wall clock, for the time of a snapshot.
    pub clock: fn() -> SystemTime,
    /// Where polls, failures and drops are counted.
    pub metrics: Metrics,
    /// Where the monitor says how it is.
    pub component: Component,
}

/// Polls one broker.
pub struct Monitor {
    sources: Sources,
    interval: Duration,
    clock: fn() -> SystemTime,
    metrics: Metrics,
    component: Component,
    memory: Memory,
    choice: Choice,
    cluster: Arc<str>,
}

impl Monitor {
    /// A monitor that has not asked anything yet.
    #[must_use]
    pub fn new(setup: MonitorSetup) -> Self {
        Self {
            sources: Sources::new(&setup.broker, setup.client),
            interval: setup.broker.poll_interval,
            clock: setup.clock,
            metrics: setup.metrics,
            component: setup.component,
            memory: Memory::default(),
            choice: Choice::default(),
            cluster: Arc::from(""),
        }
    }

    /// Polls every `poll_interval` until `stop`, and sends each snapshot to `out`.
    ///
    /// Polls never overlap; one that would have begun while another ran is skipped and counted. A
    /// snapshot for which `out` has no room is dropped and counted. A broker that is away is asked
    /// again at the next interval, for ever.
    pub async fn run(mut self, out: mpsc::Sender<BrokerSnapshot>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut last = None;
        loop {
            let tick = tokio::select! {
                () = stop.cancelled() => return,
                tick = ticks.tick() => tick,
            };
            let skipped = last.map_or(0, |last| skipped(tick - last, self.interval));
            if skipped > 0 {
                self.metrics.dropped("monitor", "poll_late", skipped);
            }
            last = Some(tick);
            let polled = tokio::select! {
                () = stop.cancelled() => return,
                polled = self.poll_once() => polled,
            };
            let Ok(snapshot) = polled else {
                continue;
            };
            match out.try_send(snapshot) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => self.metrics.dropped("monitor", "flow_full", 1),
                Err(TrySendError::Closed(_)) => return,
            }
        }
    }

    /// Polls once, and says how the broker is.
    ///
    /// # Errors
    /// If no source tells of queues: because the login is refused, or because none answers.
    pub async fn poll_once(&mut self) -> Result<BrokerSnapshot, MonitorError> {
        let (begun, wall) = (Instant::now(), (self.clock)());
        let round = self.sources.ask().await;
        let took = begun.elapsed();
        let failures = failures(&round);
        let Some(merged) = self.memory.merge(&round) else {
            let error = MonitorError::new(failures);
            self.memory.forget_totals();
            self.metrics.error("monitor");
            self.choice.lost(&self.component, &error.to_string());
            return Err(error);
        };
        self.choice
            .made(&self.component, (&merged, took), &round, &failures);
        let first = first_answer(&round).map_or(took, |at| at.saturating_duration_since(begun));
        let snapshot = self.snapshot(merged, &round, (unix_nano(wall + first), took));
        self.metrics.polls.inc();
        self.metrics
            .queues
            .set(i64::try_from(snapshot.queues.len()).unwrap_or(i64::MAX));
        Ok(snapshot)
    }

    fn snapshot(
        &mut self,
        merged: Merged,
        round: &Round,
        (time_unix_nano, duration): (i64, Duration),
    ) -> BrokerSnapshot {
        if let Some(name) = cluster(round) {
            self.cluster = name;
        }
        let poll = poll_sample(merged.depth, round, duration);
        BrokerSnapshot {
            cluster: self.cluster.clone(),
            time_unix_nano,
            queues: merged.queues,
            exchanges: merged.exchanges,
            nodes: nodes(round),
            overview: overview(round),
            poll,
        }
    }
}

/// How many polls fell out between two that are `apart`.
fn skipped(apart: Duration, interval: Duration) -> u64 {
    let intervals = (apart.as_secs_f64() / interval.as_secs_f64()).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small whole number, never negative"
    )]
    let intervals = intervals as u64;
    intervals.saturating_sub(1)
}

fn failures(round: &Round) -> Vec<RequestError> {
    fn error<T>(outcome: &Outcome<T>) -> Option<RequestError> {
        outcome.as_ref().err().cloned()
    }
    // One of the management API is enough: the others fail for the same reason.
    let management = [
        round.queues.as_ref().and_then(error),
        round.overview.as_ref().and_then(error),
        round.nodes.as_ref().and_then(error),
        round.exchanges.as_ref().and_then(error),
    ];
    let prometheus = round.scrapes.iter().filter_map(error);
    prometheus
        .chain(management.into_iter().flatten().take(1))
        .collect()
}

fn first_answer(round: &Round) -> Option<Instant> {
    let scrapes = round.scrapes.iter().flatten().map(|reply| reply.at);
    let listing = reply(round.queues.as_ref()).map(|reply| reply.at);
    scrapes.chain(listing).min()
}

fn cluster(round: &Round) -> Option<Arc<str>> {
    let overview = reply(round.overview.as_ref()).and_then(|reply| reply.value.name.clone());
    let scrapes = || {
        let mut replies = round.scrapes.iter().flatten();
        replies.find_map(|reply| reply.value.cluster.clone())
    };
    overview.or_else(scrapes)
}

fn nodes(round: &Round) -> Vec<NodeSample> {
    match reply(round.nodes.as_ref()) {
        Some(listing) => {
            let mut nodes = listing.value.clone();
            let version = overview(round).version;
            for node in nodes.iter_mut().filter(|node| node.version.is_none()) {
                node.version.clone_from(&version);
            }
            nodes
        }
        None => round
            .node_scrapes
            .iter()
            .flatten()
            .map(|reply| reply.value.node())
            .collect(),
    }
}

fn overview(round: &Round) -> OverviewSample {
    if let Some(reply) = reply(round.overview.as_ref()) {
        return reply.value.overview.clone();
    }
    let mut overview = OverviewSample::default();
    for reply in round.node_scrapes.iter().flatten() {
        reply.value.add_to(&mut overview);
    }
    overview
}

fn poll_sample(source: Source, round: &Round, duration: Duration) -> PollSample {
    fn bytes<T>(outcome: Option<&Outcome<T>>) -> u64 {
        reply(outcome).map_or(0, |reply| reply.bytes)
    }
    let scrapes = || round.scrapes.iter().flatten();
    let listing = reply(round.queues.as_ref()).map(|reply| &reply.value);
    let exchanges = reply(round.exchanges.as_ref()).map(|reply| &reply.value);
    PollSample {
        source,
        duration,
        bytes: scrapes().map(|reply| reply.bytes).sum::<u64>()
            + round
                .node_scrapes
                .iter()
                .flatten()
                .map(|reply| reply.bytes)
                .sum::<u64>()
            + bytes(round.queues.as_ref())
            + bytes(round.exchanges.as_ref())
            + bytes(round.nodes.as_ref())
            + bytes(round.overview.as_ref()),
        rows: scrapes().map(|reply| reply.value.rows).sum::<u64>()
            + listing.map_or(0, |listing| listing.queues.len() as u64)
            + exchanges.map_or(0, |listing| listing.exchanges.len() as u64),
        bad_rows: scrapes().map(|reply| reply.value.bad_rows).sum::<u64>()
            + listing.map_or(0, |listing| listing.bad_rows)
            + exchanges.map_or(0, |listing| listing.bad_rows),
        // The management API answers from a second store, and that from a cache.
        staleness: match source {
            Source::Prometheus => WINDOW,
            Source::Management => 2 * WINDOW + 5 * duration,
        },
    }
}

#[cfg(test)]
mod tests;

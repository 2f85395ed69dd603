//! The monitor itself: polls, tells how it is, hands snapshots on.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;

use super::choice::Choice;
use super::failure::MonitorError;
use super::known::Known;
use super::listing::reply;
use super::merge::{Memory, Merged};
use super::round::{Outcome, Round};
use super::select::{Selected, Selector};
use super::sources::Sources;
use super::starts::Starts;
use super::summary::{cluster, globals, nodes, overview};
use super::ticks::Ticks;
use super::watch::{LastPoll, Watch};
use crate::config::Broker;
use crate::health::Component;
use crate::metrics::{Loss, Metrics, Stage};
use crate::model::{BrokerSnapshot, NodeSample, PollSample, Source, unix_nano};

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
    selector: Selector,
    starts: Starts,
    last: LastPoll,
    watch: Option<Watch>,
    watched: (Arc<str>, HashSet<Arc<str>>),
}

impl Monitor {
    /// A monitor that has not asked anything yet.
    #[must_use]
    pub fn new(setup: MonitorSetup) -> Self {
        let last = LastPoll::default();
        let own = (setup.clock, setup.metrics.clone());
        let watch = Watch::new(&setup.broker, last.clone(), own);
        Self {
            sources: Sources::new(&setup.broker, setup.client),
            interval: setup.broker.poll_interval,
            clock: setup.clock,
            metrics: setup.metrics,
            component: setup.component,
            memory: Memory::default(),
            choice: Choice::default(),
            cluster: Arc::from(""),
            selector: Selector::new(&setup.broker.selection),
            starts: Starts::default(),
            last,
            watched: watch.watched(),
            watch: Some(watch),
        }
    }

    /// Polls at once, then every `poll_interval` until `stop`, and sends each snapshot to `out`.
    ///
    /// Polls never overlap; one that would have begun while another ran is skipped and counted. A
    /// snapshot for which `out` has no room is dropped and counted. A broker that is away is asked
    /// again at the next interval, for ever; a poll that learned nothing is a snapshot of that.
    /// The watched queues are asked for beside the polls.
    pub async fn run(mut self, out: mpsc::Sender<BrokerSnapshot>, stop: CancellationToken) {
        match self.watch.take() {
            Some(watch) => {
                let watching = watch.run(out.clone(), stop.clone());
                tokio::join!(self.poll_on(out, stop), watching);
            }
            None => self.poll_on(out, stop).await,
        }
    }

    async fn poll_on(mut self, out: mpsc::Sender<BrokerSnapshot>, stop: CancellationToken) {
        let mut ticks = Ticks::new(self.interval);
        let mut last = None;
        loop {
            let tick = tokio::select! {
                () = stop.cancelled() => return,
                tick = ticks.tick() => tick,
            };
            let skipped = last.map_or(0, |last| skipped(tick - last, self.interval));
            if skipped > 0 {
                self.metrics.received(Stage::Monitor, skipped);
                self.metrics.dropped(Loss::PollLate, skipped);
            }
            last = Some(tick);
            let polled = tokio::select! {
                () = stop.cancelled() => return,
                (snapshot, _) = self.poll() => snapshot,
            };
            let snapshot = polled;
            self.metrics.received(Stage::Monitor, 1);
            match out.try_send(snapshot) {
                Ok(()) => self.metrics.sent(Stage::Monitor, 1),
                Err(TrySendError::Full(_)) => self.metrics.dropped(Loss::PollNoRoom, 1),
                Err(TrySendError::Closed(_)) => return,
            }
        }
    }

    /// Polls once, and says how the broker is.
    ///
    /// # Errors
    /// If no source tells of queues: because the login is refused, or because none answers.
    pub async fn poll_once(&mut self) -> Result<BrokerSnapshot, MonitorError> {
        match self.poll().await {
            (snapshot, None) => Ok(snapshot),
            (_, Some(error)) => Err(error),
        }
    }

    async fn poll(&mut self) -> (BrokerSnapshot, Option<MonitorError>) {
        let (begun, wall) = (Instant::now(), (self.clock)());
        let round = self.ask().await;
        let took = begun.elapsed();
        let first = first_answer(&round).map_or(took, |at| at.saturating_duration_since(begun));
        let at = (begun + first, unix_nano(wall + first));
        let Some(merged) = self.memory.merge(&round, &self.selector, at) else {
            let lost = self.lost(&round, (unix_nano(wall), took));
            self.sources.take_back(round);
            return lost;
        };
        self.choice.made(&self.component, (&merged, took), &round);
        let snapshot = self.snapshot(merged, &round, (at.1, took));
        self.sources.take_back(round);
        self.metrics.polls.inc();
        self.metrics
            .queues
            .set(i64::try_from(snapshot.queues.len()).unwrap_or(i64::MAX));
        let (vhost, names) = &self.watched;
        self.last.keep(&snapshot, (vhost, names));
        (snapshot, None)
    }

    async fn ask(&mut self) -> Round {
        let (vhost, watched) = &self.watched;
        let (memory, vhost) = (&self.memory, &**vhost);
        let names = move || {
            let mut names = watched.clone();
            names.extend(memory.names(vhost));
            names.into_iter().collect()
        };
        let known = Known {
            queues: memory.queues(),
            has_untyped: memory.has_untyped(),
            has_untyped_exchanges: memory.has_untyped_exchanges(),
            changes: memory.changes(),
            turns: memory.turns(),
            names: &names,
        };
        self.sources.ask(known).await
    }

    /// Nothing was learned: that is a snapshot too, of what was asked and why it failed.
    fn lost(
        &mut self,
        round: &Round,
        (time_unix_nano, duration): (i64, Duration),
    ) -> (BrokerSnapshot, Option<MonitorError>) {
        let late = || {
            round
                .scrapes
                .iter()
                .filter_map(|scrape| scrape.as_ref().err().cloned())
        };
        let error = match round.troubles.is_empty() {
            true => MonitorError::new(late().collect()),
            false => MonitorError::new(round.troubles.clone()),
        };
        // A slow broker is not away: its answer is had by a later poll.
        if !round.is_pending {
            self.memory.broker_away(Instant::now());
            self.metrics.error(Stage::Monitor);
            self.choice.lost(&self.component, &error.to_string());
        }
        let snapshot = BrokerSnapshot {
            cluster: self.cluster.clone(),
            time_unix_nano,
            queues: Vec::new(),
            exchanges: Vec::new(),
            bindings: Vec::new(),
            nodes: self.nodes(round, time_unix_nano),
            globals: globals(round),
            overview: overview(round),
            poll: poll_sample(round, (Source::Prometheus, None), duration),
        };
        (snapshot, Some(error))
    }

    fn nodes(&mut self, round: &Round, time_unix_nano: i64) -> Vec<NodeSample> {
        let mut nodes = nodes(round);
        self.starts.tell(&mut nodes, time_unix_nano);
        nodes
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
        let queues = merged.queues.len() as u64;
        let Selected {
            queues: selected,
            cut,
        } = self.selector.select(merged.queues);
        let (exchanges, exchanges_cut) = self.selector.select_exchanges(merged.exchanges);
        let poll = PollSample {
            up: true,
            queues,
            series_cut: cut,
            exchanges_cut,
            staleness: merged.staleness,
            ..poll_sample(round, (merged.depth, merged.counters), duration)
        };
        BrokerSnapshot {
            cluster: self.cluster.clone(),
            time_unix_nano,
            queues: selected,
            exchanges,
            bindings: merged.bindings,
            nodes: self.nodes(round, time_unix_nano),
            globals: globals(round),
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

fn first_answer(round: &Round) -> Option<Instant> {
    let scrapes = round.scrapes.iter().flatten().map(|reply| reply.at);
    let lists = [&round.queues, &round.totals];
    let lists = lists.into_iter().filter_map(|list| reply(list.as_ref()));
    scrapes.chain(lists.map(|reply| reply.at)).min()
}

/// What was asked, up to what became of it.
fn poll_sample(
    round: &Round,
    (source, counters): (Source, Option<Source>),
    duration: Duration,
) -> PollSample {
    fn bytes<T>(outcome: Option<&Outcome<T>>) -> u64 {
        reply(outcome).map_or(0, |reply| reply.bytes)
    }
    let aggregated = round.node_scrapes.iter().flatten().map(|reply| reply.bytes);
    let sum = |of: fn(&crate::model::PeerSample) -> u64| round.peers.iter().map(of).sum::<u64>();
    let exchanges = reply(round.exchanges.as_ref()).map(|reply| &reply.value);
    PollSample {
        source,
        counters,
        of_watched: false,
        up: false,
        duration,
        bytes: sum(|peer| peer.bytes)
            + aggregated.sum::<u64>()
            + bytes(round.names.as_ref())
            + bytes(round.exchanges.as_ref())
            + bytes(round.nodes.as_ref())
            + bytes(round.overview.as_ref()),
        rows: sum(|peer| peer.rows) + exchanges.map_or(0, |list| list.exchanges.len() as u64),
        bad_rows: sum(|peer| peer.bad_rows) + exchanges.map_or(0, |list| list.bad_rows),
        queues: 0,
        series_cut: 0,
        exchanges_cut: 0,
        staleness: Duration::ZERO,
        peers: round.peers.clone(),
    }
}

#[cfg(test)]
mod tests;

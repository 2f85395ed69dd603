//! The watched queues: asked for over AMQP all the time, between the polls.
//!
//! Input: the names of the configuration, and what the last poll said of them. Output: snapshots
//! of those queues alone, whose depth and consumers are of this moment; the rest of each sample is
//! as the last poll had it. A round that takes too long is waited for, and the rounds that fell
//! out are counted; a broker that is away gives no snapshot, and is asked again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;

use super::lane::Reply;
use super::passive::{Passive, PassiveList};
use super::ticks::Ticks;
use crate::config::Broker;
use crate::metrics::{Loss, Metrics, Stage};
use crate::model::{
    BrokerSnapshot, OverviewSample, PeerSample, PollSample, QueueSample, Source, unix_nano,
};

/// What the last poll said of the watched queues; a clone is the same.
#[derive(Clone, Debug, Default)]
pub(super) struct LastPoll(Arc<Mutex<Polled>>);

#[derive(Debug, Default)]
struct Polled {
    cluster: Arc<str>,
    at: Option<Instant>,
    queues: HashMap<Arc<str>, QueueSample>,
}

impl LastPoll {
    /// Keeps the watched queues of a poll.
    pub(super) fn keep(&self, snapshot: &BrokerSnapshot, watched: (&str, &HashSet<Arc<str>>)) {
        let (vhost, names) = watched;
        if names.is_empty() {
            return;
        }
        let is_watched =
            |queue: &&QueueSample| &*queue.vhost == vhost && names.contains(&queue.queue);
        let queues = snapshot.queues.iter().filter(is_watched);
        let queues = queues
            .map(|queue| (queue.queue.clone(), queue.clone()))
            .collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Polled {
            cluster: snapshot.cluster.clone(),
            at: Some(Instant::now()),
            queues,
        };
    }
}

/// The lane of the watched queues.
pub(super) struct Watch {
    passive: Passive,
    names: Vec<Arc<str>>,
    interval: Duration,
    timeout: Duration,
    /// Age at which what the last poll said is left out.
    stale: Duration,
    last: LastPoll,
    clock: fn() -> SystemTime,
    metrics: Metrics,
}

impl Watch {
    pub(super) fn new(
        broker: &Broker,
        last: LastPoll,
        (clock, metrics): (fn() -> SystemTime, Metrics),
    ) -> Self {
        Self {
            passive: Passive::new(&broker.amqp_url, &broker.tls),
            names: broker
                .watch_queues
                .iter()
                .map(|name| Arc::from(name.as_str()))
                .collect(),
            interval: broker.watch_interval,
            timeout: broker.poll_timeout,
            stale: broker.poll_interval * 3,
            last,
            clock,
            metrics,
        }
    }

    /// The virtual host and the names of the watched queues.
    pub(super) fn watched(&self) -> (Arc<str>, HashSet<Arc<str>>) {
        (
            self.passive.vhost().clone(),
            self.names.iter().cloned().collect(),
        )
    }

    /// Asks every `watch_interval` until `stop`; at once the end if there is nothing to watch.
    pub(super) async fn run(self, out: Sender<BrokerSnapshot>, stop: CancellationToken) {
        if self.names.is_empty() {
            return;
        }
        let mut ticks = Ticks::new(self.interval);
        let mut is_away = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let asked = self.passive.clone().ask(self.names.clone(), self.timeout);
            let answer = tokio::select! {
                () = stop.cancelled() => return,
                answer = asked => answer,
            };
            match answer {
                Ok(reply) => {
                    is_away = false;
                    self.metrics.received(Stage::Monitor, 1);
                    match out.try_send(self.snapshot(&reply)) {
                        Ok(()) => self.metrics.sent(Stage::Monitor, 1),
                        Err(TrySendError::Full(_)) => self.metrics.dropped(Loss::PollNoRoom, 1),
                        Err(TrySendError::Closed(_)) => return,
                    }
                }
                Err(error) => {
                    self.metrics.error(Stage::Monitor);
                    if !is_away {
                        tracing::warn!(reason = error.why(), "watched queues cannot be asked for");
                    }
                    is_away = true;
                }
            }
        }
    }

    fn snapshot(&self, reply: &Reply<PassiveList>) -> BrokerSnapshot {
        let last = self.last.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = last.at.is_some_and(|at| at.elapsed() < self.stale);
        let queues = reply.value.queues.iter().map(|declared| {
            let known = last.queues.get(&declared.queue).filter(|_| is_fresh);
            let mut sample = known.cloned().unwrap_or_else(|| QueueSample {
                vhost: reply.value.vhost.clone(),
                queue: declared.queue.clone(),
                ..QueueSample::default()
            });
            sample.messages_ready = Some(declared.ready);
            sample.messages = sample.messages_unack.map(|unack| unack + declared.ready);
            sample.consumers = Some(declared.consumers);
            sample
        });
        let queues: Vec<QueueSample> = queues.collect();
        let rows = queues.len() as u64;
        BrokerSnapshot {
            cluster: last.cluster.clone(),
            time_unix_nano: unix_nano((self.clock)()),
            queues,
            exchanges: Vec::new(),
            bindings: Vec::new(),
            nodes: Vec::new(),
            globals: Vec::new(),
            overview: OverviewSample::default(),
            poll: PollSample {
                source: Source::Passive,
                counters: None,
                of_watched: true,
                up: true,
                duration: reply.took,
                bytes: 0,
                rows,
                bad_rows: reply.value.missing,
                queues: rows,
                series_cut: 0,
                exchanges_cut: 0,
                staleness: Duration::ZERO,
                peers: vec![PeerSample {
                    source: Source::Passive,
                    node: Arc::from(self.passive.host()),
                    up: true,
                    duration: Some(reply.took),
                    bytes: 0,
                    rows,
                    bad_rows: reply.value.missing,
                    skipped: 0,
                    http_status: None,
                    error: None,
                }],
            },
        }
    }
}

//! The loop: take the oldest request from the spool, send it, wait between failed attempts.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::check::LOGIN;
use super::letter::letter;
use super::upstream::{Outcome, SetupError, Upstream};
use crate::config;
use crate::health::{Component, Failure};
use crate::metrics::{Loss, Metrics, Stage};
use crate::model::Signal;
use crate::retry::Backoff;
use crate::spool::{DeadLetter, Reader, Record, Stats};
use crate::tls::{Peer, changed, explain};

/// The name of this sink in counters.
const SINK: &str = "forward";
/// How long what waits is sent on after the stop.
const DRAIN: Duration = Duration::from_millis(1500);

/// What [`Forward`] needs.
pub struct ForwardSetup {
    /// The part of the configuration.
    pub config: config::Forward,
    /// For the HTTP protocol.
    pub client: reqwest::Client,
    /// The agent's counters.
    pub metrics: Metrics,
    /// Where it reports how it is.
    pub component: Component,
    /// Where requests go that the upstream refuses for good; none if they are not kept.
    pub dead_letter: Option<DeadLetter>,
}

/// Sends OTLP requests on to the upstream; see the module.
pub struct Forward {
    upstream: Arc<Upstream>,
    /// Its endpoint, without a password.
    url: Arc<str>,
    /// The one of the attempt under way.
    sent_to: Arc<str>,
    dead_letter: Option<DeadLetter>,
    backoff: Backoff,
    /// The request that is sent, until its final answer.
    held: Option<Record>,
    attempt: Option<Attempt>,
    retry_at: Option<Instant>,
    followed: Option<watch::Receiver<Peer<config::Forward>>>,
    metrics: Metrics,
    component: Component,
}

/// An attempt under way: when it began, what came of it.
type Attempt = Pin<Box<dyn Future<Output = (Instant, Outcome)> + Send>>;

impl Forward {
    /// Connects to nothing yet; it must be called within a Tokio runtime.
    ///
    /// # Errors
    /// If the endpoint or a header cannot be used.
    pub fn new(setup: ForwardSetup) -> Result<Self, SetupError> {
        Ok(Self {
            upstream: Arc::new(Upstream::new(&setup.config, &setup.client)?),
            url: url(&setup.config),
            sent_to: Arc::from(""),
            dead_letter: setup.dead_letter,
            backoff: Backoff::default(),
            held: None,
            attempt: None,
            retry_at: None,
            followed: None,
            metrics: setup.metrics,
            component: setup.component,
        })
    }

    /// The same, and it sends to where `settings` say from now on, with what they have.
    #[must_use]
    pub fn following(self, settings: watch::Receiver<Peer<config::Forward>>) -> Self {
        Self {
            followed: Some(settings),
            ..self
        }
    }

    /// What is under way ends with the settings that it began with.
    fn follow(&mut self, peer: &Peer<config::Forward>) {
        match Upstream::new(&peer.config, &peer.client) {
            Ok(upstream) => {
                self.upstream = Arc::new(upstream);
                self.url = url(&peer.config);
                self.backoff.reset();
                self.retry_at = None;
            }
            Err(error) => self.component.degraded(&error.to_string()),
        }
    }

    /// Sends what is in `spool` until all of its writers are gone and nothing waits. After `stop`
    /// it goes on for at most 1.5 s, and no further than to the first attempt that fails.
    pub async fn run(mut self, mut spool: Reader, stop: CancellationToken) {
        let mut deadline: Option<Instant> = None;
        loop {
            self.begin();
            let stats = spool.spool().stats();
            self.metrics.buffered(SINK, self.bytes(&stats));
            tokio::select! {
                next = spool.next(), if self.held.is_none() => match next {
                    Some(record) => self.held = Some(record),
                    None => break,
                },
                (begun, outcome) = finished(&mut self.attempt) => {
                    self.attempt = None;
                    let failed = matches!(outcome, Outcome::Retry { .. } | Outcome::Login { .. });
                    self.finish(begun, outcome, &stats);
                    match self.held.take_if(|_| !failed) {
                        Some(record) => spool.done(record).await,
                        None if deadline.is_some() => break,
                        None => {}
                    }
                }
                () = at(self.retry_at) => self.retry_at = None,
                peer = changed(&mut self.followed) => self.follow(&peer),
                () = stop.cancelled(), if deadline.is_none() => {
                    deadline = Some(Instant::now() + DRAIN);
                    self.retry_at = None;
                }
                () = at(deadline) => break,
            }
        }
        self.metrics.buffered(SINK, 0);
    }

    /// Bytes in memory.
    fn bytes(&self, stats: &Stats) -> usize {
        let held = self.held.as_ref().map_or(0, |record| record.payload.len());
        stats.memory_bytes + held
    }

    /// Starts to send the request that is held, if none is under way and it is not time to wait.
    fn begin(&mut self) {
        if self.attempt.is_some() || self.retry_at.is_some() {
            return;
        }
        let Some(record) = &self.held else {
            return;
        };
        let (signal, payload) = (Signal::of_code(record.kind), record.payload.clone());
        let upstream = Arc::clone(&self.upstream);
        self.sent_to = Arc::clone(&self.url);
        self.attempt = Some(Box::pin(async move {
            let begun = Instant::now();
            let outcome = match signal {
                Some(signal) => upstream.send(signal, payload).await,
                None => Outcome::Refused {
                    why: "a newer version of rabtrace put it into the spool".to_owned(),
                },
            };
            (begun, outcome)
        }));
    }

    /// The request that is held is sent again, but not at once.
    fn wait(&mut self, after: Option<Duration>) {
        self.metrics.error(Stage::Forward);
        self.retry_at = Some(Instant::now() + self.backoff.next_wait(after));
    }

    fn finish(&mut self, begun: Instant, outcome: Outcome, stats: &Stats) {
        let held = self.held.as_ref();
        let items = held.map_or(0, |record| u64::from(record.items));
        match outcome {
            Outcome::Taken { rejected } => {
                let rejected = rejected.min(items);
                self.metrics.requests_forwarded.inc();
                self.metrics.sent(Stage::Forward, items - rejected);
                self.metrics.dropped(Loss::ForwardRejected, rejected);
                self.backoff.reset();
                self.component.healthy(begun.elapsed());
            }
            Outcome::Retry { why, after } => {
                let explained = explain(&why, &self.url, ("forward", "forward.endpoint"));
                let why = explained.map_or(why, |failure| failure.to_string());
                let message = format!("{why}; {}", waiting(stats));
                self.component.degraded(&message);
                self.wait(after);
            }
            Outcome::Login { why } => {
                let failure = Failure {
                    why: format!("the upstream refuses the login: {why}; {}", waiting(stats)),
                    fix: LOGIN.to_owned(),
                };
                self.component.unhealthy(&failure.to_string());
                self.wait(None);
            }
            Outcome::Refused { why } => {
                self.metrics.dropped(Loss::ForwardRefused, items);
                if let (Some(dead_letter), Some(record)) = (&self.dead_letter, &self.held) {
                    dead_letter.keep(letter(&self.sent_to, &why, record));
                }
                self.backoff.reset();
                let message = format!("the upstream refuses requests for good: {why}");
                self.component.degraded(&message);
            }
        }
    }
}

/// How much waits.
fn waiting(stats: &Stats) -> String {
    let (requests, bytes) = (stats.waiting.records, stats.disk_bytes);
    format!("{requests} requests wait, the spool has {bytes} bytes on the disk")
}

fn url(config: &config::Forward) -> Arc<str> {
    let endpoint = config.endpoint.as_ref().map(config::Secret::expose);
    config::mask_url(endpoint.unwrap_or_default()).into()
}

/// The end of the attempt under way; never, if there is none.
async fn finished(attempt: &mut Option<Attempt>) -> (Instant, Outcome) {
    match attempt {
        Some(attempt) => attempt.await,
        None => std::future::pending().await,
    }
}

/// That moment; never, if there is none.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

//! The loop: receive always, send one request at a time, wait between failed attempts.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::buffer::{Buffer, Request};
use super::upstream::{Outcome, SetupError, Upstream};
use crate::config;
use crate::health::Component;
use crate::metrics::Metrics;
use crate::model::Signal;
use crate::retry::Backoff;

/// The name of this sink in counters.
const SINK: &str = "forward";
/// How long what waits is sent on after the stop.
const DRAIN: Duration = Duration::from_secs(3);

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
}

/// Sends OTLP requests on to the upstream; see the module.
pub struct Forward {
    upstream: Arc<Upstream>,
    buffer: Buffer,
    backoff: Backoff,
    attempt: Option<Attempt>,
    attempt_bytes: usize,
    retry_at: Option<Instant>,
    metrics: Metrics,
    component: Component,
}

/// An attempt under way: its request, when it began, what came of it.
type Attempt = Pin<Box<dyn Future<Output = (Request, Instant, Outcome)> + Send>>;

impl Forward {
    /// Connects to nothing yet; it must be called within a Tokio runtime.
    ///
    /// # Errors
    /// If the endpoint or a header cannot be used.
    pub fn new(setup: ForwardSetup) -> Result<Self, SetupError> {
        Ok(Self {
            upstream: Arc::new(Upstream::new(&setup.config, &setup.client)?),
            buffer: Buffer::new(setup.config.buffer_bytes),
            backoff: Backoff::default(),
            attempt: None,
            attempt_bytes: 0,
            retry_at: None,
            metrics: setup.metrics,
            component: setup.component,
        })
    }

    /// Sends what comes from `requests` until all of its senders are gone and nothing waits, or
    /// until 3 s after `stop`.
    pub async fn run(
        mut self,
        mut requests: mpsc::Receiver<(Signal, Bytes)>,
        stop: CancellationToken,
    ) {
        let mut open = true;
        let mut deadline: Option<Instant> = None;
        loop {
            self.begin();
            if !open && self.attempt.is_none() && self.buffer.len() == 0 {
                break;
            }
            let bytes = self.buffer.bytes() + self.attempt_bytes;
            self.metrics.buffered(SINK, bytes);
            tokio::select! {
                request = requests.recv(), if open => match request {
                    Some(request) => self.push(request),
                    None => open = false,
                },
                (request, begun, outcome) = finished(&mut self.attempt) => {
                    self.attempt = None;
                    self.attempt_bytes = 0;
                    self.finish(request, begun, outcome);
                }
                () = at(self.retry_at) => self.retry_at = None,
                () = stop.cancelled(), if deadline.is_none() => {
                    deadline = Some(Instant::now() + DRAIN);
                    self.backoff.reset();
                    self.retry_at = None;
                }
                () = at(deadline) => break,
            }
        }
        self.give_up(requests);
    }

    /// Starts to send the oldest request, if none is under way and it is not time to wait.
    fn begin(&mut self) {
        if self.attempt.is_some() || self.retry_at.is_some() {
            return;
        }
        let Some((signal, payload)) = self.buffer.pop() else {
            return;
        };
        self.attempt_bytes = payload.len();
        let upstream = Arc::clone(&self.upstream);
        self.attempt = Some(Box::pin(async move {
            let begun = Instant::now();
            let outcome = upstream.send(signal, payload.clone()).await;
            ((signal, payload), begun, outcome)
        }));
    }

    fn push(&mut self, request: Request) {
        let dropped = self.buffer.push(request);
        if dropped > 0 {
            self.metrics.dropped(SINK, "buffer_full", dropped);
        }
    }

    fn finish(&mut self, request: Request, begun: Instant, outcome: Outcome) {
        match outcome {
            Outcome::Taken { rejected } => {
                self.metrics.requests_forwarded.inc();
                if rejected > 0 {
                    self.metrics.dropped(SINK, "rejected", rejected);
                }
                self.backoff.reset();
                self.component.healthy(begun.elapsed());
            }
            Outcome::Retry { why, after } => {
                self.metrics.error(SINK);
                self.component.degraded(&why);
                self.retry_at = Some(Instant::now() + self.backoff.next_wait(after));
                if !self.buffer.put_back(request) {
                    self.metrics.dropped(SINK, "buffer_full", 1);
                }
            }
            Outcome::Refused { why } => {
                self.metrics.dropped(SINK, "refused", 1);
                self.backoff.reset();
                let message = format!("the upstream refuses requests for good: {why}");
                self.component.degraded(&message);
            }
        }
    }

    /// Counts all that was not sent; an attempt under way may have arrived and counts as lost.
    fn give_up(self, mut requests: mpsc::Receiver<Request>) {
        requests.close();
        let mut left = self.buffer.len() as u64 + u64::from(self.attempt.is_some());
        while requests.try_recv().is_ok() {
            left += 1;
        }
        if left > 0 {
            self.metrics.dropped(SINK, "stopping", left);
        }
        self.metrics.buffered(SINK, 0);
    }
}

/// The end of the attempt under way; never, if there is none.
async fn finished(attempt: &mut Option<Attempt>) -> (Request, Instant, Outcome) {
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

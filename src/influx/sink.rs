//! The sink itself: one loop that receives, sends and waits.
//!
//! Receiving goes on whatever the server does. Up to four batches are in flight while the server
//! answers, one while it does not; then the next attempt waits for the backoff and asks the server
//! anew what it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::attempt::{Session, Written, write};
use super::buffer::Buffer;
use super::failure::Trouble;
use super::server::{Server, shown};
use crate::config;
use crate::health::Component;
use crate::metrics::Metrics;
use crate::model::Point;
use crate::retry::Backoff;

/// The name of this sink in metrics.
const STAGE: &str = "influx";
/// Batches in flight at most: InfluxDB 3 answers only after its log is flushed, once a second.
const IN_FLIGHT: usize = 4;
/// How long the last attempt may take after the stop signal.
const LAST_ATTEMPT: Duration = Duration::from_secs(3);

/// What [`Influx::new`] needs.
pub struct InfluxSetup {
    /// Where to write, and how much to keep.
    pub config: config::Influx,
    /// The agent's HTTP client.
    pub client: reqwest::Client,
    /// Counts points written, dropped and buffered.
    pub metrics: Metrics,
    /// Where the sink tells how it is.
    pub component: Component,
}

/// Writes points to InfluxDB.
pub struct Influx {
    session: Arc<Session>,
    metrics: Metrics,
    component: Component,
    buffer: Buffer,
    backoff: Backoff,
    /// The server, while it answers.
    server: Option<Arc<Server>>,
    /// The version that was last logged.
    told: Option<String>,
    /// No attempt before this time.
    not_before: Option<Instant>,
    writes: FuturesUnordered<BoxFuture<'static, Written>>,
    /// Messages that came in.
    received: u64,
    /// How many had come in when nothing was left to write.
    done: Arc<AtomicU64>,
}

impl Influx {
    /// A sink with nothing in it. No connection is made before there is something to write.
    #[must_use]
    pub fn new(setup: InfluxSetup) -> Self {
        Self {
            buffer: Buffer::new(&setup.config),
            session: Arc::new(Session {
                config: setup.config,
                client: setup.client,
            }),
            metrics: setup.metrics,
            component: setup.component,
            backoff: Backoff::default(),
            server: None,
            told: None,
            not_before: None,
            writes: FuturesUnordered::new(),
            received: 0,
            done: Arc::default(),
        }
    }

    /// How many of the messages that it was sent are written or given up, all before them
    /// included. It is told whenever nothing is left to write, and counts up.
    #[must_use]
    pub fn done(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.done)
    }

    /// Runs until `stop` or until the senders of `points` are gone; then makes one last attempt
    /// of at most 3 s and counts what is left as dropped.
    pub async fn run(mut self, mut points: mpsc::Receiver<Vec<Point>>, stop: CancellationToken) {
        loop {
            self.start_writes();
            self.metrics.buffered(STAGE, self.buffer.bytes());
            let wake = self.wake_at();
            tokio::select! {
                received = points.recv() => match received {
                    Some(received) => self.take_in(&received),
                    None => break,
                },
                Some(written) = self.writes.next() => self.settle(written),
                () = sleep_until(wake) => {}
                () = stop.cancelled() => break,
            }
        }
        self.drain(points).await;
    }

    fn take_in(&mut self, points: &[Point]) {
        let added = self.buffer.add(points, Instant::now());
        self.drop_lines("no_fields", added.without_fields);
        self.drop_lines("buffer_full", added.overflow);
        self.received += 1;
        self.tell_done();
    }

    fn tell_done(&self) {
        if self.buffer.lines() == 0 {
            self.done.store(self.received, Ordering::Release);
        }
    }

    fn start_writes(&mut self) {
        let now = Instant::now();
        if self.not_before.is_some_and(|at| at > now) {
            return;
        }
        while self.writes.len() < self.width() {
            let Some(batch) = self.buffer.take(now) else {
                return;
            };
            let write = write(self.session.clone(), self.server.clone(), batch);
            self.writes.push(Box::pin(write));
        }
    }

    /// How many batches may be in flight now.
    fn width(&self) -> usize {
        if self.server.is_some() { IN_FLIGHT } else { 1 }
    }

    /// When a write can be started next without anything else happening before.
    fn wake_at(&self) -> Option<Instant> {
        if self.writes.len() >= self.width() {
            return None;
        }
        let ready = self.buffer.ready_at(Instant::now())?;
        Some(self.not_before.map_or(ready, |at| at.max(ready)))
    }

    fn settle(&mut self, written: Written) {
        self.metrics.points_written.inc_by(written.taken);
        self.drop_lines("rejected", written.rejected);
        self.drop_lines("too_large", written.too_large);
        let overflow = self
            .buffer
            .settle(written.size, written.lines, written.rest);
        self.drop_lines("buffer_full", overflow);
        self.tell_done();
        match written.end {
            Ok(latency) => {
                self.server = written.server;
                self.tell_version();
                self.backoff.reset();
                self.not_before = None;
                self.component.healthy(latency);
            }
            Err(trouble) => self.wait(&trouble),
        }
    }

    /// Writes stop until the backoff is over; what may pass degrades, the rest needs a person.
    fn wait(&mut self, trouble: &Trouble) {
        self.metrics.error(STAGE);
        self.server = None;
        let asked = match trouble {
            Trouble::Passing { why, after } => {
                self.component.degraded(why);
                *after
            }
            Trouble::Lasting(failure) => {
                self.component.unhealthy(&failure.to_string());
                None
            }
        };
        let now = Instant::now();
        // Batches that were in flight together fail together: that is one failure.
        if asked.is_some() || self.not_before.is_none_or(|at| at <= now) {
            self.not_before = Some(now + self.backoff.next_wait(asked));
        }
    }

    fn tell_version(&mut self) {
        let found = self.server.as_ref().map(ToString::to_string);
        if found != self.told {
            let url = shown(&self.session.config);
            tracing::info!(url, server = found, "influxdb answers");
            self.told = found;
        }
    }

    async fn drain(mut self, mut points: mpsc::Receiver<Vec<Point>>) {
        points.close();
        while let Ok(received) = points.try_recv() {
            self.take_in(&received);
        }
        self.buffer.seal();
        self.not_before = None;
        let deadline = Instant::now() + LAST_ATTEMPT;
        loop {
            // After a failure no further write starts before its backoff is over.
            self.start_writes();
            if self.writes.is_empty() {
                break;
            }
            tokio::select! {
                Some(written) = self.writes.next() => self.settle(written),
                () = sleep_until(Some(deadline)) => break,
            }
        }
        let left = self.buffer.lines();
        self.drop_lines("shutdown", left);
        self.metrics.buffered(STAGE, 0);
        if left > 0 {
            let url = shown(&self.session.config);
            tracing::error!(url, lines = left, "lines for influxdb are lost at the stop");
        }
    }

    fn drop_lines(&self, reason: &str, lines: u64) {
        if lines > 0 {
            self.metrics.dropped(STAGE, reason, lines);
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

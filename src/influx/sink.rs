//! The sink itself: one loop that takes from the spool, sends and waits.
//!
//! Records are taken while memory has room, whatever the server does. One batch is in flight, so that
//! a crash makes at most one come twice; up to four where InfluxDB 3 answers, which does so once a
//! second. Where nobody answers the next attempt waits for the backoff, and asks the server anew what
//! it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::FuturesOrdered;
use serde_json::{Map, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::attempt::{Session, Written, write};
use super::buffer::Buffer;
use super::failure::Trouble;
use super::response::Refused;
use super::server::{Api, Server, shown};
use crate::config;
use crate::health::Component;
use crate::metrics::{Loss, Metrics, Stage};
use crate::model::Share;
use crate::retry::Backoff;
use crate::spool::{DeadLetter, Letter, Reader, Record};
use crate::tls::{Peer, changed, explain};

/// The name of this sink in metrics.
pub(super) const STAGE: &str = "influx";
/// Batches in flight to InfluxDB 3 at most, from the oldest that is not settled on: it answers only
/// after its log is flushed, once a second. Others have one.
const IN_FLIGHT: usize = 4;
/// How long the last attempt may take after the stop signal.
const LAST_ATTEMPT: Duration = Duration::from_millis(1500);

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
    /// Where lines go that the server refuses for good; none if they are not kept.
    pub dead_letter: Option<DeadLetter>,
}

/// Writes points to InfluxDB.
pub struct Influx {
    session: Arc<Session>,
    metrics: Metrics,
    component: Component,
    dead_letter: Option<DeadLetter>,
    buffer: Buffer,
    /// Takes away what the spool still counts as waiting.
    settled: Share,
    backoff: Backoff,
    /// The server, while it answers.
    server: Option<Arc<Server>>,
    /// The version that was last logged.
    told: Option<String>,
    /// No attempt before this time.
    not_before: Option<Instant>,
    /// They end in their order: none is settled before those that began before it.
    writes: FuturesOrdered<BoxFuture<'static, Attempted>>,
    followed: Option<watch::Receiver<Peer<config::Influx>>>,
}

/// An attempt, and what it was made with.
type Attempted = (Arc<Session>, Written);

impl Influx {
    /// A sink with nothing in it. No connection is made before there is something to write.
    #[must_use]
    pub fn new(setup: InfluxSetup) -> Self {
        Self {
            buffer: Buffer::new(&setup.config),
            settled: setup.metrics.share(Stage::Influx, 0),
            session: Arc::new(Session {
                config: setup.config,
                client: setup.client,
            }),
            metrics: setup.metrics,
            component: setup.component,
            dead_letter: setup.dead_letter,
            backoff: Backoff::default(),
            server: None,
            told: None,
            not_before: None,
            writes: FuturesOrdered::new(),
            followed: None,
        }
    }

    /// The same, and it writes to where `settings` say from now on, with what they have.
    #[must_use]
    pub fn following(self, settings: watch::Receiver<Peer<config::Influx>>) -> Self {
        Self {
            followed: Some(settings),
            ..self
        }
    }

    /// Writes what is in `spool` until its writers are gone and nothing waits. After `stop` it goes
    /// on for at most 1.5 s, and no further than to the first attempt that fails; what is left stays
    /// in the spool.
    pub async fn run(mut self, mut spool: Reader, stop: CancellationToken) {
        loop {
            self.start_writes();
            self.tell_buffered(&spool);
            let wake = self.wake_at();
            tokio::select! {
                next = spool.next(), if self.buffer.has_room() => match next {
                    Some(record) => self.buffer.add(record, Instant::now()),
                    None => break,
                },
                Some(written) = self.writes.next() => self.finish(written, &spool).await,
                () = sleep_until(wake) => {}
                peer = changed(&mut self.followed) => self.follow(peer),
                () = stop.cancelled() => break,
            }
        }
        self.drain(spool, stop).await;
        self.metrics.buffered(STAGE, 0);
    }

    fn tell_buffered(&self, spool: &Reader) {
        let bytes = self.buffer.bytes() + spool.spool().stats().memory_bytes;
        self.metrics.buffered(STAGE, bytes);
    }

    /// What is under way ends with the settings that it began with.
    fn follow(&mut self, peer: Peer<config::Influx>) {
        self.session = Arc::new(Session {
            config: peer.config,
            client: peer.client,
        });
        self.server = None;
        self.not_before = None;
        self.backoff.reset();
    }

    async fn finish(&mut self, written: Attempted, spool: &Reader) {
        let records = self.settle(written);
        join_all(records.into_iter().map(|record| spool.done(record))).await;
    }

    fn start_writes(&mut self) {
        let now = Instant::now();
        if self.not_before.is_some_and(|at| at > now) {
            return;
        }
        while self.writes.len() < self.width() {
            let Some(group) = self.buffer.take(now) else {
                return;
            };
            let session = self.session.clone();
            let write = write(session.clone(), self.server.clone(), group);
            self.writes
                .push_back(Box::pin(async move { (session, write.await) }));
        }
    }

    /// How many batches may be in flight now. What is left of one goes alone: those after it may
    /// have been taken, and come again with it after a crash.
    fn width(&self) -> usize {
        match &self.server {
            Some(server) if server.api == Api::V3 && !self.buffer.has_rest() => IN_FLIGHT,
            _ => 1,
        }
    }

    /// When a write can be started next without anything else happening before.
    fn wake_at(&self) -> Option<Instant> {
        if self.writes.len() >= self.width() {
            return None;
        }
        let ready = self.buffer.ready_at(Instant::now())?;
        Some(self.not_before.map_or(ready, |at| at.max(ready)))
    }

    /// Counts what came of an attempt; the records that are written or given up.
    fn settle(&mut self, (session, written): Attempted) -> Vec<Record> {
        self.metrics.points_written.inc_by(written.taken);
        self.metrics.sent(Stage::Influx, written.taken);
        self.metrics.dropped(Loss::InfluxRejected, written.rejected);
        self.metrics
            .dropped(Loss::InfluxTooLarge, written.too_large);
        let url = shown(&session.config);
        for refused in written.refused {
            self.keep_dead(&url, refused);
        }
        let records = self.buffer.settle(written.size, written.rest);
        let settled = i64::try_from(self.buffer.settled()).unwrap_or(i64::MAX);
        self.settled.set(-settled);
        // How another server did, or one with another login, says nothing about this one.
        let is_current = Arc::ptr_eq(&session, &self.session);
        match written.end {
            _ if !is_current => {}
            Ok(latency) => {
                self.server = written.server;
                self.tell_version();
                self.backoff.reset();
                self.not_before = None;
                self.component.healthy(latency);
            }
            Err(trouble) => self.wait(&trouble),
        }
        records
    }

    fn keep_dead(&self, url: &str, refused: Refused) {
        let Some(dead_letter) = &self.dead_letter else {
            return;
        };
        let Refused {
            lines,
            reason,
            text,
            ..
        } = refused;
        dead_letter.keep(Letter {
            url: url.to_owned(),
            reason,
            size: text.len(),
            content: Box::new(move || {
                let all: Vec<&str> = text.lines().collect();
                let mut content = Map::new();
                content.insert("refused_lines".to_owned(), json!(lines));
                content.insert("lines".to_owned(), json!(all));
                content
            }),
        });
    }

    /// Writes stop until the backoff is over; what may pass degrades, the rest needs a person.
    fn wait(&mut self, trouble: &Trouble) {
        self.metrics.error(Stage::Influx);
        self.server = None;
        let asked = match trouble {
            Trouble::Passing { why, after } => {
                let url = shown(&self.session.config);
                let explained = explain(why, &url, ("influx", "influx.url"));
                let explained = explained.map(|failure| failure.to_string());
                self.component.degraded(explained.as_ref().unwrap_or(why));
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

    /// Without a stop the writers are gone: then it goes on until everything is written.
    async fn drain(&mut self, mut spool: Reader, stop: CancellationToken) {
        let mut finished = false;
        let mut deadline = None;
        loop {
            if stop.is_cancelled() && deadline.is_none() {
                deadline = Some(Instant::now() + LAST_ATTEMPT);
                self.not_before = None;
            }
            self.start_writes();
            self.tell_buffered(&spool);
            let failed = self.not_before.is_some() && deadline.is_some();
            if self.writes.is_empty() && (failed || finished && self.buffer.bytes() == 0) {
                break;
            }
            let wake = self.wake_at();
            tokio::select! {
                next = spool.next(), if !finished && self.buffer.has_room() => match next {
                    Some(record) => self.buffer.add(record, Instant::now()),
                    None => {
                        finished = true;
                        self.buffer.seal();
                    }
                },
                Some(written) = self.writes.next() => self.finish(written, &spool).await,
                () = sleep_until(wake) => {}
                () = stop.cancelled(), if deadline.is_none() => {}
                () = sleep_until(deadline), if deadline.is_some() => break,
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

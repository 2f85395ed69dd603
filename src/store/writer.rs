//! The store as a task: takes batches, writes them in few transactions, keeps house in between.
//!
//! Input: a bounded channel of batches. Output: the file; counters `spans_stored` and
//! `points_stored`; the component's health. When the disk fails or is full, the batches at hand
//! are kept and tried again after a pause, and the channel holds the senders back. A row that the
//! database itself refuses is dropped alone and counted. While somebody waits for a receipt a
//! transaction begins at once, and what comes meanwhile shares the next one.

mod refused;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::refused::Refused;
use super::error::{StoreError, is_transient};
use super::{Done, Store, Written};
use crate::config;
use crate::health::Component;
use crate::metrics::{Loss, Metrics, Stage};
use crate::model::StoreBatch;

/// Rows after which a transaction is not made larger.
const MAX_ROWS: usize = 20_000;
/// Longest time that a batch for which nobody waits does so for others to share its transaction.
const GATHER: Duration = Duration::from_millis(250);
/// Time between two rounds of retention.
const RETENTION: Duration = Duration::from_secs(60);
/// The same while the disk is full: retention may make the room that is missing.
const RETENTION_WHEN_FULL: Duration = Duration::from_secs(5);
/// Time from a step of house-keeping to the next, at least: batches come in between.
const STEP: Duration = Duration::from_millis(250);
/// Pauses between attempts: from the first to the longest, doubling. A disk that has room again is
/// soon found out.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));
/// How long senders may still hand over after the stop signal.
const DRAIN: Duration = Duration::from_secs(5);
/// How long after the stop signal a disk that takes nothing is tried again and again; then each batch
/// has one attempt. The sinks need the rest of the time.
const LAST: Duration = Duration::from_millis(1500);

/// Whether there may be something to index or to sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Steps {
    Due,
    /// Not before more is written.
    Idle,
    /// Not before the next round of retention, which may make the room that is missing.
    Failed,
}

/// Writes what comes over a channel.
pub struct Writer {
    /// None after the blocking thread panicked.
    store: Option<Store>,
    metrics: Metrics,
    component: Component,
    /// When the last round of retention began.
    retained: Instant,
    steps: Steps,
    /// When the stop signal was seen.
    stopped: Option<Instant>,
    /// Rows that the disk did not take before the end.
    not_taken: u64,
    /// What the database refused of the batches at hand.
    refused: Option<Refused>,
    followed: Option<watch::Receiver<config::Store>>,
    /// [`GATHER`], but where a test shows who does not wait for it.
    gather: Duration,
}

impl Writer {
    pub(super) fn new(store: Store, metrics: Metrics, component: Component) -> Self {
        Self {
            store: Some(store),
            metrics,
            component,
            retained: Instant::now(),
            steps: Steps::Due,
            stopped: None,
            not_taken: 0,
            refused: None,
            followed: None,
            gather: GATHER,
        }
    }

    /// The same, and each round of retention keeps to the retention and size of `settings`.
    #[must_use]
    pub fn following(self, settings: watch::Receiver<config::Store>) -> Self {
        Self {
            followed: Some(settings),
            ..self
        }
    }

    /// Runs until all senders are gone, or until `stop`; then takes what is still handed over
    /// within 5 s, and moves the log into the file.
    pub async fn run(mut self, mut batches: Receiver<StoreBatch>, stop: CancellationToken) {
        let mut retention = tokio::time::interval(RETENTION);
        retention.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut steps = tokio::time::interval(STEP);
        while self.store.is_some() {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = retention.tick() => if let Err(error) = self.retain().await {
                    self.fail("retention", &error);
                },
                _ = steps.tick(), if self.steps == Steps::Due => {
                    self.step().await;
                    steps.reset();
                }
                first = batches.recv() => match first {
                    Some(first) => self.take(first, &mut batches, &stop).await,
                    None => break,
                },
            }
        }
        self.drain(&mut batches, &stop).await;
        if self.not_taken > 0 {
            let rows = self.not_taken;
            tracing::error!(rows, "the store's disk took nothing: these are lost");
        }
        if let Some(Err(error)) = self.blocking(Store::checkpoint).await {
            tracing::warn!(%error, "the store's log was not emptied; the next start does it");
        }
    }

    async fn drain(&mut self, batches: &mut Receiver<StoreBatch>, stop: &CancellationToken) {
        let end = tokio::time::Instant::now() + DRAIN;
        while let Ok(Some(first)) = tokio::time::timeout_at(end, batches.recv()).await {
            self.take(first, batches, stop).await;
        }
        batches.close();
        while let Some(first) = batches.recv().await {
            self.take(first, batches, stop).await;
        }
    }

    /// Writes a batch together with those that come soon after it.
    async fn take(
        &mut self,
        first: StoreBatch,
        batches: &mut Receiver<StoreBatch>,
        stop: &CancellationToken,
    ) {
        let end = tokio::time::Instant::now() + self.gather;
        let mut number = first.rows();
        let mut is_urgent = !first.receipts.is_empty();
        let mut taken = vec![first];
        while number < MAX_ROWS {
            let next = match is_urgent {
                true => batches.try_recv().ok(),
                false => {
                    let next = tokio::time::timeout_at(end, batches.recv()).await;
                    next.ok().flatten()
                }
            };
            let Some(next) = next else {
                break;
            };
            number += next.rows();
            is_urgent |= !next.receipts.is_empty();
            taken.push(next);
        }
        self.write(Arc::new(taken), stop).await;
        self.tell_refused();
        if self.steps == Steps::Idle {
            self.steps = Steps::Due;
        }
    }

    /// Writes, again and again while the disk fails. Whether no more can be done: it is written,
    /// or refused for good.
    async fn write(&mut self, batches: Arc<Vec<StoreBatch>>, stop: &CancellationToken) -> bool {
        let mut pause = PAUSES.0;
        loop {
            let mut retention = RETENTION;
            match self.attempt(&batches).await {
                Some(Ok(())) => return true,
                Some(Err(StoreError::Database(error))) if !is_transient(&error) => {
                    self.note_refused(&error);
                    return self.write_parts(&batches, stop).await;
                }
                Some(Err(error)) => {
                    if error.is_full() {
                        retention = RETENTION_WHEN_FULL;
                    }
                    self.metrics.error(Stage::Store);
                    self.component.unhealthy(&format!("{error}; batches wait"));
                }
                None => {
                    self.lose(&batches, Loss::StorePanic);
                    return false;
                }
            }
            if stop.is_cancelled() {
                if self.stopped.get_or_insert_with(Instant::now).elapsed() >= LAST {
                    self.not_taken += rows(&batches);
                    self.lose(&batches, Loss::StoreStop);
                    return false;
                }
                pause = PAUSES.0;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled(), if self.stopped.is_none() => {}
            }
            if self.retained.elapsed() >= retention {
                // That the disk is full was just said.
                if let Err(error) = self.retain().await
                    && !error.is_full()
                {
                    self.fail("retention", &error);
                }
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// One transaction for all of them; none if the thread panicked.
    async fn attempt(&mut self, batches: &Arc<Vec<StoreBatch>>) -> Option<Result<(), StoreError>> {
        let begun = Instant::now();
        let shared = Arc::clone(batches);
        let written = self.blocking(move |store| store.write(&shared)).await?;
        Some(written.map(|written| self.count(&written, rows(batches), begun.elapsed())))
    }

    async fn retain(&mut self) -> Result<(), StoreError> {
        self.retained = Instant::now();
        // An hour may have ended.
        self.steps = Steps::Due;
        let limits = self.followed.as_ref().map(|limits| {
            let limits = limits.borrow();
            (limits.retention, limits.max_bytes)
        });
        let retain = move |store: &mut Store| {
            if let Some((retention, max_bytes)) = limits {
                store.keep(retention, max_bytes);
            }
            store.retain()
        };
        let done = self.blocking(retain).await;
        done.map_or(Ok(()), |done| done.map(|_| ()))
    }

    async fn step(&mut self) {
        self.steps = match self.blocking(Store::step).await {
            Some(Ok(Done::Nothing)) | None => Steps::Idle,
            Some(Ok(_)) => Steps::Due,
            Some(Err(error)) => {
                self.fail("indexing or summing", &error);
                Steps::Failed
            }
        };
    }

    fn fail(&self, what: &str, error: &StoreError) {
        self.metrics.error(Stage::Store);
        self.component.degraded(&format!("{what} failed: {error}"));
    }

    fn count(&self, written: &Written, rows: u64, latency: Duration) {
        let metrics = &self.metrics;
        metrics.spans_stored.inc_by(written.spans);
        metrics.points_stored.inc_by(written.points);
        metrics.sent(Stage::Store, rows.saturating_sub(written.refused));
        metrics.dropped(Loss::StoreName, written.refused);
        metrics.dropped(Loss::StoreColumn, written.columns_refused);
        self.component.healthy(latency);
    }

    fn lose(&self, batches: &[StoreBatch], loss: Loss) {
        let lost = rows(batches);
        self.metrics.dropped(loss, lost);
        let reason = loss.reason();
        self.component
            .unhealthy(&format!("{lost} rows were dropped: {reason}"));
    }

    /// Runs `work` on a thread that may block; none if it panicked, now or before.
    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> Option<T> {
        let mut store = self.store.take()?;
        let joined = tokio::task::spawn_blocking(move || {
            let result = work(&mut store);
            (store, result)
        });
        match joined.await {
            Ok((store, result)) => {
                self.store = Some(store);
                Some(result)
            }
            Err(error) => {
                self.component
                    .unhealthy(&format!("the writing thread ended: {error}"));
                None
            }
        }
    }
}

fn rows(batches: &[StoreBatch]) -> u64 {
    batches.iter().map(|batch| batch.rows() as u64).sum()
}

#[cfg(test)]
mod tests;

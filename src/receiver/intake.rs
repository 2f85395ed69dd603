//! What both front ends do with a body: read it, hand it over.
//!
//! Input: the decompressed bytes of an OTLP request, and their room in the process's [`Budget`].
//! Output: a [`Batch`] in the queue to the flow, and only then an acknowledgement; of spans and path
//! records only when the store has them. Where there is an upstream, its spool has the request
//! before the flow does. What a request becomes has its room, and the batch holds that until it is
//! stored. A full queue, budget or disk refuses retryably, so the sender keeps
//! what the agent cannot take; nothing is dropped here but spans with invalid ids and path records
//! that cannot be read, which are counted. Every refusal is counted by its reason.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

pub use super::accepted::{Accepted, Encoding};
use super::body::Arrived;
use super::read::{Decoded, read};
use super::refusal::Refusal;
use super::unsure::{Handed, Unsure};
use crate::metrics::{Loss, Metrics, Stage};
use crate::model::{Batch, Budget, Held, Receipt, Signal};
use crate::serve::Access;
use crate::spool::{Spool, SpoolError, Writer};

/// How long the store may take to write a request.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);
/// The budget of an intake that is given none: this many times the largest body.
const BODIES: u64 = 8;

/// The way into the agent; a clone leads to the same queue.
#[derive(Clone)]
pub struct Intake {
    sender: mpsc::Sender<Batch>,
    max_body_bytes: usize,
    budget: Budget,
    /// How long the store may take to write a request, and the spool to take it.
    store_timeout: Duration,
    /// Where requests wait for the upstream, if there is one.
    spool: Option<Writer>,
    /// Where points wait for InfluxDB, if there is one.
    points: Option<Spool>,
    /// Whether spans have to be in the store, as path records have to.
    waits_for_spans: bool,
    unsure: Unsure,
    access: Access,
    metrics: Metrics,
}

impl Intake {
    /// Hands batches to `sender`, and takes bodies of at most `max_body_bytes`; all that it holds
    /// takes at most eight times that, unless it is given another budget.
    #[must_use]
    pub fn new(sender: mpsc::Sender<Batch>, max_body_bytes: usize, metrics: Metrics) -> Self {
        Self {
            sender,
            max_body_bytes,
            budget: Budget::new(BODIES * max_body_bytes as u64),
            store_timeout: STORE_TIMEOUT,
            spool: None,
            points: None,
            waits_for_spans: false,
            unsure: Unsure::default(),
            access: Access::default(),
            metrics,
        }
    }

    /// The same, and requests find room in `budget` or are refused.
    #[must_use]
    pub fn with_budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// The same, and every request goes into `spool` before anything else has it.
    #[must_use]
    pub fn with_spool(self, spool: Option<Writer>) -> Self {
        Self { spool, ..self }
    }

    /// The same, and a request is acknowledged only when its points are in `points`. While that
    /// spool takes nothing, neither does this.
    #[must_use]
    pub fn with_points(self, points: Option<Spool>) -> Self {
        Self { points, ..self }
    }

    /// The same, and a request is acknowledged only when the store has its spans.
    #[must_use]
    pub fn with_stored_spans(self) -> Self {
        Self {
            waits_for_spans: true,
            ..self
        }
    }

    /// The same, and requests come in as `access` says.
    #[must_use]
    pub fn with_access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// Who comes in, and how.
    #[must_use]
    pub const fn access(&self) -> &Access {
        &self.access
    }

    /// Bytes of the largest body, after decompression.
    #[must_use]
    pub const fn max_body_bytes(&self) -> usize {
        self.max_body_bytes
    }

    /// What requests find room in.
    pub(super) const fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Whether a request would be taken now; a body that would not is not worth reading.
    pub(super) fn admit(&self) -> Result<(), Refusal> {
        if self.sender.is_closed() {
            return Err(Refusal::Stopping);
        }
        if self.sender.capacity() == 0 {
            return Err(Refusal::QueueFull);
        }
        let failing = self.points.as_ref().and_then(|spool| spool.stats().failing);
        failing.map_or(Ok(()), |why| Err(Refusal::NotSpooled(why)))
    }

    /// Finds room for `body`, scans and decodes it, waits until the spool has it, if there is one,
    /// and hands it over; waits until the store has its spans and path records, if it has any. A
    /// request without content is taken and goes nowhere.
    ///
    /// # Errors
    /// A [`Refusal`], which is counted.
    pub async fn accept(
        &self,
        signal: Signal,
        encoding: Encoding,
        body: Bytes,
    ) -> Result<Accepted, Refusal> {
        let mut held = self.budget.hold();
        let outcome = match held.grow_to(body.len() as u64) {
            Ok(()) => {
                let arrived = Arrived { bytes: body, held };
                self.take(signal, encoding, arrived).await
            }
            Err(no_room) => Err(no_room.into()),
        };
        outcome.inspect_err(|refusal| self.count_refusal(refusal))
    }

    /// What [`Intake::accept`] does, with a body that has its room; refusals are not counted.
    pub(super) async fn take(
        &self,
        signal: Signal,
        encoding: Encoding,
        arrived: Arrived,
    ) -> Result<Accepted, Refusal> {
        // The payload is kept until the answer, and its room with it.
        let (accepted, handed, _held) = self.hand_over(signal, encoding, arrived).await?;
        match handed.stored(self.store_timeout).await {
            Some(true) => Ok(accepted),
            Some(false) | None => Err(Refusal::NotStored),
        }
    }

    /// Counts a request that was refused.
    pub(super) fn count_refusal(&self, refusal: &Refusal) {
        self.metrics.refused(refusal.reason());
    }

    async fn hand_over(
        &self,
        signal: Signal,
        encoding: Encoding,
        arrived: Arrived,
    ) -> Result<(Accepted, Handed, Arc<Held>), Refusal> {
        use mpsc::error::TrySendError;
        let Arrived { bytes, mut held } = arrived;
        if bytes.len() > self.max_body_bytes {
            return Err(Refusal::TooLarge {
                limit: self.max_body_bytes,
            });
        }
        self.admit()?;
        // The place in the queue comes first: a body that finds none is not worth decoding.
        let place = self.sender.try_reserve().map_err(|error| match error {
            TrySendError::Full(()) => Refusal::QueueFull,
            TrySendError::Closed(()) => Refusal::Stopping,
        })?;
        let decoded = read(signal, encoding, bytes, (&self.budget, &mut held))?;
        let accepted = Accepted {
            rejected: decoded.rejected,
        };
        let payload = decoded.batch.payload.clone();
        let held = Arc::new(held);
        if let Some(handed) = self.unsure.again(signal, &payload) {
            return Ok((accepted, handed, held));
        }
        // What the spool refuses nobody has, so that nothing counts twice when it comes again.
        self.keep(&decoded).await?;
        self.count(&decoded);
        let for_flow = decoded.batch.items();
        let mut batch = decoded.batch;
        batch.held = Some(Arc::clone(&held));
        let mut waiting = Vec::new();
        let mut receipt = |is_needed: bool| {
            is_needed.then(|| {
                let (receipt, pending) = Receipt::pair();
                waiting.push(pending);
                receipt
            })
        };
        let has_spans = self.waits_for_spans && !batch.spans.is_empty();
        batch.receipt = receipt(has_spans || !batch.paths.is_empty());
        batch.points_receipt = receipt(self.points.is_some() && decoded.items > 0);
        if decoded.items > 0 {
            self.metrics.received(Stage::Flow, for_flow);
            batch.share = Some(self.metrics.share(Stage::Flow, for_flow));
            place.send(batch);
        }
        let handed = self.unsure.handed(signal, payload, waiting);
        Ok((accepted, handed, held))
    }

    /// Counts a request that is taken.
    fn count(&self, decoded: &Decoded) {
        let metrics = &self.metrics;
        match decoded.batch.signal {
            Signal::Traces => metrics.spans_received.inc_by(decoded.items),
            Signal::Metrics => metrics.metric_points_received.inc_by(decoded.items),
        }
        metrics.metric_points_unused.inc_by(decoded.unused);
        metrics.received(Stage::Receiver, decoded.items + decoded.rejected);
        metrics.sent(Stage::Receiver, decoded.batch.items() + decoded.unused);
        metrics.dropped(Loss::InvalidId, decoded.rejected);
        metrics.dropped(Loss::PathRecord, decoded.unreadable);
    }

    /// Waits until the spool has the request.
    async fn keep(&self, decoded: &Decoded) -> Result<(), Refusal> {
        let Some(spool) = self.spool.as_ref().filter(|_| decoded.items > 0) else {
            return Ok(());
        };
        let items = u32::try_from(decoded.items).unwrap_or(u32::MAX);
        let (code, payload) = (decoded.batch.signal.code(), &decoded.batch.payload);
        let kept = spool.append(code, items, payload.clone());
        match tokio::time::timeout(self.store_timeout, kept).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(SpoolError::TooLarge { limit, .. })) => Err(Refusal::TooLarge { limit }),
            Ok(Err(SpoolError::Closed)) => Err(Refusal::Stopping),
            Ok(Err(error)) => Err(Refusal::NotSpooled(error.to_string())),
            Err(_) => Err(Refusal::NotSpooled("the disk is too slow".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests;

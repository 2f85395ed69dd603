//! Settling a delivery, and the span that ends with it.
//!
//! The span of a delivery lives in its acker, shared by the acker's clones: it ends when the
//! message is settled, through whichever way, or when the last clone is dropped. A [`Delivery`]
//! itself has no `Drop`, so its fields can be moved out of it.
//!
//! [`Delivery`]: crate::message::Delivery

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use lapin::types::DeliveryTag;
use opentelemetry::trace::{FutureExt, SpanContext, Status, TraceContextExt, WithContext};
use opentelemetry::{Context, KeyValue};

use crate::open::Open;
use crate::semconv;
use crate::settle::{Answer, Settle};
use crate::telemetry::{DestinationText, Telemetry};

/// How a delivery ended: the attribute `rabtrace.settlement`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Settlement {
    /// Acknowledged.
    Ack,
    /// Refused, back into the queue.
    NackRequeue,
    /// Refused, discarded or dead-lettered.
    NackDiscard,
    /// Rejected, back into the queue.
    RejectRequeue,
    /// Rejected, discarded or dead-lettered.
    RejectDiscard,
    /// Settled by the broker when it sent it.
    NoAck,
    /// The last acker was dropped without settling.
    DroppedUnsettled,
    /// The channel or the connection went before it was settled; the broker delivers it again.
    ChannelLost,
}

impl Settlement {
    /// The value of the attribute.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::NackRequeue => "nack_requeue",
            Self::NackDiscard => "nack_discard",
            Self::RejectRequeue => "reject_requeue",
            Self::RejectDiscard => "reject_discard",
            Self::NoAck => "no_ack",
            Self::DroppedUnsettled => "dropped_unsettled",
            Self::ChannelLost => "channel_lost",
        }
    }
}

/// Whether the broker waits for a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckMode {
    Manual,
    NoAck,
}

/// The span of one delivery and what settling it needs.
pub(crate) struct Process {
    pub(crate) acker: lapin::Acker,
    pub(crate) delivery_tag: DeliveryTag,
    pub(crate) ack_mode: AckMode,
    /// None if the delivery has no span, as nothing would record it.
    pub(crate) destination: Option<DestinationText>,
    /// The context with the process span.
    pub(crate) context: Context,
    /// Where the message was published.
    pub(crate) creation: Option<SpanContext>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) open: Weak<Open>,
    pub(crate) ended: AtomicBool,
}

impl Process {
    pub(crate) fn is_traced(&self) -> bool {
        self.destination.is_some()
    }

    /// Ends the span, the first time only.
    pub(crate) fn end(&self, settlement: Settlement) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        let span = self.context.span();
        let settlement = settlement.as_str();
        span.set_attribute(KeyValue::new(semconv::RABTRACE_SETTLEMENT, settlement));
        span.end();
        if self.ack_mode == AckMode::Manual
            && let Some(open) = self.open.upgrade()
        {
            open.remove(self);
        }
    }

    fn fail(&self, error_type: &'static str, message: String) {
        let span = self.context.span();
        span.set_attribute(KeyValue::new(semconv::ERROR_TYPE, error_type));
        span.set_status(Status::error(message));
    }

    /// Ends the span with lapin's error if that took the channel away.
    pub(crate) fn lost(&self, error: &lapin::Error) {
        if self.acker.poisoned() && !self.ended.load(Ordering::Acquire) {
            self.fail(semconv::error_type(error), error.to_string());
            self.end(Settlement::ChannelLost);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.load(Ordering::Acquire) {
            return;
        }
        if std::thread::panicking() {
            self.fail("panic", "the handler panicked".to_owned());
        }
        self.end(match self.ack_mode {
            AckMode::NoAck => Settlement::NoAck,
            AckMode::Manual if self.acker.poisoned() => Settlement::ChannelLost,
            AckMode::Manual => Settlement::DroppedUnsettled,
        });
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Process")
            .field("delivery_tag", &self.delivery_tag)
            .field("span", self.context.span().span_context())
            .finish_non_exhaustive()
    }
}

/// lapin's [`Acker`](lapin::Acker) with the span of its delivery.
#[derive(Clone, Debug)]
pub struct Acker(Arc<Process>);

impl Acker {
    pub(crate) fn new(process: Arc<Process>) -> Self {
        Self(process)
    }

    /// Acknowledges the delivery.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged; `Ok(false)` if it is settled already or the channel is gone.
    pub async fn ack(&self, options: BasicAckOptions) -> lapin::Result<bool> {
        let settle = Settle::ack(options);
        self.settle(settle, self.0.acker.ack(options)).await
    }

    /// Refuses the delivery.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged; `Ok(false)` if it is settled already or the channel is gone.
    pub async fn nack(&self, options: BasicNackOptions) -> lapin::Result<bool> {
        let settle = Settle::nack(options);
        self.settle(settle, self.0.acker.nack(options)).await
    }

    /// Rejects the delivery.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged; `Ok(false)` if it is settled already or the channel is gone.
    pub async fn reject(&self, options: BasicRejectOptions) -> lapin::Result<bool> {
        let settle = Settle::reject(options);
        self.settle(settle, self.0.acker.reject(options)).await
    }

    async fn settle(
        &self,
        settle: Settle,
        call: impl Future<Output = lapin::Result<bool>>,
    ) -> lapin::Result<bool> {
        let alone = !self.0.is_traced() && !settle.is_multiple();
        if alone || !self.0.acker.usable() {
            return call.await;
        }
        let others = self.0.open.upgrade().filter(|_| settle.is_multiple());
        let mut targets = others.map_or_else(Vec::new, |open| open.up_to(self.0.delivery_tag));
        targets.retain(|target| !Arc::ptr_eq(target, &self.0));
        targets.push(Arc::clone(&self.0));
        let settling = settle.begin(&self.0.telemetry, self.0.delivery_tag, targets);
        let result = call.await;
        let answer = match &result {
            Ok(true) => Answer::Sent,
            Ok(false) => Answer::NotSent,
            Err(error) => Answer::Failed(error),
        };
        settling.finish(&answer);
        result
    }

    /// Whether the channel is gone.
    #[must_use]
    pub fn poisoned(&self) -> bool {
        self.0.acker.poisoned()
    }

    /// Whether the delivery can still be settled.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.0.acker.usable()
    }

    /// The context with the delivery's span, for work that belongs to it: spans and publishes
    /// under it are children of the delivery and continue its path.
    #[must_use]
    pub fn context(&self) -> Context {
        self.0.context.clone()
    }

    /// Runs `future` with [`Acker::context`] active.
    pub fn instrument<F: Future>(&self, future: F) -> WithContext<F> {
        future.with_context(self.context())
    }

    /// Records on the delivery's span that handling it failed. Settling it is still up to the
    /// caller, afterwards: the span ends with it.
    ///
    /// ```no_run
    /// use rabtrace_lapin::lapin::options::{BasicAckOptions, BasicNackOptions};
    /// use rabtrace_lapin::message::Delivery;
    ///
    /// # async fn work(data: &[u8]) -> std::io::Result<()> { Ok(()) }
    /// # async fn example(delivery: Delivery) -> rabtrace_lapin::lapin::Result<()> {
    /// if let Err(error) = delivery.instrument(work(&delivery.data)).await {
    ///     delivery.set_error(&error);
    ///     delivery.nack(BasicNackOptions::default()).await?;
    /// } else {
    ///     delivery.ack(BasicAckOptions::default()).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_error(&self, error: &(dyn Error + 'static)) {
        let error_type = error
            .downcast_ref::<lapin::Error>()
            .map_or(semconv::ERROR_TYPE_OTHER, semconv::error_type);
        self.0.context.span().record_error(error);
        self.0.fail(error_type, error.to_string());
    }
}

impl PartialEq for Acker {
    fn eq(&self, other: &Self) -> bool {
        self.0.acker == other.0.acker
    }
}

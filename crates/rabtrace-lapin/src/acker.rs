//! Settling a delivery, and the span that ends with it.
//!
//! The span of a delivery lives in its acker, shared by the acker's clones: it ends when the
//! message is settled, through whichever way, or when the last clone is dropped. A [`Delivery`]
//! itself has no `Drop`, so its fields can be moved out of it.
//!
//! [`Delivery`]: crate::message::Delivery

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use opentelemetry::Context;
use opentelemetry::trace::{FutureExt, TraceContextExt, WithContext};

use crate::path::PathContext;
use crate::process::Process;
use crate::semconv;
use crate::settle::{Answer, Settle, Targets};

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
        self.settle(Settle::Ack(options)).await
    }

    /// Refuses the delivery.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged; `Ok(false)` if it is settled already or the channel is gone.
    pub async fn nack(&self, options: BasicNackOptions) -> lapin::Result<bool> {
        self.settle(Settle::Nack(options)).await
    }

    /// Rejects the delivery.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged; `Ok(false)` if it is settled already or the channel is gone.
    pub async fn reject(&self, options: BasicRejectOptions) -> lapin::Result<bool> {
        self.settle(Settle::Reject(options)).await
    }

    async fn settle(&self, settle: Settle) -> lapin::Result<bool> {
        let process = &self.0;
        let alone = !process.is_traced() && !settle.is_multiple();
        if alone || !self.usable() {
            process.end_if_lost(None);
            return self.send(settle).await;
        }
        let tag = process.delivery_tag;
        let mut others = Vec::new();
        if settle.is_multiple() {
            others = process.source.open.up_to(tag);
            others.retain(|other| !Arc::ptr_eq(other, process));
        }
        let targets = Targets {
            named: Some(Arc::clone(process)),
            others,
        };
        let settling = settle.begin(&process.source.telemetry, tag, targets);
        let result = self.send(settle).await;
        let answer = match &result {
            Ok(true) => Answer::Sent,
            Ok(false) => Answer::NotSent,
            Err(error) => Answer::Failed(error),
        };
        settling.finish(&answer);
        result
    }

    /// Through lapin's acker, or through the channel where the application asked for that.
    async fn send(&self, settle: Settle) -> lapin::Result<bool> {
        let process = &self.0;
        let source = &process.source;
        let mut channel = None;
        if source.telemetry.fast_settle {
            // Claimed also where the channel's handle is gone by now: it may have settled before.
            if !process.acker.usable() || process.claimed.swap(true, Ordering::AcqRel) {
                return Ok(false);
            }
            channel = source.channel.upgrade();
        }
        if let Some(channel) = channel {
            settle.send(&channel, process.delivery_tag).await?;
            return Ok(true);
        }
        match settle {
            Settle::Ack(options) => process.acker.ack(options).await,
            Settle::Nack(options) => process.acker.nack(options).await,
            Settle::Reject(options) => process.acker.reject(options).await,
        }
    }

    /// Whether the channel is gone.
    #[must_use]
    pub fn poisoned(&self) -> bool {
        self.0.acker.poisoned()
    }

    /// Whether the delivery can still be settled.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.0.acker.usable() && !self.0.claimed.load(Ordering::Acquire)
    }

    pub(crate) fn process(&self) -> &Arc<Process> {
        &self.0
    }

    /// The context with the delivery's span, for work that belongs to it: spans and publishes
    /// under it are children of the delivery and continue its path.
    #[must_use]
    pub fn context(&self) -> Context {
        self.0.context()
    }

    /// The path of the message with this delivery; none if the delivery is not traced.
    ///
    /// ```no_run
    /// # fn example(delivery: rabtrace_lapin::message::Delivery) {
    /// if let Some(path) = delivery.path() {
    ///     println!("path {:016x}", path.hash());
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn path(&self) -> Option<PathContext> {
        self.0.handled().map(|handled| handled.path)
    }

    /// Runs `future` with [`Acker::context`] active. If it runs in another task, the one that took
    /// the delivery is free for the next: publishes in the body of its loop belong to that one.
    ///
    /// A future that takes the delivery with it is instrumented through a clone of its acker:
    ///
    /// ```no_run
    /// use rabtrace_lapin::lapin::options::BasicAckOptions;
    /// use rabtrace_lapin::message::Delivery;
    ///
    /// async fn work(delivery: Delivery) {
    ///     let _ = delivery.ack(BasicAckOptions::default()).await;
    /// }
    ///
    /// # fn example(delivery: Delivery) {
    /// let acker = delivery.acker.clone();
    /// tokio::spawn(acker.instrument(work(delivery)));
    /// # }
    /// ```
    pub fn instrument<F: Future>(
        &self,
        future: F,
    ) -> WithContext<impl Future<Output = F::Output> + use<F>> {
        self.0.state_work();
        let process = Arc::downgrade(&self.0);
        let work = async move {
            if let Some(process) = process.upgrade() {
                process.begin_work();
            }
            future.await
        };
        work.with_context(self.context())
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
        if self.0.is_traced() {
            self.0.context().span().record_error(error);
        }
        self.0.fail(error_type, error.to_string());
    }
}

impl PartialEq for Acker {
    fn eq(&self, other: &Self) -> bool {
        self.0.acker == other.0.acker
    }
}

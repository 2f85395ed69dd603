//! Settling a delivery, and the span that ends with it.
//!
//! The span of a delivery lives in its acker, shared by the acker's clones: it ends when the
//! message is settled, through whichever way, or when the last clone is dropped. A [`Delivery`]
//! itself has no `Drop`, so its fields can be moved out of it. Without a span, there is nothing
//! to share: the acker is little more than lapin's.
//!
//! [`Delivery`]: crate::message::Delivery

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use opentelemetry::Context;
use opentelemetry::trace::{FutureExt, TraceContextExt, WithContext};

use crate::path::PathContext;
use crate::process::{Handed, Process};
use crate::semconv;
use crate::settle::{Answer, Settle, Targets};

/// lapin's [`Acker`](lapin::Acker) with the span of its delivery.
#[derive(Clone, Debug)]
pub struct Acker(Of);

/// Of which delivery it is.
#[derive(Clone)]
enum Of {
    Traced(Arc<Process>),
    Untraced {
        handed: Handed,
        /// Whether somebody settles it or has settled it, where that is not lapin's acker's to say.
        claimed: Option<Arc<AtomicBool>>,
    },
}

impl Acker {
    pub(crate) fn traced(process: Arc<Process>) -> Self {
        Self(Of::Traced(process))
    }

    pub(crate) fn untraced(handed: Handed) -> Self {
        let claimed = handed.source.telemetry.fast_settle.then(Arc::default);
        Self(Of::Untraced { handed, claimed })
    }

    /// Acknowledges the delivery.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged; `Ok(false)` if it is settled already or the channel is gone.
    pub async fn ack(&self, options: BasicAckOptions) -> lapin::Result<bool> {
        if let Some(acker) = self.own(options.multiple) {
            return acker.ack(options).await;
        }
        self.settle(Settle::Ack(options)).await
    }

    /// Refuses the delivery.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged; `Ok(false)` if it is settled already or the channel is gone.
    pub async fn nack(&self, options: BasicNackOptions) -> lapin::Result<bool> {
        if let Some(acker) = self.own(options.multiple) {
            return acker.nack(options).await;
        }
        self.settle(Settle::Nack(options)).await
    }

    /// Rejects the delivery.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged; `Ok(false)` if it is settled already or the channel is gone.
    pub async fn reject(&self, options: BasicRejectOptions) -> lapin::Result<bool> {
        if let Some(acker) = self.own(false) {
            return acker.reject(options).await;
        }
        self.settle(Settle::Reject(options)).await
    }

    /// lapin's acker, where settling concerns nothing else: there is no span, of this delivery or
    /// of others that are settled with it.
    fn own(&self, is_multiple: bool) -> Option<&lapin::Acker> {
        match &self.0 {
            Of::Untraced {
                handed,
                claimed: None,
            } if !is_multiple => Some(&handed.acker),
            _ => None,
        }
    }

    async fn settle(&self, settle: Settle) -> lapin::Result<bool> {
        let (handed, process) = (self.handed(), self.process());
        let alone = process.is_none() && !settle.is_multiple();
        if alone || !self.usable() {
            if let Some(process) = process {
                process.end_if_lost(None);
            }
            return self.send(settle).await;
        }
        let tag = handed.delivery_tag;
        let mut others = Vec::new();
        if settle.is_multiple() {
            others = handed.source.open.up_to(tag);
            others.retain(|other| !process.is_some_and(|own| Arc::ptr_eq(other, own)));
        }
        let targets = Targets {
            named: process.cloned(),
            others,
            is_untraced: process.is_none(),
        };
        let settling = settle.begin(&handed.source.telemetry, tag, targets);
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
        let handed = self.handed();
        let (source, acker) = (&handed.source, &handed.acker);
        let mut channel = None;
        if source.telemetry.fast_settle {
            // Claimed also where the channel's handle is gone by now: it may have settled before.
            let claim = |claimed: &AtomicBool| claimed.swap(true, Ordering::AcqRel);
            if !acker.usable() || self.claimed().is_some_and(claim) {
                return Ok(false);
            }
            channel = source.channel.upgrade();
        }
        if let Some(channel) = channel {
            settle.send(&channel, handed.delivery_tag).await?;
            return Ok(true);
        }
        match settle {
            Settle::Ack(options) => acker.ack(options).await,
            Settle::Nack(options) => acker.nack(options).await,
            Settle::Reject(options) => acker.reject(options).await,
        }
    }

    fn handed(&self) -> &Handed {
        match &self.0 {
            Of::Traced(process) => &process.handed,
            Of::Untraced { handed, .. } => handed,
        }
    }

    fn claimed(&self) -> Option<&AtomicBool> {
        match &self.0 {
            Of::Traced(process) => Some(&process.claimed),
            Of::Untraced { claimed, .. } => claimed.as_deref(),
        }
    }

    /// Whether the channel is gone.
    #[must_use]
    pub fn poisoned(&self) -> bool {
        self.handed().acker.poisoned()
    }

    /// Whether the delivery can still be settled.
    #[must_use]
    pub fn usable(&self) -> bool {
        let is_claimed = |claimed: &AtomicBool| claimed.load(Ordering::Acquire);
        self.handed().acker.usable() && !self.claimed().is_some_and(is_claimed)
    }

    /// The delivery with its span; none if it is not traced.
    pub(crate) fn process(&self) -> Option<&Arc<Process>> {
        match &self.0 {
            Of::Traced(process) => Some(process),
            Of::Untraced { .. } => None,
        }
    }

    /// The context with the delivery's span, for work that belongs to it: spans and publishes
    /// under it are children of the delivery and continue its path.
    #[must_use]
    pub fn context(&self) -> Context {
        match &self.0 {
            Of::Traced(process) => process.context(),
            Of::Untraced { handed, .. } => handed.ambient.clone(),
        }
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
        Some(self.process()?.traced.handled.path)
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
        let process = self.process().map(|process| {
            process.state_work();
            Arc::downgrade(process)
        });
        let work = async move {
            if let Some(process) = process.and_then(|process| process.upgrade()) {
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
        if let Some(process) = self.process() {
            process.context().span().record_error(error);
            process.fail(error_type, error.to_string());
        }
    }
}

impl PartialEq for Acker {
    fn eq(&self, other: &Self) -> bool {
        self.handed().acker == other.handed().acker
    }
}

impl fmt::Debug for Of {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Traced(process) => process.fmt(formatter),
            Self::Untraced { handed, .. } => formatter
                .debug_struct("Untraced")
                .field("delivery_tag", &handed.delivery_tag)
                .finish_non_exhaustive(),
        }
    }
}

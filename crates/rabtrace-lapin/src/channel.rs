//! The traced channel: publishing, fetching, consuming and settling.

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions,
    BasicRecoverAsyncOptions, BasicRecoverOptions, BasicRejectOptions,
};
use lapin::types::{DeliveryTag, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, ConnectionStatus, Result};
use opentelemetry::Context;

use crate::config::TraceConfig;
use crate::confirm::TracedConfirm;
use crate::consumer::TracedConsumer;
use crate::delivery::BasicGetMessage;
use crate::operation::Operation;
use crate::outcome::PublishOutcome;
use crate::process::AckMode;
use crate::publish::{Outgoing, Publish};
use crate::returned::BasicReturnMessage;
use crate::sending::{Confirms, Sending};
use crate::settle::{Answer, Settle, Targets};
use crate::shared::{Shared, recovered};
use crate::source::{HandOut, Source, Taken};
use crate::telemetry::Telemetry;

/// A [`lapin::Channel`] whose publishes, deliveries and settlements have spans.
///
/// Everything else of lapin's channel is there through `Deref`, untraced. Clones share the channel
/// and what is open on it. Every error is lapin's own, unchanged.
#[derive(Clone, Debug)]
pub struct TracedChannel {
    inner: Arc<Channel>,
    shared: Arc<Shared>,
}

impl TracedChannel {
    /// Traces a channel with the global tracer and meter providers and the environment's service
    /// name.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self::with_config(channel, &TraceConfig::new())
    }

    /// Traces a channel as `config` says.
    #[must_use]
    pub fn with_config(channel: Channel, config: &TraceConfig) -> Self {
        Self::of_connection(channel, Arc::new(Telemetry::new(config)), None)
    }

    /// Channels of one connection share tracer, instruments and destinations.
    pub(crate) fn of_connection(
        channel: Channel,
        telemetry: Arc<Telemetry>,
        status: Option<ConnectionStatus>,
    ) -> Self {
        Self {
            inner: Arc::new(channel),
            shared: Arc::new(Shared {
                telemetry,
                open: Arc::default(),
                publishes: Arc::default(),
                transactional: AtomicBool::new(false),
                status,
            }),
        }
    }

    /// The channel itself. Deliveries of its own consumers have no spans.
    #[must_use]
    pub fn untraced(&self) -> &Channel {
        &self.inner
    }

    /// Publishes a message under the context that is active when the future is first polled, so
    /// that `instrument` and `with_context` on it hold; without one, under the delivery that the
    /// task took last. The context goes into a copy of the headers; the span ends with the
    /// [`TracedConfirm`].
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    #[expect(clippy::too_many_arguments, reason = "the signature is lapin's")]
    #[expect(
        clippy::manual_async_fn,
        reason = "an `async fn` moves its arguments once more"
    )]
    pub fn basic_publish(
        &self,
        exchange: ShortString,
        routing_key: ShortString,
        options: BasicPublishOptions,
        payload: &[u8],
        properties: BasicProperties,
    ) -> impl Future<Output = Result<TracedConfirm>> {
        async move {
            let shared = &self.shared;
            // Any confirm may bring the message of another publish.
            let may_return = shared.publishes.may_return();
            if !may_return && shared.telemetry.leaves_out() {
                let published =
                    self.inner
                        .basic_publish(exchange, routing_key, options, payload, properties);
                return Ok(TracedConfirm::new(published.await?, None));
            }
            let message = Outgoing {
                exchange: &exchange,
                routing_key: &routing_key,
                data: payload,
                mandatory: options.mandatory,
            };
            let (publish, headers) = {
                let ambient = Context::current();
                Publish::begin(&shared.telemetry, message, &properties, &ambient)
            };
            let is_followed = publish.is_traced() || headers.is_some() || may_return;
            let sending = is_followed.then(|| {
                let how = (&shared.publishes, self.confirms());
                Sending::new(publish, how, shared.status.as_ref())
            });
            let properties = match headers {
                Some(headers) => properties.with_headers(headers),
                None => properties,
            };
            let published =
                self.inner
                    .basic_publish(exchange, routing_key, options, payload, properties);
            match (published.await, sending) {
                (Ok(confirm), None) => Ok(TracedConfirm::new(confirm, None)),
                (Ok(confirm), Some(sending)) => Ok(sending.sent(confirm)),
                (Err(error), sending) => {
                    if let Some(sending) = sending {
                        sending.failed(&error);
                    }
                    Err(error)
                }
            }
        }
    }

    fn confirms(&self) -> Confirms {
        if self.shared.transactional.load(Ordering::Relaxed) {
            Confirms::Transaction
        } else if self.inner.status().confirm() {
            Confirms::On
        } else {
            Confirms::Off
        }
    }

    /// Waits until the last publish is confirmed, and returns the messages that came back for
    /// publishes whose confirm was dropped. Their spans end with what became of them.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn wait_for_confirms(&self) -> Result<Vec<BasicReturnMessage>> {
        let mut returned = self.inner.wait_for_confirms().await?;
        let publishes = &self.shared.publishes;
        for message in publishes.came_back(&returned) {
            self.shared.came_back(message);
        }
        returned.extend(publishes.collect());
        Ok(returned.into_iter().map(Into::into).collect())
    }

    /// Puts the channel into transaction mode: publishes take effect with
    /// [`tx_commit`](Self::tx_commit), and their spans end then.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn tx_select(&self) -> Result<()> {
        self.inner.tx_select().await?;
        self.shared.transactional.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Commits the transaction.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn tx_commit(&self) -> Result<()> {
        let call = self.inner.tx_commit();
        let result = self.shared.operate(Operation::Commit, call).await;
        let outcome = match &result {
            Ok(()) => PublishOutcome::Committed,
            Err(_) => PublishOutcome::ChannelLost,
        };
        self.shared
            .publishes
            .release(outcome, result.as_ref().err());
        result
    }

    /// Takes back the transaction.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn tx_rollback(&self) -> Result<()> {
        let call = self.inner.tx_rollback();
        let result = self.shared.operate(Operation::Rollback, call).await;
        let outcome = PublishOutcome::RolledBack;
        self.shared
            .publishes
            .release(outcome, result.as_ref().err());
        result
    }

    /// Gives all deliveries that are not settled back to the broker; their spans end.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn basic_recover(&self, options: BasicRecoverOptions) -> Result<()> {
        let open = self.shared.open.all();
        let call = self.inner.basic_recover(options);
        let result = self.shared.operate(Operation::Recover, call).await;
        recovered(&open, result.as_ref().err());
        result
    }

    /// As [`basic_recover`](Self::basic_recover), without waiting for the broker.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn basic_recover_async(&self, options: BasicRecoverAsyncOptions) -> Result<()> {
        let open = self.shared.open.all();
        let call = self.inner.basic_recover_async(options);
        let result = self.shared.operate(Operation::Recover, call).await;
        recovered(&open, result.as_ref().err());
        result
    }

    /// Consumes from a queue.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn basic_consume(
        &self,
        queue: ShortString,
        consumer_tag: ShortString,
        options: BasicConsumeOptions,
        arguments: FieldTable,
    ) -> Result<TracedConsumer> {
        let source = self.source(queue.clone(), options.no_ack);
        let consumer = self
            .inner
            .basic_consume(queue, consumer_tag, options, arguments);
        Ok(TracedConsumer::new(consumer.await?, source))
    }

    /// Fetches one message. An empty queue gives no span.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn basic_get(
        &self,
        queue: ShortString,
        options: BasicGetOptions,
    ) -> Result<Option<BasicGetMessage>> {
        let (begun, ambient) = (SystemTime::now(), Context::current());
        let source = self.source(queue.clone(), options.no_ack);
        let how = HandOut {
            ambient: &ambient,
            taken: Taken::ByTask,
            operation: Operation::Receive,
        };
        match self.inner.basic_get(queue, options).await {
            Ok(None) => Ok(None),
            Ok(Some(message)) => {
                source.received(&message.delivery, &ambient, begun);
                Ok(Some(BasicGetMessage {
                    message_count: message.message_count,
                    delivery: source.hand_out(message.delivery, how),
                }))
            }
            Err(error) => {
                source.not_received(&error, &ambient, begun);
                Err(error)
            }
        }
    }

    /// Acknowledges by tag.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn basic_ack(
        &self,
        delivery_tag: DeliveryTag,
        options: BasicAckOptions,
    ) -> Result<()> {
        self.settle(delivery_tag, Settle::Ack(options)).await
    }

    /// Refuses by tag.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn basic_nack(
        &self,
        delivery_tag: DeliveryTag,
        options: BasicNackOptions,
    ) -> Result<()> {
        self.settle(delivery_tag, Settle::Nack(options)).await
    }

    /// Rejects by tag.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn basic_reject(
        &self,
        delivery_tag: DeliveryTag,
        options: BasicRejectOptions,
    ) -> Result<()> {
        self.settle(delivery_tag, Settle::Reject(options)).await
    }

    async fn settle(&self, delivery_tag: DeliveryTag, settle: Settle) -> Result<()> {
        let open = &self.shared.open;
        if open.is_empty() && self.shared.telemetry.leaves_out() {
            return settle.send(&self.inner, delivery_tag).await;
        }
        let mut targets = Targets::default();
        if settle.is_multiple() {
            targets.others = open.up_to(delivery_tag);
            targets.named = targets.others.pop();
        } else {
            targets.named = open.one(delivery_tag);
        }
        let settling = settle.begin(&self.shared.telemetry, delivery_tag, targets);
        let result = settle.send(&self.inner, delivery_tag).await;
        let answer = match &result {
            Ok(()) => Answer::Sent,
            Err(error) => Answer::Failed(error),
        };
        settling.finish(&answer);
        result
    }

    fn source(&self, queue: ShortString, no_ack: bool) -> Arc<Source> {
        Arc::new(Source {
            telemetry: Arc::clone(&self.shared.telemetry),
            open: Arc::clone(&self.shared.open),
            queue,
            ack_mode: if no_ack {
                AckMode::NoAck
            } else {
                AckMode::Manual
            },
            channel: Arc::downgrade(&self.inner),
        })
    }
}

impl Deref for TracedChannel {
    type Target = Channel;

    fn deref(&self) -> &Channel {
        &self.inner
    }
}

impl AsRef<Channel> for TracedChannel {
    fn as_ref(&self) -> &Channel {
        &self.inner
    }
}

impl From<Channel> for TracedChannel {
    fn from(channel: Channel) -> Self {
        Self::new(channel)
    }
}

impl PartialEq for TracedChannel {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

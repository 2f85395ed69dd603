//! The traced channel: publishing, fetching, consuming and settling.

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::SystemTime;

use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions,
    BasicRejectOptions,
};
use lapin::types::{DeliveryTag, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Result};
use opentelemetry::Context;
use opentelemetry::trace::Span;

use crate::acker::AckMode;
use crate::config::TraceConfig;
use crate::confirm::{Confirms, PublishOutcome, PublishSpan, TracedConfirm};
use crate::consumer::TracedConsumer;
use crate::delivery::{BasicGetMessage, Source, delivery_attributes};
use crate::open::Open;
use crate::propagation;
use crate::semconv::{self, Destination};
use crate::settle::{Answer, Settle};
use crate::telemetry::{DestinationText, RECEIVE, Start, Telemetry, fail, message_attributes};

/// A [`lapin::Channel`] whose publishes, deliveries and settlements have spans.
///
/// Everything else of lapin's channel is there through `Deref`, untraced. Clones share the channel
/// and the deliveries that are open on it. Every error is lapin's own, unchanged.
#[derive(Clone, Debug)]
pub struct TracedChannel {
    inner: Channel,
    telemetry: Arc<Telemetry>,
    open: Arc<Open>,
}

impl TracedChannel {
    /// Traces a channel with the global tracer provider and the environment's service name.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self::with_config(channel, &TraceConfig::new())
    }

    /// Traces a channel as `config` says.
    #[must_use]
    pub fn with_config(channel: Channel, config: &TraceConfig) -> Self {
        Self {
            inner: channel,
            telemetry: Arc::new(Telemetry::new(config)),
            open: Arc::default(),
        }
    }

    /// The channel itself. Deliveries of its own consumers have no spans.
    #[must_use]
    pub fn untraced(&self) -> &Channel {
        &self.inner
    }

    /// Publishes a message under the context that is active when the future is first polled, so
    /// that `instrument` and `with_context` on it hold. The context goes into a copy of the
    /// headers; the span ends with the [`TracedConfirm`].
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    #[expect(clippy::too_many_arguments, reason = "the signature is lapin's")]
    pub async fn basic_publish(
        &self,
        exchange: ShortString,
        routing_key: ShortString,
        options: BasicPublishOptions,
        payload: &[u8],
        properties: BasicProperties,
    ) -> Result<TracedConfirm> {
        let (mut publish, properties) = PublishSpan::start(
            &self.telemetry,
            (&exchange, &routing_key),
            properties,
            &Context::current(),
        );
        let confirms = if self.inner.status().confirm() {
            Confirms::On
        } else {
            Confirms::Off
        };
        let published =
            self.inner
                .basic_publish(exchange, routing_key, options, payload, properties);
        match published.await {
            Ok(confirm) => Ok(TracedConfirm::new(confirm, publish, confirms)),
            Err(error) => {
                publish.fail(PublishOutcome::Failed, &error);
                Err(error)
            }
        }
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
        match self.inner.basic_get(queue, options).await {
            Ok(None) => Ok(None),
            Ok(Some(message)) => {
                source.received(&message.delivery, &ambient, begun);
                Ok(Some(BasicGetMessage {
                    message_count: message.message_count,
                    delivery: source.hand_out(message.delivery, &ambient),
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
        let call = self.inner.basic_ack(delivery_tag, options);
        self.settle(delivery_tag, Settle::ack(options), call).await
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
        let call = self.inner.basic_nack(delivery_tag, options);
        self.settle(delivery_tag, Settle::nack(options), call).await
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
        let call = self.inner.basic_reject(delivery_tag, options);
        self.settle(delivery_tag, Settle::reject(options), call)
            .await
    }

    async fn settle(
        &self,
        delivery_tag: DeliveryTag,
        settle: Settle,
        call: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        let targets = if settle.is_multiple() {
            self.open.up_to(delivery_tag)
        } else {
            self.open.one(delivery_tag).into_iter().collect()
        };
        let settling = settle.begin(&self.telemetry, delivery_tag, targets);
        let result = call.await;
        let answer = match &result {
            Ok(()) => Answer::Sent,
            Err(error) => Answer::Failed(error),
        };
        settling.finish(&answer);
        result
    }

    fn source(&self, queue: ShortString, no_ack: bool) -> Source {
        Source {
            telemetry: Arc::clone(&self.telemetry),
            open: Arc::clone(&self.open),
            queue,
            ack_mode: if no_ack {
                AckMode::NoAck
            } else {
                AckMode::Manual
            },
        }
    }
}

impl Source {
    /// The span of a `basic_get` that brought a message; linked to its creation context.
    fn received(&self, delivery: &lapin::message::Delivery, ambient: &Context, begun: SystemTime) {
        if self.telemetry.is_idle(ambient) {
            return;
        }
        let mut attributes = message_attributes(&delivery.routing_key, &delivery.properties);
        attributes.extend(delivery_attributes(delivery));
        let extracted = propagation::extract(delivery.properties.headers().as_ref());
        let mut span = self.telemetry.start(Start {
            operation: &RECEIVE,
            destination: Some(&DestinationText::new(&self.destination(delivery))),
            parent: ambient,
            link: extracted.creation,
            time: begun,
            attributes,
        });
        span.end();
    }

    /// The span of a `basic_get` that failed; all that is known of its destination is the queue.
    fn not_received(&self, error: &lapin::Error, ambient: &Context, begun: SystemTime) {
        let destination = Destination {
            exchange: "",
            routing_key: "",
            queue: Some(self.queue.as_str()),
        };
        let mut span = self.telemetry.start(Start {
            operation: &RECEIVE,
            destination: Some(&DestinationText::new(&destination)),
            parent: ambient,
            link: None,
            time: begun,
            attributes: Vec::new(),
        });
        fail(&mut span, semconv::error_type(error), error.to_string());
        span.end();
    }

    /// Ends the spans of the deliveries that went with the channel.
    pub(crate) fn lost(&self, error: &lapin::Error) {
        for process in self.open.up_to(0) {
            process.lost(error);
        }
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

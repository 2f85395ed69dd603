//! What the services of the pipeline share: their channel, their tracer, the count of messages.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::BasicProperties;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, BasicQosOptions};
use lapin::types::FieldTable;
use opentelemetry::trace::{FutureExt, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use rabtrace_lapin::TracedChannel;
use rabtrace_lapin::message::Delivery;
use tokio::task::JoinSet;

use super::stamps::{Stamps, stamped};

/// Messages of the whole pipeline, each copy in a queue counted once.
#[derive(Default)]
pub(super) struct Counts {
    published: AtomicU64,
    consumed: AtomicU64,
    pub(super) stamps: Stamps,
}

impl Counts {
    /// Copies that were put into queues.
    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Messages that were processed and acknowledged.
    pub(super) fn consumed(&self) -> u64 {
        self.consumed.load(Ordering::Relaxed)
    }
}

/// One service; a clone is the same service.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) channel: TracedChannel,
    tracer: SdkTracer,
    counts: Arc<Counts>,
}

/// A message to publish.
pub(super) struct Message<'a> {
    pub(super) exchange: &'a str,
    pub(super) routing_key: &'a str,
    /// Queues that get a copy of it.
    pub(super) copies: u64,
    pub(super) body: &'a serde_json::Value,
    pub(super) properties: BasicProperties,
}

impl Service {
    pub(super) fn new(
        channel: TracedChannel,
        provider: &SdkTracerProvider,
        counts: Arc<Counts>,
    ) -> Self {
        Self {
            channel,
            tracer: provider.tracer("rabtrace.demo"),
            counts,
        }
    }

    /// Publishes and waits for the broker's confirm.
    pub(super) async fn publish(&self, message: Message<'_>) -> lapin::Result<()> {
        let body = message.body.to_string();
        let properties = message
            .properties
            .with_content_type("application/json".into());
        let properties = stamped(properties);
        let options = BasicPublishOptions::default();
        let confirm = self
            .channel
            .basic_publish(
                message.exchange.into(),
                message.routing_key.into(),
                options,
                body.as_bytes(),
                properties,
            )
            .await?;
        confirm.await?;
        self.counts
            .published
            .fetch_add(message.copies, Ordering::Relaxed);
        Ok(())
    }

    /// Acknowledges a delivery and counts it.
    pub(super) async fn done(&self, delivery: &Delivery) -> lapin::Result<()> {
        delivery
            .ack(lapin::options::BasicAckOptions::default())
            .await?;
        self.counts.consumed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Runs `work` in an inner span that lasts at least `lasting`.
    pub(super) async fn step<F: Future>(
        &self,
        name: &'static str,
        attributes: Vec<KeyValue>,
        work: F,
    ) -> F::Output {
        let span = self
            .tracer
            .span_builder(name)
            .with_attributes(attributes)
            .start(&self.tracer);
        let context = Context::current_with_span(span);
        let result = work.with_context(context.clone()).await;
        context.span().end();
        result
    }

    /// Runs `work` in the span of an incoming HTTP request.
    pub(super) async fn request<F: Future>(&self, attributes: Vec<KeyValue>, work: F) -> F::Output {
        let builder = self
            .tracer
            .span_builder("POST /notifications")
            .with_kind(opentelemetry::trace::SpanKind::Server);
        let span = builder.with_attributes(attributes).start(&self.tracer);
        let context = Context::current_with_span(span);
        let result = work.with_context(context.clone()).await;
        context
            .span()
            .set_attribute(KeyValue::new("http.response.status_code", 202));
        context.span().end();
        result
    }

    /// Consumes `queue` with `handler`, at most `prefetch` messages at once, until the channel closes.
    pub(super) async fn consume<H, F>(
        &self,
        queue: &str,
        prefetch: u16,
        handler: H,
    ) -> lapin::Result<()>
    where
        H: Fn(Self, Delivery) -> F,
        F: Future<Output = lapin::Result<()>> + Send + 'static,
    {
        self.channel
            .basic_qos(prefetch, BasicQosOptions::default())
            .await?;
        let options = BasicConsumeOptions::default();
        let mut consumer = self
            .channel
            .basic_consume(queue.into(), "".into(), options, FieldTable::default())
            .await?;
        let mut running = JoinSet::new();
        while let Some(delivery) = consumer.next().await {
            let delivery = delivery?;
            let wait = Stamps::wait(queue, &delivery);
            let context = delivery.context();
            let work = handler(self.clone(), delivery).with_context(context);
            let (counts, queue) = (Arc::clone(&self.counts), queue.to_owned());
            running.spawn(async move { counts.stamps.time(&queue, wait, work).await });
            while running.len() >= usize::from(prefetch) {
                running.join_next().await;
            }
        }
        Ok(())
    }
}

/// Sets attributes on the span that is current: that of the delivery, in a handler.
pub(super) fn annotate(attributes: Vec<KeyValue>) {
    let context = Context::current();
    attributes
        .into_iter()
        .for_each(|attribute| context.span().set_attribute(attribute));
}

/// Work that takes about `millis`, a third more or less.
pub(super) async fn work(millis: u64) {
    let micros = millis * 1000;
    tokio::time::sleep(Duration::from_micros(fastrand::u64(
        micros * 2 / 3..=micros * 4 / 3,
    )))
    .await;
}

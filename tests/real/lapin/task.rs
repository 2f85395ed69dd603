//! A publish in the body of a loop over a consumer belongs to the delivery of that turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt;
use opentelemetry::Context;
use opentelemetry::trace::{
    FutureExt, SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState,
};
use opentelemetry_sdk::trace::SpanData;
use rabtrace::demo::broker::Broker;
use rabtrace_lapin::lapin::options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions};
use rabtrace_lapin::lapin::types::FieldTable;
use rabtrace_lapin::lapin::{BasicProperties, ConnectionProperties};
use rabtrace_lapin::message::Delivery;
use rabtrace_lapin::{TraceConfig, TracedChannel, TracedConsumer};
use tokio::sync::watch;

use super::service::{Service, attribute, broker, next};

const TASKS: usize = 8;
const MESSAGES: usize = 40;

#[tokio::test]
async fn a_publish_in_the_loop_belongs_to_its_delivery() {
    let broker = broker().await;
    let service = Loop::start(&broker, "in_block_on").await;
    service.send(5).await;
    relay(&service.channel(), &mut service.consume().await, 5).await;
    service.check(5, Parent::Delivery);

    let service = Loop::start(&broker, "in_a_task").await;
    service.send(5).await;
    let (channel, mut consumer) = (service.channel(), service.consume().await);
    let task = tokio::spawn(async move { relay(&channel, &mut consumer, 5).await });
    task.await.unwrap();
    service.check(5, Parent::Delivery);

    an_active_span_wins(&broker).await;
    fetched_in_a_loop(&broker).await;
    not_asked_for(&broker).await;
}

#[tokio::test]
async fn several_deliveries_in_one_task_have_no_wrong_parent() {
    let broker = broker().await;
    for_each_concurrent(&broker).await;
    buffered(&broker).await;
    collected(&broker).await;
    spawned(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_tasks_never_mix_their_deliveries() {
    let broker = broker().await;
    for shared in [false, true] {
        let service = Loop::start(&broker, if shared { "shared" } else { "own" }).await;
        service.send(TASKS * MESSAGES).await;
        let first = service.consume().await;
        let left = Arc::new(AtomicUsize::new(TASKS * MESSAGES));
        let (done, _) = watch::channel(false);
        let mut tasks = Vec::new();
        for number in 0..8 {
            let consumer = if shared {
                first.clone()
            } else if number == 0 {
                continue;
            } else {
                service.consume().await
            };
            let (channel, left, done) = (service.channel(), Arc::clone(&left), done.clone());
            tasks.push(tokio::spawn(share(channel, consumer, (left, done), number)));
        }
        if !shared {
            let (channel, left, done) = (service.channel(), Arc::clone(&left), done.clone());
            tasks.push(tokio::spawn(share(channel, first, (left, done), 0)));
        }
        for task in tasks {
            task.await.unwrap();
        }
        service.check(TASKS * MESSAGES, Parent::Delivery);
    }
}

/// Handles deliveries until all tasks together had all of them.
async fn share(
    channel: TracedChannel,
    mut consumer: TracedConsumer,
    (left, done): (Arc<AtomicUsize>, watch::Sender<bool>),
    number: u64,
) {
    let mut finished = done.subscribe();
    loop {
        let delivery = tokio::select! {
            delivery = consumer.next() => delivery.unwrap().unwrap(),
            _ = finished.wait_for(|finished| *finished) => return,
        };
        for _ in 0..(number * 7 + delivery.delivery_tag * 5) % 6 {
            tokio::task::yield_now().await;
        }
        publish(&channel, &delivery).await;
        tokio::task::yield_now().await;
        publish(&channel, &delivery).await;
        delivery.ack(BasicAckOptions::default()).await.unwrap();
        if left.fetch_sub(1, Ordering::AcqRel) == 1 {
            done.send_replace(true);
        }
    }
}

/// What the publishes of a test belong to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Parent {
    Delivery,
    DeliveryOrNone,
    None,
}

/// A service that takes from one queue and publishes to another.
struct Loop {
    gateway: Service,
    planner: Service,
    queue: String,
}

impl Loop {
    async fn start(broker: &Broker, queue: &str) -> Self {
        Self::configured(broker, queue, |config| config).await
    }

    async fn configured(
        broker: &Broker,
        queue: &str,
        change: impl FnOnce(TraceConfig) -> TraceConfig,
    ) -> Self {
        let gateway = Service::connect(broker, "gateway").await;
        let properties = ConnectionProperties::default();
        let url = broker.amqp_url();
        let planner = Service::connect_with(&url, "planner", properties, change).await;
        gateway.queue(queue, FieldTable::default()).await;
        Self {
            gateway,
            planner,
            queue: queue.to_owned(),
        }
    }

    fn channel(&self) -> TracedChannel {
        self.planner.channel.clone()
    }

    async fn consume(&self) -> TracedConsumer {
        self.planner.consume(&self.queue).await
    }

    async fn send(&self, messages: usize) {
        for number in 0..messages {
            let id = format!("m-{number}");
            let properties = BasicProperties::default().with_message_id(id.into());
            let options = BasicPublishOptions::default();
            let (exchange, key) = ("".into(), self.queue.as_str().into());
            let channel = &self.gateway.channel;
            let sent = channel.basic_publish(exchange, key, options, b"body", properties);
            sent.await.unwrap();
        }
    }

    /// Each publish carries the id of the message in whose turn it was made.
    fn check(&self, messages: usize, expect: Parent) {
        let spans = self.planner.take();
        let of = |operation: &str| -> Vec<&SpanData> {
            let spans = spans.iter();
            let named = |span: &&SpanData| {
                attribute(span, "messaging.operation.name").as_deref() == Some(operation)
            };
            spans.filter(named).collect()
        };
        let (processes, publishes) = (of("process"), of("publish"));
        assert_eq!(processes.len(), messages, "{}", self.queue);
        assert!(publishes.len() >= messages, "{}", self.queue);
        let id = |span: &SpanData| attribute(span, "messaging.message.id").unwrap();
        for publish in publishes {
            let parent = publish.parent_span_id;
            if parent == SpanId::INVALID {
                assert_ne!(expect, Parent::Delivery, "{publish:#?}");
                continue;
            }
            assert_ne!(expect, Parent::None, "{publish:#?}");
            let process = processes
                .iter()
                .find(|process| process.span_context.span_id() == parent)
                .unwrap();
            assert_eq!(id(process), id(publish), "another delivery's publish");
            assert_eq!(
                attribute(publish, "rabtrace.path.parent"),
                attribute(process, "rabtrace.path.hash")
            );
            assert_eq!(
                process.span_context.trace_id(),
                publish.span_context.trace_id()
            );
        }
    }
}

/// Without a word about the delivery: only its message id goes along, for the test.
async fn publish(channel: &TracedChannel, delivery: &Delivery) {
    publish_as(channel, delivery.properties.message_id().clone().unwrap()).await;
}

async fn publish_as(channel: &TracedChannel, id: rabtrace_lapin::lapin::types::ShortString) {
    let properties = BasicProperties::default().with_message_id(id);
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish("".into(), "nobody".into(), options, b"body", properties);
    sent.await.unwrap();
}

async fn relay(channel: &TracedChannel, consumer: &mut TracedConsumer, messages: usize) {
    for _ in 0..messages {
        let delivery = next(consumer).await;
        tokio::task::yield_now().await;
        publish(channel, &delivery).await;
        delivery.ack(BasicAckOptions::default()).await.unwrap();
    }
}

async fn an_active_span_wins(broker: &Broker) {
    let service = Loop::start(broker, "ambient").await;
    service.send(1).await;
    let mut consumer = service.consume().await;
    let delivery = next(&mut consumer).await;
    let own = SpanContext::new(
        TraceId::from(0xa11),
        SpanId::from(0xa12),
        TraceFlags::SAMPLED,
        false,
        TraceState::default(),
    );
    let active = Context::new().with_remote_span_context(own.clone());
    let channel = service.channel();
    publish(&channel, &delivery).with_context(active).await;
    drop(delivery);
    let spans = service.planner.take();
    let [publish, process] = spans.as_slice() else {
        panic!("{spans:#?}");
    };
    assert_eq!(publish.parent_span_id, own.span_id());
    let links: Vec<_> = publish.links.iter().collect();
    assert_eq!(links.len(), 1);
    let linked = links[0].span_context.span_id();
    assert_eq!(linked, process.span_context.span_id());
    assert_eq!(
        attribute(publish, "rabtrace.path.parent"),
        attribute(process, "rabtrace.path.hash")
    );
}

async fn fetched_in_a_loop(broker: &Broker) {
    let service = Loop::start(broker, "fetched").await;
    let gateway = &service.gateway;
    gateway
        .channel
        .confirm_select(Default::default())
        .await
        .unwrap();
    service.send(5).await;
    gateway.channel.wait_for_confirms().await.unwrap();
    let channel = service.channel();
    let queue = || service.queue.as_str().into();
    let mut seen = 0;
    while let Some(message) = channel
        .basic_get(queue(), BasicGetOptions::default())
        .await
        .unwrap()
    {
        publish(&channel, &message.delivery).await;
        message.ack(BasicAckOptions::default()).await.unwrap();
        seen += 1;
    }
    assert_eq!(seen, 5);
    service.check(5, Parent::Delivery);
}

async fn not_asked_for(broker: &Broker) {
    let service = Loop::configured(broker, "unasked", TraceConfig::without_task_parent).await;
    service.send(3).await;
    relay(&service.channel(), &mut service.consume().await, 3).await;
    service.check(3, Parent::None);
}

async fn for_each_concurrent(broker: &Broker) {
    for instrumented in [false, true] {
        let service = Loop::start(broker, "concurrent").await;
        service.send(MESSAGES).await;
        let channel = service.channel();
        let deliveries = service.consume().await.take(MESSAGES);
        let handled = deliveries.for_each_concurrent(TASKS, |delivery| async {
            let delivery = delivery.unwrap();
            for _ in 0..delivery.delivery_tag % 4 {
                tokio::task::yield_now().await;
            }
            let publish = publish(&channel, &delivery);
            if instrumented {
                delivery.instrument(publish).await;
            } else {
                publish.await;
            }
            delivery.ack(BasicAckOptions::default()).await.unwrap();
        });
        handled.await;
        let expect = [Parent::DeliveryOrNone, Parent::Delivery][usize::from(instrumented)];
        service.check(MESSAGES, expect);
    }
}

async fn buffered(broker: &Broker) {
    let service = Loop::start(broker, "buffered").await;
    service.send(MESSAGES).await;
    let channel = service.channel();
    let deliveries = service.consume().await.take(MESSAGES);
    let handled = deliveries.map(|delivery| async {
        let delivery = delivery.unwrap();
        for _ in 0..delivery.delivery_tag % 3 {
            tokio::task::yield_now().await;
        }
        publish(&channel, &delivery).await;
        delivery.ack(BasicAckOptions::default()).await.unwrap();
    });
    let handled = handled.buffer_unordered(TASKS).count().await;
    assert_eq!(handled, MESSAGES);
    service.check(MESSAGES, Parent::DeliveryOrNone);
}

async fn collected(broker: &Broker) {
    let service = Loop::start(broker, "collected").await;
    service.send(6).await;
    let (channel, mut consumer) = (service.channel(), service.consume().await);
    let mut batch = Vec::new();
    for _ in 0..5 {
        batch.push(next(&mut consumer).await);
    }
    for delivery in &batch {
        publish(&channel, delivery).await;
    }
    let last = batch.pop().unwrap();
    last.ack(BasicAckOptions { multiple: true }).await.unwrap();
    drop((batch, last));
    service.check(5, Parent::None);
    // With the batch gone it can be told again.
    relay(&channel, &mut consumer, 1).await;
    service.check(1, Parent::Delivery);
}

async fn spawned(broker: &Broker) {
    for way in ["instrument", "context", "plain"] {
        let service = Loop::start(broker, way).await;
        service.send(10).await;
        let mut consumer = service.consume().await;
        let mut tasks = Vec::new();
        for _ in 0..10 {
            let (delivery, channel) = (next(&mut consumer).await, service.channel());
            let context = delivery.context();
            tasks.push(tokio::spawn(async move {
                tokio::task::yield_now().await;
                let publish = publish(&channel, &delivery);
                match way {
                    "instrument" => delivery.instrument(publish).await,
                    "context" => publish.with_context(context).await,
                    _ => publish.await,
                }
                delivery.ack(BasicAckOptions::default()).await.unwrap();
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let expect = match way {
            "plain" => Parent::None,
            _ => Parent::Delivery,
        };
        service.check(10, expect);
    }
}

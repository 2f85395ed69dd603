//! One trace and one path from publish to delivery, through every way to receive.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::{SpanId, SpanKind, TraceContextExt};
use rabtrace::demo::broker::Broker;
use rabtrace_lapin::lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions,
    ExchangeDeclareOptions, QueueBindOptions,
};
use rabtrace_lapin::lapin::types::FieldTable;
use rabtrace_lapin::lapin::{BasicProperties, ExchangeKind};
use rabtrace_lapin::message::DeliveryResult;

use super::service::{Service, assert_child, attribute, broker, next};
use crate::support::eventually;

#[tokio::test]
async fn one_trace_and_one_path_through_every_way_to_receive() {
    let broker = broker().await;
    through_a_stream(&broker).await;
    through_a_delegate(&broker).await;
    through_basic_get(&broker).await;
    without_acknowledgements(&broker).await;
    fanned_out(&broker).await;
}

async fn through_a_stream(broker: &Broker) {
    let gateway = Service::connect(broker, "gateway").await;
    let planner = Service::connect(broker, "planner").await;
    planner.queue("tasks", FieldTable::default()).await;
    planner.queue("weather", FieldTable::default()).await;
    let mut consumer = planner.consume("tasks").await;
    let confirm = gateway.publish("", "tasks").await.unwrap();
    drop(confirm);
    let publish = gateway.take_one();
    assert_eq!(publish.span_kind, SpanKind::Producer);
    assert_eq!(
        attribute(&publish, "rabtrace.publish.outcome").as_deref(),
        Some("unconfirmed")
    );
    let port = broker.amqp_url().rsplit(':').next().unwrap().to_owned();
    assert_eq!(
        attribute(&publish, "server.address").as_deref(),
        Some("127.0.0.1")
    );
    assert_eq!(attribute(&publish, "server.port"), Some(port));

    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.data, b"body");
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let inner = planner.channel.basic_publish(
        "".into(),
        "weather".into(),
        options,
        &delivery.data,
        properties,
    );
    delivery.instrument(inner).await.unwrap();
    delivery.ack(BasicAckOptions::default()).await.unwrap();
    let spans = planner.take();
    let [inner, ack, process] = spans.as_slice() else {
        panic!("{spans:#?}");
    };
    assert_eq!(process.name, "process tasks");
    assert_eq!(process.span_kind, SpanKind::Consumer);
    assert_eq!(
        (&*ack.name, &ack.span_kind),
        ("ack tasks", &SpanKind::Client)
    );
    assert_child(process, &publish);
    assert_child(ack, process);
    assert_child(inner, process);
    let text = |span, name: &str| attribute(span, name);
    assert_eq!(
        text(process, "rabtrace.path.parent"),
        text(&publish, "rabtrace.path.hash")
    );
    assert_eq!(
        text(inner, "rabtrace.path.parent"),
        text(process, "rabtrace.path.hash")
    );
    assert!(text(process, "rabtrace.path.edge.duration").is_some());
    assert_eq!(text(process, "rabtrace.settlement").as_deref(), Some("ack"));
}

async fn through_a_delegate(broker: &Broker) {
    let gateway = Service::connect(broker, "gateway").await;
    let weather = Service::connect(broker, "weather").await;
    weather.queue("forecasts", FieldTable::default()).await;
    let (sender, mut seen) = tokio::sync::mpsc::channel(8);
    let consumer = weather.consume("forecasts").await;
    consumer.set_delegate(move |delivery: DeliveryResult| {
        let called_in = Context::current().span().span_context().span_id();
        let sender = sender.clone();
        async move {
            let Ok(Some(delivery)) = delivery else {
                return;
            };
            tokio::task::yield_now().await;
            let polled_in = Context::current().span().span_context().span_id();
            delivery.ack(BasicAckOptions::default()).await.unwrap();
            sender.send((called_in, polled_in)).await.unwrap();
        }
    });
    gateway.publish("", "forecasts").await.unwrap();
    let (called_in, polled_in) = seen.recv().await.unwrap();
    let publish = gateway.take_one();
    let spans = weather.take();
    let [_, process] = spans.as_slice() else {
        panic!("{spans:#?}");
    };
    assert_child(process, &publish);
    assert_eq!(called_in, process.span_context.span_id());
    assert_eq!(polled_in, process.span_context.span_id());
}

async fn through_basic_get(broker: &Broker) {
    let gateway = Service::connect(broker, "gateway").await;
    let search = Service::connect(broker, "search").await;
    search.queue("searches", FieldTable::default()).await;
    let get = || {
        search
            .channel
            .basic_get("searches".into(), BasicGetOptions::default())
    };
    assert!(get().await.unwrap().is_none());
    assert_eq!(search.ended(), 0, "an empty queue has no span");
    gateway.publish("", "searches").await.unwrap();
    let message = eventually("the message", Duration::from_secs(10), || async {
        get().await.unwrap()
    });
    let message = message.await;
    message.ack(BasicAckOptions::default()).await.unwrap();
    let publish = gateway.take_one();
    let spans = search.take();
    let [receive, ack, process] = spans.as_slice() else {
        panic!("{spans:#?}");
    };
    assert_eq!(
        (&*receive.name, &receive.span_kind),
        ("receive searches", &SpanKind::Client)
    );
    assert_eq!(receive.parent_span_id, SpanId::INVALID);
    let link = &receive.links.links[0].span_context;
    assert_eq!(link.span_id(), publish.span_context.span_id());
    assert_eq!(attribute(receive, "rabtrace.path.hash"), None);
    assert_child(process, &publish);
    assert_child(ack, process);
}

async fn without_acknowledgements(broker: &Broker) {
    let gateway = Service::connect(broker, "gateway").await;
    let audit = Service::connect(broker, "audit").await;
    audit.queue("audit", FieldTable::default()).await;
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let arguments = FieldTable::default();
    let consumer = audit
        .channel
        .basic_consume("audit".into(), "mine".into(), options, arguments);
    let mut consumer = consumer.await.unwrap();
    assert_eq!(
        (consumer.tag().as_str(), consumer.queue().as_str()),
        ("mine", "audit")
    );
    gateway.publish("", "audit").await.unwrap();
    let delivery = next(&mut consumer).await;
    assert_eq!(audit.ended(), 0);
    drop(delivery);
    let process = audit.take_one();
    assert_child(&process, &gateway.take_one());
    assert_eq!(
        attribute(&process, "rabtrace.settlement").as_deref(),
        Some("no_ack")
    );
}

async fn fanned_out(broker: &Broker) {
    let gateway = Service::connect(broker, "gateway").await;
    let (kind, options) = (ExchangeKind::Fanout, ExchangeDeclareOptions::default());
    let channel = &gateway.channel;
    let declared = channel.exchange_declare("events".into(), kind, options, FieldTable::default());
    declared.await.unwrap();
    let mut consumers = Vec::new();
    for queue in ["billing", "archive"] {
        let service = Service::connect(broker, queue).await;
        service.queue(queue, FieldTable::default()).await;
        let bound = service.channel.queue_bind(
            queue.into(),
            "events".into(),
            "".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        bound.await.unwrap();
        let consumer = service.consume(queue).await;
        consumers.push((service, consumer));
    }
    gateway.publish("events", "order.new").await.unwrap();
    let publish = gateway.take_one();
    assert_eq!(publish.name, "publish events:order.new");
    let mut hashes = Vec::new();
    for (service, consumer) in &mut consumers {
        next(consumer).await;
        let process = service.take_one();
        assert_child(&process, &publish);
        let parent = attribute(&process, "rabtrace.path.parent");
        assert_eq!(parent, attribute(&publish, "rabtrace.path.hash"));
        hashes.push(attribute(&process, "rabtrace.path.hash"));
    }
    assert_ne!(hashes[0], hashes[1]);
}

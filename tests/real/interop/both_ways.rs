//! One hop from Rust and one to Rust, with every instrumentation.

use opentelemetry::trace::{FutureExt, SpanKind};
use rabtrace::demo::broker::Broker;
use rabtrace_lapin::lapin::options::BasicAckOptions;
use rabtrace_lapin::lapin::types::FieldTable;

use super::peer::Peer;
use super::request;
use crate::lapin::service::{Service, attribute, broker, next};

#[tokio::test]
async fn one_trace_with_pika_both_ways() {
    both_ways(Peer::Pika).await;
}

#[tokio::test]
async fn one_trace_with_aio_pika_both_ways() {
    both_ways(Peer::AioPika).await;
}

#[tokio::test]
async fn one_trace_with_amqplib_both_ways() {
    both_ways(Peer::Amqplib).await;
}

async fn both_ways(peer: Peer) {
    let broker = broker().await;
    from_rust(&broker, peer).await;
    to_rust(&broker, peer).await;
}

async fn from_rust(broker: &Broker, peer: Peer) {
    let gateway = Service::confirming(broker, "gateway").await;
    gateway.queue("tasks", FieldTable::default()).await;
    for _ in 0..2 {
        let publish = gateway
            .publish("", "tasks")
            .with_context(request::context());
        publish.await.unwrap().await.unwrap();
    }
    let published = gateway.take();
    let report = peer.run(broker, &["consume", "tasks", "2"]).await;
    assert_eq!(
        (report.messages.len(), report.spans.len()),
        (2, 2),
        "{report:#?}"
    );
    for (at, publish) in published.iter().enumerate() {
        let (span, message) = (&report.spans[at], &report.messages[at]);
        let id = publish.span_context.span_id().to_string();
        assert_eq!(span.kind, "consumer");
        assert_eq!(span.trace, request::TRACE);
        assert_eq!(publish.span_context.trace_id().to_string(), request::TRACE);
        assert_eq!((span.parent.as_ref(), &*span.links), (Some(&id), &[][..]));
        assert!(span.name.starts_with("tasks "), "{span:?}");
        assert_eq!(span.attributes["messaging.system"], "rabbitmq");

        let parent = format!("00-{}-{id}-01", request::TRACE);
        assert_eq!(message.headers["traceparent"], parent);
        let path = request::path(&message.headers["tracestate"]);
        assert_eq!(
            request::hash(&path),
            attribute(publish, "rabtrace.path.hash")
        );
        assert_eq!(message.baggage, request::whole_baggage());
        assert_eq!(message.body, "body");
    }
}

async fn to_rust(broker: &Broker, peer: Peer) {
    let planner = Service::connect(broker, "planner").await;
    planner.queue("plans", FieldTable::default()).await;
    let mut consumer = planner.consume("plans").await;
    // Somebody before the peer was at 0x1f, 0x100 microseconds after 0x10.
    let carrier = request::carrier("1AAAAAAAAAB8AAAAAAAAQAAAAAAEAAAAA");
    let report = peer.run(broker, &["publish", "plans", &carrier]).await;
    let producer = report.innermost();
    assert_eq!(producer.kind, "producer");
    assert_eq!(producer.trace, request::TRACE);
    let above = report.outermost(producer).parent.as_deref();
    assert_eq!(above, Some(request::PARENT));

    let delivery = next(&mut consumer).await;
    let context = delivery.context();
    assert_eq!(request::read(&context), request::baggage_behind(peer));
    let path = request::path_of(&delivery);
    assert_eq!(path.origin_us(), 0x10);
    delivery.ack(BasicAckOptions::default()).await.unwrap();

    let spans = planner.take();
    let [_ack, process] = spans.as_slice() else {
        panic!("{spans:#?}");
    };
    assert_eq!(process.span_kind, SpanKind::Consumer);
    assert_eq!(process.span_context.trace_id().to_string(), request::TRACE);
    assert_eq!(process.parent_span_id.to_string(), producer.span);
    assert!(process.parent_span_is_remote);
    let text = |name: &str| attribute(process, name);
    assert_eq!(
        text("rabtrace.path.parent").as_deref(),
        Some("000000000000001f")
    );
    assert_eq!(text("rabtrace.path.hash"), request::hash(&path));
}

//! With a program that knows nothing of tracing at the other end.

use std::collections::BTreeSet;

use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{FutureExt, SpanId, Status};
use rabtrace::demo::broker::Broker;
use rabtrace_lapin::lapin::options::BasicAckOptions;
use rabtrace_lapin::lapin::types::FieldTable;

use super::peer::Peer;
use super::request;
use crate::lapin::service::{Service, attribute, broker, next};

/// As many as plain_peer.py publishes: one without headers, and one for each odd value.
const MESSAGES: usize = 12;

#[tokio::test]
async fn a_peer_without_tracing_is_no_trouble() {
    let broker = broker().await;
    to_rust(&broker).await;
    from_rust(&broker).await;
}

/// Never an error: what cannot be read begins a new trace.
async fn to_rust(broker: &Broker) {
    let planner = Service::connect(broker, "planner").await;
    planner.queue("plans", FieldTable::default()).await;
    let mut consumer = planner.consume("plans").await;
    Peer::Plain.run(broker, &["publish", "plans"]).await;
    let mut traces = BTreeSet::new();
    for _ in 0..MESSAGES {
        let delivery = next(&mut consumer).await;
        let body = String::from_utf8(delivery.data.clone()).unwrap();
        assert!(delivery.context().baggage().is_empty(), "{body}");
        delivery.ack(BasicAckOptions::default()).await.unwrap();
        let spans = planner.take();
        let [_ack, process] = spans.as_slice() else {
            panic!("{body}: {spans:#?}");
        };
        assert_eq!(process.status, Status::Unset, "{body}");
        assert_eq!(attribute(process, "error.type"), None, "{body}");
        assert_eq!(attribute(process, "rabtrace.path.parent"), None, "{body}");
        assert!(attribute(process, "rabtrace.path.hash").is_some(), "{body}");
        let trace = process.span_context.trace_id().to_string();
        if body == "valid text as bytes" {
            // The one that can be read: what Python has as bytes is text all the same.
            assert_eq!(process.parent_span_id.to_string(), "b7ad6b7169203331");
            assert_eq!(trace, "0af7651916cd43dd8448eb211c80319c");
            assert_eq!(process.links.len(), 1);
        } else {
            assert!(process.links.is_empty(), "{body}");
            assert_eq!(process.parent_span_id, SpanId::INVALID, "{body}");
        }
        assert!(traces.insert(trace), "{body} shares another one's trace");
    }
    let left = planner
        .channel
        .basic_get("plans".into(), Default::default());
    assert!(left.await.unwrap().is_none(), "more than {MESSAGES} came");
}

/// The headers are plain text that anybody can read.
async fn from_rust(broker: &Broker) {
    let gateway = Service::confirming(broker, "gateway").await;
    gateway.queue("tasks", FieldTable::default()).await;
    let publish = gateway
        .publish("", "tasks")
        .with_context(request::context());
    publish.await.unwrap().await.unwrap();
    let publish = gateway.take_one();
    let report = Peer::Plain.run(broker, &["consume", "tasks", "1"]).await;
    let message = report.message();
    let types: Vec<_> = message.types.iter().collect();
    let text =
        ["baggage", "traceparent", "tracestate"].map(|key| (key.to_owned(), "str".to_owned()));
    assert_eq!(
        types,
        text.iter()
            .map(|(key, name)| (key, name))
            .collect::<Vec<_>>()
    );
    let id = publish.span_context.span_id();
    let parent = format!("00-{}-{id}-01", request::TRACE);
    assert_eq!(message.headers["traceparent"], parent);
    let state = &message.headers["tracestate"];
    assert!(state.starts_with("rabtrace=1"), "{state}");
    assert!(state.ends_with(&format!(",{}", request::VENDOR)), "{state}");
    let baggage = &message.headers["baggage"];
    assert!(baggage.contains("user_name=two%20words"), "{baggage}");
    assert!(
        baggage.contains("tenant.id=Gr%C3%BC%C3%9Fe%2C%3B"),
        "{baggage}"
    );
    assert!(baggage.is_ascii(), "{baggage}");
}

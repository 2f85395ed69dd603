//! Which context a message is sent with: the publish's own, unless the application put one there.

use std::collections::HashSet;
use std::time::Duration;

use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{
    FutureExt, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use rabtrace::demo::broker::Broker;
use rabtrace_lapin::lapin::options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions};
use rabtrace_lapin::lapin::types::{AMQPValue, FieldTable, LongString};
use rabtrace_lapin::lapin::{BasicProperties, message};
use rabtrace_lapin::{ExistingContext, Rule};

use super::service::{Service, assert_child, broker, next};
use crate::support::eventually;

const OWN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn a_message_has_the_context_of_its_publish() {
    let broker = broker().await;
    the_applications_own_is_kept(&broker).await;
    unless_a_rule_replaces_it(&broker).await;
    one_that_a_delivery_brought_is_replaced(&broker).await;
    through_five_hops(&broker).await;
    properties_that_are_used_again(&broker).await;
    unsampled(&broker).await;
    what_does_not_fit_is_counted(&broker).await;
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

fn with_headers(entries: &[(&str, AMQPValue)]) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (key, value) in entries {
        headers.insert((*key).into(), value.clone());
    }
    BasicProperties::default().with_headers(headers)
}

async fn publish(service: &Service, key: &str, properties: BasicProperties) {
    let options = BasicPublishOptions::default();
    let channel = &service.channel;
    let published = channel.basic_publish("".into(), key.into(), options, b"body", properties);
    published.await.unwrap().await.unwrap();
}

/// What is on the wire, taken by lapin alone.
async fn on_the_wire(service: &Service, queue: &str) -> message::Delivery {
    let channel = service.channel.untraced();
    let get = || channel.basic_get(queue.into(), BasicGetOptions { no_ack: true });
    let message = eventually("the message", Duration::from_secs(10), || async {
        get().await.unwrap()
    });
    message.await.delivery
}

fn header(properties: &BasicProperties, key: &str) -> Option<String> {
    let headers = properties.headers().as_ref()?;
    match headers.inner().get(key)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}

fn parent_of(context: &SpanContext) -> String {
    let flags = context.trace_flags().to_u8();
    format!(
        "00-{}-{}-{flags:02x}",
        context.trace_id(),
        context.span_id()
    )
}

async fn the_applications_own_is_kept(broker: &Broker) {
    let service = Service::confirming(broker, "gateway").await;
    service.queue("kept", FieldTable::default()).await;
    let state = "other=1,rabtrace=nonsense";
    let properties = with_headers(&[("traceparent", text(OWN)), ("tracestate", text(state))]);
    publish(&service, "kept", properties.clone()).await;
    let sent = on_the_wire(&service, "kept").await;
    assert_eq!(sent.properties, properties);
    let span = service.take_one();
    assert_eq!(span.span_kind, SpanKind::Client);
    assert_ne!(parent_of(&span.span_context), OWN);
    assert_eq!(span.parent_span_id, SpanId::INVALID);
    let links: Vec<String> = span
        .links
        .iter()
        .map(|link| parent_of(&link.span_context))
        .collect();
    assert_eq!(links, [OWN]);
}

async fn unless_a_rule_replaces_it(broker: &Broker) {
    let rule = Rule::queue("replaced").with_existing_context(ExistingContext::Replace);
    let change = |config: rabtrace_lapin::TraceConfig| config.with_rule(rule);
    let service = Service::configured(&broker.amqp_url(), "gateway", change).await;
    service.queue("replaced", FieldTable::default()).await;
    service.queue("kept", FieldTable::default()).await;
    for (queue, is_replaced) in [("replaced", true), ("kept", false)] {
        publish(&service, queue, with_headers(&[("traceparent", text(OWN))])).await;
        let sent = on_the_wire(&service, queue).await;
        let span = service.take_one();
        let own = parent_of(&span.span_context);
        let expect = if is_replaced { own } else { OWN.to_owned() };
        assert_eq!(header(&sent.properties, "traceparent"), Some(expect));
        assert_eq!(span.links.iter().count(), usize::from(!is_replaced));
        let kinds = [SpanKind::Client, SpanKind::Producer];
        assert_eq!(span.span_kind, kinds[usize::from(is_replaced)]);
    }
}

/// In the loop, from a task of its own, and after the delivery is settled and gone.
async fn one_that_a_delivery_brought_is_replaced(broker: &Broker) {
    let service = std::sync::Arc::new(Service::connect(broker, "relay").await);
    for queue in ["in", "out"] {
        service.queue(queue, FieldTable::default()).await;
    }
    let mut consumer = service.consume("in").await;
    for how in ["in the loop", "in a task", "afterwards"] {
        // The delivery before was dropped.
        service.take();
        publish(&service, "in", BasicProperties::default()).await;
        let first = service.take_one();
        let delivery = next(&mut consumer).await;
        let properties = delivery.properties.clone();
        let stale = header(&properties, "traceparent").unwrap();
        assert_eq!(stale, parent_of(&first.span_context));
        match how {
            "in the loop" => publish(&service, "out", properties).await,
            "in a task" => {
                let service = std::sync::Arc::clone(&service);
                let task = async move { publish(&service, "out", properties).await };
                tokio::spawn(task).await.unwrap();
            }
            _ => {
                delivery.ack(BasicAckOptions::default()).await.unwrap();
                drop(delivery);
                service.take();
                publish(&service, "out", properties).await;
            }
        }
        let second = service.take_one();
        let sent = on_the_wire(&service, "out").await;
        let expect = parent_of(&second.span_context);
        assert_eq!(
            header(&sent.properties, "traceparent"),
            Some(expect),
            "{how}"
        );
        assert_eq!(second.span_kind, SpanKind::Producer, "{how}");
        assert_eq!(second.links.iter().count(), 0, "{how}");
        let is_child = second.parent_span_id != SpanId::INVALID;
        assert_eq!(is_child, how == "in the loop");
    }
}

/// A retry loop that publishes what it got again: each hop is the child of the one before.
async fn through_five_hops(broker: &Broker) {
    let service = Service::connect(broker, "worker").await;
    service.queue("retries", FieldTable::default()).await;
    publish(&service, "retries", BasicProperties::default()).await;
    let mut consumer = service.consume("retries").await;
    let mut last = service.take_one();
    for hop in 1..=5 {
        let delivery = next(&mut consumer).await;
        publish(&service, "retries", delivery.properties.clone()).await;
        delivery.ack(BasicAckOptions::default()).await.unwrap();
        let spans = service.take();
        let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
        let (process, publish) = (named("process retries"), named("publish retries"));
        assert_child(process, &last);
        assert_child(publish, process);
        assert_eq!(publish.links.iter().count(), 0, "hop {hop}");
        last = publish.clone();
    }
}

async fn properties_that_are_used_again(broker: &Broker) {
    let service = Service::connect(broker, "gateway").await;
    service.queue("again", FieldTable::default()).await;
    let properties = with_headers(&[("tenant", text("a"))]).with_message_id("m".into());
    let before = properties.clone();
    let mut seen = HashSet::new();
    for _ in 0..1_000 {
        publish(&service, "again", properties.clone()).await;
    }
    assert_eq!(properties, before);
    for _ in 0..1_000 {
        let sent = on_the_wire(&service, "again").await;
        assert_eq!(header(&sent.properties, "tenant").as_deref(), Some("a"));
        seen.insert(header(&sent.properties, "traceparent").unwrap());
    }
    let spans = service.take();
    let expect: HashSet<String> = spans
        .iter()
        .map(|span| parent_of(&span.span_context))
        .collect();
    assert_eq!(seen.len(), 1_000);
    assert!(seen == expect);
}

/// The decision not to sample reaches the consumer, which does not record either.
async fn unsampled(broker: &Broker) {
    let service = Service::connect(broker, "gateway").await;
    service.queue("unsampled", FieldTable::default()).await;
    let mut consumer = service.consume("unsampled").await;
    let (trace_id, span_id) = (TraceId::from(0xa1), SpanId::from(0xb2));
    let flags = TraceFlags::NOT_SAMPLED;
    let parent = SpanContext::new(trace_id, span_id, flags, true, TraceState::NONE);
    let context = Context::new().with_remote_span_context(parent);
    let published = publish(&service, "unsampled", BasicProperties::default());
    published.with_context(context).await;
    let delivery = next(&mut consumer).await;
    let sent = header(&delivery.properties, "traceparent").unwrap();
    assert!(sent.starts_with(&format!("00-{trace_id}-")), "{sent}");
    assert!(sent.ends_with("-00"), "{sent}");
    assert!(!sent.contains(&span_id.to_string()), "{sent}");
    // What is published while it is handled belongs to the same trace, unsampled.
    publish(&service, "unsampled", BasicProperties::default()).await;
    delivery.ack(BasicAckOptions::default()).await.unwrap();
    drop(delivery);
    let second = next(&mut consumer).await;
    let second = header(&second.properties, "traceparent").unwrap();
    assert!(second.starts_with(&format!("00-{trace_id}-")), "{second}");
    assert!(second.ends_with("-00") && second != sent, "{second}");
    assert_eq!(service.ended(), 0);
}

/// Baggage goes first, then `tracestate`, then `traceparent`; the message is sent in any case.
async fn what_does_not_fit_is_counted(broker: &Broker) {
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone()).build();
    let meters = SdkMeterProvider::builder().with_reader(reader).build();
    let change = |config: rabtrace_lapin::TraceConfig| config.with_meter_provider(&meters);
    let service = Service::configured(&broker.amqp_url(), "gateway", change).await;
    let service = service.with_confirms().await;
    service.queue("full", FieldTable::default()).await;
    let all = ["traceparent", "tracestate", "baggage"];
    for (length, expect) in [(1_000, 3), (130_800, 2), (130_900, 1), (131_000, 0)] {
        let filler = "x".repeat(length);
        let properties = with_headers(&[("filler", text(&filler))]);
        let baggage = [KeyValue::new("user", "y".repeat(200))];
        let published = publish(&service, "full", properties);
        published
            .with_context(Context::new().with_baggage(baggage))
            .await;
        let sent = on_the_wire(&service, "full").await;
        let there = all.map(|key| header(&sent.properties, key).is_some());
        assert_eq!(there, [0, 1, 2].map(|place| place < expect), "{length}");
    }
    meters.force_flush().unwrap();
    let expect = [("baggage", 2), ("traceparent", 1), ("tracestate", 1)];
    let expect = expect.map(|(part, count)| (part.to_owned(), count));
    assert_eq!(shed(&exporter), expect);
}

/// The parts that were left out, and how often.
fn shed(exporter: &InMemoryMetricExporter) -> Vec<(String, u64)> {
    let finished = exporter.get_finished_metrics().unwrap();
    let scopes = finished.iter().flat_map(|all| all.scope_metrics());
    let mut metrics = scopes.flat_map(|scope| scope.metrics());
    let metric = metrics.find(|metric| metric.name() == "rabtrace.context.shed");
    let AggregatedMetrics::U64(MetricData::Sum(sum)) = metric.unwrap().data() else {
        panic!("{metric:?}");
    };
    let mut shed: Vec<(String, u64)> = sum
        .data_points()
        .map(|point| {
            let part = point.attributes().next().unwrap();
            (part.value.to_string(), point.value())
        })
        .collect();
    shed.sort();
    shed
}

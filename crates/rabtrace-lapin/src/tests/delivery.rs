//! Deliveries.

use std::time::Duration;

use lapin::options::{BasicAckOptions, BasicNackOptions};
use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{
    SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::Sampler;
use proptest::prelude::*;

use super::{
    AckMode, BasicProperties, Delivery, Service, attribute, hand_out, is_root, message, shown,
};
use crate::config::TraceConfig;

#[tokio::test]
async fn a_delivery_has_the_names_and_attributes_of_the_conventions() {
    let service = Service::new("audit");
    let mut received = message(
        (7, "events", "order.new"),
        BasicProperties::default().with_message_id("m-1".into()),
    );
    received.redelivered = true;
    let source = service.source("audit", AckMode::Manual);
    let delivery = hand_out(&source, received, &Context::new());
    delivery.ack(BasicAckOptions::default()).await.unwrap();
    let spans = service.spans();
    let expect = "ack events:order.new:audit Client Unset
  messaging.destination.name = events:order.new:audit
  messaging.operation.name = ack
  messaging.operation.type = settle
  messaging.rabbitmq.message.delivery_tag = 7
  messaging.system = rabbitmq
  server.address = broker.example
  server.port = 5672";
    assert_eq!(shown(&spans[0]), expect);
    assert_eq!(spans[0].parent_span_id, spans[1].span_context.span_id());
    let expect = "process events:order.new:audit Consumer Unset
  messaging.destination.name = events:order.new:audit
  messaging.message.id = m-1
  messaging.operation.name = process
  messaging.operation.type = process
  messaging.rabbitmq.destination.routing_key = order.new
  messaging.rabbitmq.message.delivery_tag = 7
  messaging.system = rabbitmq
  rabtrace.attempt = 2
  rabtrace.destination = audit
  rabtrace.direction = in
  rabtrace.edge.kind = redelivery
  rabtrace.path.hash = 13ad9db8105df71a
  rabtrace.path.via = events
  rabtrace.redelivered = true
  rabtrace.settlement = ack
  server.address = broker.example
  server.port = 5672";
    assert_eq!(shown(&spans[1]), expect);
    assert!(is_root(&spans[1]));
}

#[tokio::test]
async fn settle_spans_can_be_switched_off() {
    let service = Service::new("planner").configured(TraceConfig::without_settle_spans);
    let delivery = service.consume("tasks", BasicProperties::default());
    delivery.ack(BasicAckOptions::default()).await.unwrap();
    let spans = service.spans();
    assert_eq!(spans.len(), 1);
    let settlement = attribute(&spans[0], "rabtrace.settlement");
    assert_eq!(settlement.as_deref(), Some("ack"));
}

#[test]
fn the_creation_context_is_the_parent_and_brings_baggage() {
    let (gateway, planner) = (Service::new("gateway"), Service::new("planner"));
    let context = Context::new().with_baggage([KeyValue::new("user", "42")]);
    let properties = gateway.publish(("", "tasks"), &context);
    let delivery = planner.consume("tasks", properties);
    let baggage = delivery.context().baggage().get("user").cloned();
    assert_eq!(baggage.unwrap().as_str(), "42");
    drop(delivery);
    let (publish, process) = (&gateway.spans()[0], &planner.spans()[0]);
    assert_eq!(process.parent_span_id, publish.span_context.span_id());
    assert_eq!(
        process.span_context.trace_id(),
        publish.span_context.trace_id()
    );
    assert!(process.parent_span_is_remote);
    let links = process.links.iter().map(|link| link.span_context.span_id());
    assert!(links.eq([publish.span_context.span_id()]));
    let parent = attribute(process, "rabtrace.path.parent");
    assert_eq!(parent, attribute(publish, "rabtrace.path.hash"));
    assert!(attribute(process, "rabtrace.path.edge.duration").is_some());
    assert_eq!(
        attribute(process, "rabtrace.settlement").as_deref(),
        Some("dropped_unsettled")
    );
}

#[test]
fn an_active_span_wins_and_the_creation_context_is_linked() {
    let (gateway, planner) = (Service::new("gateway"), Service::new("planner"));
    let properties = gateway.publish(("", "tasks"), &Context::new());
    let batch = planner.provider.tracer("test").start("batch");
    let ambient = Context::new().with_span(batch);
    let source = planner.source("tasks", AckMode::Manual);
    let delivery = hand_out(&source, message((1, "", "tasks"), properties), &ambient);
    planner.publish(("", "next"), &delivery.context());
    drop(delivery);
    let (publish, spans) = (&gateway.spans()[0], planner.spans());
    let process = &spans[1];
    assert_eq!(
        process.parent_span_id,
        ambient.span().span_context().span_id()
    );
    assert_eq!(
        process.links.links[0].span_context.span_id(),
        publish.span_context.span_id()
    );
    // The path is the message's, not the active span's.
    let parent = attribute(process, "rabtrace.path.parent");
    assert_eq!(parent, attribute(publish, "rabtrace.path.hash"));
    let parent = attribute(&spans[0], "rabtrace.path.parent");
    assert_eq!(parent, attribute(process, "rabtrace.path.hash"));
}

#[test]
fn publishes_under_one_delivery_are_siblings_that_continue_its_path() {
    for sampler in [
        Sampler::AlwaysOn,
        Sampler::ParentBased(Box::new(Sampler::AlwaysOn)),
    ] {
        let (gateway, planner) = (
            Service::new("gateway"),
            Service::sampled("planner", sampler),
        );
        for properties in [
            gateway.publish(("", "tasks"), &Context::new()),
            // From a producer without any trace context.
            BasicProperties::default(),
        ] {
            let delivery = planner.consume("tasks", properties);
            planner.publish(("", "weather"), &delivery.context());
            planner.publish(("", "search"), &delivery.context());
            drop(delivery);
            let spans = planner.spans();
            planner.exporter.reset();
            let hash = attribute(&spans[2], "rabtrace.path.hash");
            assert!(hash.is_some());
            for publish in &spans[..2] {
                assert_eq!(attribute(publish, "rabtrace.path.parent"), hash);
                assert_eq!(publish.parent_span_id, spans[2].span_context.span_id());
            }
        }
    }
}

#[test]
fn a_redelivery_takes_the_same_step() {
    let (gateway, planner) = (Service::new("gateway"), Service::new("planner"));
    let properties = gateway.publish(("", "tasks"), &Context::new());
    drop(planner.consume("tasks", properties.clone()));
    drop(planner.consume("tasks", properties));
    let spans = planner.spans();
    let hashes = spans
        .iter()
        .map(|span| attribute(span, "rabtrace.path.hash"))
        .collect::<Vec<_>>();
    assert_eq!(hashes[0], hashes[1]);
}

#[tokio::test]
async fn multiple_settles_exactly_those_up_to_the_tag() {
    let service = Service::new("planner");
    let source = service.source("tasks", AckMode::Manual);
    let take = |tag| {
        hand_out(
            &source,
            message((tag, "", "tasks"), BasicProperties::default()),
            &Context::new(),
        )
    };
    let deliveries: Vec<Delivery> = (1..=5).map(take).collect();
    let options = BasicNackOptions {
        multiple: true,
        requeue: true,
    };
    deliveries[2].nack(options).await.unwrap();
    assert_eq!(source.open.len(), 2);
    let spans = service.spans();
    assert_eq!(
        attribute(&spans[0], "messaging.batch.message_count").as_deref(),
        Some("3")
    );
    let mut tags: Vec<_> = spans[1..]
        .iter()
        .map(|span| {
            assert_eq!(
                attribute(span, "rabtrace.settlement").as_deref(),
                Some("nack_requeue")
            );
            attribute(span, "messaging.rabbitmq.message.delivery_tag").unwrap()
        })
        .collect();
    tags.sort();
    assert_eq!(tags, ["1", "2", "3"]);
    assert!(!deliveries[2].ack(BasicAckOptions::default()).await.unwrap());
    assert_eq!(service.spans().len(), 4, "settled twice");
    drop(deliveries);
    assert_eq!(service.spans().len(), 6);
    assert_eq!(source.open.len(), 0);
}

#[test]
fn a_tag_that_comes_again_is_of_a_channel_that_was_opened_again() {
    let service = Service::new("planner");
    let source = service.source("tasks", AckMode::Manual);
    let take = || {
        hand_out(
            &source,
            message((1, "", "tasks"), BasicProperties::default()),
            &Context::new(),
        )
    };
    let (old, new) = (take(), take());
    let spans = service.spans();
    assert_eq!(spans.len(), 1);
    assert_eq!(
        attribute(&spans[0], "rabtrace.settlement").as_deref(),
        Some("channel_lost")
    );
    drop(old);
    assert_eq!(source.open.len(), 1, "the newer entry is gone");
    drop(new);
    assert_eq!(source.open.len(), 0);
}

#[test]
fn a_delivery_that_needs_no_settlement_leaves_nothing_behind() {
    let service = Service::new("planner");
    let source = service.source("tasks", AckMode::NoAck);
    for tag in 0..1_000 {
        hand_out(
            &source,
            message((tag, "", "tasks"), BasicProperties::default()),
            &Context::new(),
        );
        assert_eq!(source.open.len(), 0);
    }
    let spans = service.spans();
    assert_eq!(spans.len(), 1_000);
    assert_eq!(
        attribute(&spans[999], "rabtrace.settlement").as_deref(),
        Some("no_ack")
    );
}

#[test]
fn a_delivery_can_be_taken_apart_and_ends_with_its_acker() {
    let service = Service::new("planner");
    let delivery = service.consume("tasks", BasicProperties::default());
    let Delivery {
        delivery_tag,
        exchange,
        routing_key,
        redelivered,
        properties,
        data,
        acker,
    } = delivery;
    assert_eq!((delivery_tag, exchange.as_str()), (1, ""));
    assert_eq!((routing_key.as_str(), redelivered), ("tasks", false));
    assert_eq!(
        (properties, data),
        (BasicProperties::default(), b"body".to_vec())
    );
    let other = acker.clone();
    drop(acker);
    assert!(service.spans().is_empty());
    drop(other);
    assert_eq!(service.spans().len(), 1);
    let data = service.consume("tasks", BasicProperties::default()).data;
    assert_eq!(data, b"body");
    assert_eq!(service.spans().len(), 2);
}

#[test]
fn errors_and_panics_of_the_handler_are_on_the_span() {
    let service = Service::new("planner");
    let delivery = service.consume("tasks", BasicProperties::default());
    delivery.set_error(&std::io::Error::other("no such tool"));
    drop(delivery);
    let span = &service.spans()[0];
    assert_eq!(span.status, Status::error("no such tool"));
    assert_eq!(attribute(span, "error.type").as_deref(), Some("_OTHER"));

    let delivery = service.consume("tasks", BasicProperties::default());
    let handler = std::thread::spawn(move || {
        let _delivery = delivery;
        panic!("a test's own");
    });
    assert!(handler.join().is_err());
    let span = &service.spans()[1];
    assert_eq!(attribute(span, "error.type").as_deref(), Some("panic"));
}

#[tokio::test]
async fn instrumented_futures_see_the_delivery() {
    let service = Service::new("planner");
    let delivery = service.consume("tasks", BasicProperties::default());
    let seen = delivery
        .instrument(async {
            tokio::task::yield_now().await;
            Context::current().span().span_context().span_id()
        })
        .await;
    assert_eq!(seen, delivery.context().span().span_context().span_id());
    assert_ne!(seen, SpanId::INVALID);
    let after = Context::current().span().span_context().span_id();
    assert_eq!(after, SpanId::INVALID);
}

#[test]
fn an_acker_of_a_channel_that_is_gone_settles_nothing() {
    let service = Service::new("planner");
    let source = service.source("tasks", AckMode::Manual);
    let delivery = hand_out(
        &source,
        message((1, "", "tasks"), BasicProperties::default()),
        &Context::new(),
    );
    drop(source);
    drop(delivery);
    assert_eq!(service.spans().len(), 1);
}

proptest! {
    #[test]
    fn the_edges_of_a_real_chain_add_up(services in proptest::collection::vec("[a-c]", 1..6)) {
        let mut context = Context::new();
        let (mut edges, mut total) = (Duration::ZERO, Duration::ZERO);
        let seconds = |span: &_, name| {
            attribute(span, name).map(|text| Duration::from_secs_f64(text.parse().unwrap()))
        };
        for name in &services {
            let service = Service::new(name);
            let properties = service.publish(("", name), &context);
            let delivery = service.consume(name, properties);
            context = delivery.context();
            drop(delivery);
            for span in service.spans() {
                edges += seconds(&span, "rabtrace.path.edge.duration").unwrap_or_default();
                total = seconds(&span, "rabtrace.path.duration").unwrap();
            }
        }
        let difference = edges.abs_diff(total);
        prop_assert!(difference <= Duration::from_micros(1), "{edges:?} {total:?}");
    }
}

#[test]
fn the_path_goes_on_over_other_protocols_where_that_is_asked_for() {
    let gateway = Service::new("gateway");
    let state = |planner: &Service, properties: &BasicProperties| {
        let delivery = planner.consume("tasks", properties.clone());
        let context = delivery.context();
        let state = context.span().span_context().trace_state().header();
        (state, delivery.path().unwrap())
    };
    let properties = gateway.publish(("", "tasks"), &Context::new());
    let planner = Service::new("planner");
    assert_eq!(state(&planner, &properties).0, "");
    let planner = planner.configured(TraceConfig::with_path_in_spans);
    let (state, path) = state(&planner, &properties);
    assert_eq!(state, format!("rabtrace={path}"));
    // Brought back by another propagator, it is continued.
    let state = state.parse().unwrap();
    let (trace, span) = (TraceId::from(7), SpanId::from(9));
    let remote = SpanContext::new(trace, span, TraceFlags::SAMPLED, true, state);
    let context = Context::new().with_remote_span_context(remote);
    let published = planner.publish(("", "next"), &context);
    let sent = planner.spans().into_iter().next_back().unwrap();
    let hash = format!("{:016x}", path.hash());
    assert_eq!(attribute(&sent, "rabtrace.path.parent"), Some(hash));
    assert!(published.headers().is_some());
}

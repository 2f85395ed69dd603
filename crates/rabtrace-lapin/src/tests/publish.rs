//! Publishes.

use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::Sampler;

use super::{BasicProperties, Service, attribute, is_root, shown};
use crate::config::TraceConfig;
use crate::propagation;
use crate::publish::{Outgoing, Publish};

#[test]
fn a_publish_has_the_names_and_attributes_of_the_conventions() {
    let service = Service::new("gateway");
    let properties = BasicProperties::default()
        .with_message_id("m-1".into())
        .with_correlation_id("c-1".into());
    let started = service.start(("events", "order.new"), properties, &Context::new());
    drop(started);
    let spans = service.spans();
    assert_eq!(spans.len(), 1);
    let expect = "publish events:order.new Producer Unset
  messaging.destination.name = events:order.new
  messaging.message.conversation_id = c-1
  messaging.message.id = m-1
  messaging.operation.name = publish
  messaging.operation.type = send
  messaging.rabbitmq.destination.routing_key = order.new
  messaging.system = rabbitmq
  rabtrace.destination = events
  rabtrace.direction = out
  rabtrace.path.duration = 0
  rabtrace.path.hash = e4f1f78f99751171
  rabtrace.publish.outcome = dropped
  server.address = broker.example
  server.port = 5672";
    assert_eq!(shown(&spans[0]), expect);
    assert!(is_root(&spans[0]));
    let scope = &spans[0].instrumentation_scope;
    assert_eq!(scope.name(), "rabtrace-lapin");
    assert_eq!(
        scope.schema_url(),
        Some("https://opentelemetry.io/schemas/1.44.0")
    );
}

#[test]
fn the_wire_carries_the_span_the_path_and_the_baggage() {
    let service = Service::new("gateway");
    let context = Context::new().with_baggage([KeyValue::new("user", "42")]);
    let properties = service.publish(("", "tasks"), &context);
    let span = &service.spans()[0];
    let extracted = propagation::extract(properties.headers().as_ref());
    let path = extracted.path.unwrap();
    let hash = format!("{:016x}", path.hash());
    assert_eq!(attribute(span, "rabtrace.path.hash"), Some(hash));
    let creation = extracted.creation.unwrap();
    assert_eq!(creation.span_id(), span.span_context.span_id());
    assert_eq!(creation.trace_id(), span.span_context.trace_id());
    assert!(creation.is_sampled());
    assert_eq!(extracted.baggage.get("user").unwrap().as_str(), "42");
}

#[test]
fn unsampled_context_and_path_travel_too() {
    let service = Service::sampled("gateway", Sampler::AlwaysOff);
    let properties = service.publish(("", "tasks"), &Context::new());
    assert!(service.spans().is_empty());
    let extracted = propagation::extract(properties.headers().as_ref());
    assert!(extracted.path.is_some());
    assert!(!extracted.creation.unwrap().is_sampled());
}

#[test]
fn without_tracer_and_parent_nothing_is_written() {
    let service = Service::new("gateway");
    service.provider.shutdown().unwrap();
    let properties = service.publish(("", "tasks"), &Context::new());
    assert_eq!(properties, BasicProperties::default());
}

#[test]
fn a_publish_is_a_child_of_the_active_span() {
    let service = Service::new("gateway");
    let request = service.provider.tracer("test").start("request");
    let context = Context::new().with_span(request);
    service.publish(("", "tasks"), &context);
    service.publish(("", "tasks"), &context);
    let spans = service.spans();
    let parent = context.span().span_context().span_id();
    assert!(spans.iter().all(|span| span.parent_span_id == parent));
    // Two in a row are siblings: both are the origin of the same path.
    let hashes = [0, 1].map(|at| attribute(&spans[at], "rabtrace.path.hash"));
    assert_eq!(hashes[0], hashes[1]);
    assert_eq!(attribute(&spans[1], "rabtrace.path.parent"), None);
}

#[test]
fn replies_to_generated_queues_have_no_generated_span_name() {
    let service = Service::new("weather");
    service.publish(("", "amq.rabbitmq.reply-to.g1.abc"), &Context::new());
    let span = &service.spans()[0];
    assert_eq!(span.name, "publish amq.rabbitmq.reply-to");
    let text = |name| attribute(span, name).unwrap();
    assert_eq!(
        text("messaging.destination.name"),
        "amq.rabbitmq.reply-to.g1.abc"
    );
    assert_eq!(
        text("messaging.destination.template"),
        "amq.rabbitmq.reply-to"
    );
    assert_eq!(text("messaging.destination.anonymous"), "true");
    assert_eq!(text("messaging.destination.temporary"), "true");
    assert_eq!(text("rabtrace.destination"), "amq.rabbitmq.reply-to");
}

#[test]
fn a_generated_routing_key_leaves_its_template_on_the_span() {
    let service = Service::new("weather");
    service.publish(("replies", "amq.gen-x1"), &Context::new());
    let span = &service.spans()[0];
    assert_eq!(span.name, "publish replies:amq.gen");
    let text = |name| attribute(span, name);
    assert_eq!(
        text("messaging.destination.template").as_deref(),
        Some("replies:amq.gen")
    );
    // The exchange is no anonymous destination.
    assert_eq!(text("messaging.destination.anonymous"), None);
}

#[test]
fn baggage_can_be_switched_off() {
    let open = Service::new("gateway");
    let closed = open.configured(TraceConfig::without_baggage);
    let context = Context::new().with_baggage([KeyValue::new("user", "42")]);
    let extracted = |properties: BasicProperties| {
        let extracted = propagation::extract(properties.headers().as_ref());
        (extracted.creation.is_some(), extracted.baggage.len())
    };
    assert_eq!(
        extracted(closed.publish(("", "tasks"), &context)),
        (true, 0)
    );
    let properties = open.publish(("", "tasks"), &context);
    let delivery = closed.consume("tasks", properties.clone());
    assert!(delivery.context().baggage().is_empty());
    assert_eq!(extracted(properties), (true, 1));
}

#[test]
fn a_publish_that_is_not_recorded_is_followed_only_where_it_may_come_back() {
    let service = Service::sampled("gateway", Sampler::AlwaysOff);
    for mandatory in [false, true] {
        let message = Outgoing {
            exchange: &"".into(),
            routing_key: &"tasks".into(),
            data: b"body",
            mandatory,
        };
        let mut properties = BasicProperties::default();
        let context = Context::new();
        let publish = Publish::start(&service.telemetry, message, &mut properties, &context);
        assert_eq!(publish.is_traced(), mandatory);
        let extracted = propagation::extract(properties.headers().as_ref());
        assert!(!extracted.creation.unwrap().is_sampled());
        assert!(extracted.path.is_some());
    }
}

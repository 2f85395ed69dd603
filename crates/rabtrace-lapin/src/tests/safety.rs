//! The switch, trust in what comes in, and the application's own spans.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, SystemTime};

use lapin::options::BasicAckOptions;
use lapin::types::{AMQPValue, FieldTable};
use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::noop::NoopTracerProvider;
use opentelemetry::trace::{Span, SpanContext, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanProcessor};

use super::meters::Meters;
use super::{AckMode, BasicProperties, Service, attribute, hand_out, is_root, message};
use crate::acker::Acker;
use crate::operation::Operation;
use crate::outcome::{PublishOutcome, Settlement};
use crate::propagation;
use crate::rules::{Relation, Rule};
use crate::shared::Shared;
use crate::source::{HandOut, Taken};
use crate::switch::TraceSwitch;

fn bytes(properties: &BasicProperties) -> Vec<u8> {
    let write = lapin::protocol::basic::gen_properties::<Vec<u8>>(properties);
    write(Vec::new().into()).unwrap().into_inner().0
}

fn odd_properties() -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("traceparent".into(), AMQPValue::LongLongInt(7));
    headers.insert("mine".into(), AMQPValue::Void);
    BasicProperties::default()
        .with_headers(headers)
        .with_message_id("m-1".into())
}

#[tokio::test]
async fn switched_off_messages_are_left_alone_and_open_spans_end() {
    let (meters, switch) = (Meters::new(), TraceSwitch::default());
    let service = Service::new("planner").configured(|config| {
        let config = config.with_meter_provider(&meters.provider);
        config.with_switch(&switch)
    });
    let source = service.source("tasks", AckMode::Manual);
    let take = |tag| {
        let received = message((tag, "", "tasks"), odd_properties());
        hand_out(&source, received, &Context::new())
    };
    let (mut publish, _) = service.start(("", "tasks"), odd_properties(), &Context::new());
    let delivery = take(1);

    switch.turn_off();
    let before = meters.shown();
    let (untouched, sent) = service.start(("", "tasks"), odd_properties(), &Context::new());
    assert!(!untouched.is_traced());
    assert_eq!(bytes(&sent), bytes(&odd_properties()));
    drop(untouched);
    let untraced = take(2);
    assert_eq!(bytes(&untraced.properties), bytes(&odd_properties()));
    assert!(!untraced.context().span().span_context().is_valid());
    assert!(untraced.ack(BasicAckOptions::default()).await.unwrap());
    let received = message((3, "", "tasks"), odd_properties());
    source.received(&received, &Context::new(), SystemTime::now());
    assert_eq!(meters.shown(), before);
    assert!(service.spans().is_empty());

    publish.end(PublishOutcome::Acked);
    assert!(delivery.ack(BasicAckOptions::default()).await.unwrap());
    let spans = service.spans();
    let names: Vec<_> = spans.iter().map(|span| span.name.as_ref()).collect();
    assert_eq!(names, ["publish tasks", "process tasks"]);
    assert_eq!(meters.total("rabtrace.delivery.open", &[]), 0);
    let ack = ["messaging.operation.name=ack"];
    let acks = meters.total("messaging.client.operation.duration", &ack);
    assert_eq!(acks, 0, "a settlement while it is off");

    switch.turn_on();
    let sent = service.publish(("", "tasks"), &Context::new());
    assert!(propagation::creation_ids(sent.headers().as_ref()).is_some());
    let delivery = take(4);
    assert!(delivery.ack(BasicAckOptions::default()).await.unwrap());
    assert_eq!(service.spans().len(), 5);
    let acks = meters.total("messaging.client.operation.duration", &ack);
    assert_eq!(acks, 1);
}

/// A message of a stranger, and the span of its delivery under a rule.
fn strange(relation: Relation) -> (Service, Service, BasicProperties) {
    let stranger = Service::new("stranger");
    let context = Context::new().with_baggage([KeyValue::new("user", "root")]);
    let sent = stranger.publish(("", "public"), &context);
    let rule = Rule::queue("pub*").with_relation(relation);
    let own = Service::new("planner").configured(|config| config.with_rule(rule));
    (stranger, own, sent)
}

fn links(span: &SpanData) -> Vec<opentelemetry::trace::SpanId> {
    let links = span.links.iter();
    links.map(|link| link.span_context.span_id()).collect()
}

#[test]
fn the_context_of_strangers_can_be_ignored() {
    let (stranger, own, sent) = strange(Relation::Ignore);
    let source = own.source("public", AckMode::Manual);
    let received = message((1, "", "public"), sent.clone());
    source.received(&received, &Context::new(), SystemTime::now());
    let how = HandOut {
        ambient: &Context::new(),
        taken: Taken::ByDelegate,
        operation: Operation::Receive,
    };
    let delivery = source.hand_out(received, how);
    assert!(delivery.context().baggage().is_empty());
    let next = own.publish(("", "next"), &delivery.context());
    // What it brought is published again: it is nobody's context here.
    let (forwarded, again) = own.start(("", "again"), sent, &Context::new());
    drop((forwarded, delivery));
    let foreign = stranger.spans()[0].span_context.trace_id();
    for span in own.spans() {
        assert_ne!(span.span_context.trace_id(), foreign, "{}", span.name);
        assert!(links(&span).is_empty(), "{}", span.name);
    }
    let process = own.spans().pop().unwrap();
    assert!(is_root(&process));
    assert_eq!(attribute(&process, "rabtrace.path.parent"), None);
    for properties in [next, again] {
        let extracted = propagation::extract(properties.headers().as_ref());
        assert_ne!(extracted.creation.unwrap().trace_id(), foreign);
        assert!(extracted.baggage.is_empty());
    }
}

#[test]
fn the_context_of_strangers_can_be_only_linked_to() {
    let (stranger, own, sent) = strange(Relation::Link);
    drop(own.consume("public", sent.clone()));
    let (publish, process) = (&stranger.spans()[0], &own.spans()[0]);
    assert!(is_root(process));
    assert_ne!(
        process.span_context.trace_id(),
        publish.span_context.trace_id()
    );
    assert_eq!(links(process), [publish.span_context.span_id()]);
    // The way of the message goes on, what the stranger says of its trace does not.
    let parent = attribute(process, "rabtrace.path.parent");
    assert_eq!(parent, attribute(publish, "rabtrace.path.hash"));
    let delivery = own.consume("public", sent.clone());
    assert!(delivery.context().baggage().is_empty());
    let next = own.publish(("", "next"), &delivery.context());
    let extracted = propagation::extract(next.headers().as_ref());
    assert!(extracted.baggage.is_empty());
    drop(delivery);
    own.exporter.reset();
    // Other queues continue the trace.
    let received = message((1, "", "private"), sent);
    let source = own.source("private", AckMode::Manual);
    let delivery = hand_out(&source, received, &Context::new());
    assert!(!delivery.context().baggage().is_empty());
    drop(delivery);
    let process = &own.spans()[0];
    assert_eq!(
        process.span_context.trace_id(),
        publish.span_context.trace_id()
    );
}

#[tokio::test]
async fn spans_of_the_application_get_nothing() {
    for has_tracer in [true, false] {
        let service = Service::new("planner");
        let service = service.configured(|config| {
            if has_tracer {
                return config;
            }
            config.with_tracer_provider(&NoopTracerProvider::new())
        });
        let application = service.provider.tracer("application");
        let mut span = application.start("request");
        span.set_attribute(KeyValue::new("mine", 1));
        let context = Context::new().with_span(span);
        work_under(&service, &context).await;
        context.span().end();
        let spans = service.spans();
        assert_eq!(spans.len() > 1, has_tracer);
        let request = spans.iter().find(|span| span.name == "request").unwrap();
        assert_eq!(request.attributes, [KeyValue::new("mine", 1)]);
        assert!(request.events.is_empty() && request.links.is_empty());
        assert_eq!(request.status, opentelemetry::trace::Status::Unset);
    }
}

/// Asks for the delivery whose span ends, as one does that publishes.
#[derive(Debug, Default)]
struct Asking(Mutex<Option<Acker>>, Mutex<Vec<SpanContext>>);

impl SpanProcessor for &'static Asking {
    fn on_start(&self, _: &mut opentelemetry_sdk::trace::Span, _: &Context) {}

    fn on_end(&self, _: SpanData) {
        let acker = self.0.lock().unwrap().take();
        let asked = acker.map(|acker| acker.context().span().span_context().clone());
        self.1.lock().unwrap().extend(asked);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[test]
fn a_span_processor_may_ask_for_the_delivery_whose_span_ends() {
    let (told, done) = mpsc::channel();
    std::thread::spawn(move || {
        let asking: &'static Asking = Box::leak(Box::default());
        let provider = SdkTracerProvider::builder()
            .with_span_processor(asking)
            .build();
        let service =
            Service::new("planner").configured(|config| config.with_tracer_provider(&provider));
        let delivery = service.consume("tasks", BasicProperties::default());
        let span = delivery.acker.process().unwrap().span_context();
        *asking.0.lock().unwrap() = Some(delivery.acker.clone());
        delivery.acker.process().unwrap().end(Settlement::Ack);
        assert_eq!(
            asking.1.lock().unwrap().as_slice(),
            std::slice::from_ref(&span)
        );
        assert_eq!(delivery.context().span().span_context(), &span);
        told.send(()).unwrap();
    });
    let waited = done.recv_timeout(Duration::from_secs(10));
    assert!(waited.is_ok(), "the span ends under a lock");
}

/// Everything that may fail or end under a span of the application.
async fn work_under(service: &Service, context: &Context) {
    let _active = context.clone().attach();
    let error = || lapin::Error::from(lapin::ErrorKind::ChannelsLimitReached);
    let stranger = Service::new("stranger").publish(("", "tasks"), &Context::new());
    let (mut publish, _) = service.start(("", "tasks"), odd_properties(), context);
    publish.fail(PublishOutcome::Failed, &error());
    let source = service.source("tasks", AckMode::Manual);
    let delivery = hand_out(&source, message((1, "", "tasks"), stranger), context);
    delivery.set_error(&error());
    assert!(delivery.ack(BasicAckOptions::default()).await.unwrap());
    drop(delivery);
    let received = message((2, "", "tasks"), odd_properties());
    source.received(&received, context, SystemTime::now());
    source.not_received(&error(), context, SystemTime::now());
    let shared = Shared {
        telemetry: Arc::clone(&service.telemetry),
        open: Arc::default(),
        publishes: Arc::default(),
        transactional: AtomicBool::new(false),
        status: None,
    };
    let call = async { Err(error()) };
    assert!(shared.operate(Operation::Commit, call).await.is_err());
}

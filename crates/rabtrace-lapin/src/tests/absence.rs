//! Without a tracer nothing is done for a message; one that comes later is noticed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use lapin::options::BasicAckOptions;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::noop::NoopTracerProvider;
use opentelemetry::trace::{SpanBuilder, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use super::{AckMode, BasicProperties, Delivery, Service, attribute, hand_out, message};
use crate::config::TraceConfig;
use crate::propagation;
use crate::rules::Rule;
use crate::source::Source;
use crate::telemetry::Telemetry;

/// A tracer that gets its SDK later, and counts how often it is asked for a span.
#[derive(Clone, Debug)]
struct Late {
    asked: Arc<AtomicUsize>,
    is_here: Arc<AtomicBool>,
    absent: SdkTracer,
    sdk: SdkTracer,
}

impl Tracer for Late {
    type Span = Span;

    fn build_with_context(&self, builder: SpanBuilder, parent: &Context) -> Span {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let is_here = self.is_here.load(Ordering::Relaxed);
        let tracer = if is_here { &self.sdk } else { &self.absent };
        tracer.build_with_context(builder, parent)
    }
}

impl TracerProvider for Late {
    type Tracer = Self;

    fn tracer_with_scope(&self, _: InstrumentationScope) -> Self {
        self.clone()
    }
}

fn with_config(service: Service, config: TraceConfig) -> Service {
    Service {
        telemetry: Arc::new(Telemetry::new(&config.with_service_name("gateway"))),
        ..service
    }
}

fn late() -> (Service, Late) {
    let absent = Service::new("gateway");
    absent.provider.shutdown().unwrap();
    let service = Service::new("gateway");
    let late = Late {
        asked: Arc::default(),
        is_here: Arc::default(),
        absent: absent.provider.tracer("test"),
        sdk: service.provider.tracer("test"),
    };
    let config = TraceConfig::new().with_tracer_provider(&late);
    (with_config(service, config), late)
}

#[tokio::test]
async fn an_absent_tracer_is_hardly_ever_asked() {
    let (service, late) = late();
    let source = service.source("tasks", AckMode::Manual);
    for tag in 0..1_000 {
        let properties = service.publish(("", "tasks"), &Context::new());
        assert_eq!(properties, BasicProperties::default());
        let received = message((tag, "", "tasks"), properties);
        let delivery = hand_out(&source, received, &Context::new());
        let ack = delivery.ack(BasicAckOptions::default());
        assert!(ack.await.unwrap());
        assert_eq!(source.open.len(), 0);
    }
    let asked = late.asked.load(Ordering::Relaxed);
    assert!((1..=12).contains(&asked), "{asked}");
}

#[test]
fn a_tracer_that_comes_later_is_noticed() {
    let (service, late) = late();
    let publish = |times| {
        for _ in 0..times {
            service.publish(("", "tasks"), &Context::new());
        }
    };
    publish(10);
    late.is_here.store(true, Ordering::Relaxed);
    publish(255);
    let noticed = service.spans().len();
    assert!(noticed > 0);
    publish(300);
    assert_eq!(service.spans().len(), noticed + 300);
}

#[test]
fn without_a_tracer_the_context_of_others_is_handed_on() {
    let gateway = Service::new("gateway");
    let config = TraceConfig::new().with_tracer_provider(&NoopTracerProvider::new());
    let relay = with_config(Service::new("relay"), config);
    let baggage = Context::new().with_baggage([KeyValue::new("user", "42")]);
    for _ in 0..3 {
        // Without any context: the tracer is found absent.
        relay.publish(("", "next"), &Context::new());
        let delivery = relay.consume("tasks", BasicProperties::default());
        assert!(!delivery.context().span().span_context().is_valid());

        let properties = gateway.publish(("", "tasks"), &baggage);
        let before = propagation::creation_ids(properties.headers().as_ref());
        let delivery = relay.consume("tasks", properties);
        let properties = relay.publish(("", "next"), &delivery.context());
        let extracted = propagation::extract(properties.headers().as_ref());
        assert_eq!(
            propagation::creation_ids(properties.headers().as_ref()),
            before
        );
        assert_eq!(extracted.baggage.get("user").unwrap().as_str(), "42");
    }
}

fn untraced(config: TraceConfig) -> TraceConfig {
    config.with_rule(Rule::queue("raw").untraced())
}

fn take(source: &Arc<Source>, tag: u64) -> Delivery {
    let received = message((tag, "", "a"), BasicProperties::default());
    hand_out(source, received, &Context::new())
}

#[tokio::test]
async fn an_untraced_delivery_settles_those_before_it() {
    let service = Service::new("planner").configured(untraced);
    let tasks = service.source("tasks", AckMode::Manual);
    // Of the same channel.
    let raw = Arc::new(Source {
        telemetry: Arc::clone(&service.telemetry),
        open: Arc::clone(&tasks.open),
        queue: "raw".into(),
        ack_mode: AckMode::Manual,
        channel: Weak::new(),
    });
    let (before, last) = (take(&tasks, 1), take(&raw, 2));
    assert!(before.path().is_some() && last.path().is_none());
    let multiple = BasicAckOptions { multiple: true };
    assert!(last.ack(multiple).await.unwrap());
    let spans = service.spans();
    assert_eq!(
        spans.len(),
        1,
        "the settlement of what has no span has none"
    );
    let settlement = attribute(&spans[0], "rabtrace.settlement");
    assert_eq!(settlement.as_deref(), Some("ack"));
    assert_eq!(tasks.open.len(), 0);
}

#[tokio::test]
async fn the_clones_of_an_untraced_acker_settle_once() {
    let plain = Service::new("planner").configured(untraced);
    let fast = plain.configured(|config| untraced(config).with_fast_settle());
    for service in [plain, fast] {
        let delivery = take(&service.source("raw", AckMode::Manual), 1);
        let clone = delivery.acker.clone();
        assert!(clone.usable() && delivery.acker == clone);
        assert!(clone.ack(BasicAckOptions::default()).await.unwrap());
        assert!(!delivery.usable());
        assert!(!delivery.ack(BasicAckOptions::default()).await.unwrap());
    }
}

//! Hooks: called once each with the right message, harmless when they panic, free to use the
//! library. Bodies: only where they are asked for.

use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use lapin::Confirmation;
use lapin::options::BasicAckOptions;
use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::Sampler;

use super::meters::Meters;
use super::{AckMode, BasicProperties, Service, attribute, hand_out, message};
use crate::acker::Acker;
use crate::body::BodyCapture;
use crate::hooks::{HookMessage, HookSpan, TraceHooks};
use crate::outcome::PublishOutcome;
use crate::outcome::Settlement;
use crate::publish::{Outgoing, Publish};
use crate::returns::Publishes;
use crate::telemetry::Telemetry;

/// Writes down what it is called with.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn add(&self, what: String, span: &mut HookSpan<'_>) {
        let number = span.span_context().span_id();
        span.set_attribute(KeyValue::new("app.tenant", "blue"));
        span.add_event("app.seen", Vec::new());
        self.0.lock().unwrap().push(format!("{number} {what}"));
    }

    fn message(message: &HookMessage<'_>) -> String {
        format!(
            "{}/{}/{:?} {} {}",
            message.exchange,
            message.routing_key,
            message.queue,
            String::from_utf8_lossy(message.data),
            message.properties.headers().is_some(),
        )
    }
}

impl TraceHooks for Seen {
    fn on_publish(&self, message: &HookMessage<'_>, span: &mut HookSpan<'_>) {
        self.add(format!("publish {}", Self::message(message)), span);
    }

    fn on_confirm(&self, outcome: PublishOutcome, span: &mut HookSpan<'_>) {
        self.add(format!("confirm {}", outcome.as_str()), span);
    }

    fn on_deliver(&self, message: &HookMessage<'_>, span: &mut HookSpan<'_>) {
        self.add(format!("deliver {}", Self::message(message)), span);
    }

    fn on_settle(&self, settlement: Settlement, span: &mut HookSpan<'_>) {
        self.add(format!("settle {}", settlement.as_str()), span);
    }
}

fn publish(service: &Service) -> (Publish, BasicProperties) {
    let context = Context::new();
    let (mut publish, sent) = service.start(("events", "a"), BasicProperties::default(), &context);
    publish.written();
    (publish, sent)
}

fn take(service: &Service, sent: BasicProperties) -> crate::message::Delivery {
    let source = service.source("audit", AckMode::Manual);
    hand_out(&source, message((1, "events", "a"), sent), &Context::new())
}

#[tokio::test]
async fn each_hook_is_called_once_with_its_message_and_its_span() {
    let seen = Seen::default();
    let service = Service::new("planner").configured(|config| config.with_hooks(seen.clone()));
    let (mut published, sent) = publish(&service);
    published.end(PublishOutcome::Acked);
    drop(published);
    let delivery = take(&service, sent);
    delivery.ack(BasicAckOptions::default()).await.unwrap();
    drop(delivery);
    let spans = service.spans();
    let [publish, _ack, process] = spans.as_slice() else {
        panic!("{spans:?}");
    };
    let (out, into) = (
        publish.span_context.span_id(),
        process.span_context.span_id(),
    );
    let expect = [
        // Without trace context: the properties of the application.
        format!("{out} publish events/a/None body false"),
        format!("{out} confirm acked"),
        format!("{into} deliver events/a/Some(\"audit\") body true"),
        format!("{into} settle ack"),
    ];
    assert_eq!(*seen.0.lock().unwrap(), expect);
    for span in [publish, process] {
        assert_eq!(attribute(span, "app.tenant").as_deref(), Some("blue"));
        assert_eq!(span.events.len(), 2);
    }
}

#[tokio::test]
async fn a_span_that_was_asked_for_is_the_hooks_as_well() {
    let seen = Seen::default();
    let service = Service::new("planner").configured(|config| config.with_hooks(seen.clone()));
    let delivery = take(&service, BasicProperties::default());
    let context = delivery.context();
    delivery.ack(BasicAckOptions::default()).await.unwrap();
    let number = context.span().span_context().span_id();
    let calls = seen.0.lock().unwrap();
    assert_eq!(calls.last(), Some(&format!("{number} settle ack")));
}

#[test]
fn hooks_are_not_called_for_spans_that_are_not_recorded() {
    let seen = Seen::default();
    let service = Service::sampled("planner", Sampler::AlwaysOff)
        .configured(|config| config.with_hooks(seen.clone()));
    let (mut published, sent) = publish(&service);
    published.end(PublishOutcome::Acked);
    drop(take(&service, sent));
    assert!(seen.0.lock().unwrap().is_empty());
}

struct Panics;

impl TraceHooks for Panics {
    fn on_publish(&self, _: &HookMessage<'_>, _: &mut HookSpan<'_>) {
        panic!("a test's own");
    }

    fn on_confirm(&self, _: PublishOutcome, _: &mut HookSpan<'_>) {
        panic!("a test's own");
    }

    fn on_deliver(&self, _: &HookMessage<'_>, _: &mut HookSpan<'_>) {
        panic!("a test's own");
    }

    fn on_settle(&self, _: Settlement, _: &mut HookSpan<'_>) {
        panic!("a test's own");
    }
}

#[tokio::test]
async fn a_hook_that_panics_breaks_nothing_and_is_counted() {
    let meters = Meters::new();
    let service = Service::new("planner").configured(|config| {
        let config = config.with_meter_provider(&meters.provider);
        config.with_hooks(Panics)
    });
    let (mut published, sent) = publish(&service);
    assert!(sent.headers().is_some());
    published.end(PublishOutcome::Acked);
    let delivery = take(&service, sent);
    assert!(delivery.ack(BasicAckOptions::default()).await.unwrap());
    // While its handler unwinds, too.
    let delivery = take(&service, BasicProperties::default());
    let handler = std::thread::spawn(move || {
        let _delivery = delivery;
        panic!("a test's own");
    });
    assert!(handler.join().is_err());
    let spans = service.spans();
    let settled = |span: &_| attribute(span, "rabtrace.settlement");
    let settlements: Vec<_> = spans.iter().filter_map(settled).collect();
    assert_eq!(settlements, ["ack", "dropped_unsettled"]);
    let outcome = attribute(&spans[0], "rabtrace.publish.outcome");
    assert_eq!(outcome.as_deref(), Some("acked"));
    assert_eq!(spans.len(), 4);
    assert_eq!(meters.total("rabtrace.hook.panics", &[]), 6);
    assert_eq!(meters.total("rabtrace.delivery.open", &[]), 0);
    assert_eq!(meters.total("rabtrace.publish.outcomes", &[]), 1);
}

/// Uses the library while it is called.
#[derive(Clone, Default)]
struct Busy(Arc<Inner>);

#[derive(Default)]
struct Inner {
    telemetry: OnceLock<Arc<Telemetry>>,
    publishes: Arc<Publishes>,
    acker: Mutex<Option<Acker>>,
    inside: Mutex<bool>,
}

impl Busy {
    fn work(&self) {
        if std::mem::replace(&mut *self.0.inside.lock().unwrap(), true) {
            return;
        }
        let acker = self.0.acker.lock().unwrap().clone();
        let context = acker.as_ref().map(Acker::context).unwrap_or_default();
        let name = "other".into();
        let outgoing = Outgoing {
            exchange: &name,
            routing_key: &name,
            data: b"body",
            mandatory: true,
        };
        let telemetry = self.0.telemetry.get().unwrap();
        let publish = Publish::start(
            telemetry,
            outgoing,
            &mut BasicProperties::default(),
            &context,
        );
        let pending = self.0.publishes.issue(publish);
        pending.resolve(&Ok(Confirmation::Ack(None)));
        self.0.publishes.collect();
        if let Some(acker) = acker {
            acker.set_error(&std::io::Error::other("said by a hook"));
            let _ = format!("{acker:?}");
        }
        *self.0.inside.lock().unwrap() = false;
    }
}

impl TraceHooks for Busy {
    fn on_publish(&self, _: &HookMessage<'_>, _: &mut HookSpan<'_>) {
        self.work();
    }

    fn on_confirm(&self, _: PublishOutcome, _: &mut HookSpan<'_>) {
        self.work();
    }

    fn on_deliver(&self, _: &HookMessage<'_>, _: &mut HookSpan<'_>) {
        self.work();
    }

    fn on_settle(&self, _: Settlement, _: &mut HookSpan<'_>) {
        self.work();
    }
}

/// Fails rather than to hang where a lock is held while hooks run.
fn within_ten_seconds(work: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let worker = std::thread::spawn(move || {
        work();
        done.send(()).unwrap();
    });
    let waited = wait.recv_timeout(Duration::from_secs(10));
    assert!(waited.is_ok(), "a hook was called under a lock");
    worker.join().unwrap();
}

#[test]
fn hooks_may_use_the_library() {
    let busy = Busy::default();
    let service = Service::new("planner").configured(|config| config.with_hooks(busy.clone()));
    let _ = busy.0.telemetry.set(Arc::clone(&service.telemetry));
    let spans = service.exporter.clone();
    within_ten_seconds(move || {
        let (published, sent) = publish(&service);
        let pending = busy.0.publishes.issue(published);
        pending.resolve(&Ok(Confirmation::Ack(None)));
        for outcome in [PublishOutcome::Committed, PublishOutcome::RolledBack] {
            busy.0.publishes.hold(publish(&service).0);
            busy.0.publishes.release(outcome, None);
        }
        for is_asked_for in [false, true] {
            let delivery = take(&service, sent.clone());
            *busy.0.acker.lock().unwrap() = Some(delivery.acker.clone());
            if is_asked_for {
                let _ = delivery.context();
            }
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.build().unwrap();
            let ack = delivery.ack(BasicAckOptions::default());
            assert!(runtime.block_on(ack).unwrap());
        }
    });
    let spans = spans.get_finished_spans().unwrap();
    let own = |name: &str| spans.iter().filter(|span| span.name == name).count();
    assert_eq!(own("publish events:a"), 3);
    assert_eq!(own("process events:a:audit"), 2);
    assert_eq!(own("publish other:other"), 10, "one in each call of a hook");
}

fn body_of(service: &Service, content_type: &str) -> [Option<String>; 2] {
    let properties = BasicProperties::default().with_content_type(content_type.into());
    let (publish, sent) = service.start(("", "tasks"), properties, &Context::new());
    drop(publish);
    drop(take(service, sent));
    let spans = service.spans();
    service.exporter.reset();
    [0, 1].map(|at| attribute(spans.get(at)?, "rabtrace.message.body"))
}

#[test]
fn bodies_are_shown_only_where_they_are_asked_for() {
    let service = Service::new("planner");
    assert_eq!(body_of(&service, ""), [None, None]);
    let with = |capture: BodyCapture| service.configured(|it| it.with_body_capture(capture));
    let text = |text: &str| [Some(text.to_owned()), Some(text.to_owned())];
    let three = BodyCapture::up_to_bytes(3);
    assert_eq!(body_of(&with(three.clone()), ""), text("bod"));
    let json = with(three.clone().with_content_type("application/json"));
    assert_eq!(body_of(&json, "text/plain"), [None, None]);
    assert_eq!(body_of(&json, "application/json"), text("bod"));
    let redacted = with(three.with_redaction(|_| Some("***".to_owned())));
    assert_eq!(body_of(&redacted, ""), text("***"));
}

#[test]
fn bodies_of_spans_that_are_not_recorded_are_not_looked_at() {
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let capture = BodyCapture::up_to_bytes(9).with_redaction(move |_| {
        *count.lock().unwrap() += 1;
        None
    });
    let off = Service::sampled("planner", Sampler::AlwaysOff)
        .configured(|config| config.with_body_capture(capture.clone()));
    body_of(&off, "");
    assert_eq!(*asked.lock().unwrap(), 0);
    let on = Service::new("planner").configured(|config| config.with_body_capture(capture));
    body_of(&on, "");
    assert_eq!(*asked.lock().unwrap(), 2);
}

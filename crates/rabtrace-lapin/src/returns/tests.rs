//! Every publish ends once, with what became of it, whichever confirm brought its message.

use std::sync::{Arc, Barrier, PoisonError};

use lapin::message::{BasicReturnMessage, Delivery};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Confirmation, ErrorKind};
use opentelemetry::Context;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};

use super::{Pending, Publishes};
use crate::config::TraceConfig;
use crate::hooks::{HookSpan, TraceHooks};
use crate::outcome::PublishOutcome;
use crate::publish::{Outgoing, Publish};
use crate::telemetry::Telemetry;

struct Sender {
    telemetry: Arc<Telemetry>,
    exporter: InMemorySpanExporter,
    publishes: Arc<Publishes>,
}

/// Fails where a span ends while the publishes are locked.
struct Unlocked(Arc<Publishes>);

impl TraceHooks for Unlocked {
    fn on_confirm(&self, _: PublishOutcome, span: &mut HookSpan<'_>) {
        if self.0.inner.try_lock().is_err() {
            span.add_event("locked", Vec::new());
        }
    }
}

impl Sender {
    fn new() -> Self {
        Self::with(|config, publishes| config.with_hooks(Unlocked(publishes)))
    }

    fn with(change: impl FnOnce(TraceConfig, Arc<Publishes>) -> TraceConfig) -> Self {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(exporter.clone())
            .build();
        let publishes = Arc::<Publishes>::default();
        let config = TraceConfig::new().with_tracer_provider(&provider);
        let config = change(config, Arc::clone(&publishes));
        Self {
            telemetry: Arc::new(Telemetry::new(&config)),
            exporter,
            publishes,
        }
    }

    fn start(
        &self,
        mandatory: bool,
        mut properties: BasicProperties,
    ) -> (Publish, BasicProperties) {
        let (exchange, routing_key) = (ShortString::from(""), ShortString::from("tasks"));
        let message = Outgoing {
            exchange: &exchange,
            routing_key: &routing_key,
            data: b"body",
            mandatory,
        };
        let context = Context::new();
        let publish = Publish::start(&self.telemetry, message, &mut properties, &context);
        (publish, properties)
    }

    /// A mandatory publish, and its message in case it comes back.
    fn mandatory(&self) -> (Pending, BasicReturnMessage) {
        let (publish, properties) = self.start(true, BasicProperties::default());
        (self.publishes.issue(publish), returned(properties))
    }

    fn plain(&self) -> Pending {
        let (publish, _) = self.start(false, BasicProperties::default());
        self.publishes.issue(publish)
    }

    /// Outcome and `error.type` of the spans that ended since the last call.
    fn ended(&self) -> Vec<String> {
        let spans = self.exporter.get_finished_spans().unwrap();
        self.exporter.reset();
        spans.iter().map(shown).collect()
    }

    fn looked_for(&self) -> usize {
        let inner = self.publishes.inner.lock();
        inner.unwrap_or_else(PoisonError::into_inner).ledger.len()
    }
}

fn shown(span: &SpanData) -> String {
    assert!(span.events.is_empty(), "the span ended under the lock");
    let values = |name: &str| {
        let found = span
            .attributes
            .iter()
            .filter(|one| one.key.as_str() == name);
        found.map(|one| one.value.to_string()).collect::<Vec<_>>()
    };
    let outcome = values("rabtrace.publish.outcome").join(",");
    [vec![outcome], values("error.type")].concat().join(" ")
}

fn returned(properties: BasicProperties) -> BasicReturnMessage {
    let mut delivery = Delivery::mock(0, "".into(), "tasks".into(), false, Vec::new());
    delivery.properties = properties;
    BasicReturnMessage {
        delivery,
        reply_code: 312,
        reply_text: "NO_ROUTE".into(),
    }
}

fn ack(pending: Pending, message: Option<BasicReturnMessage>) {
    pending.resolve(&Ok(Confirmation::Ack(message)));
}

#[test]
fn a_message_is_that_of_the_publish_with_its_ids() {
    let sender = Sender::new();
    let ((early, early_message), other) = (sender.mandatory(), sender.plain());
    ack(early, None);
    assert!(sender.ended().is_empty(), "another confirm is outstanding");
    ack(other, Some(early_message));
    assert_eq!(sender.ended(), ["acked", "returned NO_ROUTE"]);

    let (other, (late, late_message)) = (sender.plain(), sender.mandatory());
    ack(other, Some(late_message));
    assert_eq!(sender.ended(), ["acked"]);
    ack(late, None);
    assert_eq!(sender.ended(), ["returned NO_ROUTE"]);

    let (own, own_message) = sender.mandatory();
    ack(own, Some(own_message));
    assert_eq!(sender.ended(), ["returned NO_ROUTE"]);
    assert_eq!(sender.looked_for(), 0);
}

#[test]
fn a_publish_is_routed_once_nothing_can_bring_its_message() {
    let sender = Sender::new();
    let ((routed, _), first) = (sender.mandatory(), sender.plain());
    ack(routed, None);
    // Issued before all are through that were outstanding: it may bring the message.
    let second = sender.plain();
    ack(first, None);
    assert_eq!(sender.ended(), ["acked"]);
    // Issued after.
    let third = sender.plain();
    ack(second, None);
    assert_eq!(sender.ended(), ["acked", "acked"]);
    ack(third, None);
    assert_eq!((sender.ended().len(), sender.looked_for()), (1, 0));
}

/// The message must be known before it shows that its confirm is through.
#[test]
fn confirms_that_resolve_on_two_threads_bring_their_messages() {
    let sender = Sender::with(|config, _| config);
    for round in 0..2_000 {
        let (routed, message) = sender.mandatory();
        let (bringing, other) = (sender.plain(), sender.plain());
        ack(routed, None);
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                ack(bringing, Some(message));
            });
            barrier.wait();
            ack(other, None);
        });
        let mut ended = sender.ended();
        ended.sort();
        let expect = ["acked", "acked", "returned NO_ROUTE"];
        assert_eq!(ended, expect, "round {round}");
    }
}

#[test]
fn a_confirm_of_an_untraced_publish_brings_messages_too() {
    let sender = Sender::new();
    assert!(!sender.publishes.may_return());
    let (early, message) = sender.mandatory();
    assert!(sender.publishes.may_return());
    let untraced = sender.publishes.issue(Publish::default());
    ack(early, None);
    assert!(sender.ended().is_empty());
    ack(untraced, Some(message));
    assert_eq!(sender.ended(), ["returned NO_ROUTE"]);
}

#[test]
fn a_publish_that_cannot_be_sent_holds_nobody_up() {
    let sender = Sender::new();
    let ((routed, _), failing) = (sender.mandatory(), sender.plain());
    ack(routed, None);
    failing.fail(&ErrorKind::ChannelsLimitReached.into());
    assert_eq!(sender.ended(), ["acked", "failed ChannelsLimitReached"]);

    let ((routed, _), dropped) = (sender.mandatory(), sender.mandatory().0);
    ack(routed, None);
    drop(dropped);
    assert_eq!(sender.ended(), ["acked", "dropped"]);
    assert_eq!(sender.looked_for(), 0);
}

#[test]
fn a_lost_channel_is_one_error() {
    let sender = Sender::new();
    let lost = || Err(ErrorKind::ChannelsLimitReached.into());
    let ((returned, message), other) = (sender.mandatory(), sender.plain());
    ack(other, Some(message));
    returned.resolve(&lost());
    assert_eq!(sender.ended(), ["acked", "returned NO_ROUTE"]);
    sender.mandatory().0.resolve(&lost());
    let expect = ["channel_lost ChannelsLimitReached"];
    assert_eq!(sender.ended(), expect);
    assert_eq!(sender.looked_for(), 0);
}

#[test]
fn one_message_ends_one_publish_under_a_kept_context() {
    let sender = Sender::new();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut headers = FieldTable::default();
    headers.insert("traceparent".into(), AMQPValue::LongString(parent.into()));
    let properties = BasicProperties::default().with_headers(headers);
    let issue = || {
        sender
            .publishes
            .issue(sender.start(true, properties.clone()).0)
    };
    let (first, second) = (issue(), issue());
    ack(second, Some(returned(properties.clone())));
    ack(first, None);
    assert_eq!(sender.ended(), ["acked", "returned NO_ROUTE"]);
}

#[test]
fn spans_of_a_transaction_end_outside_of_the_lock() {
    let sender = Sender::new();
    let publishes = &sender.publishes;
    let hold = || publishes.hold(sender.start(false, BasicProperties::default()).0);
    hold();
    hold();
    publishes.release(PublishOutcome::Committed, None);
    assert_eq!(sender.ended(), ["committed", "committed"]);
    hold();
    let error = ErrorKind::ChannelsLimitReached.into();
    publishes.release(PublishOutcome::ChannelLost, Some(&error));
    let expect = ["channel_lost ChannelsLimitReached"];
    assert_eq!(sender.ended(), expect);
}

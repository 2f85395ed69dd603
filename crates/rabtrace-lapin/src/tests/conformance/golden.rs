//! Spans of every operation, each with what its sampler was asked with.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};

use super::super::meters::Meters;
use super::super::{AckMode, BasicProperties, Delivery, Service, hand_out, message};
use crate::body::BodyCapture;
use crate::operation::Operation;
use crate::outcome::PublishOutcome;
use crate::path::PathContext;
use crate::propagation;
use crate::settle::{Answer, Settle, Targets};
use crate::shared::Shared;
use crate::source::Source;

/// The attribute in which a span says what its sampler was asked with.
pub(super) const AT_START: &str = "test.at_start";

#[derive(Clone, Debug)]
struct Asked;

impl ShouldSample for Asked {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        _: TraceId,
        _: &str,
        _: &SpanKind,
        attributes: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let keys: Vec<&str> = attributes.iter().map(|it| it.key.as_str()).collect();
        let state = |parent: &Context| parent.span().span_context().trace_state().clone();
        SamplingResult {
            decision: SamplingDecision::RecordAndSample,
            attributes: vec![KeyValue::new(AT_START, keys.join(" "))],
            trace_state: parent.map_or(TraceState::NONE, state),
        }
    }
}

/// A service that did all that there is to do.
pub(super) async fn service() -> (Service, Meters) {
    let meters = Meters::new();
    let service = Service::sampled("planner", Asked).configured(|config| {
        config
            .with_server("broker.example", 5672)
            .with_meter_provider(&meters.provider)
            .with_template("order.{id}")
            .with_body_size()
            .with_body_capture(BodyCapture::up_to_bytes(64))
    });
    let sent = publish(&service);
    process(&service, &sent);
    receive(&service, &sent);
    settle(&service, &sent).await;
    whole_channel(&service, sent).await;
    (service, meters)
}

fn properties() -> BasicProperties {
    BasicProperties::default()
        .with_message_id("m-1".into())
        .with_correlation_id("c-1".into())
}

fn error() -> lapin::Error {
    lapin::ErrorKind::ChannelsLimitReached.into()
}

fn publish(service: &Service) -> BasicProperties {
    let context = Context::new();
    let (mut refused, sent) = service.start(("events", "order.1"), properties(), &context);
    refused.written();
    refused.set_error("nack", "as a test".to_owned());
    refused.end(PublishOutcome::Nacked);
    let (mut failed, _) = service.start(("", "amq.gen-x1"), properties(), &context);
    failed.fail(PublishOutcome::Failed, &error());
    // One that an application made itself.
    let mut headers = FieldTable::default();
    let own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    headers.insert("traceparent".into(), AMQPValue::LongString(own.into()));
    let kept = properties().with_headers(headers);
    drop(service.start(("", "tasks"), kept, &context));
    sent
}

fn path(sent: &BasicProperties) -> PathContext {
    propagation::extract(sent.headers().as_ref()).path.unwrap()
}

fn with(sent: &BasicProperties, more: &[(&str, AMQPValue)]) -> BasicProperties {
    let mut headers = sent.headers().clone().unwrap();
    for (key, value) in more {
        headers.insert((*key).into(), value.clone());
    }
    sent.clone().with_headers(headers)
}

fn process(service: &Service, sent: &BasicProperties) {
    let source = service.source("amq.gen-q1", AckMode::Manual);
    let milliseconds = i64::try_from(path(sent).last_us() / 1_000).unwrap();
    let stamp = AMQPValue::LongLongInt(milliseconds);
    let stamps = [
        ("timestamp_in_ms", stamp.clone()),
        ("x-opt-rabbitmq-sent-time", stamp),
    ];
    let delivery = take(&source, 1, with(sent, &stamps));
    service.publish(("events", "order.2"), &delivery.context());
    delivery.set_error(&std::io::Error::other("as a test"));
    drop(delivery);
    let mut death = FieldTable::default();
    let text = |text: &str| AMQPValue::LongString(text.into());
    death.insert("reason".into(), text("rejected"));
    death.insert("queue".into(), text("tasks"));
    let deaths = FieldArray::from(vec![AMQPValue::FieldTable(death)]);
    let deaths = [("x-death", AMQPValue::FieldArray(deaths))];
    let mut received = message((2, "events", "order.1"), with(sent, &deaths));
    received.redelivered = true;
    drop(hand_out(&source, received, &Context::new()));
}

fn take(source: &Arc<Source>, tag: u64, sent: BasicProperties) -> Delivery {
    let received = message((tag, "events", "order.1"), sent);
    hand_out(source, received, &Context::new())
}

fn receive(service: &Service, sent: &BasicProperties) {
    let source = service.source("amq.gen-q1", AckMode::Manual);
    let mut received = message((3, "events", "order.1"), sent.clone());
    received.redelivered = true;
    let ambient = Context::new();
    source.received(&received, &ambient, SystemTime::now());
    source.not_received(&error(), &ambient, SystemTime::now());
}

async fn settle(service: &Service, sent: &BasicProperties) {
    let source = service.source("amq.gen-q1", AckMode::Manual);
    let taken: Vec<Delivery> = (1..=4)
        .map(|tag| take(&source, tag, sent.clone()))
        .collect();
    let multiple = BasicNackOptions {
        multiple: true,
        requeue: true,
    };
    taken[1].nack(multiple).await.unwrap();
    taken[2].ack(BasicAckOptions::default()).await.unwrap();
    let targets = Targets {
        named: source.open.one(4),
        ..Targets::default()
    };
    let failed = Settle::Ack(BasicAckOptions::default());
    let failed = failed.begin(&service.telemetry, 4, targets);
    failed.finish(&Answer::Failed(&error()));
    let reject = taken[3].reject(BasicRejectOptions { requeue: true });
    reject.await.unwrap();
}

async fn whole_channel(service: &Service, sent: BasicProperties) {
    let shared = Shared {
        telemetry: Arc::clone(&service.telemetry),
        open: Arc::default(),
        publishes: Arc::default(),
        transactional: AtomicBool::new(false),
        status: None,
    };
    for operation in [Operation::Recover, Operation::Commit, Operation::Rollback] {
        shared.operate(operation, async { Ok(()) }).await.unwrap();
    }
    shared.came_back(&lapin::message::BasicReturnMessage {
        delivery: message((0, "events", "order.1"), sent),
        reply_code: 312,
        reply_text: "NO_ROUTE".into(),
    });
}

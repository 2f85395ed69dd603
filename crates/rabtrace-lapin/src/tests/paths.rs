//! Paths as they are measured: every message, by edge and kind, in a table of bounded size.

mod ends;
mod limits;

use std::collections::HashSet;
use std::sync::Arc;

use lapin::options::{BasicAckOptions, BasicRejectOptions};
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use opentelemetry::Context;
use opentelemetry_sdk::trace::Sampler;

use super::meters::{Meters, Series};
use super::{AckMode, BasicProperties, Delivery, Service, hand_out, message};
use crate::config::TraceConfig;
use crate::outcome::PublishOutcome;
use crate::path::{Direction, Step, step_hash};
use crate::source::Source;

const MESSAGES: &str = "rabtrace.path.messages";
const EDGE: &str = "rabtrace.path.edge.duration";
const TOTAL: &str = "rabtrace.path.duration";
const PROCESS: &str = "rabtrace.path.process.duration";
const ERRORS: &str = "rabtrace.path.errors";
const ATTEMPTS: &str = "rabtrace.path.attempts";
const SKEW: &str = "rabtrace.path.skew";

fn measured(change: impl FnOnce(TraceConfig) -> TraceConfig) -> (Service, Meters) {
    let meters = Meters::new();
    let service = Service::sampled("planner", Sampler::AlwaysOff)
        .configured(|config| change(config.with_meter_provider(&meters.provider)));
    (service, meters)
}

/// Publishes a message that is confirmed; the properties are those on the wire.
fn send(service: &Service, to: (&str, &str), parent: &Context) -> BasicProperties {
    send_as(service, to, (BasicProperties::default(), parent))
}

fn send_as(
    service: &Service,
    to: (&str, &str),
    (properties, parent): (BasicProperties, &Context),
) -> BasicProperties {
    let (mut publish, properties) = service.start(to, properties, parent);
    publish.written();
    publish.end(PublishOutcome::Acked);
    properties
}

/// Takes a message from `queue` that was published to `to`.
fn take(
    service: &Service,
    (queue, to): (&str, (&str, &str)),
    properties: BasicProperties,
) -> Delivery {
    let source = service.source(queue, AckMode::Manual);
    take_from(&source, (to, false), properties)
}

fn take_from(
    source: &Arc<Source>,
    ((exchange, key), redelivered): ((&str, &str), bool),
    properties: BasicProperties,
) -> Delivery {
    let mut received = message((1, exchange, key), properties);
    received.redelivered = redelivered;
    hand_out(source, received, &Context::new())
}

fn with(properties: &BasicProperties, more: &[(&str, AMQPValue)]) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    for (key, value) in more {
        headers.insert((*key).into(), value.clone());
    }
    properties.clone().with_headers(headers)
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// An entry of `x-death` for a message that had been published to `to`.
fn death(queue: &str, to: (&str, &str), time: u64) -> AMQPValue {
    let keys = FieldArray::from(vec![text(to.1)]);
    let mut entry = FieldTable::default();
    for (key, value) in [
        ("queue", text(queue)),
        ("reason", text("rejected")),
        ("exchange", text(to.0)),
        ("routing-keys", AMQPValue::FieldArray(keys)),
        ("time", AMQPValue::Timestamp(time)),
    ] {
        entry.insert(key.into(), value);
    }
    AMQPValue::FieldTable(entry)
}

fn deaths(entries: Vec<AMQPValue>) -> (&'static str, AMQPValue) {
    ("x-death", AMQPValue::FieldArray(FieldArray::from(entries)))
}

fn hex(hash: u64) -> String {
    format!("{hash:016x}")
}

fn hash_of(service: &Service, parent: Option<u64>, step: (Direction, &str, Option<&str>)) -> u64 {
    let name = &service.telemetry.destinations.settings.service_name;
    let mut at = Step::new(name, step.0, step.1);
    at.via = step.2;
    step_hash(parent, at.node())
}

fn value<'a>(series: &'a Series, key: &str) -> Option<&'a str> {
    let mut pairs = series.attributes.iter();
    pairs.find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
}

/// The series of a metric as `direction destination kind via error | value`, sorted.
fn shown(meters: &Meters, metric: &str) -> Vec<String> {
    let keys = [
        "rabtrace.direction",
        "messaging.destination.name",
        "rabtrace.edge.kind",
        "rabtrace.path.via",
        "error.type",
    ];
    let all = meters.series().into_iter();
    let mut lines: Vec<String> = all
        .filter(|series| series.metric == metric)
        .map(|series| {
            let words: Vec<&str> = keys.iter().filter_map(|key| value(&series, key)).collect();
            format!("{} | {}", words.join(" "), series.value)
        })
        .collect();
    lines.sort();
    lines
}

fn check(meters: &Meters, metric: &str, expect: &[&str]) {
    assert_eq!(shown(meters, metric), expect, "{metric}");
}

#[tokio::test]
async fn every_checkpoint_is_measured_at_no_sampling() {
    let (service, meters) = measured(|config| config);
    for _ in 0..3 {
        let sent = send(&service, ("events", "order"), &Context::new());
        let audit = take(&service, ("audit", ("events", "order")), sent.clone());
        let billing = take(&service, ("billing", ("events", "order")), sent);
        // Siblings: both go on from the one delivery.
        send(&service, ("", "one"), &audit.context());
        send(&service, ("", "two"), &audit.context());
        audit.ack(BasicAckOptions::default()).await.unwrap();
        billing.ack(BasicAckOptions::default()).await.unwrap();
    }
    assert!(service.spans().is_empty());
    let messages = [
        "in audit events | 3",
        "in billing events | 3",
        "out events | 3",
        "out one | 3",
        "out two | 3",
    ];
    check(&meters, MESSAGES, &messages);
    check(&meters, TOTAL, &messages);
    let without_origin = [
        "in audit events | 3",
        "in billing events | 3",
        "out one | 3",
        "out two | 3",
    ];
    check(&meters, EDGE, &without_origin);
    check(&meters, PROCESS, &messages[..2]);
    for metric in [ERRORS, ATTEMPTS, SKEW] {
        check(&meters, metric, &[]);
    }
    let published = hash_of(&service, None, (Direction::Out, "events", None));
    let taken = (Direction::In, "audit", Some("events"));
    let taken = hash_of(&service, Some(published), taken);
    let one = hash_of(&service, Some(taken), (Direction::Out, "one", None));
    let parents: HashSet<(String, Option<String>)> = meters
        .series()
        .iter()
        .filter(|series| series.metric == MESSAGES)
        .map(|series| {
            let hash = value(series, "rabtrace.path.hash").unwrap().to_owned();
            (
                hash,
                value(series, "rabtrace.path.parent").map(str::to_owned),
            )
        })
        .collect();
    assert!(parents.contains(&(hex(published), None)), "{parents:?}");
    assert!(parents.contains(&(hex(taken), Some(hex(published)))));
    assert!(parents.contains(&(hex(one), Some(hex(taken)))));
    assert_eq!(parents.len(), 5);
}

#[test]
fn a_reply_is_an_edge_of_its_own() {
    let (service, meters) = measured(|config| config);
    for reply_to in ["amq.gen-x1", "amq.rabbitmq.reply-to.g1.abc", "replies"] {
        let request = BasicProperties::default()
            .with_reply_to(reply_to.into())
            .with_correlation_id("c-1".into());
        let sent = send_as(&service, ("", "rpc"), (request, &Context::new()));
        let request = take(&service, ("rpc", ("", "rpc")), sent);
        let answer = BasicProperties::default().with_correlation_id("c-1".into());
        let sent = send_as(
            &service,
            ("", reply_to),
            (answer.clone(), &request.context()),
        );
        // Another message of the same conversation is none.
        send_as(&service, ("", "next"), (answer, &request.context()));
        drop(take(&service, (reply_to, ("", reply_to)), sent));
    }
    let expect = [
        "in amq.gen reply | 1",
        "in amq.rabbitmq.reply-to reply | 1",
        // Nothing tells that this one is waited for.
        "in replies | 1",
        "in rpc | 3",
        "out amq.gen reply | 1",
        "out amq.rabbitmq.reply-to reply | 1",
        "out next | 3",
        "out replies reply | 1",
        "out rpc | 3",
    ];
    check(&meters, MESSAGES, &expect);
    // A subscriber with a queue of its own is not waiting for an answer.
    let sent = send(&service, ("events", "a"), &Context::new());
    drop(take(&service, ("amq.gen-x2", ("events", "a")), sent));
    assert!(shown(&meters, MESSAGES).contains(&"in amq.gen events | 1".to_owned()));
}

#[tokio::test]
async fn a_message_that_comes_again_has_the_hash_of_the_first_time() {
    let (service, meters) = measured(|config| config);
    let source = service.source("tasks", AckMode::Manual);
    let sent = send(&service, ("", "tasks"), &Context::new());
    let to = ("", "tasks");
    let requeue = BasicRejectOptions { requeue: true };
    for redelivered in [false, true] {
        let given_back = take_from(&source, (to, redelivered), sent.clone());
        given_back.reject(requeue).await.unwrap();
    }
    // This process gave it back twice; then its channel was lost.
    drop(take_from(&source, (to, true), sent.clone()));
    let last = take_from(&source, (to, true), sent.clone());
    last.ack(BasicAckOptions::default()).await.unwrap();
    // Another one that is not known here.
    let other = send(&service, ("", "tasks"), &Context::new());
    take_from(&source, (to, true), other)
        .ack(BasicAckOptions::default())
        .await
        .unwrap();
    let expect = [
        "in tasks redelivery | 2",
        "in tasks requeue | 2",
        "in tasks | 1",
        "out tasks | 2",
    ];
    check(&meters, MESSAGES, &expect);
    check(&meters, ATTEMPTS, &expect[..2]);
    let numbers = meters
        .series()
        .into_iter()
        .filter(|series| series.metric == ATTEMPTS);
    let sum: f64 = numbers.map(|series| series.sum).sum();
    assert!((sum - (2.0 + 3.0 + 4.0 + 2.0)).abs() < 1e-9, "{sum}");
    let errors = [
        "in tasks reject_requeue | 1",
        "in tasks requeue reject_requeue | 1",
    ];
    check(&meters, ERRORS, &errors);
    let hashes: HashSet<String> = meters
        .series()
        .iter()
        .filter(|series| series.metric == MESSAGES)
        .filter_map(|series| Some(value(series, "rabtrace.path.hash")?.to_owned()))
        .collect();
    assert_eq!(hashes.len(), 2);
}

#[test]
fn dead_letters_come_from_the_queue_that_gave_them_up() {
    let (service, meters) = measured(|config| config);
    let sent = send(&service, ("events", "a"), &Context::new());
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let first = take(&service, ("work", ("events", "a")), sent.clone());
    let hash = first.path().unwrap().hash();
    // Given up by `work`, to a queue of dead letters.
    let headers = [deaths(vec![death("work", ("events", "a"), now)])];
    drop(take(
        &service,
        ("dead", ("", "dead")),
        with(&sent, &headers),
    ));
    // And by a queue that holds it a while, back to `work`.
    let entries = vec![
        death("later", ("", "later"), now),
        death("work", ("events", "a"), now),
    ];
    let back = take(
        &service,
        ("work", ("", "work")),
        with(&sent, &[deaths(entries)]),
    );
    assert_eq!(back.path().unwrap().hash(), hash);
    // Published again with the broker's headers, long after.
    let stale = [deaths(vec![death("work", ("events", "a"), now - 60)])];
    drop(take(&service, ("dead", ("", "dead")), with(&sent, &stale)));
    let expect = [
        "in dead dead_letter work | 1",
        "in dead | 1",
        "in work dead_letter events | 1",
        "in work events | 1",
        "out events | 1",
    ];
    check(&meters, MESSAGES, &expect);
}

#[test]
fn a_thousand_retries_are_one_path_with_a_number() {
    let (service, meters) = measured(|config| config);
    let mut sent = send(&service, ("", "tasks"), &Context::new());
    for _ in 0..1_000 {
        let taken = take(&service, ("tasks", ("", "tasks")), sent.clone());
        // The headers that came with it go on as well.
        sent = send_as(&service, ("", "tasks"), (sent, &taken.context()));
    }
    // One step more: the publish by the service itself where the same one began.
    let expect = [
        "in tasks repeat | 999",
        "in tasks | 1",
        "out tasks repeat | 1000",
        "out tasks | 1",
    ];
    check(&meters, MESSAGES, &expect);
    check(&meters, ATTEMPTS, &["in tasks repeat | 999"]);
    let attempts = meters
        .series()
        .into_iter()
        .find(|series| series.metric == ATTEMPTS);
    // From 2 on, each number once.
    let sum: u32 = (2..=1_000).sum();
    assert!((attempts.unwrap().sum - f64::from(sum)).abs() < 1e-9);
    assert_eq!(service.telemetry.paths.len(), 4);
}

#[test]
fn spans_say_whether_paths_are_measured() {
    let scope = |service: &Service| {
        send(service, ("", "tasks"), &Context::new());
        let span = service.spans().pop().unwrap();
        let attributes = span.instrumentation_scope.attributes();
        let pairs = attributes.map(|pair| format!("{}={}", pair.key, pair.value));
        pairs.collect::<Vec<_>>()
    };
    let meters = Meters::new();
    let service = Service::new("planner");
    let change = |config: TraceConfig| config.with_meter_provider(&meters.provider);
    assert_eq!(
        scope(&service.configured(change)),
        ["rabtrace.paths=measured"]
    );
    assert!(scope(&service.configured(TraceConfig::without_metrics)).is_empty());
    // No global meter provider is installed here.
    assert!(scope(&service).is_empty());
}

//! Paths as they are measured: every message, by edge and kind, in a table of bounded size.

use std::collections::HashSet;
use std::sync::Arc;

use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use opentelemetry::Context;
use opentelemetry::trace::noop::NoopTracerProvider;
use opentelemetry::trace::{FutureExt, TraceContextExt};
use opentelemetry_sdk::trace::{Sampler, SpanData};

use super::meters::{Meters, Series};
use super::{AckMode, BasicProperties, Delivery, Service, attribute, hand_out, message};
use crate::config::TraceConfig;
use crate::fan_in::merged_context;
use crate::outcome::PublishOutcome;
use crate::path::{Direction, OTHER_PATHS, Step, step_hash};
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
    let first = take_from(&source, (to, false), sent.clone());
    first.reject(requeue).await.unwrap();
    // This process gave it back; then its channel was lost.
    let second = take_from(&source, (to, true), sent.clone());
    drop(second);
    let third = take_from(&source, (to, true), sent.clone());
    third.ack(BasicAckOptions::default()).await.unwrap();
    // Another one that is not known here.
    let other = send(&service, ("", "tasks"), &Context::new());
    take_from(&source, (to, true), other)
        .ack(BasicAckOptions::default())
        .await
        .unwrap();
    let expect = [
        "in tasks redelivery | 2",
        "in tasks requeue | 1",
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
    assert!((sum - (2.0 + 3.0 + 2.0)).abs() < 1e-9, "{sum}");
    check(&meters, ERRORS, &["in tasks reject_requeue | 1"]);
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

#[tokio::test]
async fn what_does_not_succeed_is_an_error_of_its_path() {
    let (service, meters) = measured(|config| config);
    let publish = |outcome, error: Option<&'static str>, is_written| {
        let (mut publish, _) =
            service.start(("", "tasks"), BasicProperties::default(), &Context::new());
        if is_written {
            publish.written();
        }
        if let Some(error) = error {
            publish.set_error(error, "as a test".to_owned());
        }
        publish.end(outcome);
    };
    publish(PublishOutcome::Acked, None, true);
    publish(PublishOutcome::Returned, Some("NO_ROUTE"), true);
    publish(PublishOutcome::Nacked, Some("nack"), true);
    publish(PublishOutcome::ChannelLost, Some("CONNECTION_FORCED"), true);
    publish(PublishOutcome::Failed, Some("InvalidChannelState"), false);
    publish(PublishOutcome::Dropped, None, false);
    check(&meters, MESSAGES, &["out tasks | 5"]);
    let expect = [
        "out tasks CONNECTION_FORCED | 1",
        "out tasks InvalidChannelState | 1",
        "out tasks NO_ROUTE | 1",
        "out tasks nack | 1",
    ];
    check(&meters, ERRORS, &expect);

    let (service, meters) = measured(|config| config);
    let next = || {
        take(
            &service,
            ("tasks", ("", "tasks")),
            BasicProperties::default(),
        )
    };
    let failed = next();
    failed.set_error(&std::io::Error::other("no such tool"));
    failed.ack(BasicAckOptions::default()).await.unwrap();
    next().nack(BasicNackOptions::default()).await.unwrap();
    next().reject(BasicRejectOptions::default()).await.unwrap();
    next().ack(BasicAckOptions::default()).await.unwrap();
    let expect = [
        "in tasks _OTHER | 1",
        "in tasks nack_discard | 1",
        "in tasks reject_discard | 1",
    ];
    check(&meters, ERRORS, &expect);
    check(&meters, PROCESS, &["in tasks | 4"]);
}

#[test]
fn messages_without_a_context_are_counted() {
    let (service, meters) = measured(|config| config);
    drop(take(
        &service,
        ("tasks", ("", "tasks")),
        BasicProperties::default(),
    ));
    check(&meters, MESSAGES, &["in tasks | 1"]);
    check(&meters, EDGE, &[]);
    check(&meters, TOTAL, &[]);
    // With a stamp of the broker, their time in the queue is known.
    let stamped = with(
        &BasicProperties::default(),
        &[("timestamp_in_ms", AMQPValue::LongLongInt(1_000))],
    );
    let taken = take(&service, ("tasks", ("", "tasks")), stamped);
    assert_eq!(taken.path().unwrap().origin_us(), 1_000_000);
    for metric in [EDGE, TOTAL] {
        check(&meters, metric, &["in tasks | 1"]);
    }
    check(&meters, MESSAGES, &["in tasks | 2"]);
    // From tomorrow: the clocks disagree.
    let tomorrow = AMQPValue::LongLongInt(9_000_000_000_000);
    let stamped = with(
        &BasicProperties::default(),
        &[("timestamp_in_ms", tomorrow)],
    );
    drop(take(&service, ("tasks", ("", "tasks")), stamped));
    check(&meters, SKEW, &["in tasks | 1"]);
    check(&meters, EDGE, &["in tasks | 1"]);
    check(&meters, MESSAGES, &["in tasks | 3"]);
}

#[test]
fn a_hundred_thousand_names_are_a_bounded_number_of_series() {
    let (service, meters) = measured(|config| config);
    for at in 0..100_000 {
        let key = format!("order.{at}");
        let sent = send(&service, ("", &key), &Context::new());
        drop(take(&service, (&key, ("", &key)), sent));
        let replies = format!("amq.gen-{at}");
        send(&service, ("", &replies), &Context::new());
    }
    assert!(service.telemetry.paths.len() <= 1_024);
    let series = meters.series();
    let paths: Vec<_> = series
        .iter()
        .filter(|series| series.metric == MESSAGES)
        .collect();
    assert!(paths.len() <= 1_026, "{}", paths.len());
    assert_eq!(meters.total(MESSAGES, &[]), 300_000, "none is lost");
    let generated = "messaging.destination.name=amq.gen";
    assert_eq!(meters.total(MESSAGES, &[generated]), 100_000);
}

#[test]
fn beyond_the_limit_paths_are_the_others() {
    let (service, meters) = measured(|config| config.with_path_limit(2));
    let mut sent = Vec::new();
    for queue in ["one", "two", "three", "four"] {
        let properties = send(&service, ("", queue), &Context::new());
        let path = crate::propagation::extract(properties.headers().as_ref()).path;
        let is_other = path.unwrap().hash() == OTHER_PATHS;
        assert_eq!(is_other, ["three", "four"].contains(&queue), "{queue}");
        sent.push((queue, properties));
    }
    for (queue, properties) in sent {
        drop(take(&service, (queue, ("", queue)), properties));
    }
    let expect = [
        "in _other | 4",
        "out _other | 2",
        "out one | 1",
        "out two | 1",
    ];
    check(&meters, MESSAGES, &expect);
    let other = format!("rabtrace.path.hash={}", hex(OTHER_PATHS));
    assert_eq!(meters.total(MESSAGES, &[&other]), 6);
    // Another service goes on from there, and says so.
    let sent = send(&service, ("", "three"), &Context::new());
    let (audit, meters) = measured(|config| config.with_service_name("audit"));
    drop(take(&audit, ("three", ("", "three")), sent));
    let parent = format!("rabtrace.path.parent={}", hex(OTHER_PATHS));
    assert_eq!(meters.total(MESSAGES, &[&parent]), 1);
}

#[test]
fn channels_of_one_configuration_share_the_table() {
    let meters = Meters::new();
    let config = TraceConfig::new().with_meter_provider(&meters.provider);
    let one = crate::telemetry::Telemetry::new(&config);
    let two = crate::telemetry::Telemetry::new(&config.clone());
    assert!(Arc::ptr_eq(&one.paths, &two.paths));
    let other = crate::telemetry::Telemetry::new(&config.with_path_limit(5));
    assert!(!Arc::ptr_eq(&one.paths, &other.paths));
}

#[tokio::test]
async fn a_message_of_several_deliveries_has_all_their_paths() {
    let meters = Meters::new();
    let service = Service::new("joiner");
    let service = service.configured(|config| config.with_meter_provider(&meters.provider));
    let taken: Vec<Delivery> = ["one", "two", "two"]
        .iter()
        .map(|queue| {
            let sent = send(&service, ("", queue), &Context::new());
            take(&service, (queue, ("", queue)), sent)
        })
        .collect();
    let [one, two] = [0, 1].map(|at: usize| taken[at].path().unwrap().hash());
    let publishes: HashSet<_> = service
        .spans()
        .iter()
        .map(|span| span.span_context.span_id())
        .collect();
    service.exporter.reset();
    let sent = async { send(&service, ("", "joined"), &Context::current()) };
    let sent = sent.with_context(merged_context(&taken)).await;
    let spans: Vec<SpanData> = service.spans();
    let linked: HashSet<_> = spans[0]
        .links
        .iter()
        .map(|link| link.span_context.span_id())
        .collect();
    assert_eq!((spans[0].links.len(), linked), (3, publishes));
    let path = crate::propagation::extract(sent.headers().as_ref())
        .path
        .unwrap();
    assert_eq!(
        attribute(&spans[0], "rabtrace.path.hash"),
        Some(hex(path.hash()))
    );
    assert_eq!(attribute(&spans[0], "rabtrace.path.parent"), Some(hex(one)));
    let all = meters.series();
    let mut rows: Vec<(Option<&str>, &str, i64)> = all
        .iter()
        .filter(|series| series.metric == MESSAGES)
        .filter(|series| value(series, "messaging.destination.name") == Some("joined"))
        .map(|series| {
            assert_eq!(
                value(series, "rabtrace.path.hash"),
                Some(hex(path.hash()).as_str())
            );
            let kind = value(series, "rabtrace.edge.kind");
            (
                kind,
                value(series, "rabtrace.path.parent").unwrap(),
                series.value,
            )
        })
        .collect();
    rows.sort_unstable();
    let (one, two) = (hex(one), hex(two));
    let mut expect = [
        (None, one.as_str(), 1),
        (Some("merge"), &one, 1),
        (Some("merge"), &two, 2),
    ];
    expect.sort_unstable();
    assert_eq!(rows, expect);
    assert!(!merged_context(&[]).has_active_span());
}

#[test]
fn without_a_tracer_the_path_travels_alone() {
    let (service, meters) =
        measured(|config| config.with_tracer_provider(&NoopTracerProvider::new()));
    let sent = send(&service, ("", "tasks"), &Context::new());
    let headers = sent.headers().as_ref().unwrap();
    let keys: Vec<&str> = headers.inner().keys().map(|key| key.as_str()).collect();
    assert_eq!(keys, ["tracestate"]);
    let taken = take(&service, ("tasks", ("", "tasks")), sent.clone());
    let again = send_as(&service, ("", "next"), (sent, &taken.context()));
    let path = crate::propagation::extract(again.headers().as_ref())
        .path
        .unwrap();
    assert_eq!(path.steps(), 3);
    check(&meters, EDGE, &["in tasks | 1", "out next | 1"]);
    // Without a meter of its own it stays silent.
    let silent =
        service.configured(|config| config.with_tracer_provider(&NoopTracerProvider::new()));
    let sent = send(&silent, ("", "tasks"), &Context::new());
    assert_eq!(sent, BasicProperties::default());
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

//! Measurements: names, units, buckets, attributes, exact counts. The same with and without the
//! feature `bound-metrics`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lapin::options::{BasicAckOptions, BasicNackOptions};
use lapin::types::FieldTable;
use opentelemetry::Context;
use opentelemetry::trace::noop::NoopTracerProvider;
use opentelemetry_sdk::trace::Sampler;

use super::meters::Meters;
use super::{AckMode, BasicProperties, Delivery, Service, hand_out, message};
use crate::config::TraceConfig;
use crate::operation::Operation;
use crate::outcome::PublishOutcome;
use crate::path::{Direction, Step, checkpoint};
use crate::propagation;
use crate::publish::Publish;
use crate::rules::Rule;
use crate::semconv;
use crate::source::{HandOut, Taken};
use crate::telemetry::microseconds;

/// A service that is measured, without a server's address, so that the lines stay short.
fn measured(sampler: Sampler) -> (Service, Meters) {
    let meters = Meters::new();
    let service = Service::sampled("planner", sampler)
        .configured(|config| config.with_meter_provider(&meters.provider));
    (service, meters)
}

fn publish(service: &Service, to: (&str, &str)) -> Publish {
    let (mut publish, _) = service.start(to, BasicProperties::default(), &Context::new());
    publish.written();
    publish
}

fn take(service: &Service, ack_mode: AckMode, redelivered: bool) -> Delivery {
    let mut received = message((1, "", "tasks"), BasicProperties::default());
    received.redelivered = redelivered;
    hand_out(
        &service.source("tasks", ack_mode),
        received,
        &Context::new(),
    )
}

fn check(meters: &Meters, expect: &str) {
    assert_eq!(meters.shown(), expect);
}

const PUBLISH: &str = "messaging.operation.name=publish";

#[test]
fn every_publish_is_counted_once_with_its_outcome() {
    let (service, meters) = measured(Sampler::AlwaysOff);
    let outcomes = [
        (PublishOutcome::Acked, None),
        (PublishOutcome::Nacked, Some("nack")),
        (PublishOutcome::Returned, Some("NO_ROUTE")),
        (PublishOutcome::Unconfirmed, None),
        (PublishOutcome::Committed, None),
        (PublishOutcome::RolledBack, None),
        (PublishOutcome::ChannelLost, Some("NOT_FOUND")),
    ];
    for (at, (outcome, error)) in outcomes.into_iter().enumerate() {
        // Each as often as its place says, so that none can stand for another.
        for _ in 0..=at {
            let mut publish = publish(&service, ("events", "a"));
            if let Some(error) = error {
                publish.set_error(error, "as a test".to_owned());
            }
            publish.end(outcome);
        }
    }
    // Given up before it was written; refused by lapin.
    let start = || service.start(("events", "a"), BasicProperties::default(), &Context::new());
    drop(start());
    let (mut refused, _) = start();
    refused.fail(PublishOutcome::Failed, &lapin_error());
    let duration = "messaging.client.operation.duration";
    let system = "messaging.destination.name=events:a";
    let of = format!("{PUBLISH} messaging.operation.type=send messaging.system=rabbitmq");
    let sent = format!("messaging.client.sent.messages {{}}{system} {PUBLISH}");
    let error = |sent: &str, error| sent.replace("{}", &format!("error.type={error} "));
    let ended = "rabtrace.publish.outcomes messaging.destination.name=events:a";
    let expect = [
        format!("{duration} error.type=ChannelsLimitReached {system} {of} | 1"),
        format!("{duration} error.type=NOT_FOUND {system} {of} | 7"),
        format!("{duration} error.type=NO_ROUTE {system} {of} | 3"),
        format!("{duration} error.type=nack {system} {of} | 2"),
        format!("{duration} {system} {of} | 17"),
        error(&sent, "ChannelsLimitReached") + " messaging.system=rabbitmq | 1",
        sent.replace("{}", "") + " messaging.system=rabbitmq | 28",
        format!("{ended} rabtrace.publish.outcome=acked | 1"),
        format!("{ended} rabtrace.publish.outcome=channel_lost | 7"),
        format!("{ended} rabtrace.publish.outcome=committed | 5"),
        format!("{ended} rabtrace.publish.outcome=dropped | 1"),
        format!("{ended} rabtrace.publish.outcome=failed | 1"),
        format!("{ended} rabtrace.publish.outcome=nacked | 2"),
        format!("{ended} rabtrace.publish.outcome=returned | 3"),
        format!("{ended} rabtrace.publish.outcome=rolled_back | 6"),
        format!("{ended} rabtrace.publish.outcome=unconfirmed | 4"),
        "rabtrace.publish.returned error.type=NO_ROUTE messaging.destination.name=events:a | 3"
            .to_owned(),
    ];
    check(&meters, &expect.join("\n"));
    assert!(service.spans().is_empty(), "the sampler took none");
}

fn lapin_error() -> lapin::Error {
    lapin::ErrorKind::ChannelsLimitReached.into()
}

#[tokio::test]
async fn every_delivery_is_counted_once_with_its_settlement() {
    let (service, meters) = measured(Sampler::AlwaysOff);
    let ack = take(&service, AckMode::Manual, false);
    let requeue = take(&service, AckMode::Manual, true);
    let no_ack = take(&service, AckMode::NoAck, false);
    let dropped = take(&service, AckMode::Manual, true);
    let open = "rabtrace.delivery.open";
    assert_eq!(meters.total(open, &[]), 4);
    ack.ack(BasicAckOptions::default()).await.unwrap();
    requeue.set_error(&std::io::Error::other("no such tool"));
    requeue
        .nack(BasicNackOptions {
            requeue: true,
            ..BasicNackOptions::default()
        })
        .await
        .unwrap();
    assert_eq!(meters.total(open, &[]), 2);
    drop((no_ack, dropped, ack, requeue));
    assert_eq!(meters.total(open, &[]), 0);
    check(
        &meters,
        "messaging.client.consumed.messages messaging.destination.name=tasks messaging.operation.name=process messaging.system=rabbitmq | 4
messaging.client.operation.duration messaging.destination.name=tasks messaging.operation.name=ack messaging.operation.type=settle messaging.system=rabbitmq | 1
messaging.client.operation.duration messaging.destination.name=tasks messaging.operation.name=nack messaging.operation.type=settle messaging.system=rabbitmq | 1
messaging.process.duration error.type=_OTHER messaging.destination.name=tasks messaging.operation.name=process messaging.system=rabbitmq | 1
messaging.process.duration messaging.destination.name=tasks messaging.operation.name=process messaging.system=rabbitmq | 3
rabtrace.delivery.redelivered messaging.destination.name=tasks | 2
rabtrace.delivery.settlements messaging.destination.name=tasks rabtrace.settlement=ack | 1
rabtrace.delivery.settlements messaging.destination.name=tasks rabtrace.settlement=dropped_unsettled | 1
rabtrace.delivery.settlements messaging.destination.name=tasks rabtrace.settlement=nack_requeue | 1
rabtrace.delivery.settlements messaging.destination.name=tasks rabtrace.settlement=no_ack | 1",
    );
}

#[test]
fn a_fetched_message_is_received_and_processed() {
    let (service, meters) = measured(Sampler::AlwaysOff);
    let source = service.source("tasks", AckMode::Manual);
    let received = message((1, "", "tasks"), BasicProperties::default());
    let ambient = Context::new();
    source.received(&received, &ambient, SystemTime::now());
    let how = HandOut {
        ambient: &ambient,
        taken: Taken::ByDelegate,
        operation: Operation::Receive,
    };
    drop(source.hand_out(received, how));
    source.not_received(&lapin_error(), &ambient, SystemTime::now());
    check(
        &meters,
        "messaging.client.consumed.messages messaging.destination.name=tasks messaging.operation.name=receive messaging.system=rabbitmq | 1
messaging.client.operation.duration error.type=ChannelsLimitReached messaging.destination.name=tasks messaging.operation.name=receive messaging.operation.type=receive messaging.system=rabbitmq | 1
messaging.client.operation.duration messaging.destination.name=tasks messaging.operation.name=receive messaging.operation.type=receive messaging.system=rabbitmq | 1
messaging.process.duration messaging.destination.name=tasks messaging.operation.name=process messaging.system=rabbitmq | 1
rabtrace.delivery.settlements messaging.destination.name=tasks rabtrace.settlement=dropped_unsettled | 1",
    );
}

#[test]
fn the_time_in_the_queue_is_that_of_first_deliveries_with_a_path() {
    let (service, meters) = measured(Sampler::AlwaysOn);
    let properties = service.publish(("", "tasks"), &Context::new());
    let source = service.source("tasks", AckMode::Manual);
    let deliver = |properties: BasicProperties, redelivered| {
        let mut received = message((1, "", "tasks"), properties);
        received.redelivered = redelivered;
        drop(hand_out(&source, received, &Context::new()));
    };
    deliver(BasicProperties::default(), false);
    deliver(properties.clone(), true);
    assert_eq!(meters.total(semconv::METRIC_QUEUE_TIME, &[]), 0);
    deliver(properties, false);
    assert_eq!(meters.total(semconv::METRIC_QUEUE_TIME, &[]), 1);
}

#[test]
fn what_does_not_fit_into_the_frame_is_counted() {
    let meters = Meters::new();
    let service = Service::new("planner").configured(|config| {
        let config = config.with_meter_provider(&meters.provider);
        config.with_frame_max(200)
    });
    let mut filler = FieldTable::default();
    filler.insert(
        "filler".into(),
        lapin::types::AMQPValue::LongString("x".repeat(100).into()),
    );
    let full = BasicProperties::default().with_headers(filler);
    let (_, properties) = service.start(("", "tasks"), full.clone(), &Context::new());
    assert_eq!(properties, full);
    let shed = meters.total(
        "rabtrace.context.shed",
        &["rabtrace.context.part=traceparent"],
    );
    assert_eq!(shed, 1);
}

#[test]
fn instruments_have_the_names_units_and_buckets_of_the_conventions() {
    let (service, meters) = measured(Sampler::AlwaysOn);
    all_instruments(&service);
    let boundaries = [
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    ];
    let instruments = meters.instruments();
    let lines: Vec<String> = instruments
        .iter()
        .map(|found| {
            assert!(found.description.ends_with('.'), "{found:?}");
            let bounds: &[f64] = match found.name.as_str() {
                "rabtrace.path.attempts" => &semconv::ATTEMPT_BOUNDARIES,
                name if name.starts_with("rabtrace.path.") => &semconv::PATH_BOUNDARIES,
                _ => &boundaries,
            };
            if found.kind == "histogram" {
                assert_eq!(found.bounds, bounds, "{}", found.name);
            }
            format!("{} {} {}", found.name, found.kind, found.unit)
        })
        .collect();
    let expect = [
        "messaging.client.consumed.messages counter {message}",
        "messaging.client.operation.duration histogram s",
        "messaging.client.sent.messages counter {message}",
        "messaging.process.duration histogram s",
        "rabtrace.context.shed counter {message}",
        "rabtrace.delivery.open updowncounter {message}",
        "rabtrace.delivery.redelivered counter {message}",
        "rabtrace.delivery.settlements counter {message}",
        "rabtrace.hook.panics counter {call}",
        "rabtrace.path.attempts histogram {attempt}",
        "rabtrace.path.duration histogram s",
        "rabtrace.path.edge.duration histogram s",
        "rabtrace.path.errors counter {message}",
        "rabtrace.path.messages counter {message}",
        "rabtrace.path.process.duration histogram s",
        "rabtrace.path.skew histogram s",
        "rabtrace.publish.outcomes counter {message}",
        "rabtrace.publish.returned counter {message}",
        "rabtrace.queue.time histogram s",
    ];
    assert_eq!(lines, expect);
}

/// Measures something with every instrument.
pub(super) fn all_instruments(service: &Service) {
    let properties = service.publish(("", "tasks"), &Context::new());
    drop(service.consume("tasks", properties));
    drop(take(service, AckMode::Manual, true));
    let mut returned = publish(service, ("", "tasks"));
    returned.set_error("NO_ROUTE", "as a test".to_owned());
    returned.end(PublishOutcome::Returned);
    from_tomorrow(service);
    let metrics = service.telemetry.metrics.as_ref().unwrap();
    metrics.shed("baggage");
    metrics.hook_panicked();
}

/// Takes a message whose publisher's clock is ahead.
fn from_tomorrow(service: &Service) {
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    let step = Step::new("gateway", Direction::Out, "events");
    let path = checkpoint(None, &step, microseconds(tomorrow)).context;
    let mut properties = BasicProperties::default();
    let headers = propagation::inject_path(&properties, &path, 131_072);
    properties = properties.with_headers(headers.unwrap().unwrap());
    let mut received = message((1, "events", "a"), properties);
    received.redelivered = true;
    let source = service.source("tasks", AckMode::Manual);
    drop(hand_out(&source, received, &Context::new()));
}

#[test]
fn durations_are_seconds_and_equal_to_those_of_the_spans() {
    let (service, meters) = measured(Sampler::AlwaysOn);
    let mut publish = publish(&service, ("", "tasks"));
    let later = SystemTime::now() + Duration::from_millis(2_500);
    publish.end_at(PublishOutcome::Acked, later);
    let delivery = take(&service, AckMode::Manual, false);
    drop(delivery);
    let spans = service.spans();
    let seconds = |at: usize| {
        let span = &spans[at];
        span.end_time
            .duration_since(span.start_time)
            .unwrap()
            .as_secs_f64()
    };
    let sum = |metric: &str| {
        let series = meters.series();
        let mut found = series.iter().filter(|series| series.metric == metric);
        found.next().unwrap().sum
    };
    let near = |one: f64, other: f64| assert!((one - other).abs() < 1e-9, "{one} {other}");
    near(sum("messaging.client.operation.duration"), seconds(0));
    near(sum("messaging.process.duration"), seconds(1));
    assert!((2.5..60.0).contains(&seconds(0)), "{}", seconds(0));
}

#[test]
fn counts_from_many_threads_are_exact() {
    const THREADS: i64 = 8;
    const EACH: i64 = 2_000;
    let (service, meters) = measured(Sampler::AlwaysOff);
    let service = Arc::new(service);
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let service = Arc::clone(&service);
            std::thread::spawn(move || {
                for at in 0..EACH {
                    // Half of them on a destination of their own.
                    let queue = format!("tasks-{}", if at % 2 == 0 { 0 } else { thread });
                    publish(&service, ("", &queue)).end(PublishOutcome::Acked);
                    drop(service.consume(&queue, BasicProperties::default()));
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    let total = |metric: &str| meters.total(metric, &[]);
    for metric in [
        "messaging.client.sent.messages",
        "messaging.client.operation.duration",
        "messaging.client.consumed.messages",
        "messaging.process.duration",
        "rabtrace.publish.outcomes",
        "rabtrace.delivery.settlements",
    ] {
        assert_eq!(total(metric), THREADS * EACH, "{metric}");
    }
    assert_eq!(total("rabtrace.delivery.open"), 0);
    let shared = "messaging.destination.name=tasks-0";
    let shared = meters.total("messaging.client.sent.messages", &[shared]);
    assert_eq!(shared, (THREADS + 1) * EACH / 2);
}

#[tokio::test]
async fn without_a_tracer_everything_is_still_measured() {
    let meters = Meters::new();
    let service = Service::new("planner").configured(|config| {
        let config = config.with_tracer_provider(&NoopTracerProvider::new());
        config.with_meter_provider(&meters.provider)
    });
    for _ in 0..600 {
        publish(&service, ("", "tasks")).end(PublishOutcome::Acked);
        let delivery = take(&service, AckMode::Manual, false);
        delivery.ack(BasicAckOptions::default()).await.unwrap();
    }
    assert_eq!(meters.total("rabtrace.publish.outcomes", &[]), 600);
    assert_eq!(meters.total("rabtrace.delivery.settlements", &[]), 600);
    let ack = ["messaging.operation.name=ack"];
    let acks = meters.total("messaging.client.operation.duration", &ack);
    assert_eq!(acks, 600);
    assert!(service.spans().is_empty());
}

#[test]
fn nothing_is_measured_where_nothing_should_be() {
    let meters = Meters::new();
    let silent = Service::new("planner").configured(|config| {
        let config = config.with_meter_provider(&meters.provider);
        config.without_metrics()
    });
    publish(&silent, ("", "tasks")).end(PublishOutcome::Acked);
    assert_eq!(silent.spans().len(), 1);
    let untraced = Service::new("planner").configured(|config: TraceConfig| {
        let config = config.with_meter_provider(&meters.provider);
        config.with_rule(Rule::queue("tasks").untraced())
    });
    publish(&untraced, ("", "tasks")).end(PublishOutcome::Acked);
    drop(take(&untraced, AckMode::Manual, true));
    let source = untraced.source("tasks", AckMode::Manual);
    let received = message((1, "", "tasks"), BasicProperties::default());
    source.received(&received, &Context::new(), SystemTime::now());
    source.not_received(&lapin_error(), &Context::new(), SystemTime::now());
    check(&meters, "");
    assert!(untraced.spans().is_empty());
}

//! Paths on a real broker: siblings, replies, what comes again, loops, publishes that fail.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use opentelemetry::trace::FutureExt;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use rabtrace::demo::broker::Broker;
use rabtrace_lapin::lapin::options::{
    BasicAckOptions, BasicPublishOptions, BasicRejectOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use rabtrace_lapin::lapin::types::{AMQPValue, FieldTable};
use rabtrace_lapin::lapin::{BasicProperties, ExchangeKind};
use rabtrace_lapin::{TraceConfig, TracedConsumer, merged_context};

use super::service::{Service, broker, next};

const MESSAGES: &str = "rabtrace.path.messages";
const ERRORS: &str = "rabtrace.path.errors";
const ATTEMPTS: &str = "rabtrace.path.attempts";
const EDGE: &str = "rabtrace.path.edge.duration";

/// A service with confirms, and what it measured.
struct Measured {
    service: Service,
    meters: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

/// One series of a metric of paths: its attributes, its count and its highest value.
struct Series {
    attributes: BTreeMap<String, String>,
    count: u64,
    highest: Option<u64>,
}

impl Measured {
    async fn connect(broker: &Broker, name: &str) -> Self {
        let exporter = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(exporter.clone()).build();
        let meters = SdkMeterProvider::builder().with_reader(reader).build();
        let change = |config: TraceConfig| config.with_meter_provider(&meters);
        let service = Service::configured(&broker.amqp_url(), name, change).await;
        Self {
            service: service.with_confirms().await,
            meters,
            exporter,
        }
    }

    fn series(&self, metric: &str) -> Vec<Series> {
        self.exporter.reset();
        self.meters.force_flush().unwrap();
        let exported = self.exporter.get_finished_metrics().unwrap();
        let scopes = exported.iter().flat_map(|all| all.scope_metrics());
        let metrics = scopes.flat_map(|scope| scope.metrics());
        let found = metrics.filter(|found| found.name() == metric);
        found.flat_map(series).collect()
    }

    /// The series as `direction destination kind via error | count`.
    fn check(&self, metric: &str, expect: &[&str]) {
        let keys = [
            "rabtrace.direction",
            "messaging.destination.name",
            "rabtrace.edge.kind",
            "rabtrace.path.via",
            "error.type",
        ];
        let all = self.series(metric);
        let mut lines: Vec<String> = all
            .iter()
            .map(|series| {
                let words = keys.iter().filter_map(|key| series.attributes.get(*key));
                let words: Vec<&str> = words.map(String::as_str).collect();
                format!("{} | {}", words.join(" "), series.count)
            })
            .collect();
        lines.sort();
        assert_eq!(lines, expect, "{metric}");
    }

    fn hashes(&self, direction: &str) -> BTreeSet<String> {
        let all = self.series(MESSAGES).into_iter();
        all.filter(|series| series.attributes["rabtrace.direction"] == direction)
            .map(|series| series.attributes["rabtrace.path.hash"].clone())
            .collect()
    }

    async fn send(&self, (exchange, key): (&str, &str), properties: BasicProperties) {
        let options = BasicPublishOptions::default();
        let channel = &self.service.channel;
        let sent = channel.basic_publish(exchange.into(), key.into(), options, b"body", properties);
        sent.await.unwrap().await.unwrap();
    }

    /// Takes the next message of a queue and acknowledges it.
    async fn accept(&self, consumer: &mut TracedConsumer) {
        let delivery = next(consumer).await;
        delivery.ack(BasicAckOptions::default()).await.unwrap();
    }

    async fn refuse(&self, consumer: &mut TracedConsumer, requeue: bool) {
        let delivery = next(consumer).await;
        let options = BasicRejectOptions { requeue };
        delivery.reject(options).await.unwrap();
    }
}

fn series(metric: &Metric) -> Vec<Series> {
    let pairs = |attributes: &mut dyn Iterator<Item = &opentelemetry::KeyValue>| {
        attributes
            .map(|pair| (pair.key.to_string(), pair.value.to_string()))
            .collect()
    };
    match metric.data() {
        AggregatedMetrics::U64(MetricData::Sum(sum)) => {
            let points = sum.data_points();
            points
                .map(|point| Series {
                    attributes: pairs(&mut point.attributes()),
                    count: point.value(),
                    highest: None,
                })
                .collect()
        }
        AggregatedMetrics::U64(MetricData::Histogram(histogram)) => {
            let points = histogram.data_points();
            points
                .map(|point| Series {
                    attributes: pairs(&mut point.attributes()),
                    count: point.count(),
                    highest: point.max(),
                })
                .collect()
        }
        AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
            let points = histogram.data_points();
            points
                .map(|point| Series {
                    attributes: pairs(&mut point.attributes()),
                    count: point.count(),
                    highest: None,
                })
                .collect()
        }
        other => panic!("{}: {other:?}", metric.name()),
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// Arguments of a queue that gives what it does not want to another one.
fn dead_letters_to(queue: &str) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-dead-letter-exchange".into(), text(""));
    arguments.insert("x-dead-letter-routing-key".into(), text(queue));
    arguments
}

/// A retry queue: back to `queue` after a millisecond.
fn back_to(queue: &str) -> FieldTable {
    let mut arguments = dead_letters_to(queue);
    arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(1));
    arguments
}

#[tokio::test]
async fn a_fan_out_makes_siblings() {
    let broker = broker().await;
    let planner = Measured::connect(&broker, "planner").await;
    let channel = &planner.service.channel;
    let declared = channel.exchange_declare(
        "events".into(),
        ExchangeKind::Fanout,
        ExchangeDeclareOptions::default(),
        FieldTable::default(),
    );
    declared.await.unwrap();
    for queue in ["audit", "billing"] {
        planner.service.queue(queue, FieldTable::default()).await;
        let options = QueueBindOptions::default();
        let arguments = FieldTable::default();
        let bound =
            channel.queue_bind(queue.into(), "events".into(), "".into(), options, arguments);
        bound.await.unwrap();
    }
    planner
        .send(("events", "order"), BasicProperties::default())
        .await;
    for queue in ["audit", "billing"] {
        let mut consumer = planner.service.consume(queue).await;
        planner.accept(&mut consumer).await;
    }
    let expect = [
        "in audit events | 1",
        "in billing events | 1",
        "out events | 1",
    ];
    planner.check(MESSAGES, &expect);
    planner.check(EDGE, &expect[..2]);
    let parents: BTreeSet<_> = planner
        .series(MESSAGES)
        .into_iter()
        .filter_map(|series| series.attributes.get("rabtrace.path.parent").cloned())
        .collect();
    assert_eq!(parents, planner.hashes("out"));
    assert_eq!(planner.hashes("in").len(), 2);
}

#[tokio::test]
async fn a_reply_is_an_edge_of_its_own() {
    let broker = broker().await;
    let client = Measured::connect(&broker, "client").await;
    let server = Measured::connect(&broker, "server").await;
    server.service.queue("rpc", FieldTable::default()).await;
    let options = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    let declared = client
        .service
        .channel
        .queue_declare("".into(), options, FieldTable::default());
    let generated = declared.await.unwrap().name().to_string();
    let mut replies = client.service.consume(&generated).await;
    let mut requests = server.service.consume("rpc").await;
    let properties = BasicProperties::default()
        .with_reply_to(generated.as_str().into())
        .with_correlation_id("c-1".into());
    client.send(("", "rpc"), properties).await;
    let request = next(&mut requests).await;
    let answer = BasicProperties::default().with_correlation_id("c-1".into());
    server.send(("", &generated), answer).await;
    request.ack(BasicAckOptions::default()).await.unwrap();
    drop(request);
    client.accept(&mut replies).await;
    server.check(MESSAGES, &["in rpc | 1", "out amq.gen reply | 1"]);
    client.check(MESSAGES, &["in amq.gen reply | 1", "out rpc | 1"]);
}

#[tokio::test]
async fn what_comes_again_has_edges_of_its_own() {
    let broker = broker().await;
    let planner = Measured::connect(&broker, "planner").await;
    let service = &planner.service;
    service.queue("dead", FieldTable::default()).await;
    service.queue("work", dead_letters_to("dead")).await;
    planner.send(("", "work"), BasicProperties::default()).await;
    // Taken over another channel, which goes with it.
    let other = Measured::connect(&broker, "planner").await;
    let mut elsewhere = other.service.consume("work").await;
    drop(next(&mut elsewhere).await);
    let closed = other.service.connection.close(200, "as a test".into());
    closed.await.unwrap();
    let mut work = service.consume("work").await;
    planner.refuse(&mut work, true).await;
    planner.refuse(&mut work, false).await;
    let mut dead = service.consume("dead").await;
    planner.accept(&mut dead).await;
    let expect = [
        "in dead dead_letter work | 1",
        "in work redelivery | 1",
        "in work requeue | 1",
        "out work | 1",
    ];
    planner.check(MESSAGES, &expect);
    planner.check(ATTEMPTS, &expect[..3]);
    let errors = ["in work reject_discard | 1", "in work reject_requeue | 1"];
    let all = planner.series(ERRORS);
    let named: BTreeSet<_> = all
        .iter()
        .map(|it| it.attributes["error.type"].clone())
        .collect();
    assert_eq!((all.len(), named.len()), (errors.len(), errors.len()));
    // The first delivery, to the service that is gone, was of the same path.
    other.check(MESSAGES, &["in work | 1"]);
    let first = other.hashes("in");
    let again = planner.hashes("in");
    assert!(
        again.is_superset(&first) && again.len() == 2,
        "{first:?} {again:?}"
    );
}

#[tokio::test]
async fn a_loop_of_a_thousand_rounds_is_one_path() {
    const ROUNDS: u64 = 1_000;
    let broker = broker().await;
    let worker = Measured::connect(&broker, "worker").await;
    worker.service.queue("retry", FieldTable::default()).await;
    let mut consumer = worker.service.consume("retry").await;
    worker.send(("", "retry"), BasicProperties::default()).await;
    for _ in 0..ROUNDS {
        let delivery = next(&mut consumer).await;
        // As many do: with the properties that came.
        worker
            .send(("", "retry"), delivery.properties.clone())
            .await;
        delivery.ack(BasicAckOptions::default()).await.unwrap();
    }
    worker.accept(&mut consumer).await;
    let expect = [
        "in retry repeat | 1000",
        "in retry | 1",
        "out retry repeat | 1000",
        "out retry | 1",
    ];
    worker.check(MESSAGES, &expect);
    let attempts = worker.series(ATTEMPTS);
    assert_eq!(attempts.len(), 1);
    assert_eq!(
        (attempts[0].count, attempts[0].highest),
        (ROUNDS, Some(ROUNDS + 1))
    );
    assert_eq!(worker.hashes("in").union(&worker.hashes("out")).count(), 2);
}

#[tokio::test]
async fn a_loop_over_a_delay_queue_is_one_path() {
    const ROUNDS: u64 = 1_000;
    let broker = broker().await;
    let worker = Measured::connect(&broker, "worker").await;
    worker.service.queue("later", back_to("tasks")).await;
    worker
        .service
        .queue("tasks", dead_letters_to("later"))
        .await;
    let mut consumer = worker.service.consume("tasks").await;
    worker.send(("", "tasks"), BasicProperties::default()).await;
    for _ in 0..ROUNDS {
        worker.refuse(&mut consumer, false).await;
    }
    worker.accept(&mut consumer).await;
    let expect = [
        "in tasks dead_letter | 1000",
        "in tasks | 1",
        "out tasks | 1",
    ];
    worker.check(MESSAGES, &expect);
    worker.check(ATTEMPTS, &expect[..1]);
    assert_eq!(worker.series(ATTEMPTS)[0].highest, Some(ROUNDS + 1));
    assert_eq!(worker.hashes("in").len(), 1);
}

#[tokio::test]
async fn publishes_that_come_back_or_are_refused_are_errors() {
    let broker = broker().await;
    let planner = Measured::connect(&broker, "planner").await;
    let service = &planner.service;
    let confirm = service.publish_as(("", "nowhere"), 1, true).await.unwrap();
    confirm.await.unwrap();
    let mut full = FieldTable::default();
    full.insert("x-max-length".into(), AMQPValue::LongInt(1));
    full.insert("x-overflow".into(), text("reject-publish"));
    service.queue("full", full).await;
    for _ in 0..2 {
        service.publish("", "full").await.unwrap().await.unwrap();
    }
    // Whether the first was returned is known when later confirms are through.
    service.queue("tasks", FieldTable::default()).await;
    for _ in 0..2 {
        service.publish("", "tasks").await.unwrap().await.unwrap();
    }
    planner.check(
        MESSAGES,
        &["out full | 2", "out nowhere | 1", "out tasks | 2"],
    );
    planner.check(ERRORS, &["out full nack | 1", "out nowhere NO_ROUTE | 1"]);
}

#[tokio::test]
async fn a_message_without_headers_is_counted() {
    let broker = broker().await;
    let planner = Measured::connect(&broker, "planner").await;
    planner.service.queue("plain", FieldTable::default()).await;
    let channel = planner.service.channel.untraced();
    let options = BasicPublishOptions::default();
    let properties = BasicProperties::default();
    let sent = channel.basic_publish("".into(), "plain".into(), options, b"", properties);
    sent.await.unwrap().await.unwrap();
    let mut consumer = planner.service.consume("plain").await;
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.path().unwrap().steps(), 1);
    delivery.ack(BasicAckOptions::default()).await.unwrap();
    planner.check(MESSAGES, &["in plain | 1"]);
    planner.check(EDGE, &[]);
}

#[tokio::test]
async fn a_batch_goes_on_as_one_message() {
    let broker = broker().await;
    let joiner = Measured::connect(&broker, "joiner").await;
    for queue in ["one", "two", "joined"] {
        joiner.service.queue(queue, FieldTable::default()).await;
    }
    let mut batch = Vec::new();
    // Before anything is taken, so that neither follows from the other.
    for queue in ["one", "two"] {
        joiner.send(("", queue), BasicProperties::default()).await;
    }
    for queue in ["one", "two"] {
        let mut consumer = joiner.service.consume(queue).await;
        batch.push(next(&mut consumer).await);
    }
    let publish = joiner.send(("", "joined"), BasicProperties::default());
    publish.with_context(merged_context(&batch)).await;
    for delivery in &batch {
        delivery.ack(BasicAckOptions::default()).await.unwrap();
    }
    let oldest = batch[0].path().unwrap().origin_us();
    let mut consumer = joiner.service.consume("joined").await;
    let joined = next(&mut consumer).await;
    let path = joined.path().unwrap();
    assert_eq!((path.origin_us(), path.steps()), (oldest, 4));
    let waited = Duration::from_micros(path.last_us() - path.origin_us());
    assert!(waited < Duration::from_secs(60), "{waited:?}");
    joiner.check(
        MESSAGES,
        &[
            "in joined | 1",
            "in one | 1",
            "in two | 1",
            "out joined merge | 1",
            "out joined merge | 1",
            "out joined | 1",
            "out one | 1",
            "out two | 1",
        ],
    );
}

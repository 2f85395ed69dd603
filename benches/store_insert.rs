//! Batches into the embedded store, one transaction each, on a temporary folder: 1,000 spans, and a
//! poll of 10,000 queues. Beside it what a step of its index by trace id takes, and to find a trace in
//! a busy hour.
#![expect(clippy::expect_used, reason = "a benchmark that cannot go on says why")]

use std::cell::RefCell;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rabtrace::config;
use rabtrace::model::{
    AttributeValue, Attributes, Direction, EdgeKind, Hop, PathStep, Point, Span, SpanId, SpanKind,
    SpanStatus, StoreBatch, TraceId,
};
use rabtrace::store::{Done, Store};

const SPANS: u64 = 1_000;
/// Queues of a poll.
const QUEUES: u64 = 10_000;
/// Batches of a run of the index, and some spans more.
const RUN: usize = 66;
/// Runs of the hour in which a trace is looked for.
const RUNS: usize = 16;
/// Batches behind the last of them: hardly more fit before there is another run.
const BEHIND: usize = 58;

fn text(text: &str) -> AttributeValue {
    AttributeValue::Text(Arc::from(text))
}

/// A consumer span as the library makes it, with random ids.
fn hop(resource: &Arc<Attributes>, start: u64) -> Hop {
    let (trace, span) = (fastrand::u128(1..), fastrand::u64(1..));
    let queue: Arc<str> = Arc::from(["planner_queue", "weather_queue"][(span % 2) as usize]);
    let attributes = [
        ("messaging.system", text("rabbitmq")),
        ("messaging.operation.type", text("process")),
        ("messaging.destination.name", text(&queue)),
        ("messaging.message.body.size", AttributeValue::Int(512)),
        ("server.address", text("localhost")),
        ("task.id", text("9f1c2b7e")),
    ];
    let attributes = attributes.map(|(name, value)| (Arc::from(name), value));
    Hop {
        span: Span {
            trace_id: TraceId::from_bytes(&trace.to_be_bytes()).expect("not zero"),
            span_id: SpanId::from_bytes(&span.to_be_bytes()).expect("not zero"),
            parent_span_id: SpanId::from_bytes(&(span ^ 1).to_be_bytes()),
            service: Arc::from("planner"),
            name: Arc::from("process planner_queue"),
            kind: SpanKind::Consumer,
            status: SpanStatus::Unset,
            status_message: String::new(),
            start_unix_nano: start,
            end_unix_nano: start + span % 100_000_000,
            attributes: attributes.into(),
            resource: Arc::clone(resource),
            events: Vec::new(),
            links: Vec::new(),
            paths_measured: false,
        },
        destination: Some(Arc::clone(&queue)),
        queue_wait: Some(Duration::from_micros(span % 10_000)),
        step: Some(PathStep {
            hash: span % 12,
            parent: None,
            direction: Direction::In,
            destination: queue,
            kind: EdgeKind::Forward,
            via: None,
            edge: None,
            total: None,
        }),
        path: Some(Arc::from("gateway > planner_queue > planner")),
        point_unix_nano: start.cast_signed(),
    }
}

fn now() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or_default()
}

fn batch(resource: &Arc<Attributes>) -> StoreBatch {
    let start = now();
    StoreBatch {
        hops: (0..SPANS).map(|at| hop(resource, start + at)).collect(),
        ..StoreBatch::default()
    }
}

/// A queue as the monitor tells of it; of every other one there is no message whose age is known.
fn queue(name: &Arc<str>, at: u64, time: u64) -> Point {
    let (count, rate) = (Some(time / 1_000_000_000), Some(0.5));
    let age = at.is_multiple_of(2).then_some(1.5);
    Point::new("rabbitmq_queue", time.cast_signed())
        .tag("cluster", "rabbit@host")
        .tag("vhost", "/")
        .tag("queue", Arc::clone(name))
        .tag("type", "classic")
        .int("messages", Some(3))
        .int("messages_ready", Some(2))
        .int("messages_unack", Some(1))
        .int("consumers", Some(1))
        .int("messages_publish", count)
        .float("messages_publish_rate", rate)
        .int("messages_deliver_get", count)
        .float("messages_deliver_get_rate", rate)
        .int("messages_ack", count)
        .float("messages_ack_rate", rate)
        .int("messages_redeliver", count)
        .float("messages_redeliver_rate", rate)
        .text("node", Some("rabbit@host"))
        .float("head_age_s", age)
        .text("head_age_method", age.map(|_| "estimated"))
        .text("status", Some("ok"))
        .int("status_code", Some(0))
        .float("staleness_s", rate)
}

fn open(folder: &Path) -> Store {
    let config = config::Store {
        folder: folder.to_owned(),
        retention: Duration::from_secs(86_400),
        max_bytes: 1 << 40,
        spans: true,
    };
    Store::open(&config, SystemTime::now).expect("a new store")
}

fn insert(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut store = open(folder.path());
    let resource = Arc::new(vec![(Arc::from("host.name"), text("host"))]);
    let mut group = criterion.benchmark_group("store_insert");
    group.throughput(Throughput::Elements(SPANS));
    group
        .sample_size(20)
        .measurement_time(Duration::from_secs(3));
    group.bench_function("1000_spans", |bencher| {
        bencher.iter_batched(
            || [batch(&resource)],
            |batches| black_box(store.write(&batches)).expect("written"),
            BatchSize::PerIteration,
        );
    });
    let names: Vec<Arc<str>> = (0..QUEUES)
        .map(|at| format!("orders.{at}").into())
        .collect();
    group.throughput(Throughput::Elements(QUEUES));
    group.bench_function("10000_queues", |bencher| {
        let poll = || {
            let (names, time) = (names.iter().zip(0..), now());
            [StoreBatch {
                points: names.map(|(name, at)| queue(name, at, time)).collect(),
                ..StoreBatch::default()
            }]
        };
        bencher.iter_batched(
            poll,
            |batches| black_box(store.write(&batches)).expect("written"),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// A run of the index as a step makes it; then a trace that is in one of them, and one behind them.
fn index(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = RefCell::new(open(folder.path()));
    let resource = Arc::new(vec![(Arc::from("host.name"), text("host"))]);
    let fill = |batches: usize| {
        let mut last = None;
        for _ in 0..batches {
            let batch = batch(&resource);
            last = batch.hops.last().map(|hop| hop.span.trace_id);
            store.borrow_mut().write(&[batch]).expect("written");
        }
        last.expect("a span").to_string()
    };
    let mut group = criterion.benchmark_group("store_index");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(3));
    group.bench_function("run", |bencher| {
        bencher.iter_batched(
            || fill(RUN),
            |_| assert_eq!(store.borrow_mut().step().expect("a step"), Done::Part),
            BatchSize::PerIteration,
        );
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    store.replace(open(folder.path()));
    let in_a_run = fill(RUN);
    fill((RUNS - 1) * RUN);
    while store.borrow_mut().step().expect("a step") != Done::Nothing {}
    let behind = fill(BEHIND);
    let reader = store.borrow().reader().expect("a reader");
    for (name, trace) in [("trace_in_a_run", &in_a_run), ("trace_behind", &behind)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| reader.trace(trace).expect("read").expect("a trace"));
        });
    }
    group.finish();
}

criterion_group!(benches, insert, index);
criterion_main!(benches);

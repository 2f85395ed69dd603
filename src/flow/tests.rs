use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::hop::tests::span;
use super::{Flow, FlowSetup, FlowTask, Output, Sinks};
use crate::metrics::Metrics;
use crate::model::{
    AttributeValue, Batch, BrokerSnapshot, FieldValue, Hop, Point, Resume, Signal, SpanId,
    SpanKind, SpanStatus,
};

const SECOND: i64 = 1_000_000_000;
/// In the window from 10 s to 20 s.
const NOW: i64 = 12 * SECOND;
const MAX_SERIES: usize = 1_000;

fn flow() -> Flow {
    flow_of("one", Resume::default())
}

fn flow_of(instance: &str, resume: Resume) -> Flow {
    Flow::new(FlowSetup {
        window: Duration::from_secs(10),
        max_series: MAX_SERIES,
        instance: Arc::from(instance),
        resume,
        now_unix_nano: 11 * SECOND,
    })
}

fn batch(spans: Vec<crate::model::Span>) -> Batch {
    Batch {
        spans,
        ..Batch::new(Signal::Traces, Bytes::from_static(b"otlp"))
    }
}

/// A delivery of `hash` to `service` that came `wait` seconds after its publish.
fn delivery(service: &str, hash: &str, wait: f64) -> crate::model::Span {
    let mut span = span(
        service,
        SpanKind::Consumer,
        &[
            ("rabtrace.direction", "in"),
            ("rabtrace.path.hash", hash),
            ("rabtrace.path.parent", "01"),
            ("rabtrace.destination", "jobs"),
        ],
    );
    for name in ["rabtrace.path.edge.duration", "rabtrace.path.duration"] {
        span.attributes
            .push((Arc::from(name), AttributeValue::Double(wait)));
    }
    span
}

fn tag<'a>(point: &'a Point, name: &str) -> Option<&'a str> {
    let mut tags = point.tags.iter();
    let found = tags.find(|(tag, _)| *tag == name);
    found.map(|(_, value)| &**value)
}

/// The number of a field; zero if there is none.
fn whole(point: &Point, name: &str) -> u64 {
    let field = point.fields.iter().find(|(field, _)| *field == name);
    match field {
        Some((_, FieldValue::Int(value))) => value.unsigned_abs(),
        _ => 0,
    }
}

fn measurement<'a>(points: &'a [Point], name: &str) -> Vec<&'a Point> {
    points
        .iter()
        .filter(|point| point.measurement == name)
        .collect()
}

#[test]
fn every_span_is_a_hop_and_a_point_and_counts_once_in_its_window() {
    let mut flow = flow();
    let spans = vec![delivery("worker", "02", 0.5), delivery("worker", "02", 1.5)];
    let taken = flow.take_batch(batch(spans), NOW);
    assert_eq!(
        (
            taken.store.hops.len(),
            measurement(&flow.influx_points(&taken), "spans").len()
        ),
        (2, 2)
    );
    assert_eq!(taken.store.paths.len(), 1, "one path, told once");
    assert_eq!(
        taken.store.hops[0].path.as_deref(),
        Some("? > jobs > worker")
    );
    assert!(flow.close_windows(20 * SECOND - 1).closed.is_empty());
    let closed = flow.close_windows(20 * SECOND);
    let window = &closed.store.windows[0];
    assert_eq!((window.count, window.start_unix_nano), (2, 10 * SECOND));
    assert!((window.total.sum() - 2.0).abs() < 1e-9);
    assert!(window.sampled, "counted from spans");
    assert_eq!(closed.closed_until, Some(20 * SECOND));
    assert_eq!(
        measurement(&flow.influx_points(&closed), "message_flow").len(),
        1
    );
    assert!(flow.close_windows(30 * SECOND).store.windows.is_empty());
}

#[test]
fn paths_without_number_do_not_grow_the_memory() {
    let mut flow = flow();
    let (mut steps, mut paths) = (0, 0);
    for number in 2..2 * MAX_SERIES + 2 {
        let spans = vec![delivery("worker", &format!("{number:x}"), 0.5)];
        let taken = flow.take_batch(batch(spans), NOW);
        steps += taken.store.steps.len();
        paths += taken.store.paths.len();
    }
    let of_one = MAX_SERIES / 2;
    assert_eq!(
        (steps, paths),
        (of_one, of_one),
        "nor the store's dictionaries"
    );
    let closed = flow.close_windows(20 * SECOND);
    assert_eq!(closed.closed.len(), of_one + 1);
    let points = flow.influx_points(&closed);
    let count = |other: bool| -> u64 {
        let flow = measurement(&points, "message_flow").into_iter();
        let of = flow.filter(|point| (tag(point, "path") == Some("_other")) == other);
        of.map(|point| whole(point, "count")).sum()
    };
    let others = (2 * MAX_SERIES - of_one) as u64;
    assert_eq!((count(false), count(true)), (of_one as u64, others));
    let other = closed.closed.iter().find(|window| window.hash == u64::MAX);
    let other = other.map(|window| (&*window.service, &*window.destination));
    assert_eq!(
        other,
        Some(("worker", "jobs")),
        "what is known of them is kept"
    );
}

#[test]
fn paths_with_the_same_text_are_one_point() {
    let mut flow = flow();
    let spans = vec![delivery("worker", "02", 0.5), delivery("worker", "03", 1.5)];
    flow.take_batch(batch(spans), NOW);
    let closed = flow.close_windows(20 * SECOND);
    assert_eq!(closed.closed.len(), 2);
    let all = flow.influx_points(&closed);
    let points = measurement(&all, "message_flow");
    assert_eq!(
        points.len(),
        1,
        "InfluxDB would keep the last of equal points"
    );
    assert!(points[0].fields.contains(&("count", FieldValue::Int(2))));
}

#[test]
fn a_span_at_the_end_of_time_is_a_point() {
    // Digits of the id stand below the microsecond: some of them go beyond the last number.
    for digit in 1..=u8::MAX {
        let mut late = delivery("worker", "02", 0.5);
        late.span_id = SpanId::from_bytes(&[digit; 8]).unwrap();
        (late.start_unix_nano, late.end_unix_nano) = (u64::MAX, u64::MAX);
        let mut flow = flow();
        let taken = flow.take_batch(batch(vec![late]), NOW);
        let all = flow.influx_points(&taken);
        let points = measurement(&all, "spans");
        assert_eq!(points[0].time_unix_nano, i64::MAX);
    }
}

#[test]
fn a_span_is_a_point_with_its_kind_and_status() {
    use SpanKind::{Client, Consumer, Internal, Producer, Server};
    let statuses = [SpanStatus::Unset, SpanStatus::Ok, SpanStatus::Error];
    let kinds = [Internal, Server, Client, Producer, Consumer];
    for (kind, status) in kinds.into_iter().zip(statuses.into_iter().cycle()) {
        let mut span = span("worker", kind, &[]);
        span.status = status;
        let mut flow = flow();
        let taken = flow.take_batch(batch(vec![span]), NOW);
        let points = flow.influx_points(&taken);
        let points = measurement(&points, "spans");
        let tag = |name| points[0].tags.iter().find(|(key, _)| *key == name);
        let tags = ["kind", "status"].map(|name| tag(name).map(|(_, value)| &**value));
        assert_eq!(tags, [Some(kind.as_str()), Some(status.as_str())]);
    }
}

#[tokio::test]
async fn the_task_hands_over_everything_and_ends_with_its_inputs() {
    check_the_end(1, |batches, polls, _| drop((batches, polls))).await;
}

#[tokio::test]
async fn a_store_without_spans_gets_the_statistics() {
    check_the_end(0, |batches, polls, _| drop((batches, polls))).await;
}

#[tokio::test]
async fn a_sender_that_stays_does_not_hold_the_task_up_when_it_is_stopped() {
    let mut kept = None;
    check_the_end(1, |batches, polls, stop| {
        kept = Some((batches, polls));
        stop.cancel();
    })
    .await;
    assert!(kept.is_some_and(|(batches, _)| batches.is_closed()));
}

/// Starts the task, sends a delivery, ends the task by `end`, and looks at what came out: so many
/// spans, if the store is to have them.
async fn check_the_end(
    spans: usize,
    end: impl FnOnce(mpsc::Sender<Batch>, mpsc::Sender<BrokerSnapshot>, CancellationToken),
) {
    let stop = CancellationToken::new();
    let (batches, batches_in) = mpsc::channel(4);
    let (polls, polls_in) = mpsc::channel(1);
    let (store, mut stored) = mpsc::channel(16);
    let task = FlowTask {
        batches: batches_in,
        polls: polls_in,
        sinks: Sinks {
            stores_spans: spans > 0,
            store,
            influx: None,
            forward: None,
        },
        window: Duration::from_secs(10),
        max_series: MAX_SERIES,
        instance: Arc::from("one"),
        resume: Resume::default(),
        metrics: Metrics::new().unwrap(),
        clock: SystemTime::now,
        stop: stop.clone(),
    };
    let running = tokio::spawn(task.run());
    batches
        .send(batch(vec![delivery("worker", "02", 0.5)]))
        .await
        .unwrap();
    end(batches, polls, stop);
    running.await.unwrap();
    let mut stored_spans = 0;
    let mut stored_windows = 0;
    while let Some(batch) = stored.recv().await {
        stored_spans += batch.hops.len();
        stored_windows += batch.windows.len();
    }
    assert_eq!(
        (stored_spans, stored_windows),
        (spans, 1),
        "the open window is closed at the end"
    );
}

mod caps;
mod metrics;

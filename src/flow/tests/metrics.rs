//! Path metrics through the whole flow.

use proptest::prelude::*;

use super::*;
use crate::model::{
    Direction, EdgeKind, FlowWindow, Histogram, PathMeasure, PathRecord, PathValue, TraceId,
};

/// A delta point of `worker` that ends at that second.
fn record(hash: u64, measure: PathMeasure, value: PathValue, end: i64) -> PathRecord {
    PathRecord {
        service: Arc::from("worker"),
        instance: Arc::from("process one"),
        hash,
        parent: (hash > 1).then_some(hash - 1),
        direction: Direction::In,
        destination: Arc::from("jobs"),
        kind: EdgeKind::Forward,
        via: None,
        error_type: None,
        measure,
        cumulative: false,
        start_unix_nano: 0,
        end_unix_nano: end.unsigned_abs() * 1_000_000_000,
        value,
    }
}

pub(super) fn messages(hash: u64, count: u64, end: i64) -> PathRecord {
    record(hash, PathMeasure::Messages, PathValue::Count(count), end)
}

fn durations(hash: u64, measure: PathMeasure, values: &[f64], end: i64) -> PathRecord {
    let mut histogram = Histogram::default();
    values.iter().for_each(|value| histogram.record(*value));
    record(hash, measure, PathValue::Exponential(histogram), end)
}

pub(super) fn take(flow: &mut Flow, paths: Vec<PathRecord>, now: i64) -> Output {
    let batch = Batch {
        signal: Signal::Metrics,
        paths,
        ..batch(Vec::new())
    };
    flow.take_batch(batch, now * SECOND)
}

#[test]
fn a_request_is_one_row_for_each_checkpoint_and_the_window_is_their_sum() {
    let mut flow = flow();
    let of_kind = |kind, record| PathRecord { kind, ..record };
    let request = |end| {
        vec![
            messages(2, 3, end),
            durations(2, PathMeasure::Total, &[0.5, 0.5, 1.0], end),
            durations(2, PathMeasure::Edge, &[0.1], end),
            durations(2, PathMeasure::Process, &[0.2], end),
            durations(2, PathMeasure::Attempts, &[4.0], end),
            durations(2, PathMeasure::Skew, &[0.01, 0.02], end),
            record(2, PathMeasure::Errors, PathValue::Count(1), end),
            of_kind(EdgeKind::Redelivery, messages(2, 2, end)),
        ]
    };
    for end in [12, 13] {
        let output = take(&mut flow, request(end), end);
        assert_eq!(output.store.windows.len(), 2, "forward and redelivery");
        assert_eq!(output.store.series.len(), 8);
        assert_eq!(output.store.steps.len(), usize::from(end == 12));
    }
    let again = take(&mut flow, request(13), 14);
    assert_eq!(
        (again.skipped.len(), again.store.windows.len()),
        (8, 0),
        "what comes twice is not counted twice"
    );
    let closed = flow.close_windows(20 * SECOND);
    assert!(closed.store.windows.is_empty(), "the store has them");
    let find = |kind| closed.closed.iter().find(|window| window.kind == kind);
    let forward = find(EdgeKind::Forward).unwrap();
    assert_eq!((forward.count, forward.errors, forward.skewed), (6, 2, 4));
    assert_eq!((forward.total.count(), forward.edge.count()), (6, 2));
    assert_eq!((forward.process.count(), forward.max_attempt), (2, 4));
    assert!(!forward.sampled);
    let redelivered = find(EdgeKind::Redelivery).unwrap();
    assert_eq!((redelivered.count, redelivered.redelivered), (4, 4));
    let points = flow.influx_points(&closed);
    let points = measurement(&points, "message_flow");
    assert_eq!(points.len(), 2);
    for point in points {
        assert!(point.tags.contains(&("instance", Arc::from("one"))));
    }
}

#[test]
fn sampled_spans_of_a_measured_service_bring_their_trace_and_no_count() {
    let mut flow = flow();
    let mut spans = [0.5, 2.5, 1.5].map(|wait| delivery("worker", "02", wait));
    for (span, digit) in spans.iter_mut().zip(1..) {
        span.paths_measured = true;
        span.trace_id = TraceId::from_bytes(&[digit; 16]).unwrap();
    }
    take(&mut flow, vec![messages(2, 100, 12)], 12);
    flow.take_batch(batch(spans.to_vec()), NOW);
    let closed = flow.close_windows(20 * SECOND);
    let [window] = &closed.closed[..] else {
        panic!("{:?}", closed.closed);
    };
    assert_eq!((window.count, window.sampled), (100, false));
    let slowest = window.slowest.unwrap();
    assert_eq!(
        (slowest.trace_id.as_bytes()[0], slowest.duration),
        (2, Duration::from_millis(2_500))
    );
    let [row] = &closed.store.windows[..] else {
        panic!("{:?}", closed.store.windows);
    };
    assert_eq!((row.count, row.slowest), (0, Some(slowest)));
}

#[test]
fn a_repeat_counts_at_the_step_that_it_repeats() {
    let mut flow = flow();
    let out = |record| PathRecord {
        direction: Direction::Out,
        ..record
    };
    let repeat = PathRecord {
        kind: EdgeKind::Repeat,
        parent: Some(2),
        ..out(messages(2, 9, 12))
    };
    take(
        &mut flow,
        vec![out(messages(1, 1, 12)), messages(2, 1, 12), repeat],
        12,
    );
    let closed = flow.close_windows(20 * SECOND).closed;
    let repeated: Vec<_> = closed
        .iter()
        .filter(|window| window.kind == EdgeKind::Repeat)
        .map(|window| (window.hash, window.count))
        .collect();
    assert_eq!(repeated, [(1, 9)]);
}

#[test]
fn a_clock_that_is_set_back_opens_no_closed_window() {
    let mut flow = flow();
    take(&mut flow, vec![messages(2, 1, 12)], 12);
    flow.close_windows(20 * SECOND);
    let output = take(&mut flow, vec![messages(2, 1, 13)], 13);
    assert_eq!(output.store.windows[0].start_unix_nano, 20 * SECOND);
}

#[test]
fn what_the_store_has_of_an_open_window_is_in_the_point_that_closes_it() {
    let mut before = flow();
    let stored = take(&mut before, vec![messages(2, 5, 12)], 12).store;
    let resume = Resume {
        steps: stored.steps,
        series: stored.series,
        windows: stored.windows,
        stored_unix_nano: 12 * SECOND,
    };
    let mut flow = flow_of("one", resume);
    let again = take(&mut flow, vec![messages(2, 5, 12)], 14);
    assert_eq!(again.skipped.len(), 1, "it was acknowledged before");
    take(&mut flow, vec![messages(2, 2, 15)], 15);
    let closed = flow.close_windows(20 * SECOND);
    assert_eq!(closed.closed.len(), 1);
    assert_eq!(closed.closed[0].count, 7);
    assert_eq!(
        closed.closed[0].start_unix_nano,
        10 * SECOND,
        "the same window"
    );
}

/// One message that some process measured.
#[derive(Clone, Debug)]
struct Message {
    hash: u64,
    kind: EdgeKind,
    total: f64,
    to_first: bool,
}

fn a_message() -> impl Strategy<Value = Message> {
    let kind = prop::sample::select(&EdgeKind::ALL[..]);
    (1..6_u64, kind, 1e-4..1e3f64, any::<bool>()).prop_map(|(hash, kind, total, to_first)| {
        Message {
            hash,
            kind,
            total,
            to_first,
        }
    })
}

/// Windows of what these messages make, by hash and kind.
fn windows_of<'a>(
    flow: &mut Flow,
    messages: impl Iterator<Item = (usize, &'a Message)>,
) -> Vec<FlowWindow> {
    for (number, message) in messages {
        let end = 100 + i64::try_from(number).unwrap();
        let of = |record| PathRecord {
            kind: message.kind,
            // Repeats would count where the path has the edge, by what the book holds.
            destination: Arc::from(format!("q{}", message.hash)),
            ..record
        };
        let records = vec![
            of(super::metrics::messages(message.hash, 1, end)),
            of(durations(
                message.hash,
                PathMeasure::Total,
                &[message.total],
                end,
            )),
        ];
        take(flow, records, end);
    }
    flow.finish(10_000 * SECOND).closed
}

fn sum(windows: &[FlowWindow], hash: u64, kind: EdgeKind) -> (u64, Histogram) {
    let mut total = Histogram::default();
    let mut count = 0;
    for window in windows {
        if (window.hash, window.kind) == (hash, kind) {
            count += window.count;
            total.merge(&window.total);
        }
    }
    (count, total)
}

proptest! {
    #[test]
    fn two_agents_give_the_same_totals_as_one(messages in prop::collection::vec(a_message(), 1..60)) {
        let all = windows_of(&mut flow(), messages.iter().enumerate());
        let [first, other] = [true, false].map(|first| {
            let part = messages.iter().enumerate().filter(|(_, message)| message.to_first == first);
            windows_of(&mut flow(), part)
        });
        let both = [first, other].concat();
        for hash in 1..6 {
            for kind in EdgeKind::ALL {
                let (count, total) = sum(&all, hash, kind);
                let (other_count, other_total) = sum(&both, hash, kind);
                prop_assert_eq!(count, other_count);
                for quantile in [0.0, 0.5, 0.95, 0.99, 1.0] {
                    prop_assert_eq!(total.quantile(quantile), other_total.quantile(quantile));
                }
            }
        }
    }
}

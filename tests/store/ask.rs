//! The questions of the API and the CLI.

use std::sync::Arc;

use rabtrace::model::{AttributeValue, Direction, Point, SpanEvent, SpanStatus, StoreBatch};
use rabtrace::store::StoreError;

use crate::support::{
    BASE, HOUR, SECOND, histogram, hop, open, path, set_clock, span_id, spans, trace_id, window,
};

#[test]
fn merged_windows_are_as_if_all_values_were_in_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let values: Vec<f64> = (1..=1000).map(|number| f64::from(number) * 0.001).collect();
    let mut windows: Vec<_> = values
        .chunks(100)
        .zip(0..)
        .map(|(chunk, at)| window(1, BASE - HOUR + at * 10 * SECOND, chunk))
        .collect();
    windows.push(window(2, BASE, &[1.0; 3]));
    // What was published comes into the list by its failures.
    let mut published = window(3, BASE, &[1.0]);
    published.direction = Direction::Out;
    windows.push(published);
    let batch = StoreBatch {
        windows,
        paths: vec![path(1, "a > q > b"), path(2, "a > r > c")],
        ..StoreBatch::default()
    };
    store.write(&[batch]).unwrap();
    let reader = store.reader().unwrap();
    let paths = reader.paths(0, BASE + 100 * SECOND, 10).unwrap();
    let names: Vec<_> = paths
        .iter()
        .map(|row| (row.path.as_str(), row.count))
        .collect();
    assert_eq!(
        names,
        [
            ("a > q > b", 1000),
            ("a > r > c", 3),
            ("? > not delivered", 1)
        ]
    );
    let all = histogram(values.iter().copied());
    let first = &paths[0];
    let ms = |seconds: Option<f64>| seconds.map(|seconds| seconds * 1e3);
    assert_eq!(first.p50_ms, ms(all.quantile(0.5)));
    assert_eq!(first.p95_ms, ms(all.quantile(0.95)));
    assert_eq!(first.p99_ms, ms(all.quantile(0.99)));
    assert_eq!(first.max_ms, Some(1000.0));
    assert_eq!((first.errors, first.redelivered), (10, 20));
    assert_eq!(first.hash, "0000000000000001");
    assert_eq!(first.last_seen_unix_nano, BASE - HOUR + 100 * SECOND);
    assert!(
        (first.rate_per_second - 1000.0 / 3700.0).abs() < 1e-9,
        "{}",
        first.rate_per_second
    );

    assert_eq!(reader.paths(0, BASE, 1).unwrap().len(), 1);
    let newer = reader.paths(BASE, BASE + 10 * SECOND, 10).unwrap();
    assert_eq!(newer.len(), 2);
    assert!(
        (newer[0].rate_per_second - 0.3).abs() < 1e-9,
        "{}",
        newer[0].rate_per_second
    );
}

#[test]
fn queues_are_those_of_the_newest_polls() {
    let folder = tempfile::tempdir().unwrap();
    set_clock(60);
    let mut store = open(folder.path());
    let point = |queue: &str, time, messages| {
        Point::new("rabbitmq_queue", time)
            .tag("cluster", "c")
            .tag("vhost", "/")
            .tag("queue", queue.to_owned())
            .tag("type", "quorum")
            .int("messages", Some(messages))
            .float("messages_ack_rate", (messages > 1).then_some(0.5))
            .text("state", Some("running"))
    };
    let batch = StoreBatch {
        points: vec![
            point("deleted", BASE - 61 * SECOND, 9),
            point("a", BASE - 5 * SECOND, 1),
            point("b", BASE - 5 * SECOND, 1),
            point("a", BASE, 2),
        ],
        ..StoreBatch::default()
    };
    store.write(&[batch]).unwrap();
    let queues = store.reader().unwrap().queues(BASE + SECOND).unwrap();
    let got: Vec<_> = queues
        .iter()
        .map(|row| {
            (
                row.queue.as_str(),
                row.messages,
                row.ack_rate_per_second,
                row.age_seconds,
            )
        })
        .collect();
    assert_eq!(
        got,
        [("a", Some(2), Some(0.5), 1.0), ("b", Some(1), None, 6.0)]
    );
    let row = &queues[0];
    assert_eq!(
        (row.cluster.as_deref(), row.vhost.as_str()),
        (Some("c"), "/")
    );
    assert_eq!(row.queue_type.as_deref(), Some("quorum"));
    assert_eq!(
        (row.state.as_deref(), row.node.as_deref()),
        (Some("running"), None)
    );
}

#[test]
fn a_trace_is_found_by_the_beginning_of_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    store
        .write(&[spans(vec![
            hop(0x11, BASE),
            hop(0x12, BASE),
            hop(0x12, BASE - HOUR),
        ])])
        .unwrap();
    let reader = store.reader().unwrap();
    let whole = trace_id(0x12).to_string();
    assert_eq!(reader.trace(&whole).unwrap().unwrap().spans.len(), 2);
    assert_eq!(
        reader
            .trace(&whole.to_uppercase())
            .unwrap()
            .unwrap()
            .trace_id,
        whole
    );
    // Both traces begin so; only one has the next digit.
    let error = reader.trace(&whole[..31]).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, StoreError::AmbiguousTrace { .. }), "{text}");
    assert!(
        text.contains(&whole) && text.contains(&trace_id(0x11).to_string()),
        "{text}"
    );
    assert!(reader.trace("0123").unwrap().is_none());
    for bad in ["abc", "not hex", "", "' OR 1=1"] {
        assert!(
            matches!(reader.trace(bad), Err(StoreError::NoTraceId(_))),
            "{bad:?}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let mut alone = open(folder.path());
    alone
        .write(&[spans(vec![hop(0x12, BASE), hop(0x12, BASE - HOUR)])])
        .unwrap();
    let found = alone.reader().unwrap().trace(&whole[..4]).unwrap();
    assert_eq!(found.unwrap().trace_id, whole);
}

#[test]
fn slow_operations_and_errors_are_summed() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let mut hops: Vec<_> = (1..=10).map(|number| hop(number, BASE)).collect();
    for (hop, number) in hops.iter_mut().zip(1..) {
        hop.span.end_unix_nano = hop.span.start_unix_nano + number * 1_000_000;
    }
    hops[0].span.name = Arc::from("fast");
    for at in [3, 5] {
        hops[at].span.status = SpanStatus::Error;
        hops[at].span.status_message = "no route".to_owned();
        let kind = AttributeValue::Text(Arc::from("NO_ROUTE"));
        hops[at]
            .span
            .attributes
            .push((Arc::from("error.type"), kind));
        let later = u64::try_from(at).unwrap();
        hops[at].span.start_unix_nano += later;
        hops[at].span.end_unix_nano += later;
    }
    hops[7].span.status = SpanStatus::Error;
    let text = |text: &str| AttributeValue::Text(Arc::from(text));
    hops[7].span.events = vec![SpanEvent {
        name: "exception".to_owned(),
        time_unix_nano: 1,
        attributes: vec![
            (Arc::from("exception.type"), text("ValueError")),
            (Arc::from("exception.message"), text("bad")),
        ],
    }];
    hops.push(hop(99, BASE - 2 * HOUR));
    store.write(&[spans(hops)]).unwrap();
    let reader = store.reader().unwrap();
    let slow = reader.slow(BASE - HOUR, 10).unwrap();
    let got: Vec<_> = slow
        .iter()
        .map(|row| (row.span_name.as_str(), row.count, row.errors))
        .collect();
    assert_eq!(got, [("process planner_queue", 9, 3), ("fast", 1, 0)]);
    assert_eq!((slow[0].avg_ms, slow[0].max_ms), (6.0, 10.0));
    assert!((slow[0].p95_ms - 10.0).abs() < 0.3, "{}", slow[0].p95_ms);
    assert_eq!(slow[0].slowest_trace_id, trace_id(10).to_string());
    assert_eq!(reader.slow(BASE - HOUR, 1).unwrap().len(), 1);

    let errors = reader.errors(BASE - HOUR, 10).unwrap();
    let got: Vec<_> = errors
        .iter()
        .map(|row| (row.error_type.as_deref(), row.message.as_deref(), row.count))
        .collect();
    let expected = [
        (Some("NO_ROUTE"), Some("no route"), 2),
        (Some("ValueError"), Some("bad"), 1),
    ];
    assert_eq!(got, expected);
    assert_eq!(errors[0].example_trace_id, trace_id(6).to_string());
    assert_eq!(errors[0].last_unix_nano, BASE + 5);
}

#[test]
fn recent_traces_are_told_in_short() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let mut root = hop(1, BASE);
    root.span.service = Arc::from("gateway");
    root.span.name = Arc::from("POST /");
    let mut inner = hop(1, BASE - SECOND);
    inner.span.span_id = span_id(500);
    inner.span.parent_span_id = Some(root.span.span_id);
    inner.span.status = SpanStatus::Error;
    let mut rootless = hop(2, BASE + SECOND);
    rootless.span.parent_span_id = Some(span_id(9));
    store
        .write(&[spans(vec![
            inner,
            root,
            rootless,
            hop(3, BASE - HOUR - SECOND),
        ])])
        .unwrap();
    let reader = store.reader().unwrap();
    let recent = reader.recent_traces(BASE - HOUR, 10).unwrap();
    let got: Vec<_> = recent
        .iter()
        .map(|row| {
            (
                row.root_service_name.as_str(),
                row.spans,
                row.services,
                row.errors,
            )
        })
        .collect();
    assert_eq!(got, [("planner", 1, 1, 0), ("gateway", 2, 2, 1)]);
    assert_eq!(recent[1].trace_id, trace_id(1).to_string());
    assert_eq!(
        (recent[1].start_unix_nano, recent[1].duration_ms),
        (BASE - SECOND, 1010.0)
    );
    assert_eq!(reader.recent_traces(0, 1).unwrap().len(), 1);
}

#[test]
fn answers_go_through_json_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let batch = StoreBatch {
        windows: vec![window(1, BASE, &[0.1])],
        hops: vec![hop(1, BASE)],
        ..StoreBatch::default()
    };
    store.write(&[batch]).unwrap();
    let reader = store.reader().unwrap();
    let paths = serde_json::to_value(reader.paths(0, BASE, 5).unwrap()).unwrap();
    let names: Vec<&str> = paths[0]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        names.join(" "),
        "count end errors hash is_new last_seen_unix_nano max_ms mean_ms p50_ms p95_before_ms p95_change p95_ms p99_ms path rate_per_second redelivered sampled slowest_hop slowest_trace_id slowest_trace_ms"
    );
    let back: Vec<rabtrace::store::PathRow> = serde_json::from_value(paths).unwrap();
    assert_eq!(back, reader.paths(0, BASE, 5).unwrap());
    let trace = reader.trace(&trace_id(1).to_string()).unwrap();
    let text = serde_json::to_string(&trace).unwrap();
    let back: Option<rabtrace::store::Trace> = serde_json::from_str(&text).unwrap();
    assert_eq!(back, trace);
}

//! What is written comes back, whatever its names are.

use std::sync::Arc;
use std::time::Duration;

use rabtrace::model::{
    AttributeValue, FieldValue, Hop, Point, SpanEvent, SpanKind, SpanLink, SpanStatus, StoreBatch,
};
use rabtrace::store::SqlLimits;
use serde_json::{Value, json};

use crate::support::{BASE, HOUR, SECOND, hop, open, path, span_id, spans, trace_id, window};

fn odd_names() -> Vec<String> {
    vec![
        "with space, comma=equals".to_owned(),
        "it's \"quoted\" `so` [or] so; DROP TABLE x --".to_owned(),
        "größe/日本語/\u{1f407}\\".to_owned(),
        "new\nline\ttab\0nul%_".to_owned(),
        "x".repeat(255),
    ]
}

/// A span that has `name` wherever a name may be.
fn odd_hop(number: u64, name: &Arc<str>) -> Hop {
    let mut hop = hop(number, BASE);
    hop.span.service = Arc::clone(name);
    hop.span.name = Arc::clone(name);
    hop.span.kind = SpanKind::Producer;
    hop.span.status = SpanStatus::Error;
    hop.span.status_message = name.to_string();
    hop.span.parent_span_id = Some(span_id(99));
    hop.span.attributes = vec![
        (Arc::clone(name), AttributeValue::Text(Arc::clone(name))),
        (Arc::from("i"), AttributeValue::Int(i64::MAX)),
        (Arc::from("d"), AttributeValue::Double(0.5)),
        (Arc::from("n"), AttributeValue::Double(f64::NAN)),
        (
            Arc::from("j"),
            AttributeValue::Json(json!([1, {"a": null}])),
        ),
        (
            Arc::from("rabtrace.redelivered"),
            AttributeValue::Bool(true),
        ),
    ];
    hop.span.resource = Arc::new(vec![(Arc::clone(name), AttributeValue::Bool(false))]);
    let attributes = vec![(
        Arc::from("exception.type"),
        AttributeValue::Text(Arc::clone(name)),
    )];
    hop.span.events = vec![SpanEvent {
        name: name.to_string(),
        time_unix_nano: 5,
        attributes,
    }];
    hop.span.links = vec![SpanLink {
        trace_id: trace_id(77),
        span_id: span_id(78),
        attributes: Vec::new(),
    }];
    hop.destination = Some(Arc::clone(name));
    hop.path = Some(Arc::clone(name));
    if let Some(step) = &mut hop.step {
        step.hash = u64::MAX - number;
    }
    hop
}

#[test]
fn spans_with_odd_names_come_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let reader = store.reader().unwrap();
    for (number, name) in odd_names().into_iter().enumerate() {
        let number = u64::try_from(number).unwrap();
        let name: Arc<str> = Arc::from(name);
        let hop = odd_hop(number, &name);
        store.write(&[spans(vec![hop])]).unwrap();

        let trace = reader
            .trace(&trace_id(number).to_string())
            .unwrap()
            .unwrap();
        let [span] = trace.spans.as_slice() else {
            panic!("{} spans", trace.spans.len());
        };
        assert_eq!([&span.service_name, &span.span_name], [&*name, &*name]);
        assert_eq!(span.status_message.as_deref(), Some(&*name));
        assert_eq!(span.destination.as_deref(), Some(&*name));
        assert_eq!(span.path.as_deref(), Some(&*name));
        assert_eq!(
            (span.kind.as_str(), span.status.as_str()),
            ("producer", "error")
        );
        assert_eq!(span.parent_span_id, Some(span_id(99).to_string()));
        assert_eq!(
            (span.start_unix_nano, span.duration_ms, span.queue_ms),
            (BASE, 10.0, Some(3.0))
        );
        assert!(span.redelivered);
        let expected = json!({&*name: &*name, "i": i64::MAX, "d": 0.5, "n": null,
            "j": [1, {"a": null}], "rabtrace.redelivered": true});
        assert_eq!(span.attributes, expected);
        assert_eq!(span.resource, json!({&*name: false}));
        let event = json!([{"name": &*name, "time_unix_nano": 5,
            "attributes": {"exception.type": &*name}}]);
        assert_eq!(span.events, event);
        let link = json!([{"trace_id": trace_id(77).to_string(),
            "span_id": span_id(78).to_string(), "attributes": {}}]);
        assert_eq!(span.links, link);
    }
}

#[test]
fn points_with_odd_names_come_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let points = odd_names().into_iter().map(|name| {
        let mut point = Point::new("rabbitmq_queue", BASE)
            .tag("vhost", "/")
            .tag("queue", name.clone())
            .int("messages", Some(3))
            .float("rate", Some(f64::NAN))
            .text("state", Some(name));
        point.fields.push(("flag", FieldValue::Bool(true)));
        point.fields.push(("raw", FieldValue::Bytes(vec![0, 255])));
        point
    });
    let batch = StoreBatch {
        points: points.collect(),
        ..StoreBatch::default()
    };
    let written = store.write(&[batch]).unwrap();
    assert_eq!((written.points, written.refused), (5, 0));
    let queues = store.reader().unwrap().queues(BASE + 2 * SECOND).unwrap();
    let mut expected = odd_names();
    expected.sort();
    let got: Vec<&str> = queues.iter().map(|row| row.queue.as_str()).collect();
    assert_eq!(got, expected);
    assert!(
        queues
            .iter()
            .all(|row| row.messages == Some(3) && row.age_seconds == 2.0)
    );
    assert!(queues.iter().all(|row| row.consumers.is_none()));
    let text = "SELECT queue, state = queue, messages, rate, flag, raw FROM rabbitmq_queue \
                ORDER BY queue LIMIT 1";
    let answer = store
        .reader()
        .unwrap()
        .sql(text, SqlLimits::default())
        .unwrap();
    let row = vec![
        json!(expected[0]),
        json!(1),
        json!(3),
        Value::Null,
        json!(1),
        json!("00ff"),
    ];
    assert_eq!(answer.rows, [row]);
}

#[test]
fn columns_appear_with_their_first_value_and_strange_names_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let write = |store: &mut rabtrace::store::Store, point: Point| {
        let batch = StoreBatch {
            points: vec![point],
            ..StoreBatch::default()
        };
        store.write(&[batch]).unwrap()
    };
    let point = |time| Point::new("task_metrics", time);
    write(
        &mut store,
        point(BASE - HOUR).tag("a", "1").int("one", Some(1)),
    );
    write(
        &mut store,
        point(BASE).tag("b", "2").float("two", Some(2.0)),
    );
    // A field of the name of a tag, or of the time, gets another name.
    write(
        &mut store,
        point(BASE)
            .int("a", Some(3))
            .int("time", Some(4))
            .int("order", Some(5)),
    );
    let refused = write(
        &mut store,
        point(BASE).int("one; --", Some(6)).int("one", Some(7)),
    );
    assert_eq!((refused.points, refused.columns_refused), (1, 1));
    for own in ["spans", "message_flow", "hour_1_spans", "sqlite_x", "No"] {
        let refused = write(&mut store, Point::new(own, BASE).int("x", Some(1)));
        assert_eq!((refused.points, refused.refused), (0, 1), "{own}");
    }
    let reader = store.reader().unwrap();
    let text = "SELECT time, a, b, one, two, a_value, time_value, \"order\" FROM task_metrics";
    let answer = reader.sql(text, SqlLimits::default()).unwrap();
    let expected = json!([
        [BASE - HOUR, "1", null, 1, null, null, null, null],
        [BASE, null, "2", null, 2.0, null, null, null],
        [BASE, null, null, null, null, 3, 4, 5],
        [BASE, null, null, 7, null, null, null, null],
    ]);
    assert_eq!(json!(answer.rows), expected);
}

#[test]
fn each_point_of_a_batch_has_its_own_fields_and_hour() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let names = ["a", "b", "c", "d", "e"];
    let has = |set: u64, at: usize| set >> at & 1 == 1;
    // Every set of the fields, twice.
    let sets: Vec<u64> = (0..64).map(|at| at / 2 * 13 % 32).collect();
    let points = sets.iter().zip(0..).map(|(set, at)| {
        let hour = if at % 3 == 0 { HOUR } else { 0 };
        let measurement = ["task_metrics", "request_metrics"][usize::from(at % 5 < 2)];
        let point = Point::new(measurement, BASE - hour + at)
            .tag("of", at.to_string())
            .int("always", Some(*set))
            .int("no name", Some(0))
            .int("always", Some(99));
        let fields = names.iter().enumerate();
        fields
            .filter(|(at, _)| has(*set, *at))
            .fold(point, |point, (at, name)| point.int(name, Some(at as u64)))
    });
    let batch = StoreBatch {
        points: points.collect(),
        ..StoreBatch::default()
    };
    let written = store.write(&[batch]).unwrap();
    assert_eq!((written.points, written.columns_refused), (64, 128));
    let text = "WITH both AS (SELECT \"of\", always, a, b, c, d, e FROM task_metrics \
                UNION ALL SELECT \"of\", always, a, b, c, d, e FROM request_metrics) \
                SELECT \"of\", always, a, b, c, d, e FROM both ORDER BY CAST(\"of\" AS INTEGER)";
    let reader = store.reader().unwrap();
    let answer = reader.sql(text, SqlLimits::default()).unwrap();
    let expected: Vec<Vec<Value>> = sets
        .iter()
        .zip(0..)
        .map(|(set, at): (&u64, u64)| {
            let fields = (0..5).map(|at| has(*set, at).then_some(at));
            let mut row = vec![json!(at.to_string()), json!(set)];
            row.extend(fields.map(|field| json!(field)));
            row
        })
        .collect();
    assert_eq!(answer.rows, expected);
    // Each is in the table of its hour, which goes as a whole.
    for hour in [BASE / HOUR, BASE / HOUR - 1] {
        for measurement in ["task_metrics", "request_metrics"] {
            let table = format!("hour_{hour}_points_{measurement}");
            let wrong = format!("SELECT count(*) FROM {table} WHERE time / {HOUR} <> {hour}");
            let answer = reader.sql(&wrong, SqlLimits::default()).unwrap();
            assert_eq!(answer.rows, [vec![json!(0)]], "{table}");
        }
    }
}

#[test]
fn message_flow_has_percentiles_in_milliseconds() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let batch = StoreBatch {
        windows: vec![window(u64::MAX, BASE, &[0.1, 0.1]), window(5, BASE, &[])],
        paths: vec![path(u64::MAX, "a > q > b")],
        ..StoreBatch::default()
    };
    store.write(&[batch]).unwrap();
    let text = "SELECT time, path, path_hash, service, destination, direction, count, errors, \
                redelivered, round(duration_p50), round(duration_p95), round(duration_max), \
                round(duration_sum), round(edge_p95), window_seconds FROM message_flow";
    let answer = store
        .reader()
        .unwrap()
        .sql(text, SqlLimits::default())
        .unwrap();
    let expected = json!([
        [
            BASE,
            "a > q > b",
            "ffffffffffffffff",
            "planner",
            "planner_queue",
            "in",
            2,
            1,
            2,
            100.0,
            100.0,
            100.0,
            200.0,
            50.0,
            10.0
        ],
        [
            BASE,
            "?",
            "0000000000000005",
            "planner",
            "planner_queue",
            "in",
            0,
            1,
            2,
            null,
            null,
            null,
            null,
            null,
            10.0
        ],
    ]);
    assert_eq!(json!(answer.rows), expected);
}

#[test]
fn a_better_text_of_a_path_replaces_the_first_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let reader = store.reader().unwrap();
    let text = |expected: &str| {
        let id = trace_id(1).to_string();
        let trace = reader.trace(&id).unwrap().unwrap();
        assert_eq!(trace.spans[0].path.as_deref(), Some(expected));
    };
    let mut first = hop(1, BASE);
    first.path = Some(Arc::from("? > q > planner"));
    store.write(&[spans(vec![first])]).unwrap();
    text("? > q > planner");
    let better = StoreBatch {
        paths: vec![path(7, "gateway > q > planner")],
        ..StoreBatch::default()
    };
    store.write(&[better]).unwrap();
    text("gateway > q > planner");
    let mut worse = hop(2, BASE);
    worse.path = None;
    drop(store);
    let mut store = open(folder.path());
    store.write(&[spans(vec![worse])]).unwrap();
    text("gateway > q > planner");
}

#[test]
fn two_spans_of_the_same_time_stand_beside_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let mut hops = vec![hop(1, BASE), hop(1, BASE)];
    hops[1].span.span_id = span_id(500);
    hops[1].queue_wait = Some(Duration::ZERO);
    store.write(&[spans(hops)]).unwrap();
    let trace = store
        .reader()
        .unwrap()
        .trace(&trace_id(1).to_string())
        .unwrap();
    assert_eq!(trace.unwrap().spans.len(), 2);
}

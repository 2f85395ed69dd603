//! Hours: closing them, dropping them, reading across them.

use rabtrace::model::{Point, StoreBatch};
use rabtrace::store::{Done, SqlLimits, Store, StoreError};
use serde_json::{Value, json};

use crate::support::{
    BASE, HOUR, SECOND, clock, config, hop, open, path, set_clock, settle, span_id, spans,
    trace_id, window,
};

/// A span, a window and a point of that time.
fn everything(number: u64, time: i64) -> StoreBatch {
    let mut hop = hop(number, time);
    hop.span.name = format!("only in {number}").into();
    StoreBatch {
        hops: vec![hop],
        points: vec![
            Point::new("rabbitmq_queue", time)
                .tag("queue", format!("q{number}"))
                .int("messages", Some(number)),
        ],
        windows: vec![window(number, time, &[0.1])],
        paths: vec![path(number, &format!("path {number}"))],
        ..StoreBatch::default()
    }
}

fn count(store: &Store, table: &str) -> Value {
    let text = format!("SELECT count(*) FROM {table}");
    let answer = store
        .reader()
        .unwrap()
        .sql(&text, SqlLimits::default())
        .unwrap();
    answer.rows[0][0].clone()
}

/// Spans of three hours, the clock in the third.
fn three_hours(folder: &std::path::Path) -> Store {
    let mut store = open(folder);
    for hour in 0..3_u64 {
        set_clock(hour * 3600 + 60);
        let time = BASE + i64::try_from(hour).unwrap() * HOUR + SECOND;
        store.write(&[everything(hour, time)]).unwrap();
    }
    store
}

#[test]
fn an_hour_is_closed_minutes_after_its_end_and_its_traces_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = three_hours(folder.path());
    // 1 minute into the third hour the second one is still open.
    assert_eq!(settle(&mut store), [Done::HourSummed]);
    set_clock(2 * 3600 + 301);
    assert_eq!(settle(&mut store), [Done::HourSummed]);
    // One trace in an open and in a closed hour; late data comes into a closed one.
    let late = hop(50, BASE + 2 * SECOND);
    let mut later = hop(50, BASE + 2 * HOUR);
    later.span.span_id = crate::support::span_id(51_000);
    store.write(&[spans(vec![late, later])]).unwrap();
    let reader = store.reader().unwrap();
    let trace = reader.trace(&trace_id(50).to_string()).unwrap().unwrap();
    let starts: Vec<i64> = trace
        .spans
        .iter()
        .map(|span| span.start_unix_nano)
        .collect();
    assert_eq!(starts, [BASE + 2 * SECOND, BASE + 2 * HOUR]);
    for number in 0..3 {
        assert!(
            reader
                .trace(&trace_id(number).to_string())
                .unwrap()
                .is_some(),
            "{number}"
        );
    }
    assert_eq!(settle(&mut store), []);
    drop(store);
    // Which hours are closed is known after a new start.
    assert_eq!(settle(&mut open(folder.path())), []);
}

/// Spans of a run of the index.
const RUN: u64 = 65_536;

#[test]
fn a_busy_hour_is_indexed_while_it_is_open() {
    let folder = tempfile::tempdir().unwrap();
    set_clock(60);
    let mut store = open(folder.path());
    // Each trace has a span in both halves.
    let half = |at: u64| {
        let spans = (0..RUN / 2 + 10).map(move |number| {
            let mut hop = hop(number, BASE + SECOND);
            hop.span.span_id = span_id(1 + number + at * RUN);
            hop
        });
        spans.collect::<Vec<_>>()
    };
    store.write(&[spans(half(0))]).unwrap();
    assert_eq!(settle(&mut store), []);
    let hour = BASE / HOUR;
    let tables = format!("sqlite_schema WHERE name = 'hour_{hour}_traces'");
    assert_eq!(count(&store, &tables), json!(0), "there is no run yet");
    let found = |store: &Store, text: &str| {
        let trace = store.reader().unwrap().trace(text).unwrap();
        trace.map_or(0, |trace| trace.spans.len())
    };
    let last = trace_id(RUN / 2 + 9).to_string();
    assert_eq!(found(&store, &last), 1);
    store.write(&[spans(half(1))]).unwrap();
    assert_eq!(found(&store, &last), 2);
    assert_eq!(store.step().unwrap(), Done::Part);
    assert_eq!(store.step().unwrap(), Done::Nothing);
    let traces = format!("hour_{hour}_traces");
    assert_eq!(count(&store, &traces), json!(RUN));
    // The second span of the last trace is behind the run, that of the first one in it.
    assert_eq!(found(&store, &last), 2);
    assert_eq!(found(&store, &trace_id(0).to_string()), 2);
    let several = store.reader().unwrap().trace(&last[..31]).unwrap_err();
    let StoreError::AmbiguousTrace { candidates, .. } = several else {
        panic!("{several}");
    };
    assert_eq!(candidates.len(), 5);
    // The run is what is read, not the spans.
    let database = rusqlite::Connection::open(folder.path().join("rabtrace.db")).unwrap();
    let removed = format!("DELETE FROM {traces} WHERE trace = ?1");
    let removed = |number| {
        let id = trace_id(number);
        database.execute(&removed, [&id.as_bytes()[..]]).unwrap()
    };
    assert_eq!((removed(RUN / 2 + 9), removed(0)), (1, 2));
    assert_eq!(
        (
            found(&store, &last),
            found(&store, &trace_id(0).to_string())
        ),
        (1, 0)
    );
}

#[test]
fn the_rest_of_an_hour_that_ended_is_indexed_where_there_are_many() {
    const REST: u64 = 4_096;
    let folder = tempfile::tempdir().unwrap();
    set_clock(3600 + 301);
    let mut store = open(folder.path());
    let write = |store: &mut Store, numbers: std::ops::Range<u64>| {
        let hops = numbers.map(|number| hop(number, BASE + SECOND));
        store.write(&[spans(hops.collect())]).unwrap();
    };
    let traces = format!("hour_{}_traces", BASE / HOUR);
    write(&mut store, 0..REST - 1);
    assert_eq!(store.step().unwrap(), Done::Nothing);
    write(&mut store, REST - 1..REST);
    assert_eq!(store.step().unwrap(), Done::Part);
    assert_eq!(store.step().unwrap(), Done::Nothing);
    assert_eq!(count(&store, &traces), json!(REST));
    // A few that come late make no run of their own, again and again.
    for late in 0..3 {
        write(&mut store, REST + late..REST + late + 1);
        assert_eq!(store.step().unwrap(), Done::Nothing);
    }
    let reader = store.reader().unwrap();
    for number in [0, REST - 1, REST + 2] {
        let trace = reader.trace(&trace_id(number).to_string()).unwrap();
        assert_eq!(trace.unwrap().spans.len(), 1, "{number}");
    }
    // After a new start the same is known.
    drop(store);
    let mut store = open(folder.path());
    assert_eq!(store.step().unwrap(), Done::Nothing);
    write(&mut store, 2 * REST..3 * REST);
    assert_eq!(store.step().unwrap(), Done::Part);
    assert_eq!(count(&store, &traces), json!(2 * REST + 3));
}

/// A gap between ids holds nothing up: whoever makes one, it is not this program.
#[test]
fn spans_that_were_deleted_leave_the_others_to_be_found() {
    let folder = tempfile::tempdir().unwrap();
    set_clock(60);
    let mut store = open(folder.path());
    let hops = (0..RUN + 100).map(|number| hop(number, BASE + SECOND));
    store.write(&[spans(hops.collect())]).unwrap();
    let database = rusqlite::Connection::open(folder.path().join("rabtrace.db")).unwrap();
    let deleted = format!("DELETE FROM hour_{}_spans WHERE id <= {RUN}", BASE / HOUR);
    database.execute(&deleted, []).unwrap();
    assert_eq!(settle(&mut store), []);
    let reader = store.reader().unwrap();
    let trace = reader.trace(&trace_id(RUN + 99).to_string()).unwrap();
    assert_eq!(trace.unwrap().spans.len(), 1);
}

#[test]
fn age_drops_whole_hours_and_what_only_they_used() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = three_hours(folder.path());
    assert_eq!(store.retain().unwrap().hours_by_age, 0);
    // 24 h after the end of the first hour, not before.
    set_clock(25 * 3600 - 1);
    assert_eq!(store.retain().unwrap().hours_by_age, 0);
    set_clock(25 * 3600);
    assert_eq!(store.retain().unwrap().hours_by_age, 1);
    for table in ["spans", "message_flow", "rabbitmq_queue"] {
        assert_eq!(count(&store, table), json!(2), "{table}");
    }
    for table in [
        "dictionary_operations",
        "dictionary_checkpoints",
        "series_rabbitmq_queue",
    ] {
        assert_eq!(count(&store, table), json!(2), "{table}");
    }
    // Each hour has a path of its own, and all hops share one.
    assert_eq!(count(&store, "paths"), json!(3));
    let reader = store.reader().unwrap();
    assert!(reader.trace(&trace_id(0).to_string()).unwrap().is_none());
    assert!(reader.trace(&trace_id(1).to_string()).unwrap().is_some());
    // What was dropped from the dictionaries comes back with its next use.
    let now = BASE + 25 * HOUR;
    store.write(&[everything(0, now)]).unwrap();
    assert_eq!(count(&store, "spans"), json!(3));
    assert_eq!(
        reader
            .trace(&trace_id(0).to_string())
            .unwrap()
            .unwrap()
            .spans[0]
            .span_name,
        "only in 0"
    );
    // Everything goes at last, and the views stay.
    set_clock(100 * 3600);
    assert_eq!(store.retain().unwrap().hours_by_age, 3);
    assert_eq!(
        (count(&store, "spans"), count(&store, "message_flow")),
        (json!(0), json!(0))
    );
    assert_eq!(reader.stats().unwrap().hours, 0);
    assert!(reader.queues(now).unwrap().is_empty());
}

#[test]
fn bytes_drop_the_oldest_hour_first_and_the_open_one_last() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = three_hours(folder.path());
    let hops = (1000..6000)
        .map(|number| hop(number, BASE + SECOND))
        .collect();
    store.write(&[spans(hops)]).unwrap();
    let used = store.reader().unwrap().stats().unwrap().used_bytes;
    drop(store);

    let mut limits = config(folder.path());
    limits.max_bytes = used - 400_000;
    let mut store = Store::open(&limits, clock).unwrap();
    assert_eq!(store.retain().unwrap().hours_by_size, 1);
    assert_eq!(count(&store, "spans"), json!(2));
    let stats = store.reader().unwrap().stats().unwrap();
    assert_eq!(
        (stats.hours, stats.oldest_unix_nano),
        (2, Some(BASE + HOUR))
    );
    assert!(stats.used_bytes < limits.max_bytes);
    store.checkpoint().unwrap();
    let on_disk = std::fs::metadata(limits.file()).unwrap().len();
    assert!(
        on_disk <= limits.max_bytes,
        "{on_disk} bytes stayed on disk"
    );
    drop(store);

    limits.max_bytes = 1;
    let mut store = Store::open(&limits, clock).unwrap();
    assert_eq!(store.retain().unwrap().hours_by_size, 2);
    assert_eq!(count(&store, "spans"), json!(0));
    // Late data of an hour that was dropped has its names again.
    for _ in 0..2 {
        store.write(&[everything(0, BASE + SECOND)]).unwrap();
        let reader = store.reader().unwrap();
        let trace = reader.trace(&trace_id(0).to_string()).unwrap().unwrap();
        assert_eq!(trace.spans[0].span_name, "only in 0");
        assert_eq!(reader.queues(BASE + SECOND).unwrap()[0].queue, "q0");
        assert_eq!(reader.paths(0, BASE, 5).unwrap()[0].path, "path 0");
        assert_eq!(store.retain().unwrap().hours_by_size, 1);
    }
}

#[test]
fn a_wrong_clock_of_a_sender_makes_no_hours() {
    let folder = tempfile::tempdir().unwrap();
    set_clock(0);
    let mut store = open(folder.path());
    let times = [0, BASE - 30 * HOUR, BASE + 5 * HOUR, i64::MAX - 10_000_000];
    let hops = times
        .iter()
        .zip(1..)
        .map(|(time, number)| hop(number, *time))
        .collect();
    store.write(&[spans(hops)]).unwrap();
    let reader = store.reader().unwrap();
    let stats = reader.stats().unwrap();
    assert_eq!(
        (stats.hours, stats.oldest_unix_nano, stats.spans),
        (1, Some(BASE), 4)
    );
    for (time, number) in times.iter().zip(1..) {
        let trace = reader
            .trace(&trace_id(number).to_string())
            .unwrap()
            .unwrap();
        assert_eq!(trace.spans[0].start_unix_nano, *time);
    }
}

#[test]
fn views_hold_as_many_hours_as_retention_may_ask_for() {
    let folder = tempfile::tempdir().unwrap();
    set_clock(0);
    let mut limits = config(folder.path());
    limits.retention = std::time::Duration::from_secs(3600 * 10_000);
    let mut store = Store::open(&limits, clock).unwrap();
    let hops = (0..481_u64).map(|hour| hop(hour, BASE - i64::try_from(hour).unwrap() * HOUR));
    store.write(&[spans(hops.collect())]).unwrap();
    let stats = store.reader().unwrap().stats().unwrap();
    assert_eq!((stats.hours, stats.spans), (481, 481));
    let text = "SELECT count(DISTINCT trace_id), count(path), sum(duration_ms) FROM spans";
    let answer = store
        .reader()
        .unwrap()
        .sql(text, SqlLimits::default())
        .unwrap();
    assert_eq!(json!(answer.rows), json!([[481, 481, 4810.0]]));
}

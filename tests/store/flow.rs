//! Path statistics: what the flow goes on from, receipts, sums of closed hours.

use std::sync::Arc;
use std::time::Duration;

use rabtrace::model::{
    Direction, EdgeKind, FlowWindow, Receipt, SeriesState, Slowest, StepRow, StoreBatch,
};
use rabtrace::store::{Done, SqlLimits, Store};
use serde_json::{Value, json};

use crate::support::{BASE, HOUR, SECOND, open, set_clock, settle, trace_id, window};

fn step(hash: u64, parent: Option<u64>) -> StepRow {
    StepRow {
        hash,
        parent,
        service: Arc::from("planner"),
        direction: Direction::In,
        destination: Arc::from("planner_queue"),
        via: hash.is_multiple_of(2).then(|| Arc::from("events")),
        dead_letter: hash == 4,
    }
}

fn series(digit: u8, end: i64) -> SeriesState {
    SeriesState {
        key: [digit; 16],
        instance: u64::MAX,
        start_unix_nano: BASE,
        end_unix_nano: end,
        seen_unix_nano: end + 1,
        value: (digit == 1).then(|| Arc::from([1, 2, 3])),
    }
}

fn asked(store: &Store, text: &str) -> Value {
    let reader = store.reader().unwrap();
    json!(reader.sql(text, SqlLimits::default()).unwrap().rows)
}

const TEN: Duration = Duration::from_secs(10);

#[test]
fn a_flow_goes_on_from_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    set_clock(5);
    let mut store = open(folder.path());
    assert!(store.resume(TEN, true).unwrap().windows.is_empty());
    let steps = vec![
        step(u64::MAX - 1, None),
        step(4, Some(u64::MAX - 1)),
        step(4, Some(3)),
    ];
    let mut kind = window(4, BASE, &[0.25]);
    kind.kind = EdgeKind::Requeue;
    kind.sampled = true;
    let first = StoreBatch {
        steps: steps.clone(),
        series: vec![series(1, BASE + 1), series(2, BASE + 2)],
        windows: vec![window(4, BASE, &[0.5]), kind.clone()],
        ..StoreBatch::default()
    };
    let newer = StoreBatch {
        series: vec![series(1, BASE + 9)],
        forgotten: vec![[2; 16]],
        windows: vec![window(4, BASE, &[1.5, 2.5])],
        ..StoreBatch::default()
    };
    store.write(&[first]).unwrap();
    store.write(&[newer]).unwrap();
    drop(store);

    set_clock(40);
    let mut store = open(folder.path());
    let resume = store.resume(TEN, true).unwrap();
    assert_eq!(resume.steps, steps);
    assert_eq!(resume.series, [series(1, BASE + 9)]);
    assert_eq!(resume.stored_unix_nano, BASE + 10);
    let mut counts: Vec<_> = resume
        .windows
        .iter()
        .map(|window| (window.kind, window.sampled, window.count))
        .collect();
    counts.sort_unstable();
    assert_eq!(
        counts,
        [
            (EdgeKind::Forward, false, 1),
            (EdgeKind::Forward, false, 2),
            (EdgeKind::Requeue, true, 1)
        ]
    );
    assert!(resume.windows.contains(&FlowWindow {
        // Which trace was the slowest is the store's alone.
        slowest: None,
        ..kind
    }));
    assert!(store.resume(TEN, false).unwrap().windows.is_empty());
    let closed = StoreBatch {
        closed_until: Some(BASE + 10 * SECOND),
        ..StoreBatch::default()
    };
    store.write(&[closed]).unwrap();
    assert!(store.resume(TEN, true).unwrap().windows.is_empty());
}

#[tokio::test]
async fn receipts_are_confirmed_by_the_commit_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    set_clock(0);
    let mut store = open(folder.path());
    let (receipt, mut pending) = Receipt::pair();
    let batch = StoreBatch {
        windows: vec![window(4, BASE, &[0.5])],
        receipts: vec![receipt],
        ..StoreBatch::default()
    };
    // A table that is in the way makes the transaction fail.
    let file = folder.path().join("rabtrace.db");
    let table = format!("hour_{}_flow", BASE / HOUR);
    let other = rusqlite::Connection::open(&file).unwrap();
    other
        .execute_batch(&format!("CREATE TABLE {table} (x)"))
        .unwrap();
    assert!(store.write(std::slice::from_ref(&batch)).is_err());
    other.execute_batch(&format!("DROP TABLE {table}")).unwrap();
    let waiting = tokio::spawn(async move { pending.stored().await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished(), "it was not stored");
    store.write(&[batch]).unwrap();
    assert!(waiting.await.unwrap());
    let (lost, mut pending) = Receipt::pair();
    drop(lost);
    assert!(!pending.stored().await);
}

/// A row for every ten seconds of an hour and each of two paths.
fn an_hour(store: &mut Store) {
    let windows = (0..360_u32).flat_map(|at| {
        let start = BASE + i64::from(at) * 10 * SECOND;
        [1, 2].map(|hash| {
            let mut window = window(hash, start, &[f64::from(at + 1) / 100.0]);
            window.max_attempt = u64::from(at % 7);
            window.slowest = Some(Slowest {
                trace_id: trace_id(u64::from(at)),
                duration: Duration::from_millis(u64::from(at)),
            });
            window
        })
    });
    let batch = StoreBatch {
        windows: windows.collect(),
        ..StoreBatch::default()
    };
    store.write(&[batch]).unwrap();
}

#[test]
fn a_closed_hour_is_summed_and_late_rows_are_in_it_too() {
    let folder = tempfile::tempdir().unwrap();
    set_clock(3600);
    let mut store = open(folder.path());
    an_hour(&mut store);
    assert_eq!(settle(&mut store), [], "it is open");
    set_clock(3600 + 301);
    assert_eq!(settle(&mut store), [Done::HourSummed]);
    let sums = format!("hour_{}_flow_sums", BASE / HOUR);
    let text = format!(
        "SELECT count(*), sum(count), sum(errors), max(max_attempt), min(width), \
         sum(time % 300000000000) FROM {sums}"
    );
    let whole = json!([[24, 720, 720, 6, 300_000_000_000_i64, 0]]);
    assert_eq!(asked(&store, &text), whole);
    // The last 5 minutes of one path: values from 3.31 s to 3.60 s.
    let last = format!(
        "SELECT round(duration_p50), round(duration_max), round(duration_sum), slowest_ms, \
         lower(hex(slowest_trace)) FROM {sums} ORDER BY time DESC, checkpoint LIMIT 1"
    );
    let row = &asked(&store, &last)[0];
    let p50 = row[0].as_f64().unwrap();
    assert!((3_400.0..3_500.0).contains(&p50), "{row}");
    assert_eq!(
        (&row[1], &row[2], &row[3]),
        (&json!(3_600.0), &json!(103_650.0), &json!(359.0))
    );
    assert_eq!(row[4], json!(trace_id(359).to_string()));
    // A row that comes late takes the sums away, and they are made anew with it.
    let late = StoreBatch {
        windows: vec![window(1, BASE, &[1.0])],
        ..StoreBatch::default()
    };
    store.write(&[late]).unwrap();
    assert_eq!(settle(&mut store), [Done::HourSummed]);
    assert_eq!(asked(&store, &text)[0][1], json!(721));
    // They go with their hour.
    set_clock(26 * 3600);
    assert_eq!(store.retain().unwrap().hours_by_age, 1);
    let left = "SELECT count(*) FROM sqlite_schema WHERE name LIKE '%flow_sums'";
    assert_eq!(asked(&store, left), json!([[0]]));
}

/// Rows of an hour that are more than one step sums: so many for each of its windows.
fn a_busy_hour(store: &mut Store) {
    let windows = (0..360_u32).flat_map(|at| {
        let start = BASE + i64::from(at) * 10 * SECOND;
        (1..=70).map(move |hash| window(hash, start, &[0.5]))
    });
    let batch = StoreBatch {
        windows: windows.collect(),
        ..StoreBatch::default()
    };
    store.write(&[batch]).unwrap();
}

#[test]
fn a_busy_hour_is_summed_in_steps_and_from_the_beginning_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    set_clock(3600 + 301);
    let mut store = open(folder.path());
    a_busy_hour(&mut store);
    let sums = format!("hour_{}_flow_sums", BASE / HOUR);
    let text = format!("SELECT count(*), sum(count) FROM {sums}");
    let paths = |store: &Store| {
        let rows = store.reader().unwrap().paths(0, BASE + HOUR, 100).unwrap();
        rows.iter().map(|row| row.count).sum::<u64>()
    };
    for is_new in [false, true] {
        assert_eq!(store.step().unwrap(), Done::Part);
        let part = asked(&store, &text)[0][1].as_u64().unwrap();
        assert!((1..25_200).contains(&part), "{part} of 25,200 rows");
        assert_eq!(paths(&store), 25_200, "a part is of no use");
        if is_new {
            // What comes meanwhile is in it.
            let late = StoreBatch {
                windows: vec![window(1, BASE, &[0.5])],
                ..StoreBatch::default()
            };
            store.write(&[late]).unwrap();
        } else {
            drop(store);
            store = open(folder.path());
        }
    }
    assert_eq!(store.step().unwrap(), Done::HourSummed);
    assert_eq!(store.step().unwrap(), Done::Nothing);
    // The late one is a row of its own.
    let whole = json!([[70 * 12 + 1, 25_201]]);
    assert_eq!(asked(&store, &text), whole);
    assert_eq!(paths(&store), 25_201);
    drop(store);
    let mut store = open(folder.path());
    assert_eq!(store.step().unwrap(), Done::Nothing);
    assert_eq!(asked(&store, &text), whole);
}

#[test]
fn sums_in_part_go_with_their_hour() {
    let folder = tempfile::tempdir().unwrap();
    set_clock(3600 + 301);
    let mut store = open(folder.path());
    a_busy_hour(&mut store);
    assert_eq!(store.step().unwrap(), Done::Part);
    set_clock(26 * 3600);
    assert_eq!(store.retain().unwrap().hours_by_age, 1);
    assert_eq!(settle(&mut store), []);
    let left = "SELECT (SELECT count(*) FROM sqlite_schema WHERE name LIKE '%flow_sums'), \
                (SELECT count(*) FROM flow_meta)";
    assert_eq!(asked(&store, left), json!([[0, 0]]));
    // The same hour again: what was summed before it went is not in it.
    set_clock(3600 + 301);
    let late = StoreBatch {
        windows: vec![window(1, BASE, &[0.5])],
        ..StoreBatch::default()
    };
    store.write(&[late]).unwrap();
    assert_eq!(store.step().unwrap(), Done::HourSummed);
    let sums = format!("SELECT sum(count) FROM hour_{}_flow_sums", BASE / HOUR);
    assert_eq!(asked(&store, &sums), json!([[1]]));
}

#[test]
fn what_found_no_place_has_its_name() {
    let folder = tempfile::tempdir().unwrap();
    set_clock(0);
    let mut store = open(folder.path());
    let batch = StoreBatch {
        windows: vec![window(u64::MAX, BASE, &[0.5]), window(5, BASE, &[0.5])],
        ..StoreBatch::default()
    };
    store.write(&[batch]).unwrap();
    let text = "SELECT path, path_hash, kind FROM message_flow ORDER BY path";
    let rows = json!([
        ["?", "0000000000000005", "forward"],
        ["_other", "ffffffffffffffff", "forward"]
    ]);
    assert_eq!(asked(&store, text), rows);
}

#[test]
fn steps_stay_while_what_goes_on_from_them_is_used() {
    let folder = tempfile::tempdir().unwrap();
    set_clock(0);
    let mut store = open(folder.path());
    let batch = StoreBatch {
        steps: vec![
            step(1, None),
            step(2, Some(1)),
            step(3, Some(2)),
            step(9, None),
        ],
        windows: vec![window(3, BASE, &[0.5])],
        ..StoreBatch::default()
    };
    store.write(&[batch]).unwrap();
    set_clock(20 * 3600);
    let later = StoreBatch {
        windows: vec![window(3, BASE + 20 * HOUR, &[0.5])],
        ..StoreBatch::default()
    };
    store.write(&[later]).unwrap();
    set_clock(30 * 3600);
    assert_eq!(store.retain().unwrap().hours_by_age, 1);
    let kept = store.resume(TEN, true).unwrap().steps;
    let kept: Vec<u64> = kept.iter().map(|step| step.hash).collect();
    assert_eq!(kept, [1, 2, 3], "nobody used the other one");
}

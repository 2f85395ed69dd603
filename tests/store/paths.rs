//! The questions about paths: lists, one path, and how rows are summed.

use std::sync::Arc;
use std::time::Duration;

use rabtrace::model::{
    Checkpoint, Direction, EdgeKind, FlowWindow, PathText, Slowest, StepRow, StoreBatch,
};
use rabtrace::store::{
    Done, HopRow, PathEnd, PathPart, PathRow, PathSort, PathsAsked, Reader, Store, StoreError,
};

use crate::support::{BASE, HOUR, SECOND, histogram, hop, open, path, set_clock, settle, trace_id};

/// Hash, parents, service, direction, destination.
pub(crate) type Step = (u64, &'static [u64], &'static str, Direction, &'static str);

use Direction::{In, Out};

/// `gateway > planner_queue > planner > weather_queue > weather`, a publish that nobody receives,
/// and a dead letter of the weather queue.
pub(crate) const PIPELINE: [Step; 6] = [
    (1, &[], "gateway", Out, "planner_queue"),
    (2, &[1], "planner", In, "planner_queue"),
    (3, &[2], "planner", Out, "weather_queue"),
    (4, &[3], "weather", In, "weather_queue"),
    (5, &[2], "planner", Out, "log"),
    (6, &[3], "morgue", In, "dead"),
];

pub(crate) const TEXTS: [(u64, &str); 6] = [
    (1, "gateway > planner_queue"),
    (2, "gateway > planner_queue > planner"),
    (3, "gateway > planner_queue > planner > weather_queue"),
    (4, WEATHER),
    (5, "gateway > planner_queue > planner > log"),
    (
        6,
        "gateway > planner_queue > planner > weather_queue > dead > morgue",
    ),
];

pub(crate) const WEATHER: &str = "gateway > planner_queue > planner > weather_queue > weather";

pub(crate) fn rows_of(steps: &[Step]) -> Vec<StepRow> {
    let rows = steps
        .iter()
        .flat_map(|(hash, parents, service, direction, destination)| {
            let parents: Vec<Option<u64>> = if parents.is_empty() {
                vec![None]
            } else {
                parents.iter().copied().map(Some).collect()
            };
            parents.into_iter().map(|parent| StepRow {
                hash: *hash,
                parent,
                service: Arc::from(*service),
                direction: *direction,
                destination: Arc::from(*destination),
                via: None,
                dead_letter: false,
            })
        });
    rows.collect()
}

/// A window at one step, with these times of edge and total in milliseconds for each message.
pub(crate) fn at(step: Step, start: i64, times: &[(f64, f64)]) -> FlowWindow {
    let (hash, _, service, direction, destination) = step;
    let checkpoint = Checkpoint {
        hash,
        kind: EdgeKind::Forward,
        service: Arc::from(service),
        direction,
        destination: Arc::from(destination),
        sampled: false,
    };
    let mut window = FlowWindow::new(checkpoint, start, Duration::from_secs(10));
    window.count = u64::try_from(times.len()).unwrap();
    window.edge = histogram(times.iter().map(|(edge, _)| edge / 1e3));
    window.total = histogram(times.iter().map(|(_, total)| total / 1e3));
    window
}

pub(crate) fn batch(steps: &[Step], texts: &[(u64, &str)], windows: Vec<FlowWindow>) -> StoreBatch {
    let text = |(hash, text): &(u64, &str)| PathText {
        ends_in_delivery: steps.iter().any(|step| step.0 == *hash && step.3 == In),
        ..path(*hash, text)
    };
    StoreBatch {
        windows,
        steps: rows_of(steps),
        paths: texts.iter().map(text).collect(),
        ..StoreBatch::default()
    }
}

fn of_kind(mut window: FlowWindow, kind: EdgeKind) -> FlowWindow {
    window.kind = kind;
    window
}

/// The windows of ten messages through the pipeline: 30 ms in the first queue, 10 ms of work,
/// 60 ms in the second.
fn ten_messages(start: i64) -> Vec<FlowWindow> {
    let of = |step: usize, edge: f64, total: f64| at(PIPELINE[step], start, &[(edge, total); 10]);
    vec![
        of(0, 0.0, 0.0),
        of(1, 30.0, 30.0),
        of(2, 10.0, 40.0),
        of(3, 60.0, 100.0),
    ]
}

fn store(folder: &std::path::Path, windows: Vec<FlowWindow>) -> Store {
    let mut store = open(folder);
    store.write(&[batch(&PIPELINE, &TEXTS, windows)]).unwrap();
    store
}

fn asked(reader: &Reader, sort: PathSort, filters: &[&str]) -> Vec<PathRow> {
    reader
        .paths_asked(&PathsAsked {
            since_unix_nano: BASE - HOUR,
            now_unix_nano: BASE + 10 * SECOND,
            sort,
            filters: filters.iter().map(|text| (*text).to_owned()).collect(),
            limit: 10,
        })
        .unwrap()
}

fn named<'a>(rows: &'a [PathRow], path: &str) -> &'a PathRow {
    let row = rows.iter().find(|row| row.path == path);
    row.unwrap_or_else(|| panic!("no {path} in {rows:#?}"))
}

#[test]
fn percentiles_of_unequal_windows_are_merged_and_not_averaged() {
    let folder = tempfile::tempdir().unwrap();
    let windows = vec![
        at(PIPELINE[3], BASE - 20 * SECOND, &[(10.0, 10.0); 990]),
        at(PIPELINE[3], BASE - 10 * SECOND, &[(1000.0, 1000.0); 10]),
    ];
    let reader = store(folder.path(), windows).reader().unwrap();
    let row = &asked(&reader, PathSort::Count, &[])[0];
    let p95 = row.p95_ms.unwrap();
    assert!((p95 - 10.0).abs() < 0.3, "{p95}: the average is 505");
    assert!((row.mean_ms.unwrap() - 19.9).abs() < 1e-6, "{row:?}");
}

#[test]
fn paths_end_at_deliveries_and_where_nobody_received() {
    let folder = tempfile::tempdir().unwrap();
    let mut windows = ten_messages(BASE);
    let mut returned = at(PIPELINE[4], BASE, &[(1.0, 31.0); 5]);
    returned.errors = 2;
    windows.push(returned);
    windows.push(of_kind(
        at(PIPELINE[5], BASE, &[(5.0, 200.0); 3]),
        EdgeKind::DeadLetter,
    ));
    windows.push(of_kind(
        at(PIPELINE[3], BASE, &[(900.0, 950.0); 4]),
        EdgeKind::Redelivery,
    ));
    windows.push(of_kind(
        at(PIPELINE[3], BASE, &[(1.0, 1.0); 50]),
        EdgeKind::Merge,
    ));
    let mut sampled = at(PIPELINE[1], BASE - 10 * SECOND, &[(30.0, 30.0)]);
    (sampled.sampled, sampled.errors) = (true, 1);
    windows.push(sampled);
    let rows = asked(
        &store(folder.path(), windows).reader().unwrap(),
        PathSort::Path,
        &[],
    );
    let got: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.path.as_str(),
                row.end,
                row.count,
                row.errors,
                row.redelivered,
            )
        })
        .collect();
    let log = "gateway > planner_queue > planner > log";
    assert_eq!(
        got,
        [
            (TEXTS[1].1, PathEnd::Delivered, 11, 1, 0),
            (&*format!("{log} > ?"), PathEnd::Unseen, 3, 0, 0),
            (
                &*format!("{log} > not delivered"),
                PathEnd::NotDelivered,
                2,
                2,
                0
            ),
            (TEXTS[5].1, PathEnd::Delivered, 3, 0, 3),
            (WEATHER, PathEnd::Delivered, 14, 0, 4),
        ]
    );
    // What came again does not blur how long it takes the first time; where nothing else came,
    // it is all there is.
    let near = |ms: Option<f64>, expected: f64| (ms.unwrap() - expected).abs() < expected * 0.01;
    assert!(near(named(&rows, WEATHER).p99_ms, 100.0), "{rows:#?}");
    assert!(near(named(&rows, TEXTS[5].1).p50_ms, 200.0), "{rows:#?}");
    assert!(named(&rows, TEXTS[1].1).sampled);
    assert!(!named(&rows, WEATHER).sampled);
    assert_eq!(rows[1].p95_ms, None, "nobody knows when it arrives");
}

#[test]
fn the_hop_where_the_time_goes_is_named_with_its_share() {
    let folder = tempfile::tempdir().unwrap();
    let reader = store(folder.path(), ten_messages(BASE)).reader().unwrap();
    let rows = asked(&reader, PathSort::Count, &[]);
    let hop = named(&rows, WEATHER).slowest_hop.clone().unwrap();
    assert_eq!(
        (hop.step.as_str(), hop.part),
        ("weather_queue", PathPart::Wait)
    );
    assert!((hop.share - 0.6).abs() < 1e-9, "{hop:?}");
}

#[test]
fn rows_are_sorted_filtered_and_compared_with_an_hour_before() {
    let folder = tempfile::tempdir().unwrap();
    let weather = |start, ms| at(PIPELINE[3], start, &[(ms, ms); 20]);
    let windows = vec![
        weather(BASE - HOUR - 10 * SECOND, 100.0),
        weather(BASE, 134.0),
        // Too few to say anything.
        at(PIPELINE[1], BASE - HOUR - 10 * SECOND, &[(1.0, 1.0); 19]),
        at(PIPELINE[1], BASE, &[(500.0, 500.0); 30]),
        of_kind(at(PIPELINE[5], BASE, &[(1.0, 1.0)]), EdgeKind::DeadLetter),
    ];
    let reader = store(folder.path(), windows).reader().unwrap();
    let rows = asked(&reader, PathSort::Count, &[]);
    let counts: Vec<u64> = rows.iter().map(|row| row.count).collect();
    assert_eq!(counts, [30, 20, 1]);
    let change = named(&rows, WEATHER).p95_change.unwrap();
    assert!((change - 0.34).abs() < 0.01, "{change}");
    assert_eq!(named(&rows, TEXTS[1].1).p95_change, None);
    let new: Vec<bool> = rows.iter().map(|row| row.is_new).collect();
    assert_eq!(new, [false, false, true]);
    for (sort, first) in [
        (PathSort::P95, TEXTS[1].1),
        (PathSort::Change, WEATHER),
        (PathSort::Redelivered, TEXTS[5].1),
        (PathSort::Path, TEXTS[1].1),
    ] {
        assert_eq!(asked(&reader, sort, &[])[0].path, first, "{sort:?}");
    }
    let filtered = asked(&reader, PathSort::Count, &["WEATHER", "> dead"]);
    assert_eq!(filtered.len(), 1);
    assert_eq!(filtered[0].path, TEXTS[5].1);
    assert!(asked(&reader, PathSort::Count, &["weather", "nothing"]).is_empty());
}

#[test]
fn hashes_of_one_text_are_one_path() {
    let folder = tempfile::tempdir().unwrap();
    let steps: [Step; 2] = [(11, &[91], "b", In, "q"), (12, &[92], "b", In, "q")];
    let texts = [(11, "? > q > b"), (12, "? > q > b")];
    let windows = vec![
        at(steps[0], BASE, &[(1.0, 10.0); 3]),
        at(steps[1], BASE, &[(1.0, 1000.0); 7]),
    ];
    let mut store = open(folder.path());
    store.write(&[batch(&steps, &texts, windows)]).unwrap();
    let reader = store.reader().unwrap();
    let rows = asked(&reader, PathSort::Count, &[]);
    assert_eq!((rows.len(), rows[0].count), (1, 10));
    assert_eq!(rows[0].hash, format!("{:016x}", 12));
    assert!((rows[0].p50_ms.unwrap() - 1000.0).abs() < 25.0);
    let one = reader
        .path(&format!("{:016x}", 11), 0, BASE)
        .unwrap()
        .unwrap();
    assert_eq!((one.hops.len(), one.hops[0].count), (1, 10));
}

/// A worker that publishes what failed to its own queue again: the path stays, the repeats count.
#[test]
fn a_loop_counts_on_the_path_that_it_repeats() {
    let folder = tempfile::tempdir().unwrap();
    let steps: [Step; 3] = [
        (1, &[], "a", Out, "q"),
        (2, &[1], "w", In, "q"),
        (3, &[2], "w", Out, "q"),
    ];
    let texts = [(1, "a > q"), (2, "a > q > w"), (3, "a > q > w > q")];
    let again = (3, &[3u64] as &'static [u64], "w", In, "q");
    let mut repeat = of_kind(at(again, BASE, &[(2.0, 20.0); 7]), EdgeKind::Repeat);
    repeat.max_attempt = 8;
    let windows = vec![
        at(steps[0], BASE, &[(0.0, 0.0)]),
        at(steps[1], BASE, &[(5.0, 5.0)]),
        at(steps[2], BASE, &[(1.0, 6.0)]),
        of_kind(at(steps[2], BASE, &[(1.0, 6.0); 6]), EdgeKind::Repeat),
        repeat,
    ];
    let mut store = open(folder.path());
    let mut batch = batch(&steps, &texts, windows);
    batch.steps.extend(rows_of(&[again]));
    store.write(&[batch]).unwrap();
    let reader = store.reader().unwrap();
    let rows = asked(&reader, PathSort::Count, &[]);
    let got: Vec<_> = rows
        .iter()
        .map(|row| (row.path.as_str(), row.count, row.redelivered))
        .collect();
    assert_eq!(got, [("a > q > w", 8, 7)]);
    let one = reader.path("a > q > w", 0, BASE).unwrap().unwrap();
    let hops: Vec<_> = one
        .hops
        .iter()
        .map(|hop| {
            (
                hop.kind.as_str(),
                hop.direction.as_str(),
                hop.count,
                hop.max_attempt,
            )
        })
        .collect();
    assert_eq!(
        hops,
        [
            ("forward", "out", 1, 0),
            ("forward", "in", 1, 0),
            ("repeat", "in", 7, 8)
        ]
    );
}

#[test]
fn one_path_is_told_hop_by_hop() {
    let folder = tempfile::tempdir().unwrap();
    let mut windows = ten_messages(BASE);
    windows[3].process = histogram([0.2; 10]);
    windows[3].errors = 3;
    windows[3].skewed = 1;
    let slowest = |number, millis| Slowest {
        trace_id: trace_id(number),
        duration: Duration::from_millis(millis),
    };
    windows[3].slowest = Some(slowest(1, 100));
    let mut later = at(PIPELINE[3], BASE + 10 * SECOND, &[]);
    later.slowest = Some(slowest(2, 1200));
    windows.push(later);
    let mut redelivered = of_kind(
        at(PIPELINE[3], BASE, &[(900.0, 950.0); 4]),
        EdgeKind::Redelivery,
    );
    redelivered.max_attempt = 3;
    windows.push(redelivered);
    let mut store = store(folder.path(), windows);
    let mut failed = [hop(1, BASE), hop(2, BASE), hop(3, BASE)];
    for (hop, error) in failed.iter_mut().zip(["timeout", "rejected", "timeout"]) {
        let step = hop.step.as_mut().unwrap();
        step.hash = 4;
        hop.path = Some(Arc::from(WEATHER));
        hop.span.status = rabtrace::model::SpanStatus::Error;
        let error = rabtrace::model::AttributeValue::Text(Arc::from(error));
        hop.span.attributes.push((Arc::from("error.type"), error));
    }
    store
        .write(&[crate::support::spans(failed.into())])
        .unwrap();
    let reader = store.reader().unwrap();
    let one = reader.path("> WEATHER", BASE - HOUR, BASE + 20 * SECOND);
    let one = one.unwrap().unwrap();
    let hops: Vec<String> = one.hops.iter().map(told).collect();
    assert_eq!(
        hops,
        [
            "gateway out planner_queue forward 10: wait -, work 0, share 0",
            "planner in planner_queue forward 10: wait 30, work -, share 30",
            "planner out weather_queue forward 10: wait -, work 10, share 10",
            "weather in weather_queue forward 10: wait 60, work 200, share 60",
            "weather in weather_queue redelivery 4: wait 900, work -, share -",
        ]
    );
    assert!(one.remainder_ms.unwrap().abs() < 1e-6 && !one.merges);
    let last = &one.hops[3];
    assert_eq!(
        (last.errors, last.skewed, one.hops[4].max_attempt),
        (3, 1, 3)
    );
    let types: Vec<_> = last
        .error_types
        .iter()
        .map(|known| (known.error_type.as_str(), known.spans))
        .collect();
    assert_eq!(types, [("timeout", 2), ("rejected", 1)]);
    assert_eq!(one.summary.slowest_trace_id, Some(trace_id(2).to_string()));
    assert_eq!(one.summary.slowest_trace_ms, Some(1200.0));
}

fn told(hop: &HopRow) -> String {
    let ms = |times: Option<rabtrace::store::Times>| {
        times.map_or_else(|| "-".to_owned(), |times| format!("{:.0}", times.mean_ms))
    };
    let share = hop.share.map(|share| format!("{:.0}", share * 100.0));
    format!(
        "{} {} {} {} {}: wait {}, work {}, share {}",
        hop.service,
        hop.direction,
        hop.destination,
        hop.kind,
        hop.count,
        ms(hop.wait),
        ms(hop.work),
        share.unwrap_or_else(|| "-".to_owned())
    )
}

#[test]
fn branches_that_merge_stand_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let steps: [Step; 6] = [
        (1, &[], "a", Out, "q1"),
        (2, &[1], "w", In, "q1"),
        (3, &[], "b", Out, "q2"),
        (4, &[3], "w", In, "q2"),
        (5, &[2, 4], "w", Out, "q3"),
        (6, &[5], "z", In, "q3"),
    ];
    let texts = [(6, "{a > q1, b > q2} > w > q3 > z")];
    let mut windows: Vec<_> = steps.map(|step| at(step, BASE, &[(10.0, 30.0)])).into();
    windows.push(of_kind(
        at(steps[4], BASE, &[(10.0, 30.0)]),
        EdgeKind::Merge,
    ));
    let mut store = open(folder.path());
    store.write(&[batch(&steps, &texts, windows)]).unwrap();
    let one = store
        .reader()
        .unwrap()
        .path("> z", 0, BASE)
        .unwrap()
        .unwrap();
    let order: Vec<_> = one
        .hops
        .iter()
        .map(|hop| (&hop.hash[15..], hop.kind.as_str()))
        .collect();
    assert_eq!(
        order,
        [
            ("1", "forward"),
            ("2", "forward"),
            ("3", "forward"),
            ("4", "forward"),
            ("5", "forward"),
            ("5", "merge"),
            ("6", "forward")
        ]
    );
    assert!(one.merges && one.remainder_ms.is_none());
}

#[test]
fn a_path_is_found_by_its_text_a_part_of_it_or_its_hash() {
    let folder = tempfile::tempdir().unwrap();
    let reader = store(folder.path(), ten_messages(BASE)).reader().unwrap();
    let find = |wanted: &str| {
        let found = reader.path(wanted, BASE - HOUR, BASE).unwrap();
        found.map(|found| found.summary.path)
    };
    // The whole text of one is a part of the other's.
    assert_eq!(find(TEXTS[1].1).as_deref(), Some(TEXTS[1].1));
    assert_eq!(find("> weather").as_deref(), Some(WEATHER));
    // A part of both, the end of one.
    assert_eq!(find("planner").as_deref(), Some(TEXTS[1].1));
    assert_eq!(find("0000000000000004").as_deref(), Some(WEATHER));
    assert_eq!(find("nothing"), None);
    assert_eq!(find("0000000000000003"), None, "no path ends there");
    let error = reader.path("gateway", BASE - HOUR, BASE).unwrap_err();
    let StoreError::AmbiguousPath {
        number: 2,
        candidates,
        ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(candidates, &[TEXTS[1].1, WEATHER]);
}

#[test]
fn a_text_with_an_unknown_beginning_stays_when_windows_come() {
    let folder = tempfile::tempdir().unwrap();
    let step: [Step; 1] = [(7, &[], "worker", In, "jobs")];
    let mut store = open(folder.path());
    let windows = vec![at(step[0], BASE - 10 * SECOND, &[(1.0, 1.0)])];
    store
        .write(&[batch(&step, &[(7, "? > jobs > worker")], windows)])
        .unwrap();
    let reader = store.reader().unwrap();
    let rows = reader.paths(BASE - HOUR, BASE, 10).unwrap();
    assert_eq!((&*rows[0].path, rows[0].count), ("? > jobs > worker", 1));
}

#[test]
fn a_window_that_only_brings_a_trace_is_no_path() {
    let folder = tempfile::tempdir().unwrap();
    let step: [Step; 1] = [(7, &[], "worker", In, "jobs")];
    let windows = vec![at(step[0], BASE - 10 * SECOND, &[])];
    let mut store = open(folder.path());
    store
        .write(&[batch(&step, &[(7, "? > jobs > worker")], windows)])
        .unwrap();
    let rows = store
        .reader()
        .unwrap()
        .paths(BASE - HOUR, BASE, 10)
        .unwrap();
    assert!(rows.is_empty(), "{rows:?}");
}

#[test]
fn a_circle_of_parents_ends() {
    let folder = tempfile::tempdir().unwrap();
    let steps: [Step; 2] = [(1, &[2], "a", Out, "q"), (2, &[1], "b", In, "q")];
    let windows = vec![at(steps[1], BASE, &[(1.0, 2.0)])];
    let mut store = open(folder.path());
    store
        .write(&[batch(&steps, &[(2, "a > q > b")], windows)])
        .unwrap();
    let one = store.reader().unwrap().path("b", 0, BASE).unwrap().unwrap();
    assert_eq!(one.hops.len(), 2);
}

/// Sums of 5 minutes stand for the windows of a closed hour, but where the span cuts them.
#[test]
fn closed_hours_are_read_by_their_sums() {
    let folder = tempfile::tempdir().unwrap();
    let mut windows = Vec::new();
    for number in 0..720 {
        let ms = f64::from(number % 97 + 1);
        let times = vec![(ms, ms); usize::try_from(number % 7 + 1).unwrap()];
        windows.push(at(
            PIPELINE[3],
            BASE - 2 * HOUR + i64::from(number) * 10 * SECOND,
            &times,
        ));
    }
    let mut store = store(folder.path(), windows);
    let answers = |store: &Store| {
        let reader = store.reader().unwrap();
        let spans = [0, 1, 299, 300, 301, 3599, 3600, 3601, 5000];
        spans.map(|late: i64| {
            let since = BASE - 2 * HOUR + late * SECOND;
            let rows = reader.paths(since, BASE + 5 * SECOND, 5).unwrap();
            let mut rows = rows;
            for row in &mut rows {
                row.last_seen_unix_nano = 0;
                row.max_ms = row.max_ms.map(f64::round);
                row.mean_ms = row.mean_ms.map(|mean| (mean * 1e6).round());
                row.slowest_hop = None;
            }
            rows
        })
    };
    let before = answers(&store);
    assert_eq!(before[0][0].count, 2877);
    let database = rusqlite::Connection::open(folder.path().join("rabtrace.db")).unwrap();
    let hour = (BASE - 2 * HOUR) / HOUR;
    set_clock(600);
    assert!(settle(&mut store).contains(&Done::HourSummed));
    assert_eq!(answers(&store), before);
    // The sums are what is read: without the windows the whole pieces are still there.
    let emptied = format!("DELETE FROM hour_{hour}_flow");
    assert_eq!(database.execute(&emptied, []).unwrap(), 360);
    let reader = store.reader().unwrap();
    let count = |since| reader.paths(since, BASE, 5).unwrap()[0].count;
    assert_eq!(count(BASE - 2 * HOUR), before[0][0].count);
    assert!(count(BASE - 2 * HOUR + SECOND) < before[0][0].count);
}

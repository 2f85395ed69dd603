//! What changed between two spans of time.

use rabtrace::model::{Direction, FlowWindow};
use rabtrace::store::{DiffAsked, PathChange, PathPart, PathsDiff};

use crate::paths::{Step, at, batch};
use crate::support::{BASE, HOUR, SECOND, open};

/// In each of both spans this long after its beginning.
const LATER: i64 = 600 * SECOND;

const TEXTS: [(u64, &str); 8] = [
    (1, "a > q"),
    (2, "a > q > slower"),
    (3, "noise"),
    (4, "faster"),
    (5, "appeared"),
    (6, "vanished"),
    (7, "rare"),
    (8, "failing"),
];

fn step(hash: u64) -> Step {
    match hash {
        1 => (1, &[], "a", Direction::Out, "q"),
        2 => (2, &[1], "w", Direction::In, "q"),
        _ => (hash, &[], "s", Direction::In, "r"),
    }
}

/// So many messages of about that many milliseconds, spread by a tenth.
fn around(count: u32, ms: f64) -> Vec<(f64, f64)> {
    let spread = |number: u32| ms * (0.95 + 0.1 * f64::from(number) / f64::from(count));
    (0..count)
        .map(|number| (spread(number), spread(number)))
        .collect()
}

fn window(hash: u64, start: i64, count: u32, ms: f64) -> FlowWindow {
    at(step(hash), start, &around(count, ms))
}

fn diff(windows: Vec<FlowWindow>, filters: &[&str]) -> PathsDiff {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let steps: Vec<Step> = (1..=8).map(step).collect();
    store.write(&[batch(&steps, &TEXTS, windows)]).unwrap();
    let asked = DiffAsked {
        since_unix_nano: BASE - HOUR,
        now_unix_nano: BASE,
        earlier_nanos: HOUR,
        filters: filters.iter().map(|text| (*text).to_owned()).collect(),
    };
    store.reader().unwrap().paths_diff(&asked).unwrap()
}

fn names(rows: &[PathChange]) -> Vec<&str> {
    rows.iter().map(|row| row.path.as_str()).collect()
}

fn both_spans() -> Vec<FlowWindow> {
    let (before, now) = (BASE - 2 * HOUR + LATER, BASE - HOUR + LATER);
    let mut failing = window(8, now, 100, 10.0);
    failing.errors = 20;
    vec![
        window(1, before, 100, 0.0),
        window(1, now, 100, 0.0),
        window(2, before, 100, 100.0),
        window(2, now, 100, 150.0),
        // Far apart, but too few to tell from chance.
        window(3, before, 10, 100.0),
        window(3, now, 10, 500.0),
        window(4, before, 100, 100.0),
        window(4, now, 100, 80.0),
        window(5, now, 3, 1.0),
        window(6, before, 10, 1.0),
        window(7, before, 9, 1.0),
        window(8, before, 100, 10.0),
        failing,
    ]
}

#[test]
fn what_changed_is_named_by_the_rules() {
    let diff = diff(both_spans(), &[]);
    assert_eq!(names(&diff.slower), ["a > q > slower"]);
    assert_eq!(names(&diff.faster), ["faster"]);
    assert_eq!(names(&diff.appeared), ["appeared"]);
    assert_eq!(names(&diff.vanished), ["vanished"]);
    assert_eq!(names(&diff.more_errors), ["failing"]);
    assert_eq!(names(&diff.fewer_errors), [""; 0]);
    assert_eq!(diff.unchanged, 2, "noise and rare");
    assert_eq!((diff.before.count, diff.now.count), (329, 313));
    let slower = &diff.slower[0];
    assert!(
        (slower.p95_change.unwrap() - 0.5).abs() < 0.02,
        "{slower:?}"
    );
    let hop = slower.hop.as_ref().unwrap();
    assert_eq!((hop.step.as_str(), hop.part), ("q", PathPart::Wait));
    assert!((hop.now_ms - hop.before_ms - 50.0).abs() < 0.1, "{hop:?}");
}

#[test]
fn less_than_a_tenth_and_less_than_chance_is_no_change() {
    let (before, now) = (BASE - 2 * HOUR + LATER, BASE - HOUR + LATER);
    let small = vec![
        window(2, before, 10_000, 100.0),
        window(2, now, 10_000, 108.0),
    ];
    assert_eq!(diff(small, &[]).unchanged, 1);
    // The same times in both: the highest of 30 differ by much more than a tenth.
    let tail = |start, longest| {
        let mut times = around(28, 100.0);
        times.extend([(longest, longest); 2]);
        at(step(2), start, &times)
    };
    assert_eq!(
        diff(vec![tail(before, 110.0), tail(now, 300.0)], &[]).unchanged,
        1
    );
}

#[test]
fn nothing_appears_where_nothing_was_recorded_before() {
    let diff = diff(vec![window(5, BASE - LATER, 100, 1.0)], &[]);
    assert_eq!(
        (diff.before.count, diff.appeared.len(), diff.unchanged),
        (0, 0, 1)
    );
}

#[test]
fn a_filter_holds_for_both_spans() {
    let diff = diff(both_spans(), &["VANISH"]);
    assert_eq!(names(&diff.vanished), ["vanished"]);
    assert_eq!((diff.slower.len(), diff.unchanged), (0, 0));
}

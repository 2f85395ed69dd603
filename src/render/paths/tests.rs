use super::{change, failed, fit, paths, paths_within, shortened};
use crate::store::{PathEnd, PathPart, PathRow, SlowHop};

pub(in crate::render) fn row(path: &str) -> PathRow {
    PathRow {
        path: path.to_owned(),
        hash: "00000000000000a1".to_owned(),
        end: PathEnd::Delivered,
        count: 1200,
        rate_per_second: 0.33,
        errors: 12,
        redelivered: 3,
        p50_ms: Some(45.0),
        p95_ms: Some(120.0),
        p99_ms: Some(1500.0),
        max_ms: Some(1600.0),
        mean_ms: Some(50.0),
        slowest_hop: Some(SlowHop {
            step: "weather_queue".to_owned(),
            part: PathPart::Wait,
            mean_ms: 35.5,
            share: 0.71,
        }),
        p95_before_ms: Some(89.6),
        p95_change: Some(0.34),
        is_new: false,
        sampled: false,
        slowest_trace_id: None,
        slowest_trace_ms: None,
        last_seen_unix_nano: 0,
    }
}

fn unseen() -> PathRow {
    PathRow {
        end: PathEnd::Unseen,
        count: 7,
        errors: 0,
        redelivered: 0,
        p50_ms: None,
        p95_ms: None,
        p99_ms: None,
        slowest_hop: None,
        p95_change: None,
        is_new: true,
        sampled: true,
        ..row("gateway > log > ?")
    }
}

pub(in crate::render) fn trimmed(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

#[test]
fn a_row_says_what_a_path_does_and_what_changed() {
    let text = paths(&[row("gateway > weather_queue > weather"), unseen()]);
    expect_test::expect![[r#"
         PATH                               /s   COUNT  ERRORS      REDELIVERED  p50   p95    p99    TIME GOES TO             p95 CHANGE
         gateway > weather_queue > weather  0.3   1200  12 (1.0 %)            3  45ms  120ms  1.50s  weather_queue wait 71 %       +34 %
         gateway > log > ? *                0.3      7           0            0     -      -      -  -                               new
        * counted from sampled spans only
        > ?  published, and received by nobody who is traced"#]].assert_eq(&trimmed(&text));
}

#[test]
fn long_paths_are_shortened_in_the_middle_to_the_terminal() {
    let long = "gateway > planner_queue > planner > weather_queue > weather > answers > gateway";
    let rows = [row(long), unseen()];
    for width in [120, 160] {
        let text = paths_within(&rows, Some(width));
        let longest = text
            .lines()
            .map(|line| line.trim_end().chars().count())
            .max();
        assert!(longest <= Some(width), "{longest:?} for {width}\n{text}");
    }
    let text = paths_within(&rows, Some(120));
    assert!(
        text.contains(" gateway > pl") && text.contains('…'),
        "{text}"
    );
    assert!(text.contains("> gateway "), "{text}");
    assert!(paths_within(&rows, Some(1000)).contains(long));
    assert!(
        paths(&rows).contains(long),
        "whole where nobody says how wide"
    );
}

#[test]
fn texts_are_shortened_by_characters() {
    let texts = [4, 5, 9, 10].map(|limit| shortened("größe > ß!", limit));
    assert_eq!(
        texts,
        ["g…ß!", "gr…ß!", "größ…> ß!", "größe > ß!"].map(str::to_owned)
    );
    let limits = [None, Some(20), Some(10), Some(0)];
    let limits = limits.map(|width| fit(width, 40, |limit| limit.to_string()));
    let whole = usize::MAX.to_string();
    assert_eq!(limits, [&*whole, &*whole, "30", "24"].map(str::to_owned));
}

#[test]
fn numbers_have_their_share() {
    assert_eq!(
        (failed(0, 9), failed(1, 3)),
        ("0".to_owned(), "1 (33 %)".to_owned())
    );
    let changes = [0.34, -0.126, 0.004].map(change);
    assert_eq!(changes, ["+34 %", "-13 %", "0 %"]);
}

#[test]
fn no_paths_are_explained() {
    assert!(paths(&[]).contains("no paths in this time"));
}

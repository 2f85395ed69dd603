use super::{duration, paths_diff};
use crate::render::paths::tests::trimmed;
use crate::store::{Compared, HopChange, PathChange, PathPart, PathSide, PathsDiff};

const SECOND: i64 = 1_000_000_000;

fn side(count: u64, errors: u64, p95_ms: f64) -> Option<PathSide> {
    Some(PathSide {
        count,
        rate_per_second: 0.5,
        errors,
        redelivered: 0,
        p50_ms: None,
        p95_ms: Some(p95_ms),
        p99_ms: None,
    })
}

fn changed(path: &str) -> PathChange {
    PathChange {
        path: path.to_owned(),
        hash: "00000000000000a1".to_owned(),
        before: side(1000, 1, 100.0),
        now: side(1100, 220, 150.0),
        p95_change: Some(0.5),
        hop: Some(HopChange {
            step: "q".to_owned(),
            part: PathPart::Wait,
            before_ms: 40.0,
            now_ms: 90.0,
        }),
    }
}

fn diff() -> PathsDiff {
    let gone = PathChange {
        now: None,
        p95_change: None,
        hop: None,
        ..changed("a > r > c")
    };
    PathsDiff {
        rules: vec!["the rule".to_owned()],
        before: Compared {
            since_unix_nano: 0,
            until_unix_nano: 3600 * SECOND,
            count: 2000,
        },
        now: Compared {
            since_unix_nano: 24 * 3600 * SECOND,
            until_unix_nano: 25 * 3600 * SECOND,
            count: 1100,
        },
        slower: vec![changed("a > q > b")],
        faster: Vec::new(),
        appeared: Vec::new(),
        vanished: vec![gone],
        more_errors: vec![changed("a > q > b")],
        fewer_errors: Vec::new(),
        unchanged: 3,
    }
}

#[test]
fn what_changed_is_told_in_lists() {
    expect_test::expect![[r#"
        the last 1h against 1h that ended 1d ago: 1100 messages, before 2000

         SLOWER     p95 BEFORE  NOW    CHANGE  COUNT BEFORE  NOW   MOST OF IT
         a > q > b       100ms  150ms   +50 %          1000  1100  q wait 40ms to 90ms

         VANISHED   COUNT  /s   p95
         a > r > c   1000  0.5  100ms

         MORE ERRORS  ERRORS BEFORE  NOW         COUNT BEFORE  NOW
         a > q > b        1 (0.1 %)  220 (20 %)          1000  1100

        3 paths unchanged
          the rule"#]]
    .assert_eq(&trimmed(&paths_diff(&diff(), None)));
}

#[test]
fn long_paths_are_shortened_in_every_list() {
    let mut diff = diff();
    diff.slower = vec![changed(&"service > queue > ".repeat(12))];
    let text = paths_diff(&diff, Some(120));
    let mut lines = text.lines().filter(|line| !line.contains("rule"));
    assert!(
        lines.all(|line| line.trim_end().chars().count() <= 120),
        "{text}"
    );
    assert!(text.contains('…'), "{text}");
}

#[test]
fn without_an_earlier_span_nothing_is_compared() {
    let mut diff = diff();
    diff.before.count = 0;
    let text = paths_diff(&diff, None);
    assert!(
        text.starts_with("nothing was recorded in the earlier span"),
        "{text}"
    );
}

#[test]
fn durations_have_the_unit_that_they_are_given_in() {
    let texts = [30, 90, 600, 5400, 7200, 172_800].map(|seconds| duration(seconds * SECOND));
    assert_eq!(texts, ["30s", "90s", "10m", "90m", "2h", "2d"]);
}

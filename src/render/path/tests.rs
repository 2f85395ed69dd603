use super::path;
use crate::render::paths::tests::{row, trimmed};
use crate::store::{ErrorType, HopRow, PathDetail, Times};

fn times(ms: f64) -> Option<Times> {
    Some(Times {
        p50_ms: ms,
        p95_ms: ms * 2.0,
        p99_ms: ms * 3.0,
        max_ms: ms * 4.0,
        mean_ms: ms,
        count: 1,
    })
}

fn hop(direction: &str, service: &str, destination: &str) -> HopRow {
    HopRow {
        hash: "00000000000000a1".to_owned(),
        path: String::new(),
        direction: direction.to_owned(),
        service: service.to_owned(),
        destination: destination.to_owned(),
        via: None,
        kind: "forward".to_owned(),
        count: 1200,
        errors: 0,
        error_types: Vec::new(),
        wait: None,
        work: None,
        share: None,
        max_attempt: 0,
        skewed: 0,
        sampled: false,
    }
}

fn detail() -> PathDetail {
    let mut summary = row("gateway > events > weather_queue > weather");
    summary.slowest_trace_id = Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned());
    summary.slowest_trace_ms = Some(1200.0);
    let published = HopRow {
        work: times(0.0),
        share: Some(0.0),
        ..hop("out", "gateway", "events")
    };
    let delivered = HopRow {
        via: Some("events".to_owned()),
        errors: 12,
        error_types: vec![ErrorType {
            error_type: "timeout".to_owned(),
            spans: 2,
        }],
        wait: times(45.0),
        work: times(5.0),
        share: Some(0.9),
        skewed: 4,
        sampled: true,
        ..hop("in", "weather", "weather_queue")
    };
    let again = HopRow {
        kind: "redelivery".to_owned(),
        count: 3,
        wait: times(900.0),
        max_attempt: 2,
        ..hop("in", "weather", "weather_queue")
    };
    PathDetail {
        summary,
        hops: vec![published, delivered, again],
        merges: false,
        remainder_ms: Some(5.0),
    }
}

#[test]
fn hops_stand_in_order_above_the_slowest_trace() {
    expect_test::expect![[r#"
        gateway > events > weather_queue > weather
        hash 00000000000000a1   1200 messages, 0.3/s   errors 12 (1.0 %)   redelivered 3   p50 45ms  p95 120ms  p99 1.50s  mean 50ms

         STEP                                    KIND        MESSAGES  ERRORS        WAIT p50  p95    p99    WORK p50  p95   p99   SHARE      ATTEMPTS  SKEWED
         gateway > events                        forward         1200  0                    -      -      -       0µs   0µs   0µs   work 0 %         -       0
         weather_queue > weather (via events) *  forward         1200  12 (timeout)      45ms   90ms  135ms     5.0ms  10ms  15ms  wait 90 %         -       4
         weather_queue > weather                 redelivery         3  0                900ms  1.80s  2.70s         -     -     -          -         2       0

        shares are of the mean from origin to end, 50ms; the hops are 5.0ms (10 %) short of it: messages that came again, or hops that are not seen
        * counted from sampled spans only
        slowest trace 4bf92f35 1.20s   rabtrace trace 4bf92f3577b34da6a3ce929d0e0e4736"#]].assert_eq(&trimmed(&path(&detail())));
}

#[test]
fn what_the_hops_leave_is_said() {
    let told = |remainder: Option<f64>, merges: bool| {
        let text = path(&PathDetail {
            remainder_ms: remainder,
            merges,
            ..detail()
        });
        let line = text.lines().find(|line| line.contains("share"));
        line.map(str::to_owned)
    };
    let texts = [
        told(Some(0.1), false),
        told(Some(-10.0), false),
        told(None, true),
    ];
    assert_eq!(
        texts.map(Option::unwrap),
        [
            "shares are of the mean from origin to end, 50ms, and add up to it",
            "shares are of the mean from origin to end, 50ms; the hops are 10ms (20 %) more than it: the hops hold messages that went other ways too",
            "branches merge: their shares run side by side and do not add up",
        ]
    );
    assert_eq!(told(None, false), None);
}

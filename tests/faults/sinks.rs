//! InfluxDB refuses, stumbles over a line, or crawls; the upstream does not notice.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Length, Load, Mode, Setup, Sink, judge, report};

const PATIENCE: Duration = Duration::from_secs(180);
/// Every so many lines one is refused.
const BAD: u64 = 5_000;

/// What a sink that fails did to the other one.
struct Beside {
    /// Spans a second that reached the upstream: while both are well, while InfluxDB fails.
    rates: (f64, f64),
    /// Acknowledged points that InfluxDB has not got in the end, and those that it never takes.
    lost: (u64, u64),
    dropped: u64,
}

/// Spans a second that were acknowledged and reached the upstream.
async fn rate(load: &Load, otlp: &str, upstream: &Sink, time: Duration) -> f64 {
    let arrived = || {
        upstream
            .arrivals()
            .iter()
            .filter(|times| **times > 0)
            .count() as f64
    };
    let (before, begun) = (arrived(), Instant::now());
    load.run_for(otlp, 4, None, time).await;
    (arrived() - before) / begun.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Turns about: all well, then InfluxDB in this mode.
async fn beside(mode: Mode, turns: u32, time: Duration) -> Beside {
    let folder = tempfile::tempdir().unwrap();
    let (influx, upstream) = (Sink::start(), Sink::start());
    let setup = Setup::new(folder.path())
        .set("influx.url", influx.url())
        .set("forward.endpoint", upstream.url())
        .set("forward.protocol", "http/protobuf");
    let agent = setup.start().await;
    let load = Load::new(200);
    let (mut well, mut failing) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        well.push(rate(&load, &agent.otlp, &upstream, time).await);
        influx.answer_by(mode);
        failing.push(rate(&load, &agent.otlp, &upstream, time).await);
        if !matches!(mode, Mode::RefuseEvery(_)) {
            influx.answer_by(Mode::Take);
        }
        agent.until_drained("influx", PATIENCE).await;
    }
    agent.until_drained("forward", PATIENCE).await;
    agent.balanced(PATIENCE).await;
    let verdict = judge(&load.oracle, &upstream);
    assert_eq!((verdict.lost, verdict.again), (0, 0), "{verdict:?}");
    let mut never = 0;
    let arrivals = influx.arrivals();
    load.oracle.acknowledged(|ids| {
        let missing = |id: &u64| {
            arrivals
                .get(usize::try_from(*id).unwrap())
                .is_none_or(|n| *n == 0)
        };
        never += ids.filter(missing).filter(|id| id % BAD == 0).count() as u64;
    });
    Beside {
        rates: (median(well), median(failing)),
        lost: (judge(&load.oracle, &influx).lost, never),
        dropped: agent.dropped("influx").await,
    }
}

async fn row(name: &str, mode: Mode) {
    let length = Length::chosen();
    let (turns, time) = length.of((1, 1), (5, 4), (9, 10));
    let beside = beside(mode, turns, Duration::from_secs(time)).await;
    let (well, failing) = beside.rates;
    let (lost, never) = beside.lost;
    let figures = json!({
        "upstream_spans_per_second_all_well": well.round(),
        "upstream_spans_per_second_influxdb_failing": failing.round(),
        "ratio": (failing / well * 100.0).round() / 100.0,
        "good_lines_lost": lost - never,
        "bad_lines_counted": beside.dropped,
    });
    report(&format!("sink_{name}"), length, &figures);
    assert_eq!(lost, never, "good lines are lost");
    assert_eq!(beside.dropped, never, "what is refused for good is counted");
    if length != Length::Short {
        assert!(failing >= well * 0.95, "{figures}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_says_429() {
    row("429", Mode::Refuse(429)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_says_500() {
    row("500", Mode::Refuse(500)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_says_400_for_a_line() {
    row("400", Mode::RefuseEvery(BAD)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_reads_a_kilobyte_a_second() {
    row("slow", Mode::Slow(1_000)).await;
}

/// The control: lines that are only said to be taken; they are missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_lies() {
    let beside = beside(Mode::Lie, 1, Duration::from_secs(1)).await;
    assert!(
        beside.lost.0 > beside.lost.1 + beside.dropped,
        "{:?}",
        beside.lost
    );
}

//! A tag with a new value in each point: series and memory are bounded, and no point is missing.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Length, Load, Names, Setup, Sink, eventually, judge, report};

const MORE_MEMORY: u64 = 64 << 20;
/// Values that a tag has of its own, by default.
const VALUES: usize = 10_000;

/// What came of points with such names.
struct Outcome {
    sent: u64,
    /// Of these, those whose names are alike in any case.
    alike: u64,
    lost: u64,
    memory_added: u64,
    series: usize,
    /// Points that InfluxDB would have.
    points: usize,
    /// Points whose name became `_other`.
    others: u64,
    /// The agent's own count of them, and of its series.
    told: Value,
    /// Series of the agent's own metrics: before the first span, before the many names, after them.
    own_metrics: [BTreeSet<String>; 3],
}

/// Sends that many points, and a few before and after, whose names are alike.
async fn outcome(names: Names, number: u64, max_series: &str) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let setup = Setup::new(folder.path()).set("influx.url", sink.url());
    let agent = setup.set("limits.series", max_series).start().await;
    let fresh = agent.metrics().await.into_keys().collect();
    let load = Load::new(500);
    load.run_for(&agent.otlp, 4, Some(5_000), Duration::from_secs(2))
        .await;
    agent.until_drained("influx", Duration::from_secs(60)).await;
    let first = load.oracle.spans();
    // A service's series come when its first window is closed.
    let metrics = eventually("the service's series", Duration::from_secs(60), || async {
        let metrics = agent.metrics().await;
        let is_there = |name: &str| metrics.keys().any(|key| key.starts_with(name));
        is_there("rabtrace_service_requests_total{").then(|| metrics.into_keys().collect())
    })
    .await;
    let (before, _) = agent.memory();
    agent.forget_peak();
    let many = load.clone().with_names(names);
    let goal = load.oracle.spans() + number;
    while load.oracle.spans() < goal {
        many.run_for(&agent.otlp, 4, None, Duration::from_millis(500))
            .await;
    }
    assert_eq!(load.send_one(&agent.otlp).await, Some(200));
    let within = Duration::from_secs(300);
    agent.until_drained("influx", within).await;
    let status: Value = serde_json::from_str(&agent.get("/status").await.unwrap()).unwrap();
    Outcome {
        sent: load.oracle.spans(),
        alike: first + 500,
        lost: judge(&load.oracle, &sink).lost,
        memory_added: agent.memory().1.saturating_sub(before),
        series: sink.series(),
        points: sink.points(),
        others: sink.others(),
        told: status["series"]["spans"].clone(),
        own_metrics: [fresh, metrics, agent.metrics().await.into_keys().collect()],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_tag_values_are_capped() {
    let length = Length::chosen();
    let number = length.of(20_000, 1_000_000, 5_000_000);
    let alike = outcome(Names::Alike, number, "20000").await;
    let distinct = outcome(Names::Distinct, number, "20000").await;
    let figures = json!({
        "points": distinct.sent,
        "memory_added_mib": distinct.memory_added >> 20,
        "memory_added_by_as_many_alike_mib": alike.memory_added >> 20,
        "series": distinct.series,
        "points_in_other": distinct.others,
        "points_lost": distinct.lost,
        "told": distinct.told,
        "series_of_own_metrics_before": distinct.own_metrics[1].len(),
        "series_of_own_metrics_after": distinct.own_metrics[2].len(),
    });
    report("tags", length, &figures);
    assert_eq!(
        (distinct.lost, distinct.points as u64),
        (0, distinct.sent),
        "totals are exact"
    );
    assert_eq!(distinct.series, VALUES + 1);
    assert_eq!(distinct.told["series"], distinct.series);
    assert_eq!(distinct.told["folded"], distinct.others);
    // What came first keeps its series, also when it comes again at the end.
    let own = distinct.sent - distinct.others;
    assert_eq!(own, distinct.alike + VALUES as u64 - 1);
    assert_eq!((alike.series, alike.others), (1, 0));
    // The first span of a service brings series; names bring none.
    let [fresh, before, after] = &distinct.own_metrics;
    assert!(fresh.len() < before.len());
    let changed: Vec<_> = after.symmetric_difference(before).collect();
    assert!(changed.is_empty(), "{changed:?} {figures}");
    if length != Length::Short {
        assert!(distinct.memory_added <= MORE_MEMORY, "{figures}");
    }
}

/// The control: without a cap in reach there is a series for each name, and the judge counts them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cap_out_of_reach_is_none() {
    let outcome = outcome(Names::Distinct, 20_000, "10000000").await;
    assert!(outcome.series > 20_000, "{} series", outcome.series);
    assert_eq!((outcome.others, outcome.lost), (0, 0));
}

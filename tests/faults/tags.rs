//! A tag with a new value in each point: memory is bounded, and no point is missing.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Length, Load, Names, Setup, Sink, judge, report};

const MORE_MEMORY: u64 = 64 << 20;

/// Points with so many names; the memory that they added, how many series came out, what is lost.
async fn points(names: Names, number: u64) -> (u64, usize, u64) {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let setup = Setup::new(folder.path()).set("influx.url", sink.url());
    let agent = setup.start().await;
    let first = Load::new(500);
    first
        .run_for(&agent.otlp, 4, Some(5_000), Duration::from_secs(2))
        .await;
    agent.until_drained("influx", Duration::from_secs(60)).await;
    let (before, _) = agent.memory();
    agent.forget_peak();
    // The ids of the first load come again; it is the names that count.
    let load = Load::new(500).with_names(names);
    while load.oracle.spans() < number {
        load.run_for(&agent.otlp, 4, None, Duration::from_millis(500))
            .await;
    }
    agent
        .until_drained("influx", Duration::from_secs(300))
        .await;
    let lost = judge(&load.oracle, &sink).lost;
    (agent.memory().1.saturating_sub(before), sink.series(), lost)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_tag_values_are_capped() {
    let length = Length::chosen();
    let number = length.of(20_000, 1_000_000, 5_000_000);
    let (alike, few, _) = points(Names::Alike, number).await;
    let (distinct, series, lost) = points(Names::Distinct, number).await;
    let figures = json!({
        "points": number,
        "memory_added_mib": distinct >> 20,
        "memory_added_by_as_many_alike_mib": alike >> 20,
        "series": series,
        "points_lost": lost,
    });
    report("tags", length, &figures);
    assert_eq!(lost, 0, "totals are exact");
    // The control: the judge tells one series from many.
    assert!(few < 10 && series > few, "{few} and {series} series");
    if length != Length::Short {
        assert!(distinct <= MORE_MEMORY, "{figures}");
    }
}

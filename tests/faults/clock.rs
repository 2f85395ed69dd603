//! The wall clock is set, and stands still; the agent polls on, and no duration is below zero.
//!
//! `libfaketime` stands between the agent and its clock. In the control it bends the monotonic
//! clock too, which the agent relies on: then polls are missed, and the judge sees it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rabtrace::demo::broker::Broker;
use serde_json::json;

use crate::harness::{Agent, Length, Load, Setup, Sink, eventually, report};

const INTERVAL: Duration = Duration::from_millis(250);
/// Between two looks at the counter of polls.
const LOOK: Duration = Duration::from_secs(2);

fn library() -> PathBuf {
    let paths = std::fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten();
    let mut places = paths.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    places
        .find(|path| path.exists())
        .expect("there is no libfaketime; `make test` installs it")
}

/// Polls between two looks: the fewest and the most.
#[derive(Debug)]
struct Polls {
    fewest: f64,
    most: f64,
    negative_durations: u64,
}

async fn polls(agent: &Agent) -> f64 {
    let metrics = agent.metrics().await;
    metrics.get("rabtrace_polls_total").copied().unwrap_or(0.0)
}

/// Runs the agent while its clock is set to each of `clocks` for a while.
async fn run(clocks: &[&str], looks: u32, with_monotonic: bool) -> Polls {
    let broker = Broker::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::keeping("rabbitmq_poll");
    let file = folder.path().join("clock");
    let set = |clock: &str| write(&file, clock);
    set("+0");
    let agent = Setup::new(folder.path())
        .set("influx.url", sink.url())
        .set("broker.amqp_url", broker.amqp_url())
        .set("broker.management_url", broker.management_url())
        .set("broker.prometheus_urls", broker.prometheus_url())
        .set(
            "broker.poll_interval",
            format!("{}ms", INTERVAL.as_millis()),
        )
        .environment("LD_PRELOAD", library())
        .environment("FAKETIME_TIMESTAMP_FILE", &file)
        .environment("FAKETIME_NO_CACHE", "1")
        .environment(
            "FAKETIME_DONT_FAKE_MONOTONIC",
            if with_monotonic { "0" } else { "1" },
        )
        .start()
        .await;
    eventually("the first polls", Duration::from_secs(60), || async {
        (polls(&agent).await > 4.0).then_some(())
    })
    .await;
    let load = Load::new(10);
    let mut found = Polls {
        fewest: f64::MAX,
        most: 0.0,
        negative_durations: 0,
    };
    for clock in clocks {
        set(clock);
        for _ in 0..looks {
            let (before, begun) = (polls(&agent).await, Instant::now());
            load.run_for(&agent.otlp, 1, Some(100), LOOK).await;
            let expected = begun.elapsed().as_secs_f64() / INTERVAL.as_secs_f64();
            let share = (polls(&agent).await - before) / expected;
            println!("clock {clock}: {share:.2} of the polls");
            found.fewest = found.fewest.min(share);
            found.most = found.most.max(share);
        }
    }
    if with_monotonic {
        // It does not come back from that.
        return found;
    }
    set("+0");
    agent.until_drained("influx", Duration::from_secs(60)).await;
    assert_eq!(agent.panics(), 0);
    found.negative_durations = sink.negative_durations();
    found
}

fn write(file: &Path, clock: &str) {
    // Whole, or not at all: the agent reads it whenever it asks for the time.
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{clock}\n")).unwrap();
    std::fs::rename(new, file).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_or_stands_still_disturbs_no_poll() {
    let length = Length::chosen();
    let looks = length.of(1, 10, 60);
    let clocks = ["+0", "+3600", "-3600", "2030-01-01 00:00:00", "+0"];
    let polls = run(&clocks, looks, false).await;
    let figures = json!({
        "looks": looks * 5,
        "fewest_polls_of_expected": (polls.fewest * 100.0).round() / 100.0,
        "most_polls_of_expected": (polls.most * 100.0).round() / 100.0,
        "negative_durations": polls.negative_durations,
    });
    report("clock", length, &figures);
    assert_eq!(polls.negative_durations, 0);
    // A loaded machine polls late, never early.
    assert!(polls.most < 1.5, "a burst: {polls:?}");
    assert!(
        polls.fewest > length.of(0.15, 0.7, 0.7),
        "polls are missing: {polls:?}"
    );
}

/// The control: the monotonic clock stands still as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monotonic_clock_that_stands_still_is_found_out() {
    let polls = run(&["2030-01-01 00:00:00"], 1, true).await;
    assert!(polls.fewest < 0.1 || polls.most > 1.5, "{polls:?}");
}

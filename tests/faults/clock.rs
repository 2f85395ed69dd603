//! The wall clock is set, and stands still; the agent polls on, and no duration is below zero.
//!
//! `libfaketime` stands between the agent and its clock. In the control it bends the monotonic
//! clock too, which the agent relies on: then polls are missed, and the judge sees it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lapin::options::{BasicPublishOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use rabtrace::demo::broker::Broker;
use serde_json::json;

use crate::harness::{Agent, Length, Load, Setup, Sink, below_zero, eventually, report};

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

const LATE: &str = r#"rabtrace_dropped_total{reason="poll_late",stage="monitor"}"#;

/// Polls between two looks, the fewest and the most, and what else the clocks did.
#[derive(Debug)]
struct Polls {
    fewest: f64,
    most: f64,
    late: f64,
    /// Numbers that were below zero: fields of lines, and the agent's own metrics.
    below_zero: Vec<String>,
    /// Lines with the age of the oldest message.
    ages: usize,
}

async fn polls(agent: &Agent) -> f64 {
    let metrics = agent.metrics().await;
    metrics.get("rabtrace_polls_total").copied().unwrap_or(0.0)
}

/// A queue of messages that nobody takes.
struct Aging(Connection, lapin::Channel);

impl Aging {
    async fn declare(broker: &Broker) -> Self {
        let (url, properties) = (broker.amqp_url(), ConnectionProperties::default());
        let connection = Connection::connect(&url, properties).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let options = QueueDeclareOptions::default();
        let declared = channel.queue_declare("aging".into(), options, FieldTable::default());
        declared.await.unwrap();
        Self(connection, channel)
    }

    async fn publish(&self) {
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default();
        let sent = self
            .1
            .basic_publish("".into(), "aging".into(), options, b"body", properties);
        sent.await.unwrap();
    }
}

impl Polls {
    /// So many polls between two answers. Each answer is of some moment between the question and itself,
    /// so the two are at least and at most so far apart: too few are judged by the shortest time, too many
    /// by the longest.
    fn note(&mut self, clock: &str, polls: f64, [shortest, longest]: [Duration; 2]) {
        let share = |time: Duration| polls * INTERVAL.as_secs_f64() / time.as_secs_f64();
        let (at_least, at_most) = (share(longest), share(shortest));
        println!("clock {clock}: {at_least:.2} to {at_most:.2} of the polls");
        self.fewest = self.fewest.min(at_most);
        self.most = self.most.max(at_least);
    }
}

/// An agent beside that broker whose clock says what stands in `clock`.
fn setup(broker: &Broker, folder: &Path, clock: &Path) -> Setup {
    Setup::new(folder)
        .set("broker.amqp_url", broker.amqp_url())
        .set("broker.management_url", broker.management_url())
        .set("broker.prometheus_urls", broker.prometheus_url())
        .set(
            "broker.poll_interval",
            format!("{}ms", INTERVAL.as_millis()),
        )
        .environment("LD_PRELOAD", library())
        .environment("FAKETIME_TIMESTAMP_FILE", clock)
        .environment("FAKETIME_NO_CACHE", "1")
}

/// Runs the agent while its clock is set to each of `clocks` for a while.
async fn run(clocks: &[&str], looks: u32, with_monotonic: bool) -> Polls {
    let broker = Broker::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::keeping("rabbitmq_queue,");
    let aging = Aging::declare(&broker).await;
    let file = folder.path().join("clock");
    let set = |clock: &str| write(&file, clock);
    set("+0");
    let agent = setup(&broker, folder.path(), &file)
        .set("influx.url", sink.url())
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
        late: 0.0,
        below_zero: Vec::new(),
        ages: 0,
    };
    for clock in clocks {
        set(clock);
        for _ in 0..looks {
            let asked = Instant::now();
            let (before, begun) = (polls(&agent).await, Instant::now());
            aging.publish().await;
            load.run_for(&agent.otlp, 1, Some(100), LOOK).await;
            let within = begun.elapsed();
            let polled = polls(&agent).await - before;
            found.note(clock, polled, [within, asked.elapsed()]);
            let metrics = agent.metrics().await.into_iter();
            let below_zero = metrics.filter(|(_, value)| *value < 0.0);
            found.below_zero.extend(below_zero.map(|(name, _)| name));
        }
    }
    found.late = agent.metrics().await[LATE];
    if with_monotonic {
        // It does not come back from that.
        return found;
    }
    set("+0");
    agent.until_drained("influx", Duration::from_secs(60)).await;
    assert_eq!(agent.panics(), 0);
    found.below_zero.extend(sink.below_zero());
    let kept = sink.kept();
    let has_age = |line: &str| line.contains("head_age_s=");
    found.ages = kept.iter().filter(|(_, line)| has_age(line)).count();
    aging.0.close(200, "done".into()).await.unwrap();
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
        "polls_late": polls.late,
        "numbers_below_zero": polls.below_zero.len(),
        "ages_of_messages": polls.ages,
    });
    report("clock", length, &figures);
    assert!(polls.below_zero.is_empty(), "{:?}", polls.below_zero);
    assert!(polls.ages > 0, "no age was told");
    // A loaded machine polls late, never early.
    assert!(polls.most < 1.5, "a burst: {polls:?}");
    assert!(
        polls.fewest > length.of(0.15, 0.7, 0.7),
        "polls are missing: {polls:?}"
    );
    if length != Length::Short {
        assert!(polls.late == 0.0, "polls were skipped: {polls:?}");
    }
}

/// The control: a line with numbers below zero, and text that looks like them.
#[test]
fn numbers_below_zero_are_found_out() {
    let line = r#"spans,kind=a=-b duration_ms=-1,queue_ms=-0.5,edge_p50=-3,head_age_s=-3600,text="x=-1 \" y=-2",messages_ack_rate=-0.1,up=1i -5"#;
    let found: Vec<String> = below_zero(line).collect();
    let expected = [
        "duration_ms",
        "queue_ms",
        "edge_p50",
        "head_age_s",
        "messages_ack_rate",
    ];
    assert_eq!(found, expected);
}

/// The control: the monotonic clock stands still as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monotonic_clock_that_stands_still_is_found_out() {
    let polls = run(&["2030-01-01 00:00:00"], 1, true).await;
    assert!(polls.fewest < 0.1 || polls.most > 1.5, "{polls:?}");
}

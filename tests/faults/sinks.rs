//! One sink refuses, stumbles over a line, or crawls; the other one does not notice.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Agent, Kind, Length, Load, Mode, Setup, Sink, judge, report};

const PATIENCE: Duration = Duration::from_secs(180);
/// Every so many lines one is refused.
const BAD: u64 = 5_000;

/// Spans a second at most while InfluxDB refuses lines; else they come as fast as they can.
const SEARCHED: u64 = 20_000;
/// What OTLP does not let a sender send again.
const FOR_GOOD: Mode = Mode::Refuse(500);

/// Which sink fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failing {
    Influx,
    Upstream,
}

impl Failing {
    /// The stages of the one that fails and of the other.
    const fn stages(self) -> [&'static str; 2] {
        match self {
            Self::Influx => ["influx", "forward"],
            Self::Upstream => ["forward", "influx"],
        }
    }
}

/// What a sink that fails did to the other one.
struct Beside {
    /// Spans a second that reached the other, by turns: while both are well, while one fails.
    rates: Vec<(f64, f64)>,
    /// Acknowledged spans that the one that fails has not got in the end, and of them those that it
    /// refuses for good.
    lost: (u64, u64),
    dropped: u64,
}

/// Spans a second that were acknowledged and reached the sink that does not fail.
async fn rate(load: &Load, run: &Run, most: Option<u64>, time: Duration) -> f64 {
    let (sink, otlp) = (&run.other, &run.agent.otlp);
    let (before, begun) = (sink.arrived(), Instant::now());
    load.run_for(otlp, 4, most, time).await;
    (sink.arrived() - before) as f64 / begun.elapsed().as_secs_f64()
}

impl Beside {
    /// The rate beside a sink that fails, of that while both are well: the turns differ, and in each
    /// one follows the other at once.
    fn ratio(&self) -> f64 {
        median(
            self.rates
                .iter()
                .map(|(well, failing)| failing / well)
                .collect(),
        )
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// An agent, a sink that fails as it is told to, and the other one.
struct Run {
    _folder: tempfile::TempDir,
    agent: Agent,
    failing: Sink,
    other: Sink,
    stages: [&'static str; 2],
}

impl Run {
    async fn start(who: Failing) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (failing, other) = (Sink::of(Kind::Narrow), Sink::start());
        let (influx, upstream) = match who {
            Failing::Influx => (&failing, &other),
            Failing::Upstream => (&other, &failing),
        };
        let setup = Setup::new(folder.path())
            .set("influx.url", influx.url())
            .set("influx.flush_interval", "100ms")
            .set("forward.endpoint", upstream.url())
            .set("forward.protocol", "http/protobuf")
            // What polls tell the upstream is not of the load.
            .set("broker.poll_interval", "1h");
        Self {
            agent: setup.start().await,
            _folder: folder,
            failing,
            other,
            stages: who.stages(),
        }
    }

    async fn drained(&self) {
        for stage in self.stages {
            self.agent.until_drained(stage, PATIENCE).await;
        }
    }
}

/// Turns about: all well, then one sink in this mode, and the other in that.
async fn beside(who: Failing, modes: (Mode, Mode), turns: u32, time: Duration) -> Beside {
    let run = Run::start(who).await;
    let load = Load::new(200);
    // The search for a line takes processor time, which on two cores nobody else has then.
    let most = matches!(modes.0, Mode::RefuseEvery(_)).then_some(SEARCHED);
    let mut rates = Vec::new();
    for _ in 0..turns {
        let well = rate(&load, &run, most, time).await;
        run.drained().await;
        run.failing.answer_by(modes.0);
        run.other.answer_by(modes.1);
        rates.push((well, rate(&load, &run, most, time).await));
        if let Mode::RefuseEvery(_) = modes.0 {
            // What it never takes is refused before it takes all again.
            run.agent.until_drained(run.stages[0], PATIENCE).await;
        }
        run.failing.answer_by(Mode::Take);
        run.other.answer_by(Mode::Take);
        run.drained().await;
    }
    run.agent.balanced(PATIENCE).await;
    let verdict = judge(&load.oracle, &run.other);
    if modes.1 == Mode::Take {
        assert_eq!((verdict.lost, verdict.again), (0, 0), "{verdict:?}");
    }
    let refused = |id: &u64| match (who, modes.0) {
        (Failing::Upstream, FOR_GOOD) => true,
        _ => id.is_multiple_of(BAD),
    };
    let mut never = 0;
    let arrivals = run.failing.arrivals();
    load.oracle.acknowledged(|ids| {
        let missing = |id: &u64| {
            let times = arrivals.get(usize::try_from(*id).unwrap());
            times.is_none_or(|times| *times == 0)
        };
        never += ids.filter(missing).filter(refused).count() as u64;
    });
    Beside {
        rates,
        lost: (judge(&load.oracle, &run.failing).lost, never),
        dropped: run.agent.dropped(run.stages[0]).await,
    }
}

async fn row(who: Failing, name: &str, mode: Mode) {
    let length = Length::chosen();
    let (turns, time) = length.of((1, 1), (9, 3), (15, 10));
    let beside = beside(who, (mode, Mode::Take), turns, Duration::from_secs(time)).await;
    let (lost, never) = beside.lost;
    println!("{:.0?}", beside.rates);
    let (well, failing) = beside.rates.iter().copied().unzip();
    let [fails, other] = who.stages();
    let figures = json!({
        "fails": fails,
        "other": other,
        "others_spans_per_second_all_well": median(well).round(),
        "others_spans_per_second_beside_failing": median(failing).round(),
        "ratio": (beside.ratio() * 100.0).round() / 100.0,
        "good_lines_lost": lost - never,
        "bad_lines_counted": beside.dropped,
    });
    let row = match who {
        Failing::Influx => format!("sink_{name}"),
        Failing::Upstream => format!("sink_upstream_{name}"),
    };
    report(&row, length, &figures);
    assert_eq!(lost, never, "good lines are lost");
    assert_eq!(beside.dropped, never, "what is refused for good is counted");
    let some = length != Length::Short && matches!(mode, Mode::RefuseEvery(_));
    assert!(never > 0 || !some, "no line was refused");
    if length != Length::Short {
        assert!(beside.ratio() >= 0.95, "{figures}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_says_429() {
    row(Failing::Influx, "429", Mode::Refuse(429)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_says_500() {
    row(Failing::Influx, "500", Mode::Refuse(500)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_says_400_for_a_line() {
    row(Failing::Influx, "400", Mode::RefuseEvery(BAD)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_reads_a_kilobyte_a_second() {
    row(Failing::Influx, "slow", Mode::Slow(1_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_says_429() {
    row(Failing::Upstream, "429", Mode::Refuse(429)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_says_503() {
    row(Failing::Upstream, "503", Mode::Refuse(503)).await;
}

/// Its requests may not come again: they are counted, and kept as dead letters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_says_500() {
    row(Failing::Upstream, "500", FOR_GOOD).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_reads_a_kilobyte_a_second() {
    row(Failing::Upstream, "slow", Mode::Slow(1_000)).await;
}

/// The control: lines that are only said to be taken; they are missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_lies() {
    let modes = (Mode::Lie, Mode::Take);
    let beside = beside(Failing::Influx, modes, 1, Duration::from_secs(1)).await;
    assert!(
        beside.lost.0 > beside.lost.1 + beside.dropped,
        "{:?}",
        beside.lost
    );
}

/// The control: the other sink is slower too; the rates tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_that_is_slower_is_found_out() {
    for who in [Failing::Influx, Failing::Upstream] {
        // One batch in the time that is looked at, however slow the machine is.
        let modes = (Mode::Refuse(500), Mode::Late(4_000));
        let beside = beside(who, modes, 1, Duration::from_secs(2)).await;
        println!("{who:?}: {:.0?} a second", beside.rates);
        assert!(beside.ratio() < 0.95, "{who:?}");
    }
}

//! InfluxDB is away, at 120,000 points a second: nothing that was acknowledged is lost, memory is
//! bounded, the disk fills slowly, and what waited goes out beside what comes in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Agent, Length, Load, Setup, Sink, Verdict, eventually, judge, report};

/// What is to be held, of docs/reliability.md.
const MEMORY: u64 = 128 << 20;
const DISK_AN_HOUR: f64 = 2e9;
const DRAINED: Duration = Duration::from_secs(600);
/// The most that is sent in a second while InfluxDB is away, and while it has that written.
const RATE: u64 = 125_000;
const LIVE_RATE: u64 = 2_000;
/// What of it has to be taken in a second, on two cores that have the load beside.
const TAKEN: f64 = 100_000.0;

/// How long a slow machine may take until many are sent.
const MANY_WITHIN: Duration = Duration::from_secs(60);

struct Outage {
    verdict: Verdict,
    dropped: u64,
    figures: Value,
}

fn mib(bytes: u64) -> f64 {
    (bytes as f64 / f64::from(1 << 20)).round()
}

/// Waits until all that was acknowledged until now has arrived or was dropped.
async fn until_there(agent: &Agent, sink: &Sink, load: &Load) {
    let acknowledged = load.oracle.spans();
    eventually("the backlog is drained", DRAINED, || async {
        (sink.arrived() + agent.dropped("influx").await >= acknowledged).then_some(())
    })
    .await;
}

/// An outage of so long, of an agent with these keys.
async fn outage(time: Duration, keys: &[(&str, &str)]) -> Outage {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = Sink::start();
    let mut setup = Setup::new(folder.path()).set("influx.url", sink.url());
    for (key, value) in keys {
        setup = setup.set(key, *value);
    }
    let agent = setup.start().await;
    let load = Load::new(512);
    load.run_for(&agent.otlp, 2, Some(LIVE_RATE), Duration::from_secs(1))
        .await;
    until_there(&agent, &sink, &load).await;
    let at_rest = agent.memory().0;

    sink.down();
    agent.forget_peak();
    let before = load.oracle.spans();
    let rate = load.run_for(&agent.otlp, 8, Some(RATE), time).await;
    let begun = Instant::now();
    while load.oracle.spans() < before + 20_000 {
        assert!(begun.elapsed() < MANY_WITHIN, "{}", agent.log());
        let more = Duration::from_millis(500);
        load.run_for(&agent.otlp, 8, Some(RATE), more).await;
    }
    let waiting = load.oracle.spans() - before;
    let (peak, disk) = (agent.memory().1, agent.spool_bytes());

    sink.up();
    agent.forget_peak();
    let (begun, before, stop) = (Instant::now(), load.oracle.spans(), AtomicBool::new(false));
    let (drained_after, ()) = tokio::join!(
        async {
            until_there(&agent, &sink, &load).await;
            stop.store(true, Ordering::SeqCst);
            begun.elapsed()
        },
        load.run(&agent.otlp, 2, Some(LIVE_RATE), &stop),
    );
    let live = load.oracle.spans() - before;
    let live_rate = live as f64 / begun.elapsed().as_secs_f64();
    agent.until_drained("influx", DRAINED).await;
    let bytes_a_point = disk as f64 / waiting as f64;
    Outage {
        verdict: judge(&load.oracle, &sink),
        dropped: agent.dropped("influx").await,
        figures: json!({
            "seconds": time.as_secs(),
            "points_per_second": rate.round(),
            "points_waiting": waiting,
            "memory_before_mib": mib(at_rest),
            "memory_in_the_outage_mib": mib(peak),
            "memory_while_draining_mib": mib(agent.memory().1),
            "disk_bytes_a_point": (bytes_a_point * 10.0).round() / 10.0,
            "disk_gb_an_hour_at_20000": (bytes_a_point * 72e6 / 1e7).round() / 100.0,
            "drained_after_s": drained_after.as_secs_f64().round(),
            "live_points_meanwhile": live,
            "live_points_per_second_meanwhile": live_rate.round(),
            "refused": load.refused(),
        }),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_influxdb_loses_nothing() {
    let length = Length::chosen();
    let seconds = Duration::from_secs(length.of(3, 60, 300));
    let outage = outage(seconds, &[("spool.max_bytes", "8GiB")]).await;
    report("influx_away", length, &outage.figures);
    println!("{:?}", outage.verdict);
    assert_eq!((outage.verdict.lost, outage.verdict.invented), (0, 0));
    assert_eq!(outage.dropped, 0);
    if length != Length::Short {
        let of = |name: &str| outage.figures[name].as_f64().unwrap();
        assert!(of("memory_in_the_outage_mib") <= mib(MEMORY));
        assert!(of("memory_while_draining_mib") <= mib(MEMORY));
        assert!(of("disk_gb_an_hour_at_20000") * 1e9 <= DISK_AN_HOUR);
        assert!(of("points_per_second") >= TAKEN);
        assert!(of("drained_after_s") <= DRAINED.as_secs_f64());
        assert!(of("live_points_per_second_meanwhile") >= 0.9 * LIVE_RATE as f64);
    }
}

/// The control: a spool in which no record finds a place loses, the judge sees it, and the agent says
/// how much.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_that_is_too_small_is_found_out() {
    let keys = [
        ("spool.max_bytes", "64KiB"),
        ("influx.buffer_bytes", "64KiB"),
    ];
    let outage = outage(Duration::from_secs(3), &keys).await;
    println!("{:?}, dropped {}", outage.verdict, outage.dropped);
    assert!(outage.verdict.lost > 10_000, "{:?}", outage.verdict);
    // What the agent says of itself is among the points that were dropped.
    let others = outage.dropped - outage.verdict.lost;
    assert!(others < 100, "{others} more are counted than are lost");
}

//! `kill -9` of the agent under load, with sinks that come and go.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rabtrace::metrics::{Metrics, Stage};
use rabtrace::spool::{Limits, Spool, SpoolSetup};
use serde_json::json;

use crate::harness::{
    Agent, Length, Load, Mode, Setup, Sink, Verdict, eventually, judge, judge_store, report, whole,
};

const PATIENCE: Duration = Duration::from_secs(120);

struct Kills {
    influx: Verdict,
    forward: Verdict,
    slowest_ready: Duration,
}

fn setup(folder: &Path, influx: &Sink, forward: &Sink) -> Setup {
    Setup::new(folder)
        .set("influx.url", influx.url())
        .set("forward.endpoint", forward.url())
        .set("forward.protocol", "http/protobuf")
        .set("influx.flush_interval", "100ms")
}

/// Sends until the agent is killed, after a time that is never the same.
async fn live_and_die<const N: usize>(agent: Agent, load: &Load, life: u64, sinks: [&Sink; N]) {
    let (otlp, stop) = (agent.otlp.clone(), AtomicBool::new(false));
    let kill = async {
        let half = Duration::from_millis(60 + life * 37 % 200);
        tokio::time::sleep(half).await;
        for (number, sink) in sinks.iter().enumerate() {
            let away = (life + number as u64).is_multiple_of(3);
            sink.answer_by(if away { Mode::Refuse(503) } else { Mode::Take });
        }
        tokio::time::sleep(half).await;
        agent.kill();
        stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(load.run(&otlp, 8, None, &stop), kill);
}

/// So many kills; before the last start `harm` is done to the folder.
async fn kills(number: u64, harm: impl FnOnce(&Path)) -> Kills {
    let folder = tempfile::tempdir().unwrap();
    let (influx, forward) = (Sink::start(), Sink::start());
    let setup = setup(folder.path(), &influx, &forward);
    let load = Load::new(20);
    let mut slowest_ready = Duration::ZERO;
    for life in 0..number {
        let agent = setup.start().await;
        slowest_ready = slowest_ready.max(agent.ready_after);
        live_and_die(agent, &load, life, [&influx, &forward]).await;
    }
    harm(&folder.path().join("state/store/spool"));
    for sink in [&influx, &forward] {
        sink.answer_by(Mode::Take);
    }
    let agent = setup.start().await;
    for sink in ["influx", "forward"] {
        agent.until_drained(sink, PATIENCE).await;
    }
    agent.balanced(PATIENCE).await;
    Kills {
        influx: judge(&load.oracle, &influx),
        forward: judge(&load.oracle, &forward),
        slowest_ready,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_agents_lose_nothing_that_they_acknowledged() {
    let length = Length::chosen();
    let number = length.of(5, 100, 300);
    let kills = kills(number, |_| {}).await;
    let (influx, forward) = (kills.influx, kills.forward);
    let figures = json!({
        "kills": number,
        "acknowledged": influx.acknowledged,
        "lost": influx.lost + forward.lost,
        "batches_again_influxdb": influx.batches_again,
        "batches_again_upstream": forward.batches_again,
        "slowest_ready_ms": u64::try_from(kills.slowest_ready.as_millis()).unwrap(),
    });
    report("kill", length, &figures);
    println!("{influx:?} {forward:?}");
    assert!(influx.acknowledged > number * 20, "it did nothing");
    for verdict in [influx, forward] {
        assert_eq!((verdict.lost, verdict.invented), (0, 0), "{verdict:?}");
    }
    assert!(forward.batches_again <= number, "{forward:?}");
    assert!(influx.batches_again <= number, "{influx:?}");
}

/// The control: the spools of the last life are taken away, and the judge sees it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spools_that_are_taken_away_are_found_out() {
    // The second life ends with InfluxDB away, the third with the upstream away.
    let kills = kills(3, |spool| std::fs::remove_dir_all(spool).unwrap()).await;
    println!("{:?} {:?}", kills.influx, kills.forward);
    assert!(kills.influx.lost + kills.forward.lost > 0);
}

/// So many kills of an agent that has its store alone; `harm` is done to the folder of the store
/// after each.
async fn kills_without_sinks(number: u64, harm: impl Fn(&Path)) -> Verdict {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::new(folder.path());
    let load = Load::new(20);
    assert_eq!(setup.start().await.stop().0, Some(0));
    for life in 0..number {
        let agent = setup.start().await;
        live_and_die(agent, &load, life, []).await;
        harm(&folder.path().join("state/store"));
    }
    judge_store(&load.oracle, folder.path())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_agents_have_in_their_store_what_they_acknowledged() {
    let length = Length::chosen();
    let number = length.of(5, 100, 300);
    let verdict = kills_without_sinks(number, |_| {}).await;
    let figures = json!({
        "kills": number,
        "acknowledged": verdict.acknowledged,
        "lost": verdict.lost,
        "stored_twice": verdict.again,
    });
    report("kill_store", length, &figures);
    println!("{verdict:?}");
    assert!(verdict.acknowledged > number * 20, "it did nothing");
    assert_eq!((verdict.lost, verdict.invented), (0, 0), "{verdict:?}");
}

/// The control: the log of the database is taken away, with what was written last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_taken_away_are_found_out() {
    let verdict = kills_without_sinks(2, |store| {
        std::fs::remove_file(store.join("rabtrace.db-wal")).unwrap();
    })
    .await;
    println!("{verdict:?}");
    assert!(verdict.lost > 0);
}

/// Fills the upstream's spool with so many bytes that do not pack.
async fn fill(folder: &Path, bytes: u64) {
    let setup = SpoolSetup {
        folder: folder.to_owned(),
        sink: Stage::Forward,
        limits: Limits::default(),
        metrics: Metrics::new().unwrap(),
    };
    let (writer, reader) = Spool::open(setup).unwrap();
    let payload: Bytes = std::iter::repeat_with(|| fastrand::u8(..))
        .take(64 << 10)
        .collect();
    let number = bytes / payload.len() as u64;
    let write = |_| {
        let (writer, payload) = (writer.clone(), payload.clone());
        async move {
            for _ in 0..number / 32 {
                writer.append(0, 1, payload.clone()).await.unwrap();
            }
        }
    };
    futures_util::future::join_all((0..32).map(write)).await;
    let spool = writer.spool();
    drop((writer, reader));
    spool.closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_does_not_hold_the_start_up() {
    let length = Length::chosen();
    let bytes = length.of(64 << 20, 2 << 30, 2 << 30);
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("state/store/spool/forward");
    std::fs::create_dir_all(&spool).unwrap();
    fill(&spool, bytes).await;
    let forward = Sink::start();
    forward.answer_by(Mode::Refuse(503));
    let setup = Setup::new(folder.path()).set("forward.endpoint", forward.url());
    let agent = setup.set("forward.protocol", "http/protobuf").start().await;
    let found = eventually("the backlog is counted", PATIENCE, || async {
        let metrics = agent.metrics().await;
        metrics
            .get("rabtrace_spool_records{sink=\"forward\"}")
            .copied()
    })
    .await;
    let figures = json!({
        "backlog_bytes": bytes,
        "ready_ms": u64::try_from(agent.ready_after.as_millis()).unwrap(),
        "memory_mib": agent.memory().1 >> 20,
    });
    report("backlog", length, &figures);
    assert_eq!(whole(found), (bytes >> 16) / 32 * 32);
    if length != Length::Short {
        assert!(agent.ready_after <= Duration::from_secs(1), "{figures}");
        assert!(agent.memory().1 <= 128 << 20, "{figures}");
    }
}

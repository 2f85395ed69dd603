//! `kill -9` of the agent under load, with sinks that come and go.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::harness::{
    Agent, Kind, Length, Load, Mode, Setup, Sink, Verdict, eventually, judge, judge_store, report,
};

const PATIENCE: Duration = Duration::from_secs(120);
/// A sink that is there answers late, so that most kills find something in flight.
const THERE: Mode = Mode::Late(60);

struct Kills {
    influx: Verdict,
    forward: Verdict,
    /// Batches of one life that came to InfluxDB and the upstream again: the most of any.
    again_at_once: [usize; 2],
    slowest_ready: Duration,
}

fn setup(folder: &Path, influx: &Sink, forward: &Sink) -> Setup {
    Setup::new(folder)
        .set("influx.url", influx.url())
        .set("forward.endpoint", forward.url())
        .set("forward.protocol", "http/protobuf")
        .set("influx.flush_interval", "100ms")
        .set("influx.batch_lines", "100")
}

/// Sends until the agent is killed, after a time that is never the same.
async fn live_and_die<const N: usize>(agent: Agent, load: &Load, life: u64, sinks: [&Sink; N]) {
    let (otlp, stop) = (agent.otlp.clone(), AtomicBool::new(false));
    let before = load.oracle.spans();
    let kill = async {
        // However slow the machine is, it has done something when it dies.
        eventually("something is acknowledged", PATIENCE, || async {
            (load.oracle.spans() > before).then_some(())
        })
        .await;
        let half = Duration::from_millis(60 + life * 37 % 200);
        tokio::time::sleep(half).await;
        for (number, sink) in sinks.iter().enumerate() {
            let away = (life + number as u64).is_multiple_of(3);
            sink.answer_by(if away { Mode::Refuse(503) } else { THERE });
        }
        tokio::time::sleep(half).await;
        agent.kill();
        stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(load.run(&otlp, 8, None, &stop), kill);
}

/// So many kills beside an InfluxDB of this kind; after each life `harm` is done to the spools.
async fn kills(number: u64, kind: Kind, harm: impl Fn(u64, &Path)) -> Kills {
    let folder = tempfile::tempdir().unwrap();
    let (influx, forward) = (Sink::of(kind), Sink::start());
    let setup = setup(folder.path(), &influx, &forward);
    let load = Load::new(20);
    let mut slowest_ready = Duration::ZERO;
    for life in 0..number {
        for sink in [&influx, &forward] {
            sink.begin_life();
        }
        let agent = setup.start().await;
        slowest_ready = slowest_ready.max(agent.ready_after);
        live_and_die(agent, &load, life, [&influx, &forward]).await;
        harm(life, &folder.path().join("state/store/spool"));
    }
    for sink in [&influx, &forward] {
        sink.begin_life();
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
        again_at_once: [&influx, &forward].map(Sink::most_again_in_a_life),
        slowest_ready,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_agents_lose_nothing_that_they_acknowledged() {
    let length = Length::chosen();
    let number = length.of(5, 100, 300);
    let kills = kills(number, Kind::Ordinary, |_, _| {}).await;
    let (influx, forward) = (kills.influx, kills.forward);
    let figures = json!({
        "kills": number,
        "acknowledged": influx.acknowledged,
        "lost": influx.lost + forward.lost,
        "batches_again_influxdb": influx.batches_again,
        "batches_again_upstream": forward.batches_again,
        "most_batches_again_of_a_kill_influxdb": kills.again_at_once[0],
        "most_batches_again_of_a_kill_upstream": kills.again_at_once[1],
        "slowest_ready_ms": u64::try_from(kills.slowest_ready.as_millis()).unwrap(),
    });
    report("kill", length, &figures);
    println!("{influx:?} {forward:?}");
    assert!(influx.acknowledged > number * 20, "it did nothing");
    for verdict in [influx, forward] {
        assert_eq!((verdict.lost, verdict.invented), (0, 0), "{verdict:?}");
    }
    assert!(
        kills.again_at_once.iter().all(|most| *most <= 1),
        "{figures}"
    );
}

/// InfluxDB 3 answers once a second: more than one batch is in flight to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_agents_write_four_batches_again_to_influxdb_3_at_most() {
    let length = Length::chosen();
    let number = length.of(5, 50, 100);
    let kills = kills(number, Kind::Influx3, |_, _| {}).await;
    let figures = json!({
        "kills": number,
        "acknowledged": kills.influx.acknowledged,
        "batches_again": kills.influx.batches_again,
        "most_batches_again_of_a_kill": kills.again_at_once[0],
    });
    report("kill_influxdb_3", length, &figures);
    assert_eq!((kills.influx.lost, kills.influx.invented), (0, 0));
    assert!(kills.again_at_once[0] <= 4, "{figures}");
}

/// The control: where delivery is, is forgotten; more than one batch comes again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_come_again_are_found_out() {
    let kills = kills(3, Kind::Ordinary, |_, spool| {
        for sink in ["influx", "forward"] {
            std::fs::remove_file(spool.join(sink).join("cursor")).unwrap();
        }
    })
    .await;
    println!("{:?}", kills.again_at_once);
    assert!(kills.again_at_once.iter().all(|most| *most > 1));
}

/// The control: the spools of the last life are taken away, and the judge sees it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spools_that_are_taken_away_are_found_out() {
    // The second life ends with InfluxDB away, the third with the upstream away.
    let kills = kills(3, Kind::Ordinary, |life, spool| {
        if life == 2 {
            std::fs::remove_dir_all(spool).unwrap();
        }
    })
    .await;
    println!("{:?} {:?}", kills.influx, kills.forward);
    assert!(kills.influx.lost + kills.forward.lost > 0);
}

/// So many kills of an agent that has its store alone; `harm` is done to the folder of the store
/// after each.
async fn kills_without_sinks(number: u64, harm: impl Fn(&Path)) -> Verdict {
    let folder = tempfile::tempdir().unwrap();
    // On a fast disk the lives send more than a store keeps of itself.
    let setup = Setup::new(folder.path()).set("store.max_bytes", "16GiB");
    let load = Load::new(20);
    assert_eq!(setup.start().await.stop().0, Some(0));
    for life in 0..number {
        let agent = setup.start().await;
        live_and_die(agent, &load, life, []).await;
        harm(&folder.path().join("state/store"));
    }
    for life in 0..=number {
        let log = std::fs::read_to_string(folder.path().join(format!("log.{life}"))).unwrap();
        // What retention drops is not lost.
        assert!(!log.contains("retention dropped hours"), "{life}: {log}");
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

/// Puts the files of one folder into another.
fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The control: the second life's store is taken away, and that of the first put in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_taken_away_are_found_out() {
    let kept = tempfile::tempdir().unwrap();
    let first = kept.path().join("store");
    let verdict = kills_without_sinks(2, |store| {
        if !first.exists() {
            std::fs::create_dir(&first).unwrap();
            return copy(store, &first);
        }
        std::fs::remove_dir_all(store).unwrap();
        std::fs::create_dir(store).unwrap();
        copy(&first, store);
    })
    .await;
    println!("{verdict:?}");
    assert!(verdict.lost > 0);
}

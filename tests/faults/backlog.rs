//! A start with much in the spool: it is soon ready, and knows what there is.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use rabtrace::metrics::{Metrics, Stage};
use rabtrace::spool::{Limits, Spool, SpoolSetup};
use serde_json::json;

use crate::harness::{Agent, Length, Mode, Setup, Sink, eventually, report, whole};

/// Longest wait for figures.
const PATIENCE: Duration = Duration::from_secs(60);
/// How soon it has to be ready.
const READY: Duration = Duration::from_secs(1);

/// Fills the upstream's spool with so many bytes that do not pack; of how many records.
async fn fill(folder: &Path, bytes: u64) -> u64 {
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
    number / 32 * 32
}

/// Starts an agent with that much in its spool, and holds it up in the middle; what it says that it has
/// beyond that.
async fn start(folder: &Path, bytes: u64, held_up: Duration, harm: fn(&Path)) -> (Agent, i64) {
    let spool = folder.join("state/store/spool/forward");
    std::fs::create_dir_all(&spool).unwrap();
    let number = fill(&spool, bytes).await;
    harm(&spool);
    let forward = Sink::start();
    forward.answer_by(Mode::Refuse(503));
    let agent = Setup::new(folder)
        .set("forward.endpoint", forward.url())
        .set("forward.protocol", "http/protobuf")
        .set("broker.poll_interval", "1h")
        .held_up(held_up)
        .start()
        .await;
    let found = eventually("the backlog is counted", PATIENCE, || async {
        let metrics = agent.metrics().await;
        metrics
            .get("rabtrace_spool_records{sink=\"forward\"}")
            .copied()
    })
    .await;
    (agent, whole(found).cast_signed() - number.cast_signed())
}

/// What is wrong with a start.
fn judge(agent: &Agent, more: i64) -> Vec<&'static str> {
    let wrong = [
        (agent.ready_after > READY, "it was ready late"),
        (agent.memory().1 > 128 << 20, "it took much memory"),
        // What the monitor's first poll told is one.
        (!(0..=1).contains(&more), "it has not what was there"),
    ];
    wrong
        .into_iter()
        .filter(|(is, _)| *is)
        .map(|(_, what)| what)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_does_not_hold_the_start_up() {
    let length = Length::chosen();
    let bytes = length.of(64 << 20, 2 << 30, 2 << 30);
    let folder = tempfile::tempdir().unwrap();
    let (agent, more) = start(folder.path(), bytes, Duration::ZERO, |_| ()).await;
    let figures = json!({
        "backlog_bytes": bytes,
        "ready_ms": u64::try_from(agent.ready_after.as_millis()).unwrap(),
        "memory_mib": agent.memory().1 >> 20,
    });
    report("backlog", length, &figures);
    let mut wrong = judge(&agent, more);
    // How long it took says nothing where other tests run beside it.
    if length == Length::Short {
        wrong.retain(|what| *what != "it was ready late");
    }
    assert_eq!(wrong, [""; 0], "{figures}, {more}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_late_and_finds_less_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let harm = |spool: &Path| {
        let files = std::fs::read_dir(spool)
            .unwrap()
            .map(|file| file.unwrap().path());
        let largest = files.max_by_key(|file| file.metadata().unwrap().len());
        std::fs::remove_file(largest.unwrap()).unwrap();
    };
    let (agent, more) = start(folder.path(), 64 << 20, READY, harm).await;
    let found = judge(&agent, more);
    assert_eq!(found, ["it was ready late", "it has not what was there"]);
}

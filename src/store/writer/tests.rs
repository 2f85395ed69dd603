//! The task when the disk is full, and when the database refuses a batch.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::health::{Health, Status};
use crate::metrics::Metrics;
use crate::model::{Point, StoreBatch};
use crate::store::{Reader, Store};

fn clock() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn open(folder: &std::path::Path) -> Store {
    let config = config::Store {
        folder: folder.to_owned(),
        retention: Duration::from_secs(3600),
        max_bytes: 1 << 30,
    };
    Store::open(&config, clock).unwrap()
}

/// A batch of one point with a text of so many bytes.
fn batch(bytes: usize) -> StoreBatch {
    let text = "x".repeat(bytes);
    StoreBatch {
        points: vec![Point::new("task_metrics", 1_800_000_000_000_000_000).text("t", Some(text))],
        ..StoreBatch::default()
    }
}

async fn eventually(what: &str, probe: impl Fn() -> bool) {
    let begun = Instant::now();
    while !probe() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn points(reader: &Reader) -> u64 {
    reader.stats().unwrap().points
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_what_waited_is_written_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let (metrics, health) = (Arc::new(Metrics::new().unwrap()), Health::default());
    let mut store = open(folder.path());
    store.write(&[batch(1)]).unwrap();
    let reader = store.reader().unwrap();
    // SQLite says SQLITE_FULL beyond this number of pages, as it does when the disk is full.
    let limit = folder.path().join("limit");
    std::fs::write(&limit, "").unwrap();
    store
        .database
        .pragma_update(None, "max_page_count", 60)
        .unwrap();
    let seen = limit.clone();
    store
        .database
        .progress_handler(
            1,
            Some(move || {
                // Never interrupts; the handler is where the test waits for nothing.
                let _ = seen.exists();
                false
            }),
        )
        .unwrap();
    let writer = store.writer(Arc::clone(&metrics), health.component("store"));
    let (sender, receiver) = mpsc::channel(2);
    let stop = CancellationToken::new();
    let task = tokio::spawn(writer.run(receiver, stop.clone()));
    sender.send(batch(400_000)).await.unwrap();
    let full = || health.overall() == Status::Unhealthy;
    eventually("unhealthy", full).await;
    let report = health.reports().remove("store").unwrap();
    assert!(report.message.contains("full"), "{}", report.message);
    // The channel fills: that is what holds the senders back.
    sender.send(batch(1)).await.unwrap();
    sender.send(batch(1)).await.unwrap();
    assert!(
        sender.try_send(batch(1)).is_err(),
        "the channel took more than it may"
    );
    assert_eq!((points(&reader), metrics.dropped_total()), (1, 0));
    stop.cancel();
    drop(sender);
    task.await.unwrap();
    assert!(metrics.dropped_total() >= 1);
}

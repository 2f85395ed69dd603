//! The task when the disk is full, and when the database refuses a batch.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{LAST, Steps};
use crate::config;
use crate::health::{Health, Status};
use crate::metrics::Metrics;
use crate::model::{Checkpoint, Direction, EdgeKind, FlowWindow, Point, Receipt, StoreBatch};
use crate::store::schema::hour_of;
use crate::store::{Reader, Store};

const ERRORS: &str = "rabtrace_errors_total{stage=\"store\"} ";

fn clock() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn open(folder: &std::path::Path) -> Store {
    let config = config::Store {
        folder: folder.to_owned(),
        retention: Duration::from_secs(3600),
        max_bytes: 1 << 30,
        spans: true,
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

/// Pages that the database may have: beyond, SQLite says what it says when the disk is full.
fn set_room(store: &Store, pages: u32) {
    store
        .database
        .pragma_update(None, "max_page_count", pages)
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_holds_back_and_is_counted_at_the_stop() {
    let folder = tempfile::tempdir().unwrap();
    let (metrics, health) = (Metrics::new().unwrap(), Health::default());
    let mut store = open(folder.path());
    store.write(&[batch(1)]).unwrap();
    let reader = store.reader().unwrap();
    set_room(&store, 60);
    let writer = store.writer(metrics.clone(), health.component("store"));
    let (sender, receiver) = mpsc::channel(2);
    let stop = CancellationToken::new();
    let task = tokio::spawn(writer.run(receiver, stop.clone()));
    sender.send(batch(400_000)).await.unwrap();
    eventually("unhealthy", || health.overall() == Status::Unhealthy).await;
    let report = health.reports().remove("store").unwrap();
    assert!(report.message.contains("full"), "{}", report.message);
    // The batch is kept and the channel fills: that is what holds the senders back.
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
    // What fits is written still; what does not is counted.
    assert_eq!((points(&reader), metrics.dropped_total()), (3, 1));
    assert_eq!(metrics.points_stored.get(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_after_the_last_attempts_has_one_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::new().unwrap();
    let store = open(folder.path());
    set_room(&store, 60);
    let mut writer = store.writer(metrics.clone(), Health::default().component("store"));
    let stop = CancellationToken::new();
    stop.cancel();
    let attempts = || {
        let text = metrics.encode().unwrap();
        let mut lines = text.lines();
        let number = lines.find_map(|line| line.strip_prefix(ERRORS));
        number.map_or(0, |number| number.parse::<u32>().unwrap())
    };
    let (begun, mut failed) = (Instant::now(), Vec::new());
    for _ in 0..3 {
        let (large, before) = (Arc::new(vec![batch(400_000)]), attempts());
        assert!(!writer.write(large, &stop).await);
        failed.push(attempts() - before);
    }
    assert!(begun.elapsed() >= LAST, "{:?}", begun.elapsed());
    assert!(failed[0] > 1 && failed[1..] == [1, 1], "{failed:?}");
    // A disk that has room again in between loses nothing.
    assert!(writer.write(Arc::new(vec![batch(1)]), &stop).await);
    assert_eq!((metrics.dropped_total(), writer.not_taken), (3, 3));
}

#[tokio::test]
async fn what_waited_for_the_disk_is_written_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let (metrics, health) = (Metrics::new().unwrap(), Health::default());
    let store = open(folder.path());
    let reader = store.reader().unwrap();
    set_room(&store, 60);
    let mut writer = store.writer(metrics.clone(), health.component("store"));
    let waiting = Arc::new(vec![batch(1), batch(400_000)]);
    let failed = writer.attempt(&waiting).await.unwrap();
    assert!(failed.unwrap_err().to_string().contains("full"));
    assert_eq!(points(&reader), 0);
    set_room(writer.store.as_ref().unwrap(), 1_000_000);
    writer.write(waiting, &CancellationToken::new()).await;
    assert_eq!((points(&reader), metrics.dropped_total()), (2, 0));
    assert_eq!(health.overall(), Status::Healthy);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_of_another_program_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let (metrics, health) = (Metrics::new().unwrap(), Health::default());
    let store = open(folder.path());
    store.database.busy_timeout(Duration::ZERO).unwrap();
    let reader = store.reader().unwrap();
    let other = rusqlite::Connection::open(reader.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let writer = store.writer(metrics.clone(), health.component("store"));
    let (sender, receiver) = mpsc::channel(2);
    let task = tokio::spawn(writer.run(receiver, CancellationToken::new()));
    sender.send(batch(1)).await.unwrap();
    eventually("unhealthy", || health.overall() == Status::Unhealthy).await;
    other.execute_batch("COMMIT").unwrap();
    eventually("healthy again", || health.overall() == Status::Healthy).await;
    drop(sender);
    task.await.unwrap();
    assert_eq!((points(&reader), metrics.dropped_total()), (1, 0));
}

#[tokio::test]
async fn a_step_that_failed_is_not_tried_again_with_every_batch() {
    let folder = tempfile::tempdir().unwrap();
    let (metrics, health) = (Metrics::new().unwrap(), Health::default());
    let config = config::Store {
        folder: folder.path().to_owned(),
        retention: Duration::from_secs(24 * 3600),
        max_bytes: 1 << 30,
        spans: true,
    };
    let store = Store::open(&config, clock).unwrap();
    // What the sums of an hour that ended are to be called is the name of something else.
    let ended = 1_800_000_000_000_000_000 - 7_200_000_000_000;
    let taken = format!("CREATE VIEW hour_{}_flow_sums AS SELECT 1", hour_of(ended));
    store.database.execute_batch(&taken).unwrap();
    let checkpoint = Checkpoint {
        hash: 1,
        kind: EdgeKind::Forward,
        service: "a".into(),
        direction: Direction::In,
        destination: "q".into(),
        sampled: false,
    };
    let windows = StoreBatch {
        windows: vec![FlowWindow::new(checkpoint, ended, Duration::from_secs(10))],
        ..StoreBatch::default()
    };
    let mut writer = store.writer(metrics, health.component("store"));
    let (_sender, mut batches) = mpsc::channel(1);
    let stop = CancellationToken::new();
    writer.take(windows, &mut batches, &stop).await;
    assert_eq!(writer.steps, Steps::Due);
    writer.step().await;
    assert_eq!(health.overall(), Status::Degraded);
    writer.take(batch(1), &mut batches, &stop).await;
    assert_eq!(writer.steps, Steps::Failed);
    writer.retain().await.unwrap();
    assert_eq!(writer.steps, Steps::Due);
}

#[tokio::test]
async fn no_hour_is_older_than_views_can_show_whatever_is_set_later() {
    let folder = tempfile::tempdir().unwrap();
    let (metrics, health) = (Metrics::new().unwrap(), Health::default());
    let store = open(folder.path());
    let reader = store.reader().unwrap();
    let (_settings, followed) = watch::channel(config::Store {
        retention: Duration::from_secs(1000 * 3600),
        ..store.config.clone()
    });
    let mut writer = store
        .writer(metrics, health.component("store"))
        .following(followed);
    let ago = |hours: i64| StoreBatch {
        points: vec![
            Point::new(
                "task_metrics",
                (1_800_000_000 - 3600 * hours) * 1_000_000_000,
            )
            .int("n", Some(1)),
        ],
        ..StoreBatch::default()
    };
    writer.retain().await.unwrap();
    let batches = Arc::new(vec![ago(1), ago(478), ago(500)]);
    writer.write(batches, &CancellationToken::new()).await;
    assert_eq!(points(&reader), 3);
    let now = hour_of(1_800_000_000_000_000_000);
    let hours = writer.store.as_ref().unwrap().catalogue.hours();
    assert_eq!(Vec::from_iter(hours), [now - 478, now - 1, now]);
}

#[tokio::test]
async fn a_batch_that_the_database_refuses_is_lost_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (metrics, health) = (Metrics::new().unwrap(), Health::default());
    let store = open(folder.path());
    let reader = store.reader().unwrap();
    let limit = rusqlite::limits::Limit::SQLITE_LIMIT_LENGTH;
    store.database.set_limit(limit, 100_000).unwrap();
    let mut writer = store.writer(metrics.clone(), health.component("store"));
    let batches = Arc::new(vec![batch(1), batch(200_000), batch(2)]);
    writer.write(batches, &CancellationToken::new()).await;
    assert_eq!((points(&reader), metrics.points_stored.get()), (2, 2));
    assert_eq!(metrics.dropped_total(), 1);
}

#[tokio::test]
async fn of_a_batch_only_the_row_is_lost_that_the_database_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let (metrics, health) = (Metrics::new().unwrap(), Health::default());
    let store = open(folder.path());
    let reader = store.reader().unwrap();
    let limit = rusqlite::limits::Limit::SQLITE_LIMIT_LENGTH;
    store.database.set_limit(limit, 100_000).unwrap();
    let mut writer = store.writer(metrics.clone(), health.component("store"));
    let (receipt, mut pending) = Receipt::pair();
    let all = [1, 2, 200_000, 3, 4].map(|bytes| batch(bytes).points);
    let together = StoreBatch {
        points: all.into_iter().flatten().collect(),
        receipts: vec![receipt],
        ..StoreBatch::default()
    };
    let (_sender, mut batches) = mpsc::channel(1);
    let stop = CancellationToken::new();
    writer.take(together, &mut batches, &stop).await;
    assert_eq!((points(&reader), metrics.dropped_total()), (4, 1));
    let told = metrics.encode().unwrap();
    let once = "rabtrace_errors_total{stage=\"store\"} 1\n";
    assert!(told.contains(once), "not once: for each step of the search");
    let report = health.reports()["store"].clone();
    assert_eq!(report.status, Status::Unhealthy);
    assert!(
        report.message.starts_with("1 rows were dropped: refused: "),
        "{}",
        report.message
    );
    assert!(pending.stored().await, "to send it again mends nothing");
    // What is refused together and taken in parts is no loss.
    let error = rusqlite::Error::InvalidQuery;
    writer.note_refused(&error);
    writer.component.healthy(Duration::ZERO);
    writer.tell_refused();
    assert_eq!(health.overall(), Status::Healthy);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_receipt_does_not_wait_for_others_to_come() {
    let folder = tempfile::tempdir().unwrap();
    let (metrics, health) = (Metrics::new().unwrap(), Health::default());
    let mut writer = open(folder.path()).writer(metrics, health.component("store"));
    writer.gather = Duration::from_secs(3600);
    let (sender, receiver) = mpsc::channel(16);
    let task = tokio::spawn(writer.run(receiver, CancellationToken::new()));
    for _ in 0..3 {
        let (receipt, mut pending) = Receipt::pair();
        let waited_for = StoreBatch {
            receipts: vec![receipt],
            ..batch(1)
        };
        sender.send(waited_for).await.unwrap();
        let stored = tokio::time::timeout(Duration::from_secs(30), pending.stored());
        assert_eq!(stored.await, Ok(true), "others are waited for");
    }
    drop(sender);
    task.await.unwrap();
}

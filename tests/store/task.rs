//! The store as a task: nothing is lost under back-pressure or at the stop, readers do not wait.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rabtrace::health::{Health, Status};
use rabtrace::metrics::Metrics;
use rabtrace::model::{Point, Receipt, StoreBatch};
use rabtrace::store::SqlLimits;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::{BASE, HOUR, SECOND, hop, open, window};

fn batch(number: u64) -> StoreBatch {
    StoreBatch {
        hops: (0..10).map(|at| hop(number * 10 + at, BASE)).collect(),
        points: vec![Point::new("agent_metrics", BASE).int("n", Some(number))],
        windows: vec![window(1, BASE, &[0.1])],
        ..StoreBatch::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_channel_holds_back_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (metrics, health) = (Metrics::new().unwrap(), Health::default());
    let store = open(folder.path());
    let reader = store.reader().unwrap();
    let writer = store.writer(metrics.clone(), health.component("store"));
    let (sender, receiver) = mpsc::channel(1);
    let task = tokio::spawn(writer.run(receiver, CancellationToken::new()));
    let senders = (0..4_u64).map(|of| {
        let sender = sender.clone();
        tokio::spawn(async move {
            for number in 0..50 {
                sender.send(batch(of * 50 + number)).await.unwrap();
            }
        })
    });
    let senders: Vec<_> = senders.collect();
    drop(sender);
    // Readers at work meanwhile see whole transactions: ten spans for each point.
    let asked = reader.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let mut answers = 0;
        for _ in 0..20 {
            let text = "SELECT (SELECT count(*) FROM spans), (SELECT count(*) FROM agent_metrics)";
            if let Ok(answer) = asked.sql(text, SqlLimits::default()) {
                let spans = answer.rows[0][0].as_u64().unwrap();
                assert_eq!(spans, answer.rows[0][1].as_u64().unwrap() * 10);
                answers += 1;
            }
        }
        answers
    });
    for sender in senders {
        sender.await.unwrap();
    }
    task.await.unwrap();
    reading.await.unwrap();
    let stats = reader.stats().unwrap();
    assert_eq!(
        (stats.spans, stats.points, stats.flow_windows),
        (2000, 200, 200)
    );
    assert_eq!(
        (metrics.spans_stored.get(), metrics.points_stored.get()),
        (2000, 200)
    );
    assert_eq!(metrics.dropped_total(), 0);
    assert_eq!(health.overall(), Status::Healthy);
    let log = std::fs::metadata(folder.path().join("rabtrace.db-wal"));
    assert!(log.is_ok_and(|log| log.len() == 0) || !folder.path().join("rabtrace.db-wal").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hour_that_ended_is_summed_between_batches() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let reader = store.reader().unwrap();
    let metrics = Metrics::new().unwrap();
    let writer = store.writer(metrics.clone(), Health::default().component("store"));
    let (sender, receiver) = mpsc::channel(1);
    let task = tokio::spawn(writer.run(receiver, CancellationToken::new()));
    // More rows than one step sums.
    let ended = BASE - 2 * HOUR;
    let windows = (0..360).flat_map(|at| {
        let start = ended + at * 10 * SECOND;
        (1..=280).map(move |hash| window(hash, start, &[0.1]))
    });
    let old = StoreBatch {
        hops: vec![hop(1, ended)],
        windows: windows.collect(),
        ..StoreBatch::default()
    };
    sender.send(old).await.unwrap();
    let hour = ended / HOUR;
    let tables = format!(
        "SELECT (SELECT count(*) FROM sqlite_schema WHERE name = 'hour_{hour}_flow_sums'), \
         (SELECT count(*) FROM flow_meta WHERE name LIKE 'summing%'), (SELECT count(*) FROM spans)"
    );
    let begun = Instant::now();
    let (mut number, mut meanwhile) = (0, BTreeSet::new());
    loop {
        let (receipt, mut pending) = Receipt::pair();
        let urgent = StoreBatch {
            receipts: vec![receipt],
            ..batch(number)
        };
        sender.send(urgent).await.unwrap();
        assert!(pending.stored().await);
        number += 1;
        let asked = (reader.clone(), tables.clone());
        let asking = move || asked.0.sql(&asked.1, SqlLimits::default());
        let answer = tokio::task::spawn_blocking(asking).await.unwrap().unwrap();
        let [has_sums, is_part, spans] = [0, 1, 2].map(|at| answer.rows[0][at].as_u64().unwrap());
        match (has_sums, is_part) {
            (1, 0) => break,
            (1, _) => _ = meanwhile.insert(spans),
            _ => {}
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "it is not done");
    }
    assert!(
        meanwhile.len() > 1,
        "{meanwhile:?}: no batch came between two steps"
    );
    drop(sender);
    task.await.unwrap();
    let text = format!("SELECT sum(count) FROM hour_{hour}_flow_sums");
    let sums = reader.sql(&text, SqlLimits::default()).unwrap();
    assert_eq!(sums.rows[0][0], 100_800);
    assert_eq!(reader.stats().unwrap().spans, 1 + 10 * number);
    assert_eq!(metrics.dropped_total(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_writes_what_was_handed_over() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::new().unwrap();
    let store = open(folder.path());
    let reader = store.reader().unwrap();
    let writer = store.writer(metrics.clone(), Health::default().component("store"));
    let (sender, receiver) = mpsc::channel(100);
    for number in 0..100 {
        sender.send(batch(number)).await.unwrap();
    }
    let stop = CancellationToken::new();
    stop.cancel();
    let task = tokio::spawn(writer.run(receiver, stop));
    // The flow closes its last window after the stop, then its sender goes.
    sender.send(batch(100)).await.unwrap();
    drop(sender);
    tokio::time::timeout(Duration::from_secs(60), task)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(reader.stats().unwrap().spans, 1010);
    // The folder is free again.
    drop(open(folder.path()));
}

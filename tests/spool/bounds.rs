//! The cap on bytes: the oldest goes, whole segments of it, and is counted.

use rabtrace::metrics::Metrics;
use rabtrace::spool::{Limits, Spool};

use crate::support::{append, check_balance, close, drain, limits, number, open, setup};

fn tight() -> Limits {
    Limits {
        disk_bytes: 128 << 10,
        memory_bytes: 8 << 10,
        ..limits()
    }
}

#[tokio::test]
async fn the_oldest_is_dropped_and_counted_with_its_items() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::new().unwrap();
    let mut with = setup(folder.path(), tight());
    with.metrics = metrics.clone();
    let (writer, mut reader) = Spool::open(with).unwrap();
    let spool = writer.spool();
    for at in 0..1_000 {
        append(&writer, at, 1_000).await.unwrap();
        assert!(spool.stats().disk_bytes <= 128 << 10);
        check_balance(&spool);
    }
    let dropped = spool.stats().dropped;
    assert!(dropped.records > 300, "{dropped:?}");
    assert_eq!(metrics.dropped_total(), dropped.items);
    let text = metrics.encode().unwrap();
    assert!(
        text.contains(r#"reason="spool_full",stage="influx""#),
        "{text}"
    );
    let first = reader.next().await.unwrap();
    assert_eq!(number(&first), dropped.records, "exactly those before it");
    let items: u64 = (0..dropped.records)
        .map(|at| u64::from(crate::support::items(at)))
        .sum();
    assert_eq!(items, dropped.items);
    reader.done(first).await;
    let rest = drain(writer, reader).await;
    assert_eq!(rest, (dropped.records + 1..1_000).collect::<Vec<_>>());
    check_balance(&spool);
}

#[tokio::test]
async fn what_the_reader_holds_is_not_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, mut reader) = open(folder.path(), tight());
    let spool = writer.spool();
    let mut held = Vec::new();
    for at in 0..500 {
        append(&writer, at, 1_000).await.unwrap();
        if at % 100 == 0 {
            held.push(reader.next().await.unwrap());
        }
        check_balance(&spool);
    }
    assert_eq!(number(&held[0]), 0);
    for record in held {
        reader.done(record).await;
    }
    check_balance(&spool);
    let (dropped, done) = (
        spool.stats().dropped.records,
        spool.stats().delivered.records,
    );
    assert!(dropped > 100 && done == 5);
    let rest = drain(writer, reader).await.len() as u64;
    assert_eq!(rest + dropped + done, 500);
    check_balance(&spool);
    // Nothing of what was dropped counts as damaged at the next start.
    let (writer, reader) = open(folder.path(), tight());
    let spool = writer.spool();
    assert_eq!(drain(writer, reader).await, Vec::<u64>::new());
    assert_eq!(spool.stats().damaged.records, 0);
}

#[tokio::test]
async fn a_cap_that_became_smaller_holds_from_the_next_append_on() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, reader) = open(folder.path(), limits());
    for at in 0..1_000 {
        append(&writer, at, 1_000).await.unwrap();
    }
    close(writer, reader).await;
    let (writer, reader) = open(folder.path(), tight());
    let spool = writer.spool();
    assert_eq!(spool.stats().waiting.records, 1_000);
    append(&writer, 1_000, 1_000).await.unwrap();
    let stats = spool.stats();
    assert!(stats.disk_bytes <= 128 << 10, "{stats:?}");
    let rest = drain(writer, reader).await;
    assert_eq!(rest.len() as u64, 1_001 - spool.stats().dropped.records);
    assert_eq!(rest.last(), Some(&1_000));
    check_balance(&spool);
}

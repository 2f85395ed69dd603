//! What goes in comes out: in order, from memory while the reader keeps up, again after a stop.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rabtrace::spool::{Limits, Spool, SpoolError};

use crate::support::{append, check_balance, close, drain, limits, number, open, setup};

#[tokio::test]
async fn a_reader_that_keeps_up_reads_no_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, mut reader) = open(folder.path(), limits());
    for at in 0..200 {
        append(&writer, at, 300).await.unwrap();
        let record = reader.next().await.unwrap();
        assert_eq!((number(&record), record.number), (at, at));
        reader.done(record).await;
        check_balance(&writer.spool());
    }
    let stats = writer.spool().stats();
    assert_eq!((stats.from_memory, stats.from_disk), (200, 0));
    assert_eq!((stats.waiting.records, stats.memory_bytes), (0, 0));
    assert!(
        stats.disk_bytes < 2 * (8 << 10),
        "delivered segments are gone: {stats:?}"
    );
    close(writer, reader).await;
}

#[tokio::test]
async fn a_reader_that_falls_behind_gets_the_rest_from_disk_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let tight = Limits {
        memory_bytes: 4 << 10,
        ..limits()
    };
    let (writer, mut reader) = open(folder.path(), tight);
    let mut expected = 0;
    for at in 0..300 {
        append(&writer, at, 300).await.unwrap();
        if at % 3 == 0 {
            let record = reader.next().await.unwrap();
            assert_eq!(number(&record), expected);
            expected += 1;
            reader.done(record).await;
        }
    }
    let spool = writer.spool();
    assert!(spool.stats().memory_bytes <= 4 << 10);
    let rest = drain(writer, reader).await;
    assert_eq!(rest, (expected..300).collect::<Vec<_>>());
    let stats = spool.stats();
    assert!(stats.from_disk > 100 && stats.from_memory > 0, "{stats:?}");
    check_balance(&spool);
}

#[tokio::test]
async fn a_live_reader_catches_up_and_goes_on_from_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, reader) = open(folder.path(), limits());
    for at in 0..50 {
        append(&writer, at, 300).await.unwrap();
    }
    close(writer, reader).await;
    let (writer, mut reader) = open(folder.path(), limits());
    for at in 0..100 {
        if at >= 50 {
            append(&writer, at, 300).await.unwrap();
        }
        let record = reader.next().await.unwrap();
        assert_eq!(number(&record), at);
        reader.done(record).await;
    }
    let stats = writer.spool().stats();
    assert_eq!(
        (stats.found.records, stats.from_disk, stats.from_memory),
        (50, 50, 50)
    );
    close(writer, reader).await;
}

#[tokio::test]
async fn what_was_not_done_comes_again_with_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, mut reader) = open(folder.path(), limits());
    let mut held = Vec::new();
    for at in 0..100 {
        append(&writer, at, 300).await.unwrap();
        held.push(reader.next().await.unwrap());
    }
    // In any order: what is done behind one that is not comes again as well.
    for at in [70, 3, 1, 0, 2] {
        reader.done(held[at].clone()).await;
    }
    reader.done(held[70].clone()).await;
    assert_eq!(
        writer.spool().stats().delivered.records,
        5,
        "twice counts once"
    );
    close(writer, reader).await;
    let (writer, mut reader) = open(folder.path(), limits());
    let first = reader.next().await.unwrap();
    assert_eq!((first.number, number(&first)), (4, 4));
    reader.done(first).await;
    assert_eq!(drain(writer, reader).await, (5..100).collect::<Vec<_>>());
    let (writer, reader) = open(folder.path(), limits());
    assert_eq!(drain(writer, reader).await, Vec::<u64>::new());
}

#[tokio::test]
async fn many_writers_share_commits_and_each_keeps_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, reader) = open(folder.path(), Limits::default());
    let write = |lane: u64| {
        let writer = writer.clone();
        async move {
            for at in 0..20 {
                append(&writer, lane * 1_000 + at, 100).await.unwrap();
            }
        }
    };
    futures_util::future::join_all((0..32).map(write)).await;
    let commits = writer.spool().stats().commits;
    assert!(commits < 320, "{commits} commits for 640 appends");
    let numbers = drain(writer, reader).await;
    assert_eq!(numbers.len(), 640);
    for lane in 0..32 {
        let own: Vec<_> = numbers
            .iter()
            .filter(|number| **number / 1_000 == lane)
            .collect();
        assert!(own.is_sorted(), "{own:?}");
    }
}

#[tokio::test]
async fn a_payload_may_be_empty_or_large_but_not_too_large() {
    let folder = tempfile::tempdir().unwrap();
    let tight = Limits {
        record_bytes: 200_000,
        memory_bytes: 0,
        pending_bytes: 1 << 10,
        ..limits()
    };
    let (writer, reader) = open(folder.path(), tight);
    writer.append(2, 3, bytes::Bytes::new()).await.unwrap();
    writer.append(2, 0, vec![7; 200_000].into()).await.unwrap();
    let refused = writer
        .append(2, 0, vec![7; 200_001].into())
        .await
        .unwrap_err();
    assert!(matches!(
        refused,
        SpoolError::TooLarge {
            bytes: 200_001,
            limit: 200_000
        }
    ));
    assert!(!refused.is_retryable());
    let mut reader = reader;
    let lengths = [reader.next().await.unwrap(), reader.next().await.unwrap()];
    assert_eq!(lengths.map(|record| record.payload.len()), [0, 200_000]);
    close(writer, reader).await;
}

#[tokio::test]
async fn one_process_has_the_folder_and_nobody_else_can_read_it() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("spool");
    let (writer, reader) = open(&folder, limits());
    let second = Spool::open(setup(&folder, limits()))
        .err()
        .unwrap()
        .to_string();
    let process = std::process::id().to_string();
    assert!(
        second.contains("in use") && second.contains(&process),
        "{second}"
    );
    for at in 0..100 {
        append(&writer, at, 300).await.unwrap();
    }
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(files.len() > 3, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    close(writer, reader).await;
    let (writer, reader) = open(&folder, limits());
    close(writer, reader).await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_named() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Spool::open(setup(&file.join("spool"), limits()))
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("is a file") && error.contains("fix"),
        "{error}"
    );
}

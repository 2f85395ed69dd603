//! A disk without room: nothing acknowledged, nothing harmed, and it goes on when there is room.

use std::path::Path;
use std::process::Command;

use rabtrace::spool::{Limits, Spool, SpoolError, Writer};

use crate::support::{append, check_balance, close, drain, limits, open, setup};
use crate::virtual_disk::{Nature, VirtualDisk};

/// Rounds in which the disk is filled, and freed again.
const ROUNDS: usize = 20;
/// Names the folder to the process that has a small disk of its own.
const FOLDER: &str = "RABTRACE_TEST_SMALL_DISK";

/// Appends until the disk takes no more; what was acknowledged.
async fn fill(writer: &Writer, next: &mut u64) -> Vec<u64> {
    let mut taken = Vec::new();
    loop {
        *next += 2;
        match append(writer, *next, 20_000).await {
            Ok(()) => taken.push(*next),
            Err(error) => {
                assert!(
                    matches!(error, SpoolError::Full(_)) && error.is_retryable(),
                    "{error}"
                );
                return taken;
            }
        }
        assert!(taken.len() < 1_000, "the disk is endless");
    }
}

/// Fills, takes everything out again, so often; all that was acknowledged comes out.
async fn fill_and_free(writer: &Writer, reader: &mut rabtrace::spool::Reader) {
    let spool = writer.spool();
    let mut next = 0;
    for round in 0..ROUNDS {
        let taken = fill(writer, &mut next).await;
        assert!(!taken.is_empty(), "round {round}: there was room");
        assert!(spool.stats().failing.is_some());
        assert!(append(writer, 0, 20_000).await.is_err(), "it is still full");
        for number in &taken {
            let record = reader.next().await.unwrap();
            assert_eq!(crate::support::number(&record), *number);
            reader.done(record).await;
        }
        check_balance(&spool);
        assert_eq!(spool.stats().waiting.records, 0);
    }
    append(writer, next + 2, 100).await.unwrap();
    assert_eq!(spool.stats().failing, None);
    let damaged = spool.stats().damaged;
    assert_eq!((damaged.records, spool.stats().dropped.records), (0, 0));
}

fn roomy() -> Limits {
    Limits {
        segment_bytes: 256 << 10,
        ..limits()
    }
}

#[tokio::test]
async fn a_virtual_disk_is_filled_and_freed() {
    let disk = VirtualDisk::new(5);
    disk.behave(Nature {
        capacity: Some(1 << 20),
        ..Nature::default()
    });
    let opened = Spool::open_on(Box::new(disk.clone()), setup(Path::new("virtual"), roomy()));
    let (writer, mut reader) = opened.unwrap();
    fill_and_free(&writer, &mut reader).await;
    // Room that somebody else makes counts as well.
    let mut next = 100_000;
    let taken = fill(&writer, &mut next).await;
    disk.behave(Nature::default());
    append(&writer, next, 20_000).await.unwrap();
    let rest = drain(writer, reader).await;
    assert_eq!(rest.len(), taken.len() + 2, "and the small one of before");
}

#[tokio::test]
async fn a_full_disk_keeps_no_spool_from_opening() {
    let disk = VirtualDisk::new(6);
    let opened = Spool::open_on(Box::new(disk.clone()), setup(Path::new("virtual"), roomy()));
    let (writer, reader) = opened.unwrap();
    for number in 0..10 {
        append(&writer, number, 1_000).await.unwrap();
    }
    close(writer, reader).await;
    let used = disk.files().values().map(Vec::len).sum();
    disk.behave(Nature {
        capacity: Some(used),
        ..Nature::default()
    });
    let opened = Spool::open_on(Box::new(disk), setup(Path::new("virtual"), roomy()));
    let (writer, reader) = opened.unwrap();
    assert!(append(&writer, 10, 1_000).await.is_err());
    assert_eq!(drain(writer, reader).await, (0..10).collect::<Vec<_>>());
}

/// The part of the next test that runs where a file system of 4 MiB is mounted.
#[tokio::test]
async fn on_the_small_disk() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder).join("spool");
    let (writer, mut reader) = open(&folder, roomy());
    fill_and_free(&writer, &mut reader).await;
    close(writer, reader).await;
    println!("the small disk was filled and freed");
}

#[test]
fn a_small_file_system_is_filled_and_freed() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=4m tmpfs "$1" || exit 77; exec "$2" full::on_the_small_disk --exact --nocapture"#;
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .env(FOLDER, folder.path())
        .output();
    let Ok(output) = output else {
        println!("skipped: there is no unshare here; the virtual disk stands in");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) || text.contains("unshare failed") {
        println!("skipped: nothing may be mounted here; the virtual disk stands in: {text}");
        return;
    }
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("the small disk was filled and freed"),
        "{text}"
    );
}

//! Power cuts, at any operation of the disk.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::Path;

use rabtrace::spool::{Limits, Reader, Spool, Writer};
use tokio::task::LocalSet;

use crate::support::{append, drain, limits, number, setup};
use crate::virtual_disk::{Nature, VirtualDisk};

/// Cuts behind each other on the same disk.
const LIVES: u64 = 20;

/// What the outside knows: which payloads were tried, acknowledged, delivered.
#[derive(Default)]
struct Oracle {
    next: Cell<u64>,
    acknowledged: RefCell<BTreeSet<u64>>,
    delivered: RefCell<BTreeSet<u64>>,
    cuts: Cell<u64>,
}

fn small() -> Limits {
    Limits {
        segment_bytes: 4 << 10,
        memory_bytes: 4 << 10,
        ..limits()
    }
}

/// Appends until the power is gone.
async fn write(oracle: &Oracle, writer: Writer, mut random: fastrand::Rng) {
    loop {
        let number = oracle.next.replace(oracle.next.get() + 1);
        let length = random.usize(0..1500);
        if append(&writer, number, length).await.is_err() {
            return;
        }
        oracle.acknowledged.borrow_mut().insert(number);
    }
}

/// Reads, in order; some of it does not get done.
async fn read(oracle: &Oracle, mut reader: Reader, mut random: fastrand::Rng) {
    let (mut last, patience) = (None, random.usize(0..60));
    for _ in 0..patience {
        let Some(record) = reader.next().await else {
            return;
        };
        assert!(last < Some(record.number), "in order, and none twice");
        last = Some(record.number);
        assert!(number(&record) < oracle.next.get(), "nobody wrote it");
        oracle.delivered.borrow_mut().insert(number(&record));
        reader.done(record).await;
    }
    std::future::pending::<()>().await;
}

/// One life of the spool; the disk as it is found after it.
async fn live(oracle: &Oracle, disk: VirtualDisk, seed: u64) -> VirtualDisk {
    let mut random = fastrand::Rng::with_seed(seed);
    let opened = Spool::open_on(Box::new(disk.clone()), setup(Path::new("virtual"), small()));
    if let Ok((writer, reader)) = opened {
        let spool = writer.spool();
        let writes = (0..4)
            .map(|_| write(oracle, writer.clone(), random.fork()))
            .collect::<Vec<_>>();
        drop(writer);
        let work = async {
            tokio::select! {
                _ = futures_util::future::join_all(writes) => {}
                () = read(oracle, reader, random.fork()) => {}
            }
        };
        LocalSet::new().run_until(work).await;
        spool.closed().await;
    }
    oracle.cuts.set(oracle.cuts.get() + 1);
    disk.restart()
}

/// Lives until as many cuts are over; returns the cuts, and what was acknowledged and is gone.
fn chain(seed: u64, lies: bool) -> (u64, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let oracle = Oracle::default();
    let mut random = fastrand::Rng::with_seed(seed);
    let left = runtime.block_on(async {
        let mut disk = VirtualDisk::new(random.u64(..));
        for _ in 0..LIVES {
            disk.behave(Nature {
                cut_after: Some(random.u64(0..160)),
                failing_syncs: random.bool().then(|| random.u64(5..40)),
                never_cuts_files: random.bool(),
                lies,
                ..Nature::default()
            });
            disk = live(&oracle, disk, random.u64(..)).await;
        }
        let (writer, reader) =
            Spool::open_on(Box::new(disk), setup(Path::new("virtual"), small())).unwrap();
        drain(writer, reader).await
    });
    let mut delivered = oracle.delivered.into_inner();
    delivered.extend(left);
    let lost = oracle.acknowledged.borrow().difference(&delivered).count();
    assert!(delivered.iter().all(|number| *number < oracle.next.get()));
    (oracle.cuts.get(), lost)
}

/// Runs so many chains; returns all their cuts and what they lost.
fn chains(seeds: std::ops::Range<u64>, lies: bool) -> (u64, usize) {
    let (mut cuts, mut lost) = (0, 0);
    for seed in seeds {
        let (more, gone) = chain(seed, lies);
        assert!(
            lies || gone == 0,
            "seed {seed} lost {gone} acknowledged records"
        );
        cuts += more;
        lost += gone;
    }
    (cuts, lost)
}

#[test]
fn ten_thousand_power_cuts_lose_nothing_that_was_acknowledged() {
    let halves = [0..250, 250..500].map(|seeds| std::thread::spawn(|| chains(seeds, false)));
    let cuts: u64 = halves.into_iter().map(|half| half.join().unwrap().0).sum();
    assert_eq!(cuts, 10_000);
}

/// The control: were nothing synced, the same cuts would lose.
#[test]
fn a_disk_that_lies_about_syncs_is_found_out() {
    let (cuts, lost) = chains(1_000..1_010, true);
    assert!(cuts == 200 && lost > 100, "{lost} records lost");
}

/// A failed sync is not acknowledged, and what comes after it is.
#[tokio::test]
async fn after_a_failed_sync_the_spool_goes_on_elsewhere() {
    let disk = VirtualDisk::new(7);
    disk.behave(Nature {
        failing_syncs: Some(5),
        never_cuts_files: true,
        ..Nature::default()
    });
    let limits = Limits {
        memory_bytes: 0,
        ..limits()
    };
    let opened = Spool::open_on(Box::new(disk.clone()), setup(Path::new("virtual"), limits));
    let (writer, reader) = opened.unwrap();
    let mut taken = BTreeSet::new();
    for number in 0..100 {
        match append(&writer, number, 100).await {
            Ok(()) => _ = taken.insert(number),
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
    assert!((20..=99).contains(&taken.len()), "{}", taken.len());
    let found: BTreeSet<u64> = drain(writer, reader).await.into_iter().collect();
    assert!(found.is_superset(&taken));
}

/// Takes records, and gets them done until the power goes.
async fn deliver_until_the_cut(disk: &VirtualDisk, cut_after: u64) {
    let opened = Spool::open_on(
        Box::new(disk.clone()),
        setup(Path::new("virtual"), limits()),
    );
    let (writer, mut reader) = opened.unwrap();
    let mut held = Vec::new();
    for _ in 0..15 {
        held.push(reader.next().await.unwrap());
    }
    disk.behave(Nature {
        cut_after: Some(cut_after),
        ..Nature::default()
    });
    for record in held {
        reader.done(record).await;
    }
    crate::support::close(writer, reader).await;
}

/// Of the cursor's two slots the one that is synced outlives a cut while the other is written.
#[tokio::test]
async fn a_torn_cursor_goes_back_to_the_last_one_that_was_synced() {
    for seed in 0..300 {
        let disk = VirtualDisk::new(seed);
        let opened = Spool::open_on(Box::new(disk.clone()), setup(Path::new("virtual"), small()));
        let (writer, mut reader) = opened.unwrap();
        for number in 0..50 {
            append(&writer, number, 500).await.unwrap();
        }
        for _ in 0..10 {
            let record = reader.next().await.unwrap();
            reader.done(record).await;
        }
        crate::support::close(writer, reader).await;
        let mut disk = disk.restart();
        for cut_after in [seed % 20, seed / 20] {
            deliver_until_the_cut(&disk, cut_after).await;
            disk = disk.restart();
        }
        let opened = Spool::open_on(Box::new(disk), setup(Path::new("virtual"), small()));
        let (writer, reader) = opened.unwrap();
        let found = writer.spool().stats().found.records;
        assert!(
            (1..=40).contains(&found),
            "seed {seed}: {found} of 40 are left"
        );
        assert_eq!(drain(writer, reader).await.len() as u64, found);
    }
}

//! Damaged spools: always opened, only what was hit is lost, and that is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use rabtrace::spool::{Limits, Spool, Stats};

use crate::support::{append, close, drain, items, limits, open, setup};
use crate::virtual_disk::{Nature, VirtualDisk};

type Files = BTreeMap<String, Vec<u8>>;

const RECORDS: u64 = 300;
/// Those before it were done before the damage.
const DONE: u64 = 77;
const SEGMENT_HEADER: usize = 32;
const RECORD_HEADER: usize = 44;

/// A spool that was closed in order, as files. No two payloads are alike.
async fn pristine() -> Files {
    let disk = VirtualDisk::new(1);
    let opened = Spool::open_on(
        Box::new(disk.clone()),
        setup(Path::new("virtual"), limits()),
    );
    let (writer, mut reader) = opened.unwrap();
    for number in 0..RECORDS {
        let length = usize::try_from(number * 37 % 700).unwrap();
        append(&writer, number, length).await.unwrap();
    }
    for _ in 0..DONE {
        let record = reader.next().await.unwrap();
        reader.done(record).await;
    }
    close(writer, reader).await;
    disk.files()
}

/// Where each record that waits is, by the layout that the module `format` documents.
fn places(files: &Files) -> BTreeMap<u64, (String, Range<usize>)> {
    let mut places = BTreeMap::new();
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".segment")) {
        let mut at = SEGMENT_HEADER;
        while at < bytes.len() {
            let number = u64::from_le_bytes(bytes[at + 8..at + 16].try_into().unwrap());
            let stored = u32::from_le_bytes(bytes[at + 28..at + 32].try_into().unwrap());
            let end = at + RECORD_HEADER + usize::try_from(stored).unwrap();
            places.insert(number, (name.clone(), at..end));
            at = end;
        }
    }
    places.retain(|number, _| *number >= DONE);
    places
}

/// Does something to one of the files.
fn harm(files: &mut Files, random: &mut fastrand::Rng) {
    let names: Vec<String> = files.keys().cloned().collect();
    let Some(name) = random.choice(names.clone()) else {
        return;
    };
    if random.u8(..20) == 0 {
        files.remove(&name);
        return;
    }
    let other = files[&random.choice(names).unwrap()].clone();
    let bytes = files.get_mut(&name).unwrap();
    if bytes.is_empty() {
        return;
    }
    let at = random.usize(..bytes.len());
    let to = bytes.len().min(at + random.usize(1..3_000));
    match random.u8(..8) {
        0 => bytes.truncate(at),
        1 => bytes[at..to].fill(0),
        2 => bytes[at..to]
            .iter_mut()
            .for_each(|byte| *byte = random.u8(..)),
        3 => bytes.extend((0..random.usize(1..2_000)).map(|_| random.u8(..))),
        4 => bytes.extend(other),
        5 => *bytes = other,
        _ => bytes[at] ^= 1 << random.u8(..8),
    }
}

/// What the harm hit, and whether the cursor is among it.
fn hit(before: &Files, after: &Files) -> (BTreeSet<u64>, bool) {
    let changed = |(name, range): &(String, Range<usize>)| {
        let now = after.get(name).and_then(|bytes| bytes.get(range.clone()));
        now != before[name].get(range.clone())
    };
    let places = places(before);
    let hit = places.iter().filter(|(_, place)| changed(place));
    let hit = hit.map(|(number, _)| *number).collect();
    (hit, before.get("cursor") != after.get("cursor"))
}

/// Compares what came out with what must have.
fn check(found: &[u64], stats: &Stats, hit: &BTreeSet<u64>, cursor_hit: bool) {
    assert!(
        found.is_sorted_by(|one, next| one < next),
        "in order, none twice: {found:?}"
    );
    let found: BTreeSet<u64> = found.iter().copied().collect();
    let lost: BTreeSet<u64> = (DONE..RECORDS)
        .filter(|number| !found.contains(number))
        .collect();
    assert!(lost.is_subset(hit), "{:?} were whole", lost.difference(hit));
    assert_eq!(stats.waiting.records, 0);
    if !cursor_hit {
        assert!(found.iter().all(|number| *number >= DONE));
        assert_eq!(stats.damaged.records, lost.len() as u64, "{stats:?}");
        let gone: u64 = lost.iter().map(|number| u64::from(items(*number))).sum();
        assert_eq!(stats.damaged.items, gone);
    }
}

/// Harms a spool by this seed, and opens it: how many records are lost, and how many came out.
async fn harmed(pristine: &Files, seed: u64) -> (u64, usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut files = pristine.clone();
    for _ in 0..random.u8(1..6) {
        harm(&mut files, &mut random);
    }
    let (hit, cursor_hit) = hit(pristine, &files);
    let disk = VirtualDisk::holding(files, seed);
    let setup = setup(Path::new("virtual"), limits());
    let (writer, reader) = Spool::open_on(Box::new(disk), setup).unwrap();
    let spool = writer.spool();
    append(&writer, RECORDS, 100).await.unwrap();
    let mut found = drain(writer, reader).await;
    assert_eq!(found.pop(), Some(RECORDS), "seed {seed}: it goes on");
    eprintln!("seed {seed}, hit {hit:?}, cursor {cursor_hit}");
    check(&found, &spool.stats(), &hit, cursor_hit);
    (spool.stats().damaged.records, found.len())
}

/// The same with seeds that nobody chose, for as long as `RABTRACE_FUZZ_SECONDS` says (2).
#[tokio::test]
async fn fuzz_damaged_spools() {
    let variable = |name| Some(std::env::var(name).ok()?.parse::<u64>().unwrap());
    let first = variable("RABTRACE_FUZZ_SEED").unwrap_or(1_000);
    let seconds = Duration::from_secs(variable("RABTRACE_FUZZ_SECONDS").unwrap_or(2));
    let (pristine, begun) = (pristine().await, Instant::now());
    for seed in first.. {
        harmed(&pristine, seed).await;
        if begun.elapsed() >= seconds {
            println!("{} damaged spools from seed {first}", seed + 1 - first);
            break;
        }
    }
}

#[tokio::test]
async fn a_thousand_damaged_spools_lose_only_what_was_hit() {
    let pristine = pristine().await;
    assert!(
        pristine.len() > 6,
        "several segments: {:?}",
        pristine.keys()
    );
    assert_eq!(places(&pristine).len() as u64, RECORDS - DONE);
    let (mut lost, mut whole) = (0, 0);
    for seed in 0..1_000 {
        let (gone, found) = harmed(&pristine, seed).await;
        lost += gone;
        whole += found;
    }
    assert!(
        lost > 10_000 && whole > 100_000,
        "{lost} lost, {whole} whole"
    );
}

#[tokio::test]
async fn nothing_is_lost_of_an_unharmed_spool() {
    let files = pristine().await;
    let disk = VirtualDisk::holding(files, 1);
    let opened = Spool::open_on(Box::new(disk), setup(Path::new("virtual"), limits()));
    let (writer, reader) = opened.unwrap();
    let spool = writer.spool();
    assert_eq!(spool.stats().found.records, RECORDS - DONE);
    let found = drain(writer, reader).await;
    check(&found, &spool.stats(), &BTreeSet::new(), false);
}

#[tokio::test]
async fn a_folder_in_the_place_of_a_file_keeps_nothing_from_opening() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in pristine().await {
        let path = folder.path().join(&name);
        match name.ends_with("5.segment") || name == "cursor" {
            true => fs::create_dir(path).unwrap(),
            false => fs::write(path, bytes).unwrap(),
        }
    }
    fs::write(folder.path().join("notes.txt"), "somebody else's").unwrap();
    let (writer, reader) = open(folder.path(), limits());
    append(&writer, RECORDS, 100).await.unwrap();
    let found = drain(writer, reader).await;
    assert_eq!(found.last(), Some(&RECORDS));
    assert!(found.len() > 100, "{found:?}");
}

#[tokio::test]
async fn what_is_damaged_while_it_waits_is_counted_in_the_same_run() {
    let disk = VirtualDisk::new(3);
    let unread = Limits {
        memory_bytes: 0,
        ..limits()
    };
    let opened = Spool::open_on(Box::new(disk.clone()), setup(Path::new("virtual"), unread));
    let (writer, reader) = opened.unwrap();
    let spool = writer.spool();
    for number in 0..100 {
        append(&writer, number, 500).await.unwrap();
    }
    let name = disk
        .files()
        .into_keys()
        .filter(|name| name.ends_with(".segment"))
        .nth(1);
    disk.spoil(&name.unwrap(), 40..5_000);
    let found = drain(writer, reader).await;
    let damaged = spool.stats().damaged.records;
    assert!(damaged > 5, "{damaged}");
    assert_eq!(found.len() as u64 + damaged, 100);
    crate::support::check_balance(&spool);
}

#[tokio::test]
async fn what_a_newer_version_wrote_is_left_alone() {
    let mut files = pristine().await;
    let name = files
        .keys()
        .find(|name| name.ends_with(".segment"))
        .unwrap()
        .clone();
    let segment = u64::from_str_radix(name.trim_end_matches(".segment"), 16).unwrap();
    let header = files.get_mut(&name).unwrap();
    header[8] = 2;
    let covered = [&segment.to_le_bytes()[..], &header[..12], &header[16..32]].concat();
    header[12..16].copy_from_slice(&crc32fast::hash(&covered).to_le_bytes());
    let disk = VirtualDisk::holding(files.clone(), 1);
    let refused = Spool::open_on(
        Box::new(disk.clone()),
        setup(Path::new("virtual"), limits()),
    );
    let text = refused.err().unwrap().to_string();
    assert!(
        text.contains("version 2") && text.contains("move the folder away"),
        "{text}"
    );
    assert_eq!(disk.files(), files);
}

/// What this process cannot open now is not damaged: nothing is given up for it.
#[tokio::test]
async fn too_many_open_files_are_no_damage() {
    let files = pristine().await;
    let disk = VirtualDisk::holding(files.clone(), 1);
    disk.behave(Nature {
        too_many_open: true,
        ..Nature::default()
    });
    let virtually = || setup(Path::new("virtual"), limits());
    let refused = Spool::open_on(Box::new(disk.clone()), virtually());
    let text = refused.err().unwrap().to_string();
    assert!(text.contains("allow enough open files"), "{text}");
    assert_eq!(disk.files(), files);
    disk.behave(Nature::default());
    let (writer, reader) = Spool::open_on(Box::new(disk), virtually()).unwrap();
    let spool = writer.spool();
    check(
        &drain(writer, reader).await,
        &spool.stats(),
        &BTreeSet::new(),
        false,
    );
}

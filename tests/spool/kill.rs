//! `kill -9` of a process that writes and reads as fast as it can.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rabtrace::spool::{Limits, Reader, Writer};

use crate::support::{append, drain, limits, number, open};

/// Names the folder to the process that is to be killed.
const FOLDER: &str = "RABTRACE_TEST_KILLED_SPOOL";
/// Names the first number that it may use.
const FIRST: &str = "RABTRACE_TEST_KILLED_FIRST";
const KILLS: u64 = 20;
const LANES: u64 = 8;
/// Numbers that one life may use.
const LIFE: u64 = 100_000_000;

fn load() -> Limits {
    Limits {
        segment_bytes: 256 << 10,
        memory_bytes: 64 << 10,
        ..limits()
    }
}

/// Tells the parent, whatever happens to this process next.
fn tell(word: char, number: u64) {
    let line = format!("\n={word} {number}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
}

async fn write(writer: Writer, first: u64) {
    for number in (first..first + LIFE).step_by(usize::try_from(LANES).unwrap()) {
        let length = usize::try_from(number % 5_000).unwrap();
        append(&writer, number, length).await.unwrap();
        tell('a', number);
    }
}

async fn read(mut reader: Reader) {
    while let Some(record) = reader.next().await {
        tell('d', number(&record));
        reader.done(record).await;
    }
}

/// The process that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn until_it_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let (writer, reader) = open(Path::new(&folder), load());
    let lanes: Vec<_> = (0..LANES)
        .map(|lane| tokio::spawn(write(writer.clone(), first + lane)))
        .collect();
    read(reader).await;
    for lane in lanes {
        lane.await.unwrap();
    }
}

/// What one life told.
#[derive(Default)]
struct Told {
    acknowledged: BTreeSet<u64>,
    delivered: Vec<u64>,
}

/// Runs the process, and kills it some time after its first acknowledgement.
fn live_and_die(folder: &Path, life: u64) -> Told {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["kill::until_it_is_killed", "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .env(FIRST, (life * LIFE).to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let lifetime = Duration::from_millis(50 + life * 37 % 300);
    let (mut told, mut begun) = (Told::default(), None);
    let mut alive = true;
    for line in output.lines() {
        let line = line.unwrap();
        let Some((word, number)) = line.strip_prefix('=').and_then(|line| line.split_once(' '))
        else {
            continue;
        };
        let number = number.parse().unwrap();
        match word {
            "a" => _ = told.acknowledged.insert(number),
            _ => told.delivered.push(number),
        }
        let lived = begun.get_or_insert_with(Instant::now).elapsed();
        // However slow the machine is, it has done something when it dies.
        if alive && lived > lifetime && told.acknowledged.len() > 10 {
            child.kill().unwrap();
            alive = false;
        }
    }
    assert!(!alive, "it ended by itself");
    child.wait().unwrap();
    told
}

#[tokio::test]
async fn twenty_kills_lose_nothing_and_repeat_one_at_most_each() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    let mut delivered: BTreeMap<u64, u64> = BTreeMap::new();
    for life in 0..KILLS {
        let told = live_and_die(folder.path(), life);
        assert!(told.acknowledged.len() > 10, "it did nothing");
        acknowledged.extend(told.acknowledged);
        for number in told.delivered {
            *delivered.entry(number).or_default() += 1;
        }
        let twice = delivered.values().filter(|times| **times > 1).count() as u64;
        assert!(twice <= life, "{twice} came twice by life {life}");
    }
    let (writer, reader) = open(folder.path(), load());
    for number in drain(writer, reader).await {
        *delivered.entry(number).or_default() += 1;
    }
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|number| !delivered.contains_key(number))
        .collect();
    assert!(
        lost.is_empty(),
        "{} of {} lost: {lost:?}",
        lost.len(),
        acknowledged.len()
    );
    let again: u64 = delivered.values().map(|times| times - 1).sum();
    assert!(again <= KILLS, "{again} repeated");
    println!(
        "{} acknowledged, {} delivered, {again} again",
        acknowledged.len(),
        delivered.len()
    );
}

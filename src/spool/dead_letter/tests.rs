use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::{DeadLetter, DeadLetterSetup, DeadLetterTask, Letter};
use crate::metrics::{Metrics, Stage};

fn clock() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_800_000_000_123)
}

fn open(folder: &Path, max_bytes: u64, metrics: &Metrics) -> (DeadLetter, DeadLetterTask) {
    DeadLetter::open(DeadLetterSetup {
        folder: folder.to_owned(),
        sink: Stage::Influx,
        max_bytes,
        metrics: metrics.clone(),
        clock,
    })
    .unwrap()
}

fn letter(number: u64, size: usize) -> Letter {
    Letter {
        url: "http://127.0.0.1:8086".to_owned(),
        reason: "400 no".to_owned(),
        size,
        content: Box::new(move || {
            let lines = vec![format!("m n={number}i {}", "1".repeat(size))];
            Map::from_iter([("lines".to_owned(), json!(lines))])
        }),
    }
}

fn lines(folder: &Path, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    let parse = |line: &str| serde_json::from_str(line).unwrap_or(Value::Null);
    text.lines().map(parse).collect()
}

fn counted(metrics: &Metrics, outcome: &str) -> u64 {
    let name = format!("rabtrace_dead_letters_total{{outcome=\"{outcome}\",sink=\"influx\"}} ");
    let text = metrics.encode().unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(&name));
    value.map_or(0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn a_letter_is_a_line_that_says_when_where_and_why() {
    let (folder, metrics) = (tempfile::tempdir().unwrap(), Metrics::new().unwrap());
    // What a crash left of a line stays a line of its own.
    std::fs::write(folder.path().join("dead_letter.ndjson"), "{\"time").unwrap();
    let (dead_letter, task) = open(folder.path(), 1 << 20, &metrics);
    dead_letter.keep(letter(1, 3));
    let file = dead_letter.file();
    drop(dead_letter);
    task.run().await;
    let expect = json!({
        "time": "2027-01-15T08:00:00.123Z", "sink": "influx", "url": "http://127.0.0.1:8086",
        "reason": "400 no", "lines": ["m n=1i 111"],
    });
    assert_eq!(
        lines(folder.path(), "dead_letter.ndjson"),
        [Value::Null, expect]
    );
    let metadata = file.path().metadata().unwrap();
    assert_eq!((file.letters(), file.bytes()), (1, metadata.len()));
    let (dead_letter, task) = open(&folder.path().join("away"), 1 << 20, &metrics);
    dead_letter.keep(letter(2, 3));
    drop(dead_letter);
    task.run().await;
    assert_eq!(
        (counted(&metrics, "kept"), counted(&metrics, "not_kept")),
        (1, 1)
    );
}

#[tokio::test]
async fn two_files_take_turns_and_the_newest_are_kept() {
    let (folder, metrics) = (tempfile::tempdir().unwrap(), Metrics::new().unwrap());
    let (dead_letter, task) = open(folder.path(), 4096, &metrics);
    let task = tokio::spawn(task.run());
    for number in 0..100 {
        dead_letter.keep(letter(number, 200));
    }
    dead_letter.keep(letter(100, 3000));
    drop(dead_letter);
    task.await.unwrap();
    let old = folder.path().join("dead_letter.1.ndjson");
    let new = folder.path().join("dead_letter.ndjson");
    let sizes = [&old, &new].map(|path| path.metadata().unwrap().len());
    assert!(sizes.iter().all(|size| *size <= 2048), "{sizes:?}");
    assert_eq!(new.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let mut kept = lines(folder.path(), "dead_letter.1.ndjson");
    kept.extend(lines(folder.path(), "dead_letter.ndjson"));
    let first = 100 - kept.len();
    for (number, line) in (first..).zip(&kept) {
        let text = line["lines"][0].as_str().unwrap();
        assert!(text.starts_with(&format!("m n={number}i ")), "{text}");
    }
    assert!(kept.len() >= 6, "{}", kept.len());
    assert_eq!(
        (counted(&metrics, "kept"), counted(&metrics, "not_kept")),
        (100, 1)
    );
}

#[tokio::test]
async fn so_much_is_written_in_a_second_and_the_rest_at_the_end() {
    let (folder, metrics) = (tempfile::tempdir().unwrap(), Metrics::new().unwrap());
    let (dead_letter, task) = open(folder.path(), 64 << 20, &metrics);
    let running = tokio::spawn(task.run());
    let keep = |numbers: std::ops::Range<u64>| {
        for number in numbers {
            dead_letter.keep(letter(number, 200_000));
        }
    };
    let begun = Instant::now();
    keep(0..12);
    while counted(&metrics, "kept") < 12 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The first 1,048,576 of 2,400,000 bytes wait for nobody, nor does anybody for the last letter.
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(1), "{took:?}");
    keep(12..52);
    let begun = Instant::now();
    drop(dead_letter);
    running.await.unwrap();
    let took = begun.elapsed();
    assert!(
        took < Duration::from_millis(5_700),
        "{took:?}, of 7.6 s at that rate"
    );
    let outcomes = ["kept", "not_kept"].map(|outcome| counted(&metrics, outcome));
    assert_eq!(outcomes, [52, 0]);
}

#[test]
fn a_sink_never_waits_for_the_file() {
    let (folder, metrics) = (tempfile::tempdir().unwrap(), Metrics::new().unwrap());
    let (dead_letter, task) = open(folder.path(), 1 << 30, &metrics);
    // One that is larger than what may wait may wait alone; nothing is written meanwhile.
    dead_letter.keep(letter(0, 9 << 20));
    dead_letter.keep(letter(1, 1));
    assert_eq!(counted(&metrics, "not_kept"), 1);
    drop(task);
    for number in 2..1000 {
        dead_letter.keep(letter(number, 0));
    }
    assert_eq!(counted(&metrics, "not_kept"), 999);
}

#[test]
fn it_can_be_turned_off() {
    let setup = DeadLetterSetup {
        folder: "/nowhere".into(),
        sink: Stage::Influx,
        max_bytes: 0,
        metrics: Metrics::new().unwrap(),
        clock,
    };
    assert!(DeadLetter::open(setup).is_none());
}

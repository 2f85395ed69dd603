//! The spool on a real disk: durable appends by 1, 8 and 64 writers, with and without a reader;
//! opening with a backlog of 2 GB; reading it back; zstd for each record against zstd for a group.
//!
//! `append_5000` are batches of 5,000 lines as the flow makes them, `append_64` of 64 lines. `idle`:
//! nobody reads, as in an outage; `live`: a reader takes everything. The bare `write` and
//! `fdatasync` of as many bytes stands beside them. Figures of one run belong together. Output: a
//! table, and `target/spool.json`. `cargo bench --bench spool -- append` runs what has the word in
//! its name.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on says where"
)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rabtrace::influx::encode;
use rabtrace::metrics::{Metrics, Stage};
use rabtrace::model::Point;
use rabtrace::spool::{Limits, Reader, Spool, SpoolSetup, Writer};
use rustix::fs::{Advice, fadvise};
use serde_json::{Map, Value, json};

const RUN: Duration = Duration::from_secs(3);
const BACKLOG: u64 = 2 << 30;

/// Lines of hops, as the sink gets them by the thousand.
fn lines(number: u64, random: &mut fastrand::Rng) -> Bytes {
    let mut text = Vec::new();
    let services = ["gateway", "planner", "weather service", "responder"];
    for at in 0..number {
        let queue = format!("queue_{}", random.u8(..40));
        let time =
            1_763_700_000_000_000_000 + i64::try_from(at * 50_000 + random.u64(..9_999)).unwrap();
        let point = Point::new("spans", time)
            .tag("destination", queue.as_str())
            .tag("kind", "consumer")
            .tag("service_name", services[random.usize(..4)])
            .tag("span_name", format!("process {queue}"))
            .tag("status", "ok")
            .text("trace_id", Some(format!("{:032x}", random.u128(..))))
            .text("span_id", Some(format!("{:016x}", random.u64(..))))
            .float("duration_ms", Some(random.f64() * 20.0))
            .float("queue_ms", Some(f64::from(random.u16(..)) / 100.0))
            .int("attempt", Some(1));
        assert!(encode(&point, &mut text));
    }
    text.into()
}

fn open(folder: &Path) -> (Writer, Reader) {
    let limits = Limits {
        disk_bytes: 16 << 30,
        ..Limits::default()
    };
    Spool::open(SpoolSetup {
        folder: folder.to_owned(),
        sink: Stage::Influx,
        limits,
        metrics: Metrics::new().unwrap(),
    })
    .unwrap()
}

async fn close(writer: Writer, reader: Reader) {
    let spool = writer.spool();
    drop((writer, reader));
    spool.closed().await;
}

fn rate(number: u64, took: Duration) -> f64 {
    number as f64 / took.as_secs_f64()
}

fn megabytes(bytes: u64, took: Duration) -> f64 {
    rate(bytes, took) / 1e6
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The most memory that this process ever had, in MiB.
fn peak_memory() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

fn disk_bytes(folder: &Path) -> u64 {
    let sizes = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len());
    sizes.sum()
}

/// One writer, as fast as it is acknowledged; how long each append took.
async fn write(writer: Writer, payloads: Vec<Bytes>, points: u32, until: Instant) -> Vec<Duration> {
    let mut took = Vec::new();
    for payload in payloads.iter().cycle() {
        let begun = Instant::now();
        if begun >= until {
            break;
        }
        writer.append(0, points, payload.clone()).await.unwrap();
        took.push(begun.elapsed());
    }
    took
}

async fn read(mut reader: Reader) -> Reader {
    while let Some(record) = reader.next().await {
        reader.done(record).await;
    }
    reader
}

async fn append(writers: usize, points: u32, live: bool) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let payloads: Vec<_> = (0..16)
        .map(|_| lines(u64::from(points), &mut random))
        .collect();
    let bytes: u64 = payloads
        .iter()
        .map(|payload| payload.len() as u64)
        .sum::<u64>()
        / 16;
    let (writer, reader) = open(folder.path());
    let spool = writer.spool();
    let (reading, held) = match live {
        true => (Some(tokio::spawn(read(reader))), None),
        false => (None, Some(reader)),
    };
    let begun = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|_| tokio::spawn(write(writer.clone(), payloads.clone(), points, begun + RUN)))
        .collect();
    drop(writer);
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    let took = begun.elapsed();
    let (stats, stored) = (spool.stats(), disk_bytes(folder.path()));
    drop(held);
    if let Some(reading) = reading {
        drop(reading.await.unwrap());
    }
    spool.closed().await;
    times.sort_unstable();
    let number = times.len() as u64;
    let at = |percent: usize| milliseconds(times[(times.len() - 1) * percent / 100]);
    let mut row = json!({
        "appends_per_second": rate(number, took),
        "points_per_second": rate(number * u64::from(points), took),
        "mb_per_second": megabytes(number * bytes, took),
        "p50_ms": at(50),
        "p99_ms": at(99),
        "appends_per_commit": number as f64 / stats.commits as f64,
        "peak_memory_mib": peak_memory(),
    });
    match live {
        true => {
            row["from_memory"] =
                json!(stats.from_memory as f64 / (stats.from_memory + stats.from_disk) as f64)
        }
        false => row["ratio"] = json!((number * bytes) as f64 / stored as f64),
    }
    row
}

/// What the disk does with as many bytes, one write and one sync each.
fn bare(bytes: usize) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = File::create(folder.path().join("bare")).unwrap();
    let content: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(bytes)
        .collect();
    let (begun, mut number) = (Instant::now(), 0_u64);
    while begun.elapsed() < RUN / 2 {
        file.write_all_at(&content, number * bytes as u64).unwrap();
        file.sync_data().unwrap();
        number += 1;
    }
    let took = begun.elapsed();
    json!({
        "appends_per_second": rate(number, took),
        "mb_per_second": megabytes(number * bytes as u64, took),
        "mean_ms": milliseconds(took) / number as f64,
    })
}

/// Fills a folder with payloads that do not pack.
async fn fill(folder: &Path) -> u64 {
    let (writer, reader) = open(folder);
    let payload: Bytes = std::iter::repeat_with(|| fastrand::u8(..))
        .take(64 << 10)
        .collect();
    let number = BACKLOG / payload.len() as u64;
    let write = |_| {
        let (writer, payload) = (writer.clone(), payload.clone());
        async move {
            for _ in 0..number / 32 {
                writer.append(0, 1, payload.clone()).await.unwrap();
            }
        }
    };
    futures_util::future::join_all((0..32).map(write)).await;
    close(writer, reader).await;
    number
}

/// Lets the system forget what it holds of these files, and of no others: as after a reboot.
fn forget(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().all(|entry| {
        let file = File::open(entry.unwrap().path()).unwrap();
        file.sync_all().is_ok() && fadvise(&file, 0, None, Advice::DontNeed).is_ok()
    })
}

/// How long opening takes until the first record is there, and how fast the rest is read.
async fn backlog() -> [(String, Value); 2] {
    let folder = tempfile::tempdir().unwrap();
    let number = fill(folder.path()).await;
    let mut opened = Vec::new();
    let mut first = Vec::new();
    for _ in 0..5 {
        let cold = forget(folder.path());
        let begun = Instant::now();
        let (writer, mut reader) = open(folder.path());
        opened.push((begun.elapsed(), cold));
        let spool = writer.spool();
        assert_eq!(spool.stats().found.records, number);
        black_box(reader.next().await.unwrap());
        first.push(begun.elapsed());
        close(writer, reader).await;
    }
    let (writer, reader) = open(folder.path());
    drop(writer);
    let begun = Instant::now();
    let reader = read(reader).await;
    let took = begun.elapsed();
    assert_eq!(reader.spool().stats().delivered.records, number);
    let slowest = opened
        .iter()
        .map(|(took, _)| *took)
        .max()
        .unwrap_or_default();
    let ready = json!({
        "slowest_open_ms": milliseconds(slowest),
        "slowest_first_record_ms": milliseconds(first.into_iter().max().unwrap_or_default()),
        "cold": opened.iter().all(|(_, cold)| *cold),
    });
    let back = json!({
        "records_per_second": rate(number, took),
        "mb_per_second": megabytes(BACKLOG, took),
        "peak_memory_mib": peak_memory(),
    });
    [
        ("open_2gb".to_owned(), ready),
        ("read_back_64k".to_owned(), back),
    ]
}

/// Lines that were spooled in an outage, read back.
async fn read_lines(points: u32) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(2);
    let payload = lines(u64::from(points), &mut random);
    let (writer, reader) = open(folder.path());
    let number = 2_000_000 / u64::from(points);
    let write = |_| {
        let (writer, payload) = (writer.clone(), payload.clone());
        async move {
            for _ in 0..number / 16 {
                writer.append(0, points, payload.clone()).await.unwrap();
            }
        }
    };
    futures_util::future::join_all((0..16).map(write)).await;
    close(writer, reader).await;
    let (writer, reader) = open(folder.path());
    drop(writer);
    let begun = Instant::now();
    let reader = read(reader).await;
    let (took, stats) = (begun.elapsed(), reader.spool().stats());
    json!({
        "points_per_second": rate(stats.delivered.items, took),
        "mb_per_second": megabytes(stats.delivered.records * payload.len() as u64, took),
    })
}

/// Each payload packed by itself, and 16 of them together.
fn packing(points: u64) -> Value {
    let mut random = fastrand::Rng::with_seed(3);
    let payloads: Vec<_> = (0..16).map(|_| lines(points, &mut random)).collect();
    let mut packer = zstd::bulk::Compressor::new(1).unwrap();
    let whole = payloads.concat();
    let rounds = u32::try_from(20_000 / points).unwrap().max(2);
    let begun = Instant::now();
    let mut each = 0;
    for _ in 0..rounds {
        each = payloads
            .iter()
            .map(|payload| packer.compress(payload).unwrap().len())
            .sum::<usize>();
    }
    let each_took = begun.elapsed() / rounds;
    let begun = Instant::now();
    let mut group = 0;
    for _ in 0..rounds {
        group = packer.compress(&whole).unwrap().len();
    }
    let group_took = begun.elapsed() / rounds;
    json!({
        "payload_bytes": payloads[0].len(),
        "ratio_each": whole.len() as f64 / each as f64,
        "ratio_group": whole.len() as f64 / group as f64,
        "mb_per_second_each": megabytes(whole.len() as u64, each_took),
        "mb_per_second_group": megabytes(whole.len() as u64, group_took),
    })
}

fn show(name: &str, value: &Value) {
    let figure = |(name, value): (&String, &Value)| match value.as_f64() {
        Some(number) => format!("{name} {number:.2}"),
        None => format!("{name} {value}"),
    };
    let figures: Vec<_> = value
        .as_object()
        .into_iter()
        .flatten()
        .map(figure)
        .collect();
    println!("{name:<28} {}", figures.join("  "));
}

fn main() {
    let word = std::env::args()
        .skip(1)
        .find(|word| !word.starts_with('-'))
        .unwrap_or_default();
    let wanted = |name: &str| name.contains(&word);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut rows = Map::new();
    let mut add = |name: String, value: Value| {
        show(&name, &value);
        rows.insert(name, value);
    };
    for points in [64, 5_000]
        .into_iter()
        .filter(|points| wanted(&format!("packing_{points}")))
    {
        add(format!("packing_{points}"), packing(points));
    }
    for bytes in [4 << 10, 256 << 10, 4 << 20] {
        let name = format!("bare_{}k", bytes >> 10);
        if wanted(&name) {
            add(name, bare(bytes));
        }
    }
    for points in [64, 5_000] {
        for (writers, live) in [
            (1, false),
            (8, false),
            (64, false),
            (1, true),
            (8, true),
            (64, true),
        ] {
            let reader = if live { "live" } else { "idle" };
            let name = format!("append_{points}_{reader}_{writers}");
            if wanted(&name) {
                add(name, runtime.block_on(append(writers, points, live)));
            }
        }
        let name = format!("read_back_{points}");
        if wanted(&name) {
            add(name, runtime.block_on(read_lines(points)));
        }
    }
    if wanted("open_2gb") || wanted("read_back_64k") {
        for (name, value) in runtime.block_on(backlog()) {
            add(name, value);
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/spool.json");
    fs::write(path, serde_json::to_string_pretty(&rows).unwrap()).unwrap();
}

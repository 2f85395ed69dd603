//! Path metrics in the agent: records merged per second, memory at 10,000 paths, and the merge of
//! a day of windows out of the store, with sums of 5 minutes and without. Output: criterion's, and
//! `target/flow.json` for what criterion does not measure.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints what criterion does not measure, and stops at the first surprise"
)]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rabtrace::config;
use rabtrace::flow::{Flow, FlowSetup};
use rabtrace::model::{
    Batch, Checkpoint, Direction, EdgeKind, FlowWindow, Histogram, PathMeasure, PathRecord,
    PathValue, Resume, Signal, StoreBatch,
};
use rabtrace::store::{Done, Store};
use rusqlite::Connection;

const SECOND: i64 = 1_000_000_000;
/// The first second of an hour.
const BASE: i64 = 1_800_000_000 * SECOND;
const CHECKPOINTS: u64 = 20;
const HOURS: i64 = 24;

fn flow() -> Flow {
    Flow::new(FlowSetup {
        window: Duration::from_secs(10),
        max_series: 20_000,
        instance: Arc::from("bench"),
        resume: Resume::default(),
        now_unix_nano: BASE,
    })
}

/// 100 durations from 1 ms to 30 ms, others for every seed.
fn histogram(seed: u64) -> Histogram {
    let mut histogram = Histogram::default();
    for number in 0..100_u64 {
        let step = (number * 37 + seed * 11) % 100;
        histogram.record(0.001 * f64::exp(f64::from(u8::try_from(step).unwrap()) / 29.0));
    }
    histogram
}

/// What a service sends for one checkpoint: messages, edge, total.
fn records(hash: u64, end: u64) -> [PathRecord; 3] {
    let record = |measure, value| PathRecord {
        service: Arc::from("planner"),
        instance: Arc::from("planner-1"),
        hash,
        parent: (hash > 1).then_some(hash - hash % 50),
        direction: Direction::In,
        destination: Arc::from(format!("queue_{hash}")),
        kind: EdgeKind::Forward,
        via: None,
        error_type: None,
        measure,
        cumulative: false,
        start_unix_nano: 0,
        end_unix_nano: end,
        value,
    };
    [
        record(PathMeasure::Messages, PathValue::Count(100)),
        record(PathMeasure::Edge, PathValue::Exponential(histogram(hash))),
        record(
            PathMeasure::Total,
            PathValue::Exponential(histogram(hash + 1)),
        ),
    ]
}

fn batch(checkpoints: u64, end: u64) -> Batch {
    Batch {
        paths: (1..=checkpoints)
            .flat_map(|hash| records(hash, end))
            .collect(),
        ..Batch::new(Signal::Metrics, Bytes::new())
    }
}

fn merging(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flow");
    for checkpoints in [CHECKPOINTS, 10_000] {
        let mut flow = flow();
        let mut end = 0;
        group.throughput(Throughput::Elements(3 * checkpoints));
        group.bench_function(format!("records_of_{checkpoints}_checkpoints"), |bencher| {
            let next = || {
                end += 1;
                batch(checkpoints, end)
            };
            let take = |batch| flow.take_batch(batch, BASE);
            bencher.iter_batched(next, take, BatchSize::PerIteration);
        });
    }
    group.finish();
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Kibibytes that 10,000 paths take, with an open window of each.
fn memory() -> u64 {
    let before = resident();
    let mut flow = flow();
    for first in (0..10_000_u64).step_by(100) {
        let paths = (first + 1..=first + 100).flat_map(|hash| records(hash, 1));
        let whole = Batch {
            paths: paths.collect(),
            ..batch(0, 1)
        };
        drop(flow.take_batch(whole, BASE));
    }
    let after = resident();
    drop(flow);
    (after - before) / 1024
}

/// A day of windows, its hours closed: how long an hour's sums took.
fn a_day(folder: &Path) -> Duration {
    let config = config::Store {
        folder: folder.to_owned(),
        retention: Duration::from_secs(48 * 3600),
        max_bytes: 8 << 30,
        spans: true,
    };
    let now = || UNIX_EPOCH + Duration::from_secs(1_800_000_000 + 24 * 3600 + 600);
    let mut store = Store::open(&config, now as fn() -> SystemTime).unwrap();
    for hour in 0..HOURS {
        let windows = (0..360).flat_map(|at| {
            let start = BASE + (hour * 360 + at) * 10 * SECOND;
            (1..=CHECKPOINTS).map(move |hash| window(hash, start))
        });
        let batch = StoreBatch {
            windows: windows.collect(),
            ..StoreBatch::default()
        };
        store.write(&[batch]).unwrap();
    }
    let begun = std::time::Instant::now();
    let mut hours = 0;
    loop {
        match store.step().unwrap() {
            Done::Nothing => break,
            step => hours += u32::from(step == Done::HourSummed),
        }
    }
    let took = begun.elapsed() / hours;
    store.checkpoint().unwrap();
    took
}

fn window(hash: u64, start: i64) -> FlowWindow {
    let checkpoint = Checkpoint {
        hash,
        kind: EdgeKind::Forward,
        service: Arc::from("planner"),
        direction: Direction::In,
        destination: Arc::from("planner_queue"),
        sampled: false,
    };
    let seed = hash + start.unsigned_abs() / 10_000_000_000;
    FlowWindow {
        count: 100,
        edge: histogram(seed),
        total: histogram(seed + 1),
        process: histogram(seed + 2),
        ..FlowWindow::new(checkpoint, start, Duration::from_secs(10))
    }
}

/// Merges the three histograms of every row of a day, by checkpoint.
fn merge_day(database: &Connection, kind: &str) -> u64 {
    let mut sums = std::collections::HashMap::<i64, [Histogram; 3]>::new();
    for hour in BASE / (3600 * SECOND)..BASE / (3600 * SECOND) + HOURS {
        let text = format!("SELECT checkpoint, edge, total, process FROM hour_{hour}_{kind}");
        let mut statement = database.prepare(&text).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let sum = sums.entry(row.get(0).unwrap()).or_default();
            for (place, sum) in sum.iter_mut().enumerate() {
                let bytes = row.get_ref(place + 1).unwrap().as_blob().unwrap();
                assert!(sum.merge_encoded(bytes));
            }
        }
    }
    sums.values().flatten().map(Histogram::count).sum()
}

fn day(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let an_hour = a_day(folder.path());
    let database = Connection::open(folder.path().join("rabtrace.db")).unwrap();
    let whole = merge_day(&database, "flow");
    assert_eq!(whole, merge_day(&database, "flow_sums"));
    assert_eq!(whole, 3 * 8_640 * CHECKPOINTS * 100);
    let mut group = criterion.benchmark_group("flow");
    group.sample_size(10);
    for kind in ["flow", "flow_sums"] {
        group.bench_function(format!("merge_a_day_of_{kind}"), |bencher| {
            bencher.iter(|| merge_day(black_box(&database), kind));
        });
    }
    group.finish();
    let figures = serde_json::json!({
        "memory_kib_of_10000_paths": MEMORY.load(Ordering::Relaxed),
        "sum_of_an_hour_ms": an_hour.as_secs_f64() * 1e3,
    });
    println!("{figures:#}");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/target/flow.json");
    std::fs::write(file, figures.to_string()).unwrap();
}

static MEMORY: AtomicU64 = AtomicU64::new(0);

/// First of all, while the process is small.
fn figures(_: &mut Criterion) {
    MEMORY.store(memory(), Ordering::Relaxed);
}

criterion_group!(benches, figures, merging, day);
criterion_main!(benches);

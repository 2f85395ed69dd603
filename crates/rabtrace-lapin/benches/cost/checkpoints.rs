//! What a checkpoint of a path costs by itself: time, instructions and allocations of the path's
//! part of a publish and of a delivery, in the steady state.
//!
//! Histograms are exponential by a view of the SDK, which is what its users are told to have; the
//! feature `bound-metrics` makes the series bound. `read` and `write` are the path in `tracestate`.

use std::hint::black_box;
use std::time::Duration;

use opentelemetry_sdk::metrics::{
    Aggregation, InMemoryMetricExporter, Instrument, PeriodicReader, SdkMeterProvider, Stream,
};
use rabtrace_lapin::TraceConfig;
use rabtrace_lapin::cost::{Checkpoints, write};
use rabtrace_lapin::opentelemetry::trace::noop::NoopTracerProvider;
use rabtrace_lapin::path::PathContext;
use rustix::time::ClockId;
use serde_json::{Map, Value, json};

use crate::callgrind::{self, mark};
use crate::turns::cpu;

/// Each of the things that are measured; `bare` without a meter.
const SIDES: [&str; 7] = [
    "out",
    "in",
    "in_to_end",
    "out_bare",
    "in_bare",
    "write",
    "read",
];
/// Calls that callgrind counts, after as many that it does not.
const COUNTED: u64 = 2_048;
/// Calls of one measurement of time.
const TIMED: u64 = 200_000;
/// Measurements of time, of which the median counts.
const ROUNDS: usize = 15;

/// One service, and a path that came to it.
struct Bench {
    checkpoints: Checkpoints,
    bare: Checkpoints,
    path: PathContext,
    value: String,
    _meters: SdkMeterProvider,
}

impl Bench {
    fn new() -> Self {
        let view = |instrument: &Instrument| {
            let is_path = instrument.name().starts_with("rabtrace.path.");
            let exponential = Aggregation::Base2ExponentialHistogram {
                max_size: 160,
                max_scale: 20,
                record_min_max: true,
            };
            let is_seconds = is_path && instrument.unit() == "s";
            let stream = Stream::builder().with_aggregation(exponential);
            is_seconds.then(|| stream.build().ok()).flatten()
        };
        let reader = PeriodicReader::builder(InMemoryMetricExporter::default()).build();
        let meters = SdkMeterProvider::builder()
            .with_reader(reader)
            .with_view(view)
            .build();
        let config = TraceConfig::new()
            .with_tracer_provider(&NoopTracerProvider::new())
            .with_service_name("bench");
        let bare = Checkpoints::new(&config.clone().without_metrics(), "tasks");
        let config = config.with_meter_provider(&meters);
        let checkpoints = Checkpoints::new(&config, "tasks");
        let before = Checkpoints::new(&config, "before");
        let path = before.deliver(&before.publish(None, 1_000_000), 1_002_500);
        Self {
            checkpoints,
            bare,
            path,
            value: path.to_string(),
            _meters: meters,
        }
    }

    /// Runs one of [`SIDES`] `count` times.
    fn run(&self, side: &str, count: u64) {
        let (checkpoints, path) = (&self.checkpoints, black_box(&self.path));
        // As far apart as messages are.
        let time = |number: u64| path.last_us() + 200 + (number * 7_919) % 50_000;
        for number in 0..count {
            match side {
                "out" => drop(black_box(checkpoints.publish(Some(path), time(number)))),
                "in" => drop(black_box(checkpoints.deliver(path, time(number)))),
                "in_to_end" => {
                    let took = Duration::from_micros(time(number) & 0xffff);
                    black_box(checkpoints.handle(path, time(number), took));
                }
                "out_bare" => drop(black_box(self.bare.publish(Some(path), time(number)))),
                "in_bare" => drop(black_box(self.bare.deliver(path, time(number)))),
                "write" => drop(black_box(write(path))),
                _ => drop(black_box(PathContext::parse(black_box(&self.value)))),
            }
        }
    }

    /// Nanoseconds of the processor for one call.
    fn time(&self, side: &str, count: u64) -> f64 {
        let mut each: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                // What else runs on the machine does not count.
                let begun = cpu(ClockId::ThreadCPUTime);
                self.run(side, count);
                let took = cpu(ClockId::ThreadCPUTime) - begun;
                took.as_secs_f64() * 1e9 / count as f64
            })
            .collect();
        each.sort_by(f64::total_cmp);
        each[each.len() / 2]
    }
}

/// The program under callgrind: every side, each between two marks.
pub(crate) fn child(count: u64) {
    let bench = Bench::new();
    for (at, side) in SIDES.into_iter().enumerate() {
        bench.run(side, count);
        mark(2 * at);
        bench.run(side, count);
        mark(2 * at + 1);
    }
    std::process::exit(0);
}

/// Prints the figures, and gives them by side. Without `whole` it is only a look.
pub(crate) fn run(whole: bool) -> Value {
    let count = COUNTED.to_string();
    let counted = (whole && callgrind::is_there()).then(|| {
        let words = ["--checkpoints", &count];
        callgrind::alone("checkpoints", &words, SIDES.len()).expect("callgrind")
    });
    let bench = Bench::new();
    println!(
        "{:<20} {:>9} {:>12} {:>12}",
        "checkpoint", "ns", "Ir", "allocations"
    );
    let mut report = Map::new();
    for (at, side) in SIDES.into_iter().enumerate() {
        let nanoseconds = bench.time(side, if whole { TIMED } else { 100 });
        let counts = counted.as_ref().and_then(|counted| counted.get(at));
        let each = |count: u64| count as f64 / COUNTED as f64;
        let instructions = counts.map(|counts| each(counts.instructions));
        let allocations = counts.map(|counts| each(counts.allocations));
        println!(
            "{side:<20} {nanoseconds:>9.1} {:>12.1} {:>12.3}",
            instructions.unwrap_or(f64::NAN),
            allocations.unwrap_or(f64::NAN)
        );
        let figures = json!({
            "ns": nanoseconds, "instructions": instructions, "allocations": allocations,
        });
        report.insert(side.to_owned(), figures);
    }
    Value::Object(report)
}

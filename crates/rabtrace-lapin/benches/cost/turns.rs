//! Time per message: modes take turns, and are compared within a round.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};

/// What the others are compared with.
const RAW: &str = "raw";
/// What no tracer that propagates a trace and a path can go below.
const FLOOR: &str = "parent_and_path";

/// What one step of a turn took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    wall: Duration,
    /// CPU of the thread that publishes and consumes.
    application: Duration,
    /// CPU of all threads, with the export of the spans.
    process: Duration,
}

impl Took {
    /// Measures `run`. What `flush` does is time of the process only: exports go on beside the
    /// application.
    pub(crate) fn of(run: impl FnOnce(), flush: impl FnOnce()) -> Self {
        let (application, process) = (ClockId::ThreadCPUTime, ClockId::ProcessCPUTime);
        let (application_before, process_before) = (cpu(application), cpu(process));
        let begun = Instant::now();
        run();
        let wall = begun.elapsed();
        let application_after = cpu(application);
        flush();
        Self {
            wall,
            application: application_after - application_before,
            process: cpu(process) - process_before,
        }
    }
}

/// What a clock of the processor says.
pub(crate) fn cpu(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

/// One turn of a mode: its steps by name, in their order.
pub(crate) type Turn<'a> = Box<dyn FnMut() -> Vec<(&'static str, Took)> + 'a>;

/// A mode, and its turns so far.
pub(crate) struct Row<'a> {
    name: &'static str,
    turn: Turn<'a>,
    took: Vec<(&'static str, Took)>,
}

impl<'a> Row<'a> {
    pub(crate) fn new(name: &'static str, turn: Turn<'a>) -> Self {
        Self {
            name,
            turn,
            took: Vec::new(),
        }
    }

    fn side(&self, side: &str) -> impl Iterator<Item = Took> {
        let steps = self.took.iter().filter(move |(name, _)| *name == side);
        steps.map(|(_, took)| *took)
    }
}

/// A turn of every mode to warm up, then the rounds; each begins with another mode.
pub(crate) fn take(rows: &mut [Row<'_>], rounds: usize) {
    for row in rows.iter_mut() {
        (row.turn)();
    }
    for round in 0..rounds {
        let count = rows.len();
        for at in 0..count {
            let row = &mut rows[(round + at) % count];
            row.took.extend((row.turn)());
        }
    }
}

/// Prints the figures of a side whose steps had `messages` messages, and puts them into `into` as
/// `side/mode`.
pub(crate) fn report(
    rows: &[Row<'_>],
    (side, messages): (&str, u64),
    into: &mut Map<String, Value>,
) {
    println!(
        "{:<20} {:<24} {:>9} {:>11} {:>11} {:>7} {:>8}",
        "side", "mode", "wall ns", "cpu thread", "cpu process", "of raw", "of floor"
    );
    for row in rows {
        let each = |duration: Duration| duration.as_secs_f64() * 1e9 / messages as f64;
        let of = |part: fn(&Took) -> Duration| median(row.side(side).map(|took| each(part(&took))));
        let (wall, application, process) = (
            of(|took| took.wall),
            of(|took| took.application),
            of(|took| took.process),
        );
        let [raw, floor] = [RAW, FLOOR].map(|name| throughput(rows, (row, name), side));
        println!(
            "{side:<20} {:<24} {wall:>9.0} {application:>11.0} {process:>11.0} {raw:>7.3} {floor:>8.3}",
            row.name
        );
        let figures = json!({
            "wall_ns": wall, "application_ns": application, "process_ns": process,
            "throughput_of_raw": raw, "throughput_of_floor": floor,
        });
        into.insert(format!("{side}/{}", row.name), figures);
    }
}

/// Writes a report as a new file: the old one may be linked into the copy of a build folder.
pub(crate) fn write(file: &str, report: &Value) {
    let _ = std::fs::remove_file(file);
    std::fs::write(file, report.to_string()).expect("the report");
}

/// Median over the rounds of messages per second, as a part of another mode's.
fn throughput(rows: &[Row<'_>], (row, other): (&Row<'_>, &str), side: &str) -> f64 {
    let other = rows.iter().find(|row| row.name == other).unwrap_or(row);
    let rounds = row.side(side).zip(other.side(side));
    median(rounds.map(|(took, other)| other.wall.as_secs_f64() / took.wall.as_secs_f64()))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

//! Time per message, the modes taking turns.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};

use crate::modes::MODES;
use crate::side::{Client, Run, SIDES, Servers};

/// Messages of one turn.
const TURN: u64 = 1_024;
/// Rounds; in each, every mode has one turn.
const ROUNDS: usize = 40;
/// Modes that the others are compared with.
pub(crate) const RAW: &str = "raw";
pub(crate) const FLOOR: &str = "parent_and_path";

/// What one turn took.
#[derive(Clone, Copy, Debug)]
struct Took {
    wall: Duration,
    /// Of the thread that publishes and consumes.
    application: Duration,
    /// Of all threads, with the export of the spans.
    process: Duration,
}

/// A mode's client, and its turns so far.
struct Row<'a> {
    name: &'static str,
    client: Client<'a>,
    run: Run<'a>,
    took: Vec<Took>,
}

fn cpu(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

impl Row<'_> {
    fn turn(&mut self) {
        let (application, process) = (ClockId::ThreadCPUTime, ClockId::ProcessCPUTime);
        let (application_before, process_before) = (cpu(application), cpu(process));
        let begun = Instant::now();
        (self.run)(TURN).expect("the scripted server");
        let wall = begun.elapsed();
        let application_after = cpu(application);
        self.client.flush();
        self.took.push(Took {
            wall,
            application: application_after - application_before,
            process: cpu(process) - process_before,
        });
    }
}

/// Every side's rounds, by `side/mode`.
pub(crate) fn run(servers: &Servers, whole: bool) -> Value {
    let runtime = crate::runtime();
    let rounds = if whole { ROUNDS } else { 1 };
    let mut report = Map::new();
    for (name, side) in SIDES {
        let row = |mode: &crate::modes::Mode| {
            let client = Client::new(&runtime, servers, *mode);
            let run = client.side(side).expect("the scripted server");
            Row {
                name: mode.name,
                client,
                run,
                took: Vec::new(),
            }
        };
        let mut rows: Vec<Row<'_>> = MODES.iter().map(row).collect();
        for row in &mut rows {
            row.turn();
            row.took.clear();
        }
        for _ in 0..rounds {
            rows.iter_mut().for_each(Row::turn);
        }
        for row in &rows {
            report.insert(format!("{name}/{}", row.name), figures(name, row, &rows));
        }
    }
    Value::Object(report)
}

fn figures(side: &str, row: &Row<'_>, rows: &[Row<'_>]) -> Value {
    let each = |duration: Duration| duration.as_secs_f64() * 1e9 / TURN as f64;
    let of = |part: fn(&Took) -> Duration| median(row.took.iter().map(part).map(each));
    let throughput = |name| {
        let other = rows.iter().find(|row| row.name == name).unwrap_or(row);
        let pairs = row.took.iter().zip(&other.took);
        median(pairs.map(|(took, other)| other.wall.as_secs_f64() / took.wall.as_secs_f64()))
    };
    let (wall, application, process) = (
        of(|took| took.wall),
        of(|took| took.application),
        of(|took| took.process),
    );
    let (raw, floor) = (throughput(RAW), throughput(FLOOR));
    println!(
        "{side:<20} {:<24} {wall:>7.0} ns {application:>7.0} ns cpu {process:>7.0} ns cpu of all  \
         {raw:.3} of raw {floor:.3} of the floor",
        row.name
    );
    json!({
        "wall_ns": wall, "application_ns": application, "process_ns": process,
        "throughput_of_raw": raw, "throughput_of_floor": floor,
    })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

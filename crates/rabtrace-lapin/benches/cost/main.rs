//! What tracing costs a client, without a broker: raw lapin, raw lapin again (the noise), raw lapin
//! with hand-made headers (the floor), and the traced channel in all its modes ([`modes`]).
//!
//! The broker is a script in another process, so that nothing but the client is counted. First
//! the instructions and allocations of one message, which do not drift ([`callgrind`]); then
//! time, the modes taking turns ([`rounds`]). What the path's part and the SDK's are of that, without
//! a channel: [`checkpoints`] and [`sdk`], which also come alone (`cargo bench .. -- checkpoints`). Output: a table, and `target/cost.json`.

#![expect(clippy::expect_used, reason = "a benchmark without its servers ends")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod bus;
mod callgrind;
mod checkpoints;
mod floor;
mod frames;
mod modes;
mod peer;
mod rounds;
mod sdk;
mod servers;
mod side;
mod sink;
mod turns;

use serde_json::{Map, Value, json};

use crate::modes::MODES;
use crate::servers::Servers;

/// Messages per side and mode that callgrind counts.
const COUNTED: u64 = 1_024;
/// Rounds of the measurement of time.
const ROUNDS: usize = 40;

/// Of the modes that `words` names; of all of them if it names none.
fn counts(servers: &Servers, words: &[&str]) -> Value {
    if !callgrind::is_there() {
        println!(
            "no instructions and allocations: there is no valgrind (scripts/install.sh bench)"
        );
        return Value::Null;
    }
    println!(
        "{:<20} {:<24} {:>12} {:>12} {:>8} {:>8}",
        "side", "mode", "Ir thread", "Ir process", "allocs", "process"
    );
    let mut report = Map::new();
    let is_named = |mode: &&modes::Mode| words.contains(&mode.name);
    let all = !MODES.iter().any(|mode| is_named(&mode));
    for mode in MODES.iter().filter(|mode| all || is_named(mode)) {
        let costs = callgrind::count(*mode, servers, COUNTED).expect("callgrind");
        for (side, cost) in costs {
            let each = |count: u64| count as f64 / COUNTED as f64;
            let (application, process) = (cost.application, cost.process);
            println!(
                "{side:<20} {:<24} {:>12.0} {:>12.0} {:>8.2} {:>8.2}",
                mode.name,
                each(application.instructions),
                each(process.instructions),
                each(application.allocations),
                each(process.allocations),
            );
            let figures = json!({
                "application_instructions": each(application.instructions),
                "process_instructions": each(process.instructions),
                "application_allocations": each(application.allocations),
                "process_allocations": each(process.allocations),
            });
            report.insert(format!("{side}/{}", mode.name), figures);
        }
    }
    Value::Object(report)
}

fn main() {
    if servers::is_asked_for() {
        return servers::serve(|| Some(peer::serve().expect("a port")));
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // The table of checkpoints alone: no servers, a second.
    if words.contains(&"checkpoints") {
        checkpoints::run(true);
        sdk::run();
        return;
    }
    if let ["--one", mode, count, peer, sink] = words[..] {
        let mode = modes::named(mode).expect("a mode");
        let count = count.parse().expect("a number");
        return callgrind::child(mode, (peer, sink), count);
    }
    if let ["--checkpoints", count] = words[..] {
        return checkpoints::child(count.parse().expect("a number"));
    }
    if let ["--sdk", count] = words[..] {
        return sdk::child(count.parse().expect("a number"));
    }
    // Instructions and allocations alone, of all modes or of those that are named.
    if words.contains(&"counts") {
        counts(&Servers::start(), &words);
        return;
    }
    // `cargo test --benches` passes no `--bench`: a look is enough there.
    let whole = words.contains(&"--bench");
    let checkpoints = checkpoints::run(whole);
    let servers = Servers::start();
    let counts = if whole {
        counts(&servers, &words)
    } else {
        Value::Null
    };
    let sdk = if whole { sdk::run() } else { Value::Null };
    let rounds = rounds::run(&servers, if whole { ROUNDS } else { 1 });
    let report = json!({
        "counts": counts, "rounds": rounds, "checkpoints": checkpoints, "sdk": sdk,
    });
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/cost.json");
    turns::write(file, &report);
}

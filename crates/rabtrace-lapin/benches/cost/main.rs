//! What tracing costs a client, without a broker: raw lapin, raw lapin again (the noise), raw lapin
//! with hand-made headers (the floor), and the traced channel in all its modes ([`modes`]).
//!
//! The broker is a script in another process, so that nothing but the client is counted. First
//! the instructions and allocations of one message, which do not drift ([`callgrind`]); then
//! time, the modes taking turns ([`rounds`]). Output: a table, and `target/cost.json`.

#![expect(clippy::expect_used, reason = "a benchmark without its servers ends")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod bus;
mod callgrind;
mod floor;
mod frames;
mod modes;
mod peer;
mod rounds;
mod side;
mod sink;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use serde_json::{Map, Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::modes::MODES;
use crate::side::{SIDES, Servers};

/// Messages per side and mode that callgrind counts.
const COUNTED: u64 = 1_024;

/// One worker: the application is the thread that blocks on a future.
fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    let built = builder.worker_threads(1).enable_all().build();
    built.expect("a runtime")
}

/// Both servers, until the one who started them closes their input.
fn serve() {
    let runtime = runtime();
    let sink = runtime.block_on(sink::serve()).expect("a port");
    let peer = peer::serve().expect("a port");
    println!("{peer} {sink}");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// Both servers in a process of their own.
fn servers() -> (Child, Servers) {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command
        .arg("--serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().expect("the servers");
    let mut line = String::new();
    let output = child.stdout.take().expect("an output");
    BufReader::new(output)
        .read_line(&mut line)
        .expect("addresses");
    let (peer, sink) = line.trim().split_once(' ').expect("two addresses");
    let servers = Servers {
        peer: peer.to_owned(),
        sink: sink.to_owned(),
    };
    (child, servers)
}

fn counts(servers: &Servers) -> Value {
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
    for mode in MODES {
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
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["--serve"] => return serve(),
        ["--one", mode, count, peer, sink] => {
            let servers = Servers {
                peer: peer.to_owned(),
                sink: sink.to_owned(),
            };
            let mode = modes::named(mode).expect("a mode");
            return callgrind::child(mode, &servers, count.parse().expect("a number"));
        }
        _ => {}
    }
    // `cargo test --benches` passes no `--bench`: a look is enough there.
    let whole = words.contains(&"--bench");
    let (mut child, servers) = servers();
    let counts = if whole { counts(&servers) } else { Value::Null };
    let rounds = rounds::run(&servers, whole);
    let report = json!({ "counts": counts, "rounds": rounds });
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/cost.json");
    std::fs::write(file, report.to_string()).expect("the report");
    drop(child.stdin.take());
    child.wait().expect("the servers' end");
    debug_assert_eq!(SIDES.len(), 4, "the report's tables name every side");
}

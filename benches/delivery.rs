//! The agent as a process, from OTLP to its sinks, beside another collector: what a span costs in
//! time of a processor, how many points are acknowledged and durable in a second, and how much
//! memory it takes.
//!
//! `rotel` (PyPI's package, which `make test` installs) receives and exports the same requests; it
//! neither stores nor syncs. The agent that passes through syncs and does not store spans
//! (`store.spans = false`), the other one does both. All take turns in one run and export over HTTP
//! to a sink in this process. Output: a table, and `target/delivery.json`.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on says where"
)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../tests/faults/harness/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "the harness of the faults, which needs more of it"
)]
mod harness;
#[path = "../tests/real/support.rs"]
#[expect(dead_code, reason = "the harness waits by it alone")]
mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::{Agent, Load, Setup, Sink, eventually};
use serde_json::{Value, json};

const TURNS: usize = 3;
const TURN: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(120);
const SPANS: u64 = 512;

/// Time that the threads of a process had a processor.
fn processor_time(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap()
}

/// What a turn cost.
struct Turn {
    spans: f64,
    cpu: Duration,
    wall: Duration,
}

impl Turn {
    fn spans_per_core(&self) -> f64 {
        self.spans / self.cpu.as_secs_f64()
    }
}

fn arrived(sink: &Sink) -> u64 {
    sink.arrivals().iter().filter(|times| **times > 0).count() as u64
}

/// Sends for a while, waits until all of it is through, and asks for the time of a processor.
async fn turn(otlp: &str, sink: &Sink, process: u32, load: &Load) -> Turn {
    let (cpu, before, begun) = (processor_time(process), load.oracle.spans(), Instant::now());
    load.run_for(otlp, 4, None, TURN).await;
    let wall = begun.elapsed();
    let all = load.oracle.spans();
    eventually("everything is through", PATIENCE, || async {
        (arrived(sink) >= all).then_some(())
    })
    .await;
    Turn {
        spans: (all - before) as f64,
        cpu: processor_time(process) - cpu,
        wall,
    }
}

/// The other collector, killed when dropped.
struct Rotel {
    child: Child,
    otlp: String,
    _folder: tempfile::TempDir,
}

impl Drop for Rotel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// None where it is not installed; that is said.
async fn rotel(sink: &Sink) -> Option<Rotel> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python3");
    let script = "import os, rotel; print(os.path.dirname(rotel.__file__), end='')";
    let output = Command::new(python).args(["-c", script]).output();
    let found = output.ok().filter(|output| output.status.success());
    let Some(output) = found else {
        println!("there is no rotel: `make install-tests` brings it; the agent runs alone");
        return None;
    };
    let program = String::from_utf8(output.stdout).unwrap() + "/rotel-agent";
    let folder = tempfile::tempdir().unwrap();
    let (grpc, http) = (free_port(), free_port());
    let child = Command::new(program)
        .args([
            "start",
            "--exporter",
            "otlp",
            "--otlp-exporter-protocol",
            "http",
        ])
        .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
        .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
        .args(["--otlp-exporter-endpoint", &sink.url()])
        .arg("--pid-file")
        .arg(folder.path().join("pid"))
        .arg("--log-file")
        .arg(folder.path().join("log"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let otlp = format!("http://127.0.0.1:{http}");
    let probe = Load::new(1);
    eventually("rotel answers", PATIENCE, || async {
        probe.send_one(&otlp).await.filter(|status| *status == 200)
    })
    .await;
    Some(Rotel {
        child,
        otlp,
        _folder: folder,
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn rounded(value: f64) -> f64 {
    value.round()
}

/// One that takes turns, with what it is asked for and what came of it.
struct Contender {
    name: &'static str,
    otlp: String,
    process: u32,
    sink: Sink,
    load: Load,
    rates: Vec<f64>,
}

impl Contender {
    fn new(name: &'static str, (otlp, process): (&str, u32), sink: Sink) -> Self {
        Self {
            name,
            otlp: otlp.to_owned(),
            process,
            sink,
            load: Load::new(SPANS),
            rates: Vec::new(),
        }
    }

    async fn turn(&mut self) {
        let turned = turn(&self.otlp, &self.sink, self.process, &self.load).await;
        println!(
            "{}: {:.0} spans/s of one core, {:.0}/s acknowledged",
            self.name,
            turned.spans_per_core(),
            turned.spans / turned.wall.as_secs_f64()
        );
        self.rates.push(turned.spans_per_core());
    }
}

async fn forwarding(folder: &Path, sink: &Sink, stores_spans: &str) -> Agent {
    Setup::new(folder)
        .set("forward.endpoint", sink.url())
        .set("forward.protocol", "http/protobuf")
        .set("store.spans", stores_spans)
        .start()
        .await
}

/// The agent, with and without spans in its store, and the other collector by turns: spans a
/// second of one core.
async fn through() -> Value {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let sinks = [Sink::start(), Sink::start(), Sink::start()];
    let passing = forwarding(folders[0].path(), &sinks[0], "false").await;
    let storing = forwarding(folders[1].path(), &sinks[1], "true").await;
    let rotel = rotel(&sinks[2]).await;
    let at = |agent: &Agent| (agent.otlp.clone(), agent.process_id());
    let mut names = vec![("pass_through", at(&passing)), ("agent", at(&storing))];
    names.extend(
        rotel
            .iter()
            .map(|of| ("rotel", (of.otlp.clone(), of.child.id()))),
    );
    let contenders = names.into_iter().zip(sinks);
    let mut contenders: Vec<_> = contenders
        .map(|((name, (otlp, process)), sink)| Contender::new(name, (&otlp, process), sink))
        .collect();
    for _ in 0..TURNS {
        for contender in &mut contenders {
            contender.turn().await;
        }
    }
    let rate = |name: &str| {
        let of = contenders.iter().find(|of| of.name == name);
        median(of.map(|of| of.rates.clone()).unwrap_or_default())
    };
    let rates = ["pass_through", "agent", "rotel"].map(rate);
    for (name, rate) in ["passed through", "stored and forwarded"].iter().zip(rates) {
        println!("{name}: {:.2} of rotel's", rate / rates[2]);
    }
    json!({
        "pass_through_spans_per_core": rounded(rates[0]),
        "agent_spans_per_core": rounded(rates[1]),
        "rotel_spans_per_core": rounded(rates[2]),
    })
}

/// Points of InfluxDB that are acknowledged and durable in a second, and what one costs.
async fn points() -> Value {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let agent = Setup::new(folder.path())
        .set("influx.url", sink.url())
        .start()
        .await;
    let load = Load::new(SPANS);
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let turned = turn(&agent.otlp, &sink, agent.process_id(), &load).await;
        rates.push(turned.spans / turned.wall.as_secs_f64());
        costs.push(turned.spans_per_core());
    }
    json!({
        "acknowledged_per_second": rounded(median(rates)),
        "points_per_core": rounded(median(costs)),
    })
}

/// Memory at rest, and at 20,000 points a second.
async fn memory() -> Value {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let agent = Setup::new(folder.path())
        .set("influx.url", sink.url())
        .set("forward.endpoint", sink.url())
        .set("forward.protocol", "http/protobuf")
        .start()
        .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let rest = agent.memory().0;
    let load = Load::new(SPANS);
    let cpu = processor_time(agent.process_id());
    let rate = load
        .run_for(&agent.otlp, 4, Some(20_000), Duration::from_secs(30))
        .await;
    json!({
        "rest_kib": rest >> 10,
        "rate": rounded(rate),
        "peak_kib_at_20000": agent.memory().1 >> 10,
        "cores_at_20000": ((processor_time(agent.process_id()) - cpu).as_secs_f64() / 30.0 * 100.0).round() / 100.0,
    })
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let word = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let word = word.unwrap_or_default();
    let mut rows = serde_json::Map::new();
    if "through".contains(&word) {
        rows.insert("through".to_owned(), runtime.block_on(through()));
    }
    if "points".contains(&word) {
        rows.insert("points".to_owned(), runtime.block_on(points()));
    }
    if "memory".contains(&word) {
        rows.insert("memory".to_owned(), runtime.block_on(memory()));
    }
    let text = serde_json::to_string_pretty(&rows).unwrap();
    println!("{text}");
    if word.is_empty() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/delivery.json");
        std::fs::write(path, text).unwrap();
    }
}

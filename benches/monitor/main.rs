//! What a poll costs the broker and the agent, beside the call that Telegraf makes, on one broker.
//!
//! Broker, load, monitor and agent are processes of their own; what each uses is what the kernel
//! says that its threads ran. What the broker does by itself, renewing its statistics every five
//! seconds, is measured in windows of that width between those with a call, and taken off.
//! `RABTRACE_BENCH_QUEUES=1000` measures one size alone; `RABTRACE_TEST_BROKER_TREE` names the tree
//! of another version of RabbitMQ, as `scripts/matrix.sh` builds it; `RABTRACE_BENCH_AGENT` another
//! agent than that of this build.
#![expect(clippy::expect_used, reason = "a benchmark that cannot go on says why")]
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

mod account;
mod roles;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use account::{end_of_window, mean, median, memory, until, usage};
use rabtrace::demo::broker::Broker;
use roles::{ROLE, Role, TIMEOUT};

/// How often the broker renews its statistics.
const WINDOW: Duration = Duration::from_secs(5);
/// Polls that are measured: consumers are asked for in every third.
const POLLS: usize = 6;
/// Polls after those, to see whether the memory grows.
const MORE_POLLS: usize = 14;

/// What a call cost: CPU in the mean, for one poll in three asks for more; time in the middle.
struct Cost {
    broker_ms: f64,
    own_ms: f64,
    wall_ms: f64,
}

struct Bench {
    broker: Broker,
    /// The broker's process.
    pid: u32,
    urls: [String; 3],
    client: reqwest::Client,
}

impl Bench {
    async fn start() -> Self {
        let broker = Broker::start().await.expect("a broker");
        let urls = [
            broker.amqp_url(),
            broker.management_url(),
            broker.prometheus_url(),
        ];
        let pid = std::fs::read_to_string(broker.folder().join("pid")).expect("its process id");
        Self {
            broker,
            pid: pid.trim().parse().expect("its process id"),
            urls,
            client: reqwest::Client::new(),
        }
    }

    /// What the broker uses in a second by itself, over a window.
    async fn idle(&self) -> f64 {
        let before = usage(self.pid);
        until(before.at + WINDOW).await;
        let after = usage(self.pid);
        (after.cpu_ms - before.cpu_ms) / (after.at - before.at).as_secs_f64()
    }

    /// Runs `call` some times, each at the beginning of a window; `caller` is the process that works.
    async fn measure<F: AsyncFnMut()>(&self, times: usize, caller: u32, mut call: F) -> Cost {
        let (mut spans, mut own_ms, mut wall_ms) = (Vec::new(), Vec::new(), Vec::new());
        let mut idle = vec![self.idle().await];
        for _ in 0..times {
            let (before, own) = (usage(self.pid), usage(caller));
            call().await;
            let now = Instant::now();
            until(end_of_window(before.at, now, WINDOW)).await;
            let after = usage(self.pid);
            own_ms.push(usage(caller).cpu_ms - own.cpu_ms);
            wall_ms.push((now - before.at).as_secs_f64() * 1e3);
            spans.push((
                after.cpu_ms - before.cpu_ms,
                (after.at - before.at).as_secs_f64(),
            ));
            idle.push(self.idle().await);
        }
        let idle = mean(&idle);
        let spans = spans.iter();
        let broker_ms: Vec<f64> = spans.map(|(ran, seconds)| ran - idle * seconds).collect();
        Cost {
            broker_ms: mean(&broker_ms),
            own_ms: mean(&own_ms),
            wall_ms: median(wall_ms),
        }
    }

    /// The call of Telegraf's `inputs.rabbitmq`, read to its end; whether it came to one. RabbitMQ
    /// itself gives up after a minute.
    async fn telegraf(&self) -> bool {
        let url = format!("{}/api/queues", self.broker.management_url());
        let request = self.client.get(url).basic_auth("guest", Some("guest"));
        let Ok(response) = request.timeout(TIMEOUT).send().await else {
            return false;
        };
        let body = response.bytes().await;
        body.is_ok_and(|body| body.starts_with(b"["))
    }
}

fn row(what: &str, cost: &Cost) {
    println!(
        "{what:<44} {:>7.0} ms broker CPU {:>7.1} ms own CPU {:>7.0} ms wall",
        cost.broker_ms, cost.own_ms, cost.wall_ms
    );
}

/// A monitor in a process of its own, and its memory as polls go by.
async fn polls(bench: &Bench, number: usize) -> Cost {
    let mut watch = Role::start("watch", &bench.urls, number);
    let said = watch.go().await;
    let words: Vec<&str> = said.split(' ').collect();
    assert_eq!(words[..2], ["prometheus", &*number.to_string()], "{said}");
    println!(
        "\nRabbitMQ {}: {number} classic queues, a consumer each",
        words[4]
    );
    let what = match words[2] {
        "none" => "a poll: depths and consumers",
        _ => "a poll: depths, consumers and counters",
    };
    let pid = watch.pid();
    let mut resident = Vec::new();
    let cost = bench.measure(POLLS, pid, async || {
        watch.go().await;
        resident.push(memory(pid).0);
    });
    let cost = cost.await;
    row(what, &cost);
    for _ in 0..MORE_POLLS {
        let begun = Instant::now();
        watch.go().await;
        resident.push(memory(pid).0);
        until(begun + WINDOW).await;
    }
    let at = |poll: usize| resident.get(poll).copied().unwrap_or_default();
    println!(
        "{:<44} {:>7.1} MiB resident after {POLLS} polls, {:.1} after {}, {:.1} at most",
        "",
        at(POLLS - 1),
        at(resident.len() - 1),
        resident.len(),
        memory(pid).1,
    );
    cost
}

/// The same queues over AMQP alone.
async fn passive_lane(bench: &Bench, number: usize) {
    let mut watch = Role::start("watch_names", &bench.urls, number);
    let said = watch.go().await;
    assert!(said.starts_with(&format!("amqp {number} ")), "{said}");
    let pid = watch.pid();
    let cost = bench.measure(POLLS, pid, async || {
        watch.go().await;
    });
    row("passive declares, 256 at once", &cost.await);
}

/// The agent as it is run, with its store and nothing to send to: a poll every five seconds.
async fn whole_agent(bench: &Bench) {
    let folder = tempfile::tempdir().expect("a folder");
    let of = |name: &str| folder.path().join(name).display().to_string();
    let settings = [
        ("receiver.grpc_listen", "127.0.0.1:0".to_owned()),
        ("receiver.http_listen", "127.0.0.1:0".to_owned()),
        ("api.listen", "127.0.0.1:0".to_owned()),
        ("store.folder", of("store")),
        ("spool.folder", of("spool")),
        ("broker.amqp_url", bench.urls[0].clone()),
        ("broker.management_url", bench.urls[1].clone()),
        ("broker.prometheus_urls", bench.urls[2].clone()),
        ("broker.statistics", "never".to_owned()),
    ];
    let agent = std::env::var("RABTRACE_BENCH_AGENT");
    let agent = agent.unwrap_or_else(|_| env!("CARGO_BIN_EXE_rabtrace").to_owned());
    let mut command = Command::new(agent);
    command.arg("agent");
    for (key, value) in settings {
        command.args(["--set", &format!("{key}={value}")]);
    }
    let mut agent = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("an agent");
    tokio::time::sleep(WINDOW * 4).await;
    let (before, resident) = (usage(agent.id()), memory(agent.id()).0);
    tokio::time::sleep(WINDOW * 12).await;
    let after = usage(agent.id());
    println!(
        "{:<44} {:>7.1} ms own CPU a poll; {resident:.1} MiB resident after 4 polls, {:.1} after 16",
        "the whole agent, embedded store, no sinks",
        (after.cpu_ms - before.cpu_ms) / 12.0,
        memory(agent.id()).0,
    );
    agent.kill().expect("it runs");
    agent.wait().expect("its end");
}

async fn size(number: usize) {
    let bench = Bench::start().await;
    let mut load = Role::start("load", &bench.urls, number);
    load.go().await;
    // The statistics of all that was just done are still on their way.
    tokio::time::sleep(WINDOW * 3).await;
    let ours = polls(&bench, number).await;
    let times = if number > 2_000 { 3 } else { POLLS };
    let mut answers = 0;
    let telegraf = bench.measure(times, std::process::id(), async || {
        answers += usize::from(bench.telegraf().await);
    });
    let telegraf = telegraf.await;
    row("GET /api/queues, as Telegraf asks", &telegraf);
    if answers < times {
        println!("{:<44} {answers} answers to {times} calls", "");
    }
    println!(
        "{:<44} {:>7.1} times the broker CPU of a poll",
        "",
        telegraf.broker_ms / ours.broker_ms
    );
    passive_lane(&bench, number).await;
    whole_agent(&bench).await;
}

fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if let Ok(role) = std::env::var(ROLE) {
        return runtime.block_on(roles::run(&role));
    }
    let sizes = match std::env::var("RABTRACE_BENCH_QUEUES") {
        Ok(text) => vec![text.parse().expect("a number of queues")],
        Err(_) => vec![1_000, 10_000],
    };
    for number in sizes {
        runtime.block_on(size(number));
    }
}

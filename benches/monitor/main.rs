//! What a poll costs the broker and the agent, beside the call that Telegraf makes, on one broker.
//!
//! Broker, load, monitor and agent are processes of their own; what each uses is what the kernel
//! says that its threads ran. The broker's is read around each call. What it does by itself, mostly
//! to renew its statistics every five seconds, is taken off: of a poll what it does five seconds
//! later, in a time as long; of the other calls what it does in the mean before and after all polls.
//! Each call comes a twelfth of those five seconds later than the one before, and is measured for
//! whole twelfths, so that together they see of that what there is. The monitor polls about as often
//! as it does by default, for two minutes: it asks for everything meanwhile, consumers, nodes and
//! totals too. Then it polls without a pause, for depths and counters alone; and the bench asks the same
//! with consumers, without a pause.
//! `RABTRACE_BENCH_QUEUES=1000` measures one size alone; `RABTRACE_TEST_BROKER_TREE` names the tree
//! of another version of RabbitMQ, as `scripts/matrix.sh` builds it; `RABTRACE_BENCH_AGENT` another
//! agent than that of this build.
#![expect(clippy::expect_used, reason = "a benchmark that cannot go on says why")]
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

mod account;
mod polled;
mod replay;
mod roles;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use account::{median, memory, until, usage};
use polled::polls;
use rabtrace::demo::broker::{Broker, Options};
use roles::{ROLE, Role, TIMEOUT};

/// How often the monitor polls by default, and the broker renews its statistics.
const WINDOW: Duration = Duration::from_secs(5);
/// What each call comes later by, within that time.
const PHASE: Duration = WINDOW.checked_div(12).expect("twelve");
/// Rounds of passive declares that are measured.
const ROUNDS: u32 = 12;
/// Polls before those that are measured: while a monitor is new it asks for more.
const FIRST_POLLS: u32 = 7;
/// For how many windows the broker is left alone before and after.
const RESTS: usize = 3;
/// The listing is asked for again and again for that long.
const LISTING: Duration = Duration::from_secs(15);
/// Polls of the whole agent.
const AGENT_POLLS: u32 = 4;

/// All that a poll asks a node for when it asks for consumers too.
const WHOLE: &str = "/metrics/detailed?family=queue_coarse_metrics&family=queue_delivery_metrics\
    &family=queue_exchange_metrics&family=exchange_metrics&family=node_coarse_metrics\
    &family=node_metrics&family=connection_churn_metrics&family=queue_consumer_count";

/// What a call cost: CPU in the mean, time in the middle.
struct Cost {
    broker_ms: f64,
    own_ms: f64,
    wall_ms: f64,
}

/// What was used while something was called again and again.
struct Span {
    calls: f64,
    /// CPU of the broker, what it does by itself included.
    broker_ms: f64,
    seconds: f64,
    own_ms: f64,
    wall_ms: f64,
}

impl Span {
    /// The cost of one call, where the broker by itself uses `idle` milliseconds a second.
    fn cost(&self, idle: f64) -> Cost {
        Cost {
            broker_ms: (self.broker_ms - idle * self.seconds) / self.calls,
            own_ms: self.own_ms / self.calls,
            wall_ms: self.wall_ms,
        }
    }
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
        // Else it answers the listing from a cache, for five times as long as it took to make it.
        let options = Options {
            config: vec!["management.db_cache_multiplier = 0".to_owned()],
            ..Options::default()
        };
        let broker = Broker::start_with(options).await.expect("a broker");
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

    /// What the broker uses in a second by itself, window by window.
    async fn idle(&self) -> Vec<f64> {
        let mut rates = Vec::new();
        for _ in 0..RESTS {
            let before = usage(self.pid);
            until(before.at + WINDOW).await;
            let after = usage(self.pid);
            let seconds = (after.at - before.at).as_secs_f64();
            rates.push((after.cpu_ms - before.cpu_ms) / seconds);
        }
        rates
    }

    /// CPU of the broker during a call, in milliseconds, and during how many seconds: whole phases.
    async fn used(&self, mut call: impl AsyncFnMut()) -> (f64, f64) {
        let before = usage(self.pid);
        call().await;
        next(before.at, PHASE).await;
        let after = usage(self.pid);
        (
            after.cpu_ms - before.cpu_ms,
            (after.at - before.at).as_secs_f64(),
        )
    }

    /// Calls again and again, each time as many phases after the last one as `apart` says, as long as
    /// `goes_on` says by the number of calls and the time. `caller` is the process that works.
    async fn span<F: AsyncFnMut()>(
        &self,
        (caller, apart): (u32, u32),
        goes_on: impl Fn(u32, Duration) -> bool,
        mut call: F,
    ) -> Span {
        let (begun, own) = (Instant::now(), usage(caller));
        let (mut calls, mut wall_ms) = (0, Vec::new());
        let (mut broker_ms, mut seconds) = (0.0, 0.0);
        while goes_on(calls, begun.elapsed()) {
            let begun = Instant::now();
            let used = self
                .used(async || {
                    call().await;
                    wall_ms.push(begun.elapsed().as_secs_f64() * 1e3);
                })
                .await;
            calls += 1;
            broker_ms += used.0;
            seconds += used.1;
            next(begun, PHASE * apart).await;
        }
        Span {
            calls: calls.into(),
            broker_ms,
            seconds,
            own_ms: usage(caller).cpu_ms - own.cpu_ms,
            wall_ms: median(wall_ms),
        }
    }

    /// All that a node tells with consumers, read to its end: how many bytes.
    async fn whole(&self) -> usize {
        let url = format!("{}{WHOLE}", self.broker.prometheus_url());
        let response = self.client.get(url).timeout(TIMEOUT).send().await;
        let response = response.expect("an answer");
        assert!(response.status().is_success(), "{}", response.status());
        response.bytes().await.expect("its end").len()
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

/// Waits until a whole number of `step`s after `begun`.
async fn next(begun: Instant, step: Duration) {
    let steps = begun.elapsed().div_duration_f64(step).ceil();
    until(begun + step.mul_f64(steps)).await;
}

fn row(what: &str, cost: &Cost) {
    println!(
        "{what:<44} {:>7.1} ms broker CPU {:>7.1} ms own CPU {:>7.0} ms wall",
        cost.broker_ms, cost.own_ms, cost.wall_ms
    );
}

/// The same queues over AMQP alone: what the declares took, without what is made of the answers.
async fn passive_lane(bench: &Bench, number: usize, idle: f64) {
    let mut watch = Role::start("watch_names", &bench.urls, number);
    let said = watch.go().await;
    assert!(said.starts_with(&format!("amqp {number} ")), "{said}");
    let mut took_ms = Vec::new();
    let span = bench.span(
        // One behind the other.
        (watch.pid(), 1),
        |calls, _| calls < ROUNDS,
        async || {
            let said = watch.go().await;
            let took = said.split(' ').nth(5);
            took_ms.extend(took.and_then(|took| took.parse::<f64>().ok()));
        },
    );
    let span = span.await;
    row(
        "passive declares, 256 at once, and a poll",
        &span.cost(idle),
    );
    let (least, middle) = (
        took_ms.iter().copied().fold(f64::MAX, f64::min),
        median(took_ms),
    );
    println!(
        "{:<44} {middle:>7.0} ms for the declares alone, {least:.0} at best",
        ""
    );
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
    tokio::time::sleep(WINDOW * 2).await;
    let before = usage(agent.id());
    tokio::time::sleep(WINDOW * AGENT_POLLS).await;
    let after = usage(agent.id());
    println!(
        "{:<44} {:>7.1} ms own CPU a poll; {:.1} MiB resident",
        "the whole agent, embedded store, no sinks",
        (after.cpu_ms - before.cpu_ms) / f64::from(AGENT_POLLS),
        memory(agent.id()).0,
    );
    agent.kill().expect("it runs");
    agent.wait().expect("its end");
}

/// The listing as Telegraf asks for it: what it cost, or none if it never came.
async fn listing(bench: &Bench) -> (Span, Option<u32>) {
    let mut answers = 0;
    let span = bench.span(
        (std::process::id(), 13),
        |calls, passed| calls == 0 || passed < LISTING,
        async || answers += u32::from(bench.telegraf().await),
    );
    let span = span.await;
    (span, (answers > 0).then_some(answers))
}

async fn size(number: usize) {
    let bench = Bench::start().await;
    let mut load = Role::start("load", &bench.urls, number);
    load.go().await;
    let mut watch = Role::start("watch", &bench.urls, number);
    for _ in 0..FIRST_POLLS {
        let begun = Instant::now();
        watch.go().await;
        until(begun + WINDOW).await;
    }
    let before = bench.idle().await;
    let polled = polls(&bench, &mut watch, number).await;
    drop(watch);
    let after = bench.idle().await;
    let idle = median([&before[..], &after[..]].concat());
    let ours = polled.cost();
    let shown = |rates: &[f64]| {
        rates
            .iter()
            .map(|rate| format!(" {rate:.1}"))
            .collect::<String>()
    };
    println!(
        "{:<44} {idle:>7.1} ms of CPU a second, before{}, after{}",
        "the broker by itself",
        shown(&before),
        shown(&after)
    );
    row("a poll", &ours);
    polled.show(idle);
    let resident = polled.resident;
    println!(
        "{:<44} {resident:>7.1} MiB resident, {:.1} at most",
        "", polled.most
    );
    let (listing, answers) = listing(&bench).await;
    let calls = listing.calls;
    let theirs = listing.cost(idle);
    row("GET /api/queues, as Telegraf asks", &theirs);
    let ratio = theirs.broker_ms / ours.broker_ms;
    let answered = f64::from(answers.unwrap_or_default());
    println!(
        "{:<44} {ratio:>7.1} times the broker CPU of a poll; {answered} answers to {calls} calls",
        ""
    );
    passive_lane(&bench, number, idle).await;
    whole_agent(&bench).await;
    println!(
        "| {}, {number} | {:.0} ms | {:.0} ms | {:.1} ms | {resident:.0} MiB | {} | {} |",
        polled.version,
        ours.broker_ms,
        ours.wall_ms,
        ours.own_ms,
        answers.map_or("none".to_owned(), |_| format!("{:.0} ms", theirs.broker_ms)),
        answers.map_or(String::new(), |_| format!("{ratio:.1}")),
    );
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
    runtime.block_on(replay::every_queue_busy());
}

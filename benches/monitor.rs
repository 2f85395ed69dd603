//! What a poll costs the broker and the agent, beside the call that Telegraf makes, on one broker.
//!
//! Broker CPU is the time that the kernel ran its threads, less what they ran idle just before.
//! `RABTRACE_BENCH_QUEUES=1000` measures one size alone; `RABTRACE_TEST_BROKER_TREE` names the tree
//! of another version of RabbitMQ, as `scripts/matrix.sh` builds it.
#![expect(clippy::expect_used, reason = "a benchmark that cannot go on says why")]
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::{StreamExt, stream};
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use rabtrace::config::{self, Config, Secret, Selection, Statistics};
use rabtrace::demo::broker::Broker;
use rabtrace::health::Health;
use rabtrace::metrics::Metrics;
use rabtrace::model::Source;
use rabtrace::monitor::{Monitor, MonitorSetup};

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How long the broker is watched by itself: twice its statistics interval.
const IDLE: Duration = Duration::from_secs(10);
/// Polls that are measured.
const POLLS: u32 = 6;

/// Milliseconds that the threads of a process have run.
fn cpu_ms(pid: &str) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a running process");
    let ran = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    let nanos: f64 = tasks.flatten().filter_map(|task| ran(task.path())).sum();
    nanos / 1e6
}

/// Resident memory of this process, in MiB.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages = text
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or_default() * 4096.0 / f64::from(1 << 20)
}

/// What one call cost.
struct Cost {
    broker_ms: f64,
    own_ms: f64,
    wall_ms: f64,
}

struct Bench {
    broker: Broker,
    pid: String,
    client: reqwest::Client,
}

impl Bench {
    /// Runs `call` some times, and gives the mean cost less what the broker does by itself before
    /// and after.
    async fn measure<F: AsyncFnMut()>(&self, times: u32, mut call: F) -> Cost {
        let before = self.idle().await;
        let (broker_cpu, own_cpu, begun) = (cpu_ms(&self.pid), cpu_ms("self"), Instant::now());
        for _ in 0..times {
            call().await;
        }
        let wall = begun.elapsed().as_secs_f64();
        let (broker_cpu, own_cpu) = (cpu_ms(&self.pid) - broker_cpu, cpu_ms("self") - own_cpu);
        let rate = before.midpoint(self.idle().await);
        let each = f64::from(times);
        Cost {
            broker_ms: (broker_cpu - rate * wall) / each,
            own_ms: own_cpu / each,
            wall_ms: wall * 1e3 / each,
        }
    }

    /// Milliseconds that the broker runs in a second by itself.
    async fn idle(&self) -> f64 {
        let (cpu, begun) = (cpu_ms(&self.pid), Instant::now());
        tokio::time::sleep(IDLE).await;
        (cpu_ms(&self.pid) - cpu) / begun.elapsed().as_secs_f64()
    }

    fn config(&self) -> config::Broker {
        let broker = Config::default().broker;
        config::Broker {
            amqp_url: Secret::new(self.broker.amqp_url()),
            management_url: Secret::new(self.broker.management_url()),
            prometheus_urls: vec![Secret::new(self.broker.prometheus_url())],
            poll_interval: TIMEOUT,
            poll_timeout: TIMEOUT,
            statistics: Statistics::Never,
            selection: Selection {
                max_queues: 1_000_000,
                ..broker.selection.clone()
            },
            ..broker
        }
    }

    fn monitor(&self, broker: config::Broker) -> Monitor {
        Monitor::new(MonitorSetup {
            broker,
            client: self.client.clone(),
            clock: SystemTime::now,
            metrics: Metrics::new().expect("metrics"),
            component: Health::default().component("rabbitmq"),
        })
    }

    /// The call of Telegraf's `inputs.rabbitmq`, read to its end.
    async fn telegraf(&self) {
        let url = format!("{}/api/queues", self.broker.management_url());
        let request = self.client.get(url).basic_auth("guest", Some("guest"));
        let response = request.timeout(TIMEOUT).send().await.expect("an answer");
        let body = response.bytes().await.expect("a whole answer");
        assert!(body.starts_with(b"["), "a listing");
    }
}

/// Queues with a consumer each, that holds one of three messages.
async fn fill(broker: &Broker, number: usize) -> (Connection, Vec<lapin::Consumer>) {
    let connection = Connection::connect(&broker.amqp_url(), ConnectionProperties::default()).await;
    let connection = connection.expect("a connection");
    let channel = connection.create_channel().await.expect("a channel");
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declare = async |name: String| {
        let queue = channel.queue_declare(name.as_str().into(), durable, FieldTable::default());
        queue.await.expect("declared");
        for _ in 0..3 {
            let options = BasicPublishOptions::default();
            let sent = channel.basic_publish(
                "".into(),
                name.as_str().into(),
                options,
                b"hello",
                BasicProperties::default(),
            );
            sent.await.expect("sent");
        }
    };
    stream::iter(names(number))
        .map(declare)
        .buffer_unordered(64)
        .collect::<Vec<()>>()
        .await;
    let mut consumers = Vec::new();
    let mut channels: Vec<Channel> = Vec::new();
    for _ in 0..10 {
        let channel = connection.create_channel().await.expect("a channel");
        channel
            .basic_qos(1, BasicQosOptions::default())
            .await
            .expect("qos");
        channels.push(channel);
    }
    for (name, channel) in names(number).zip(channels.iter().cycle()) {
        let consumer = channel.basic_consume(
            name.as_str().into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        consumers.push(consumer.await.expect("a consumer"));
    }
    (connection, consumers)
}

fn names(number: usize) -> impl Iterator<Item = String> {
    (0..number).map(|index| format!("bench.queue.{index:05}"))
}

fn row(what: &str, cost: &Cost) {
    println!(
        "{what:<44} {:>9.0} ms broker CPU {:>7.1} ms own CPU {:>8.0} ms wall",
        cost.broker_ms, cost.own_ms, cost.wall_ms
    );
}

/// The same queues over AMQP alone.
async fn passive_lane(bench: &Bench, number: usize) {
    let nowhere = Secret::new("http://127.0.0.1:9");
    let mut passive = bench.monitor(config::Broker {
        management_url: nowhere.clone(),
        prometheus_urls: vec![nowhere],
        watch_queues: names(number).collect(),
        ..bench.config()
    });
    let snapshot = passive.poll_once().await.expect("a snapshot");
    assert_eq!(
        (snapshot.poll.source, snapshot.queues.len()),
        (Source::Passive, number)
    );
    let cost = bench.measure(POLLS, async || {
        passive.poll_once().await.expect("a snapshot");
    });
    row("passive declares, 256 at once", &cost.await);
}

async fn size(number: usize) {
    let broker = Broker::start().await.expect("a broker");
    let pid = std::fs::read_to_string(broker.folder().join("pid")).expect("its process id");
    let bench = Bench {
        pid: pid.trim().to_owned(),
        broker,
        client: reqwest::Client::new(),
    };
    let _open = fill(&bench.broker, number).await;
    // The statistics of all that was just done are still on their way.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut monitor = bench.monitor(bench.config());
    let snapshot = monitor.poll_once().await.expect("a snapshot");
    let version = snapshot.overview.version.clone();
    let version = version.unwrap_or_else(|| Arc::from("?"));
    println!("\nRabbitMQ {version}: {number} classic queues, a consumer each");
    let what = match snapshot.poll.counters {
        Some(_) => "a poll: depths, consumers and counters",
        None => "a poll: depths and consumers",
    };
    assert_eq!(
        (snapshot.poll.source, snapshot.queues.len()),
        (Source::Prometheus, number)
    );
    let before = resident();
    let ours = bench.measure(POLLS, async || {
        monitor.poll_once().await.expect("a snapshot");
    });
    let ours = ours.await;
    let grown = (resident() - before) / f64::from(POLLS);
    row(what, &ours);
    println!(
        "{:<44} {:>9.1} MiB resident, {grown:.2} MiB more with each poll",
        "",
        resident()
    );

    let telegraf = bench.measure(if number > 2_000 { 2 } else { 5 }, async || {
        bench.telegraf().await
    });
    let telegraf = telegraf.await;
    row("GET /api/queues, as Telegraf asks", &telegraf);
    println!(
        "{:<44} {:>9.1} times the broker CPU of a poll",
        "",
        telegraf.broker_ms / ours.broker_ms
    );

    passive_lane(&bench, number).await;
}

fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let sizes = match std::env::var("RABTRACE_BENCH_QUEUES") {
        Ok(text) => vec![text.parse().expect("a number of queues")],
        Err(_) => vec![1_000, 10_000],
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for number in sizes {
        runtime.block_on(size(number));
    }
}

//! The bench's other processes: the monitor, that nothing else may run in, and the load.
//!
//! Each is this program again, told by [`ROLE`] what it is; it does what each line of its standard
//! input says, and answers with a line.

use std::process::Stdio;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use rabtrace::config::{self, Config, Secret, Selection, Statistics};
use rabtrace::health::Health;
use rabtrace::metrics::Metrics;
use rabtrace::monitor::{Monitor, MonitorSetup, points};
use rabtrace::tls::Material;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// What this process is: `watch`, `watch_names` or `load`; none is the bench itself.
pub(crate) const ROLE: &str = "RABTRACE_BENCH_ROLE";
/// AMQP, management and prometheus URLs of the broker.
const URLS: &str = "RABTRACE_BENCH_URLS";
/// How many queues there are.
const NUMBER: &str = "RABTRACE_BENCH_NUMBER";
/// Longest wait for one answer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(120);

/// Another process of the bench.
pub(crate) struct Role {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Role {
    pub(crate) fn start(role: &str, urls: &[String; 3], number: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .env(ROLE, role)
            .env(URLS, urls.join(" "))
            .env(NUMBER, number.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("another process");
        let input = child.stdin.take().expect("its input");
        let output = child.stdout.take().expect("its output");
        Self {
            child,
            input,
            output: BufReader::new(output).lines(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Has it do its work once; what it says of it.
    pub(crate) async fn go(&mut self) -> String {
        self.input.write_all(b"go\n").await.expect("it reads");
        let line = self.output.next_line().await.expect("it writes");
        line.expect("it still runs")
    }
}

/// Is what the environment says, until its input ends.
pub(crate) async fn run(role: &str) {
    let urls = std::env::var(URLS).expect("URLs");
    let urls: Vec<&str> = urls.split(' ').collect();
    let number: usize = std::env::var(NUMBER)
        .expect("a number")
        .parse()
        .expect("a number");
    let mut lines = std::io::stdin().lines();
    let mut next = || lines.next().is_some();
    if role == "load" {
        let mut open = None;
        while next() {
            open = Some(fill(urls[0], number).await);
            println!("filled");
        }
        drop(open);
        return;
    }
    let mut monitor = monitor(broker(&urls, (role == "watch_names").then_some(number)));
    let mut version = None;
    while next() {
        let snapshot = monitor.poll_once().await.expect("a snapshot");
        let points = points(&snapshot).count();
        // Totals are not asked for with every poll.
        let totals = snapshot
            .overview
            .version
            .as_ref()
            .map_or("none", |_| "totals");
        version = snapshot.overview.version.clone().or(version);
        let peers = snapshot.poll.peers.iter();
        let took: Duration = peers.clone().filter_map(|peer| peer.duration).sum();
        let bytes: u64 = peers.map(|peer| peer.bytes).sum();
        println!(
            "{} {} {} {points} {} {} {bytes} {totals}",
            snapshot.poll.source.as_str(),
            snapshot.queues.len(),
            snapshot.poll.counters.map_or("none", |of| of.as_str()),
            version.as_deref().unwrap_or("?"),
            took.as_millis(),
        );
    }
}

/// The broker's part of a configuration; `named` asks for that many names over AMQP alone.
fn broker(urls: &[&str], named: Option<usize>) -> config::Broker {
    let nowhere = Secret::new("http://127.0.0.1:9");
    let plugin = |url: &str| named.map_or_else(|| Secret::new(url), |_| nowhere.clone());
    let broker = Config::default().broker;
    config::Broker {
        amqp_url: Secret::new(urls[0]),
        management_url: plugin(urls[1]),
        prometheus_urls: vec![plugin(urls[2])],
        poll_interval: TIMEOUT,
        poll_timeout: TIMEOUT,
        statistics: Statistics::Never,
        watch_queues: names(named.unwrap_or_default()).collect(),
        selection: Selection {
            max_queues: 1_000_000,
            ..broker.selection.clone()
        },
        ..broker
    }
}

fn monitor(broker: config::Broker) -> Monitor {
    Monitor::new(MonitorSetup {
        broker,
        client: Material::default().broker_client().expect("a client"),
        clock: SystemTime::now,
        metrics: Metrics::new().expect("metrics"),
        component: Health::default().component("rabbitmq"),
    })
}

/// Queues with a consumer each, that holds one of three messages.
async fn fill(url: &str, number: usize) -> (Connection, Vec<lapin::Consumer>) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await;
    let connection = connection.expect("a connection");
    let channel = connection.create_channel().await.expect("a channel");
    stream::iter(names(number))
        .map(|name| declare(&channel, name))
        .buffer_unordered(64)
        .collect::<Vec<()>>()
        .await;
    let mut channels: Vec<Channel> = Vec::new();
    for _ in 0..10 {
        let channel = connection.create_channel().await.expect("a channel");
        channel
            .basic_qos(1, BasicQosOptions::default())
            .await
            .expect("qos");
        channels.push(channel);
    }
    let consumers = stream::iter(names(number).zip(channels.iter().cycle()))
        .map(|(name, channel)| consume(channel, name))
        .buffer_unordered(64)
        .collect()
        .await;
    (connection, consumers)
}

async fn consume(channel: &Channel, name: String) -> lapin::Consumer {
    let consumer = channel.basic_consume(
        name.as_str().into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    consumer.await.expect("a consumer")
}

async fn declare(channel: &Channel, name: String) {
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let queue = channel.queue_declare(name.as_str().into(), durable, FieldTable::default());
    queue.await.expect("declared");
    for _ in 0..3 {
        let sent = channel.basic_publish(
            "".into(),
            name.as_str().into(),
            BasicPublishOptions::default(),
            b"hello",
            BasicProperties::default(),
        );
        sent.await.expect("sent");
    }
}

fn names(number: usize) -> impl Iterator<Item = String> {
    (0..number).map(|index| format!("bench.queue.{index:05}"))
}

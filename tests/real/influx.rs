//! The InfluxDB sink against servers: scripted ones for each failure, and the real InfluxDB 1.6
//! and VictoriaMetrics, read back by their own interfaces.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the tests' own parts stop a test where they fail"
)]

mod demo;
mod folded;
mod influxdb_1;
mod kept;
mod scripted;
pub(crate) mod scripted_server;
mod versions;
mod victoria_metrics;

use std::time::Duration;

pub(crate) use influxdb_1::InfluxDb;

use rabtrace::config::{self, Config, Secret};
use rabtrace::health::{ComponentReport, Health, Status};
use rabtrace::influx::{Influx, InfluxSetup, Keeper, KeeperSetup};
use rabtrace::metrics::{Metrics, Stage};
use rabtrace::model::{Point, PointBatch};
use rabtrace::spool::{DeadLetter, DeadLetterSetup, Limits, Spool, SpoolSetup};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::eventually;

/// The HTTP client as the agent builds it: the process chooses the TLS implementation once.
fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// A configuration for tests: small batches, quick answers.
fn config(url: &str) -> config::Influx {
    config::Influx {
        url: Some(Secret::new(url)),
        org: "org".to_owned(),
        bucket: "rabtrace".to_owned(),
        batch_lines: 50,
        flush_interval: Duration::from_millis(20),
        timeout: Duration::from_secs(5),
        ..Config::default().influx
    }
}

/// For what comes on any machine, sooner or later.
const PATIENCE: Duration = Duration::from_secs(60);

/// `number` points, each with a time of its own from `first` on.
fn points(first: i64, number: i64) -> Vec<Point> {
    let point = |n: i64| {
        Point::new("flow", n)
            .tag("queue", "orders")
            .int("n", Some(n.unsigned_abs()))
    };
    (first..first + number).map(point).collect()
}

/// A sink that runs.
struct Running {
    sender: mpsc::Sender<PointBatch>,
    stop: CancellationToken,
    metrics: Metrics,
    health: Health,
    keeper: JoinHandle<()>,
    task: JoinHandle<()>,
    spool: Spool,
    folder: tempfile::TempDir,
}

impl Running {
    fn start(config: config::Influx) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (metrics, health) = (Metrics::new().unwrap(), Health::default());
        let (writer, reader) = Spool::open(SpoolSetup {
            folder: folder.path().join("spool"),
            sink: Stage::Influx,
            limits: Limits {
                memory_bytes: config.buffer_bytes / 2,
                ..Limits::default()
            },
            metrics: metrics.clone(),
        })
        .unwrap();
        let (sender, receiver) = mpsc::channel(64);
        let (stop, spool) = (CancellationToken::new(), writer.spool());
        let keeper = Keeper::new(KeeperSetup {
            config: config.clone(),
            spool: writer,
            metrics: metrics.clone(),
        });
        let (dead_letter, letters) = DeadLetter::open(DeadLetterSetup {
            folder: folder.path().join("spool"),
            sink: Stage::Influx,
            max_bytes: 64 << 20,
            metrics: metrics.clone(),
            clock: std::time::SystemTime::now,
        })
        .unwrap();
        tokio::spawn(letters.run());
        let sink = Influx::new(InfluxSetup {
            config,
            client: client(),
            metrics: metrics.clone(),
            component: health.component("influxdb"),
            dead_letter: Some(dead_letter),
        });
        Self {
            sender,
            stop: stop.clone(),
            metrics,
            health,
            keeper: tokio::spawn(keeper.run(receiver)),
            task: tokio::spawn(sink.run(reader, stop)),
            spool,
            folder,
        }
    }

    async fn send(&self, points: Vec<Point>) {
        let receipt = None;
        let send = self.sender.send(PointBatch {
            points,
            receipt,
            share: None,
            held: None,
        });
        let sent = tokio::time::timeout(PATIENCE, send).await;
        sent.expect("the sink does not receive").unwrap();
    }

    /// Lines in the spool that are neither written nor given up.
    fn waiting(&self) -> u64 {
        self.spool.stats().waiting.items
    }

    fn written(&self) -> u64 {
        self.metrics.points_written.get()
    }

    fn dropped(&self, reason: &str) -> u64 {
        let name = format!("rabtrace_dropped_total{{reason=\"{reason}\",stage=\"influx\"}}");
        self.metric(&name)
    }

    fn buffered(&self) -> u64 {
        self.metric("rabtrace_buffered_bytes{sink=\"influx\"}")
    }

    fn metric(&self, name: &str) -> u64 {
        let text = self.metrics.encode().unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value.map_or(0, |value| value.trim().parse().unwrap())
    }

    /// What is kept of what the server refused, when there are that many letters.
    async fn dead_letters(&self, number: usize) -> Vec<Value> {
        let path = self.folder.path().join("spool/dead_letter.ndjson");
        let read = || async {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            (text.lines().count() >= number).then_some(text)
        };
        let text = eventually("dead letters", Duration::from_secs(20), read).await;
        let parse = |line: &str| serde_json::from_str(line).unwrap();
        text.lines().map(parse).collect()
    }

    fn report(&self) -> ComponentReport {
        self.health.reports()["influxdb"].clone()
    }

    async fn until_settled(&self, lines: u64) {
        let settled = || async {
            (self.written() + self.metrics.dropped_total() >= lines && self.waiting() == 0)
                .then_some(())
        };
        let what = format!("{lines} lines written or dropped");
        eventually(&what, Duration::from_secs(20), settled).await;
        assert_eq!(self.written() + self.metrics.dropped_total(), lines);
    }

    async fn until_status(&self, status: Status) -> String {
        let what = format!("the status {status:?}");
        let reached = || async { Some(self.report()).filter(|report| report.status == status) };
        eventually(&what, Duration::from_secs(10), reached)
            .await
            .message
    }

    /// Stops it and gives what it counted: written, dropped, and left in the spool.
    async fn stop(self) -> (u64, u64, u64) {
        drop(self.sender);
        self.keeper.await.unwrap();
        self.stop.cancel();
        let stopped = tokio::time::timeout(Duration::from_secs(6), self.task).await;
        stopped.expect("the sink does not stop").unwrap();
        (
            self.metrics.points_written.get(),
            self.metrics.dropped_total(),
            self.spool.stats().waiting.items,
        )
    }
}

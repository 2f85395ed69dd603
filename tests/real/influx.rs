//! The InfluxDB sink against servers: scripted ones for each failure, and the real InfluxDB 1.6
//! and VictoriaMetrics, read back by their own interfaces.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the tests' own parts stop a test where they fail"
)]

mod influxdb_1;
mod scripted;
mod scripted_server;
mod versions;
mod victoria_metrics;

use std::time::Duration;

pub(crate) use influxdb_1::InfluxDb;

use rabtrace::config::{self, Config, Secret};
use rabtrace::health::{ComponentReport, Health, Status};
use rabtrace::influx::{Influx, InfluxSetup};
use rabtrace::metrics::Metrics;
use rabtrace::model::Point;
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
    sender: mpsc::Sender<Vec<Point>>,
    stop: CancellationToken,
    metrics: Metrics,
    health: Health,
    task: JoinHandle<()>,
}

impl Running {
    fn start(config: config::Influx) -> Self {
        let (metrics, health) = (Metrics::new().unwrap(), Health::default());
        let (sender, receiver) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let sink = Influx::new(InfluxSetup {
            config,
            client: client(),
            metrics: metrics.clone(),
            component: health.component("influxdb"),
        });
        Self {
            sender,
            stop: stop.clone(),
            metrics,
            health,
            task: tokio::spawn(sink.run(receiver, stop)),
        }
    }

    async fn send(&self, points: Vec<Point>) {
        let send = self.sender.send(points);
        let sent = tokio::time::timeout(Duration::from_secs(2), send).await;
        sent.expect("the sink does not receive").unwrap();
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

    fn report(&self) -> ComponentReport {
        self.health.reports()["influxdb"].clone()
    }

    async fn until_settled(&self, lines: u64) {
        let settled = || async {
            (self.written() + self.metrics.dropped_total() >= lines && self.buffered() == 0)
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

    /// Stops it and gives what it counted: written, dropped.
    async fn stop(self) -> (u64, u64) {
        self.stop.cancel();
        let stopped = tokio::time::timeout(Duration::from_secs(6), self.task).await;
        stopped.expect("the sink does not stop").unwrap();
        (
            self.metrics.points_written.get(),
            self.metrics.dropped_total(),
        )
    }
}

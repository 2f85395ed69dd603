//! VictoriaMetrics as a peer that takes InfluxDB 2's writes without being one, read back by its
//! `/api/v1/export`.

use std::process::Command;
use std::time::{Duration, SystemTime};

use rabtrace::influx::check;
use rabtrace::model::Point;
use serde_json::{Value, json};

use super::{Running, client, config};
use crate::support::{Process, eventually, free_port};

/// A server of its own.
pub(super) struct VictoriaMetrics {
    _folder: tempfile::TempDir,
    _process: Process,
    pub(super) url: String,
}

impl VictoriaMetrics {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let data = folder.path().join("data");
        let mut command = Command::new("victoria-metrics");
        command
            .arg(format!("-storageDataPath={}", data.display()))
            .arg(format!("-httpListenAddr={address}"));
        let process = Process::start(&mut command, &folder.path().join("log"));
        let server = Self {
            _folder: folder,
            _process: process,
            url: format!("http://{address}"),
        };
        let answers = || server.read("/health");
        eventually("it answers", Duration::from_secs(20), answers).await;
        server
    }

    async fn read(&self, path: &str) -> Option<String> {
        let request = client().get(format!("{}{path}", self.url));
        request.send().await.ok()?.text().await.ok()
    }

    /// Waits until it has a series of that name.
    pub(super) async fn has(&self, name: &str) {
        let there = || async {
            self.read("/internal/force_flush").await?;
            let names = self.read("/api/v1/label/__name__/values").await?;
            names.contains(&format!("\"{name}\"")).then_some(())
        };
        eventually(name, Duration::from_secs(10), there).await;
    }

    /// Every series as soon as those of `names` are there: name, tag `queue`, values.
    async fn series(&self, names: &[&str]) -> Vec<(String, Value, Value)> {
        let readable = || async {
            self.read("/internal/force_flush").await?;
            let all = "/api/v1/export?match[]=%7B__name__!=%22%22%7D";
            let text = self.read(all).await?;
            let there = names.iter().all(|name| text.contains(name));
            there.then_some(text)
        };
        let text = eventually("the points", Duration::from_secs(10), readable).await;
        text.lines()
            .map(|line| {
                let row: Value = serde_json::from_str(line).unwrap();
                let name = row["metric"]["__name__"].as_str().unwrap().to_owned();
                (name, row["metric"]["queue"].clone(), row["values"].clone())
            })
            .collect()
    }
}

#[tokio::test]
async fn points_arrive_and_none_is_injected() {
    let server = VictoriaMetrics::start().await;
    let found = check(&config(&server.url), &client()).await.unwrap();
    let found = found.outcome.unwrap();
    assert!(found.contains("names no version"), "{found}");

    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap().as_nanos()).unwrap();
    let injection = format!("x\ninjected,t=1 v=1 {now}\ny");
    let point = Point::new("odd", now)
        .tag("queue", "a b,c=d\nö")
        .text("text", Some(injection.clone()))
        .float("depth", Some(2.5))
        .int("n", Some(7));
    let tagged = Point::new("tagged", now)
        .tag("t", injection)
        .int("n", Some(1));
    let sink = Running::start(config(&server.url));
    sink.send(vec![point, tagged]).await;
    sink.until_settled(2).await;
    assert_eq!(sink.stop().await, (2, 0, 0));

    let series = server.series(&["odd_depth", "odd_n", "tagged_n"]).await;
    let injected = series.iter().any(|(name, ..)| name.starts_with("injected"));
    assert!(!injected, "{series:?}");
    let depth = series.iter().find(|(name, ..)| name == "odd_depth");
    let (_, queue, values) = depth.unwrap();
    assert_eq!((queue, values), (&json!("a b,c=d ö"), &json!([2.5])));
}

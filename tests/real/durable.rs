//! An agent that is killed between the acknowledgement of path metrics and the end of their
//! window: what it acknowledged is in its store and in InfluxDB once, and nothing else.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::influx::InfluxDb;
use crate::support::{Process, eventually, rabtrace};

const WITHIN: Duration = Duration::from_secs(30);

/// An agent whose folder outlives it.
pub(crate) struct Agent {
    pub(crate) process: Process,
    pub(crate) otlp: String,
    pub(crate) api: String,
}

async fn start(folder: &Path, influx: &str) -> Agent {
    let url = format!("influx.url={influx}");
    launch(rabtrace(), folder, &["agent.instance=one", &url]).await
}

/// Starts the program by `command` as an agent with its store in `folder`.
pub(crate) async fn launch(mut command: Command, folder: &Path, sets: &[&str]) -> Agent {
    let log = folder.join("log");
    command.args(["agent", "--set", "log.format=json"]);
    let store = format!("store.folder={}", folder.join("store").display());
    for set in [
        "receiver.grpc_listen=127.0.0.1:0",
        "receiver.http_listen=127.0.0.1:0",
        "api.listen=127.0.0.1:0",
        &store,
    ]
    .iter()
    .chain(sets)
    {
        command.args(["--set", set]);
    }
    let process = Process::start(&mut command, &log);
    let address = |key: &'static str| {
        let log = &log;
        eventually("the agent listens", WITHIN, move || {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let mut lines = text
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let line = lines.find(|line| line["fields"]["key"] == key);
            let address =
                line.and_then(|line| Some(line["fields"]["address"].as_str()?.to_owned()));
            std::future::ready(address)
        })
    };
    let otlp = format!("http://{}", address("receiver.http_listen").await);
    let api = format!("http://{}", address("api.listen").await);
    Agent { process, otlp, api }
}

/// The request number `number` of one process: `number` messages, each of `number` milliseconds.
fn request(number: u32) -> Value {
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let attributes = [
        text("rabtrace.path.hash", "00000000000000ab"),
        text("rabtrace.direction", "in"),
        text("messaging.destination.name", "jobs"),
    ];
    let end = (4_000_000_000_000_000_000 + u64::from(number)).to_string();
    let point =
        json!({ "asInt": number.to_string(), "timeUnixNano": end, "attributes": attributes });
    let seconds = f64::from(number) / 1e3;
    let bucket = (-20..0).find(|place| seconds <= f64::exp2(f64::from(place + 1)));
    let histogram = json!({
        "count": number.to_string(), "sum": seconds * f64::from(number), "scale": 0,
        "positive": { "offset": bucket, "bucketCounts": [number.to_string()] },
        "timeUnixNano": end, "attributes": attributes,
    });
    let metrics = [
        json!({ "name": "rabtrace.path.messages",
            "sum": { "aggregationTemporality": 1, "isMonotonic": true, "dataPoints": [point] } }),
        json!({ "name": "rabtrace.path.duration",
            "exponentialHistogram": { "aggregationTemporality": 1, "dataPoints": [histogram] } }),
    ];
    let resource = [
        text("service.name", "worker"),
        text("service.instance.id", "a"),
    ];
    json!({ "resourceMetrics": [{ "resource": { "attributes": resource },
        "scopeMetrics": [{ "metrics": metrics }] }] })
}

/// Whether the agent acknowledged the request.
async fn send(agent: &Agent, number: u32) -> bool {
    let client = rabtrace::app::direct_http_client().unwrap();
    let request = client
        .post(format!("{}/v1/metrics", agent.otlp))
        .json(&request(number));
    request
        .send()
        .await
        .is_ok_and(|answer| answer.status().is_success())
}

/// Messages and seconds in the store.
fn stored(folder: &Path) -> (u64, f64) {
    let database = Connection::open(folder.join("store/rabtrace.db")).unwrap();
    let text = "SELECT sum(count), sum(duration_sum) / 1e3 FROM message_flow";
    database
        .query_row(text, [], |row| {
            Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?))
        })
        .unwrap()
}

/// Messages and seconds in InfluxDB; none as long as there are no points.
async fn written(influx: &InfluxDb) -> Option<(u64, f64)> {
    let query = "SELECT sum(count), sum(duration_sum) FROM message_flow WHERE instance = 'one'";
    let reply = influx.query(query).await;
    let row = &reply["series"][0]["values"][0];
    Some((row[1].as_u64()?, row[2].as_f64()? / 1e3))
}

#[tokio::test]
async fn a_killed_agent_loses_nothing_that_it_acknowledged() {
    let influx = InfluxDb::start(false).await;
    influx.query("CREATE DATABASE rabtrace").await;
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    // Three lives: each is killed as soon as it acknowledged its last request.
    for life in 0..3 {
        let agent = start(folder.path(), influx.url()).await;
        for number in life * 4 + 1..=life * 4 + 4 {
            assert!(send(&agent, number).await, "request {number}");
            acknowledged = number;
        }
        // The sender did not hear the answer, and sends again.
        assert!(send(&agent, acknowledged).await);
        drop(agent.process);
    }
    let agent = start(folder.path(), influx.url()).await;
    assert!(send(&agent, acknowledged).await, "known from the store");
    assert!(send(&agent, acknowledged - 1).await, "and an older one");
    let messages = u64::from(acknowledged * (acknowledged + 1) / 2);
    let seconds: f64 = (1..=acknowledged)
        .map(|number| f64::from(number * number) / 1e3)
        .sum();
    let near = |found: (u64, f64)| {
        assert_eq!(found.0, messages);
        assert!(
            (found.1 - seconds).abs() < 1e-9,
            "{found:?} for {seconds} s"
        );
    };
    near(stored(folder.path()));
    let closed = eventually("all windows in InfluxDB", WITHIN, || async {
        let found = written(&influx).await?;
        assert!(found.0 <= messages, "{found:?}: more than was sent");
        (found.0 == messages).then_some(found)
    });
    near(closed.await);
    near(stored(folder.path()));
    drop(agent.process);
}

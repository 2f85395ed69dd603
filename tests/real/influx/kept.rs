//! What the agent acknowledged while InfluxDB was away is in InfluxDB in the end, though the agent
//! is killed under load.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};

use super::{InfluxDb, client};
use crate::durable::{Agent, launch};
use crate::support::{eventually, rabtrace};

const WITHIN: Duration = Duration::from_secs(60);

/// A request of one span with that id.
fn request(id: u64) -> Value {
    let start = 4_000_000_000_000_000_000 + id * 1_000_000;
    let span = json!({
        "traceId": format!("{id:032x}"), "spanId": format!("{id:016x}"), "name": "work", "kind": 2,
        "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + 500).to_string(),
    });
    json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] })
}

/// Sends the requests of these ids, 16 at a time; those that were acknowledged. The agent is
/// killed when it has acknowledged `last`.
async fn send(agent: Agent, ids: std::ops::Range<u64>, last: u64) -> Vec<u64> {
    let url = format!("{}/v1/traces", agent.otlp);
    let process = std::sync::Mutex::new(Some(agent.process));
    let (client, acknowledged) = (client(), AtomicU64::new(0));
    let post = async |id: u64| {
        let answer = client.post(&url).json(&request(id)).send().await.ok()?;
        if answer.status() != 200 {
            return None;
        }
        if acknowledged.fetch_add(1, Ordering::SeqCst) + 1 == last {
            // Fifteen others are under way.
            drop(process.lock().unwrap().take());
        }
        Some(id)
    };
    let sending = futures_util::stream::iter(ids).map(post);
    let sent: Vec<Option<u64>> = sending.buffer_unordered(16).collect().await;
    sent.into_iter().flatten().collect()
}

#[tokio::test]
async fn what_influxdb_refuses_is_kept_and_status_says_where() {
    let server = InfluxDb::start(false).await;
    server.query("CREATE DATABASE rabtrace").await;
    let client = client();
    // From now on an id that is a text has the wrong type in the week of this point.
    let write = format!("{}/write?db=rabtrace", server.url());
    let answer = client
        .post(write)
        .body("spans span_id=1i 4000000000001000000")
        .send()
        .await;
    assert_eq!(answer.unwrap().status(), 204);
    let folder = tempfile::tempdir().unwrap();
    let url = server.url().replace("//", "//reader:canary@");
    let agent = launch(rabtrace(), folder.path(), &[&format!("influx.url={url}")]).await;
    let sent = client
        .post(format!("{}/v1/traces", agent.otlp))
        .json(&request(1));
    assert_eq!(sent.send().await.unwrap().status(), 200);
    let api = format!("{}/status", agent.api);
    let report = eventually("the dead letter", WITHIN, || async {
        let status: Value = client.get(&api).send().await.ok()?.json().await.ok()?;
        let report = status["dead_letters"]["influx"].clone();
        (report["letters"] == 1).then_some(report)
    })
    .await;
    let text = std::fs::read_to_string(report["path"].as_str().unwrap()).unwrap();
    assert_eq!(report["bytes"], text.len());
    let letter: Value = serde_json::from_str(&text).unwrap();
    let line = letter["lines"][0].as_str().unwrap();
    assert!(line.starts_with("spans,") && line.contains("span_id=\"0000000000000001\""));
    assert!(text.contains("field type conflict"), "{text}");
    let kept = "what the server refuses for good is kept";
    let log = eventually("it says so", WITHIN, || async {
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
        log.contains(kept).then_some(log)
    })
    .await;
    assert!(
        !text.contains("canary") && !log.contains("canary"),
        "{text}{log}"
    );
    assert_eq!(log.matches(kept).count(), 1, "{log}");
}

#[tokio::test]
async fn a_killed_agent_writes_every_span_that_it_acknowledged() {
    let mut server = InfluxDb::start(false).await;
    server.query("CREATE DATABASE rabtrace").await;
    server.kill();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("influx.url={}", server.url());
    let mut acknowledged = Vec::new();
    for ids in [1..1001, 1001..2001] {
        let agent = launch(rabtrace(), folder.path(), &[&url]).await;
        acknowledged.extend(send(agent, ids, 900).await);
    }
    assert!(acknowledged.len() >= 1000, "{}", acknowledged.len());

    server.run().await;
    let agent = launch(rabtrace(), folder.path(), &[&url]).await;
    let api = format!("{}/status", agent.api);
    let client = client();
    eventually("nothing is left in the spool", WITHIN, || async {
        let status: Value = client.get(&api).send().await.ok()?.json().await.ok()?;
        (status["spools"]["influx"]["records"] == 0).then_some(())
    })
    .await;
    let reply = server.query("SELECT span_id FROM spans").await;
    let rows = reply["series"][0]["values"].as_array().unwrap();
    let number = |row: &Value| u64::from_str_radix(row[1].as_str().unwrap(), 16).unwrap();
    let written: std::collections::BTreeSet<u64> = rows.iter().map(number).collect();
    let lost = acknowledged.iter().filter(|id| !written.contains(id));
    let lost: Vec<_> = lost.collect();
    assert!(lost.is_empty(), "{} are lost: {lost:?}", lost.len());
    drop(agent);
}

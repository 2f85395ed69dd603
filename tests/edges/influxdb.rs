//! A real InfluxDB over TLS; its certificate's authority changes by a reload.

use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::agent::{Agent, WITHIN, client, span};
use crate::authority::Authority;
use crate::support::{Process, eventually, free_port};

#[tokio::test]
async fn points_go_to_influxdb_over_tls_once_its_authority_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let pair = authority.issue("influxdb", "localhost");
    let path = folder.path().display();
    let (http, rpc) = (free_port(), free_port());
    let text = format!(
        "reporting-disabled = true\nbind-address = \"127.0.0.1:{rpc}\"\n\
         [meta]\ndir = \"{path}/meta\"\n[data]\ndir = \"{path}/data\"\nwal-dir = \"{path}/wal\"\n\
         [monitor]\nstore-enabled = false\n\
         [http]\nbind-address = \"127.0.0.1:{http}\"\nhttps-enabled = true\n\
         https-certificate = \"{}\"\nhttps-private-key = \"{}\"\n",
        pair.certificate, pair.key
    );
    std::fs::write(folder.path().join("influxdb.conf"), text).unwrap();
    let mut command = Command::new("influxd");
    command
        .arg("-config")
        .arg(folder.path().join("influxdb.conf"));
    let server = Process::start(&mut command, &folder.path().join("influxdb.log"));
    let url = format!("https://localhost:{http}");
    let trusting = client(Some(&authority.file));
    let query = async |text: &str| {
        let mut url: reqwest::Url = format!("{url}/query").parse().unwrap();
        url.query_pairs_mut()
            .append_pair("db", "rabtrace")
            .append_pair("q", text);
        let answer = trusting.post(url).send().await.ok()?;
        answer.json::<Value>().await.ok()
    };
    eventually("influxd answers", WITHIN, || {
        query("CREATE DATABASE rabtrace")
    })
    .await;
    let config = format!("[influx]\nurl = \"{url}\"\n");
    let agent = Agent::start(folder.path(), &config, &[]).await;
    let otlp = format!("http://{}/v1/traces", agent.http);
    let answer = client(None)
        .post(&otlp)
        .json(&span(1))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let health = format!("http://{}/health", agent.api);
    let influxdb = async || {
        let health = client(None).get(&health).send().await.unwrap();
        let mut health: Value = health.json().await.unwrap();
        health["components"]["influxdb"].take()
    };
    let told = eventually("it is not trusted", WITHIN, async || {
        let told = influxdb().await;
        (told["status"] == "degraded").then(|| told["message"].to_string())
    });
    let told = told.await;
    assert!(told.contains("UnknownIssuer"), "{told}");
    let trusted = format!("{config}ca_file = \"{}\"\n", authority.file);
    std::fs::write(folder.path().join("rabtrace.toml"), trusted).unwrap();
    agent.signal(Signal::HUP);
    eventually("what waited is there", WITHIN, async || {
        let reply = query("SELECT count(duration_ms) FROM spans").await?;
        let count = &reply["results"][0]["series"][0]["values"][0][1];
        (*count == 1).then_some(())
    })
    .await;
    eventually("it is told", WITHIN, async || {
        (influxdb().await["status"] == "healthy").then_some(())
    })
    .await;
    drop((agent, server));
}

//! A real InfluxDB over TLS; its certificate's authority changes by a reload, and the agent's own
//! certificate by itself.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::agent::{Agent, WITHIN, client, span};
use crate::authority::{Authority, Pair, write};
use crate::support::{Process, eventually, free_port};

/// Starts InfluxDB with these lines in its section `http`.
fn influxd(folder: &Path, http: u16, lines: &str) -> Process {
    let (path, rpc) = (folder.display(), free_port());
    let text = format!(
        "reporting-disabled = true\nbind-address = \"127.0.0.1:{rpc}\"\n\
         [meta]\ndir = \"{path}/meta\"\n[data]\ndir = \"{path}/data\"\nwal-dir = \"{path}/wal\"\n\
         [monitor]\nstore-enabled = false\n[http]\nbind-address = \"127.0.0.1:{http}\"\n{lines}"
    );
    std::fs::write(folder.join("influxdb.conf"), text).unwrap();
    let mut command = Command::new("influxd");
    command.arg("-config").arg(folder.join("influxdb.conf"));
    Process::start(&mut command, &folder.join("influxdb.log"))
}

/// Asks InfluxDB, and creates its database first.
async fn query(client: &reqwest::Client, url: &str, text: &str) -> Option<Value> {
    let mut url: reqwest::Url = format!("{url}/query").parse().unwrap();
    url.query_pairs_mut()
        .append_pair("db", "rabtrace")
        .append_pair("q", text);
    client.post(url).send().await.ok()?.json().await.ok()
}

async fn is_created(client: &reqwest::Client, url: &str) {
    eventually("influxd answers", WITHIN, || {
        query(client, url, "CREATE DATABASE rabtrace")
    })
    .await;
}

async fn send_a_span(agent: &Agent) {
    let otlp = format!("http://{}/v1/traces", agent.http);
    let answer = client(None).post(&otlp).json(&span(1)).send().await;
    assert_eq!(answer.unwrap().status(), 200);
}

/// What the agent says of InfluxDB.
async fn health(agent: &Agent) -> Value {
    let health = client(None).get(format!("http://{}/health", agent.api));
    let mut health: Value = health.send().await.unwrap().json().await.unwrap();
    health["components"]["influxdb"].take()
}

/// Waits until it is degraded for that reason.
async fn is_degraded(agent: &Agent, why: &str) {
    eventually(why, WITHIN, async || {
        let told = health(agent).await;
        let message = told["message"].as_str().unwrap_or_default();
        (told["status"] == "degraded" && message.contains(why)).then_some(())
    })
    .await;
}

/// Waits until the span is in InfluxDB, and the agent says that all is well.
async fn arrives(agent: &Agent, client: &reqwest::Client, url: &str) {
    eventually("what waited is there", WITHIN, async || {
        let reply = query(client, url, "SELECT count(duration_ms) FROM spans").await?;
        let count = &reply["results"][0]["series"][0]["values"][0][1];
        (*count == 1).then_some(())
    })
    .await;
    eventually("it is told", WITHIN, async || {
        (health(agent).await["status"] == "healthy").then_some(())
    })
    .await;
}

#[tokio::test]
async fn points_go_to_influxdb_over_tls_once_its_authority_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let pair = authority.issue("influxdb", "localhost");
    let http = free_port();
    let lines = format!(
        "https-enabled = true\nhttps-certificate = \"{}\"\nhttps-private-key = \"{}\"\n",
        pair.certificate, pair.key
    );
    let server = influxd(folder.path(), http, &lines);
    let url = format!("https://localhost:{http}");
    let trusting = client(Some(&authority.file));
    is_created(&trusting, &url).await;
    let config = format!("[influx]\nurl = \"{url}\"\n");
    let agent = Agent::start(folder.path(), &config, &[]).await;
    send_a_span(&agent).await;
    is_degraded(&agent, "fix: set influx.ca_file").await;
    let trusted = format!("{config}ca_file = \"{}\"\n", authority.file);
    std::fs::write(folder.path().join("rabtrace.toml"), trusted).unwrap();
    agent.signal(Signal::HUP);
    arrives(&agent, &trusting, &url).await;
    drop((agent, server));
}

/// What stands before `port`, shows `pair`, and lets in who has a certificate of the authority.
async fn gate(port: u16, pair: &Pair, authority: &Authority) -> String {
    let tls = rabtrace::config::Tls {
        certificate_file: Some((&pair.certificate).into()),
        key_file: Some((&pair.key).into()),
        client_ca_file: Some((&authority.file).into()),
        ..rabtrace::config::Tls::default()
    };
    let server = rabtrace::tls::server(&tls).unwrap().unwrap();
    let mut config = (*server.config).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let (acceptor, listener) = (
        TlsAcceptor::from(Arc::new(config)),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    );
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut inside) = acceptor.accept(stream).await else {
                    return;
                };
                let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let _ = copy_bidirectional(&mut inside, &mut server).await;
            });
        }
    });
    format!("https://localhost:{}", address.port())
}

#[tokio::test]
async fn influxdb_behind_a_gate_that_wants_a_client_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let stranger = Authority::new(folder.path(), "stranger");
    let http = free_port();
    let server = influxd(folder.path(), http, "");
    let direct = format!("http://127.0.0.1:{http}");
    is_created(&client(None), &direct).await;
    let gate = gate(http, &authority.issue("gate", "localhost"), &authority).await;
    let shown = stranger.issue("client", "agent");
    let sets = [
        format!("influx.url={gate}"),
        format!("influx.ca_file={}", authority.file),
        format!("influx.client_certificate_file={}", shown.certificate),
        format!("influx.client_key_file={}", shown.key),
    ];
    let agent = Agent::start(folder.path(), "", &sets).await;
    send_a_span(&agent).await;
    is_degraded(&agent, "fix: set influx.client_certificate_file").await;
    // The same files, another certificate: it is taken without a word to the agent.
    let (certificate, key) = authority.pems("agent", 4000);
    write(folder.path(), "client.pem", &certificate);
    write(folder.path(), "client.key", &key);
    arrives(&agent, &client(None), &direct).await;
    drop((agent, server));
}

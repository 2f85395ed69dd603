//! The agent as a process: what it says, what it survives, what it refuses.

use std::path::Path;
use std::time::Duration;

use rabtrace::demo::broker::Broker;
use serde_json::{Value, json};

use crate::support::{Process, eventually, free_port, output, rabtrace, undisturbed};

const WITHIN: Duration = Duration::from_secs(30);

/// A running agent with a folder of its own and ports that the kernel chose.
pub(crate) struct Agent {
    pub(crate) process: Process,
    pub(crate) folder: tempfile::TempDir,
    client: reqwest::Client,
    pub(crate) api: String,
    otlp: String,
    /// Where it takes OTLP over gRPC.
    pub(crate) grpc: String,
}

impl Agent {
    pub(crate) async fn start(set: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = rabtrace();
        command.args(["agent", "--set", "log.format=json"]);
        for key in ["receiver.grpc_listen", "receiver.http_listen", "api.listen"] {
            command.args(["--set", &format!("{key}=127.0.0.1:0")]);
        }
        command.args([
            "--set",
            &format!("store.folder={}", folder.path().join("store").display()),
        ]);
        for (key, value) in set {
            command.args(["--set", &format!("{key}={value}")]);
        }
        let process = Process::start(&mut command, &log);
        let client = rabtrace::app::http_client().unwrap();
        let address = |key: &'static str| {
            let log = log.clone();
            eventually("the agent listens", WITHIN, move || {
                std::future::ready(listening(&log, key))
            })
        };
        let (api, otlp) = (
            address("api.listen").await,
            address("receiver.http_listen").await,
        );
        let grpc = address("receiver.grpc_listen").await;
        Self {
            process,
            folder,
            client,
            api: format!("http://{api}"),
            otlp: format!("http://{otlp}"),
            grpc: format!("http://{grpc}"),
        }
    }

    /// Lines of its log that have this message and this component.
    fn logged(&self, message: &str, component: &str) -> usize {
        let lines = log_lines(&self.folder.path().join("log"));
        let fits = |line: &&Value| {
            line["fields"]["message"] == message && line["fields"]["component"] == component
        };
        lines.iter().filter(fits).count()
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let response = self
            .client
            .get(format!("{}{path}", self.api))
            .send()
            .await
            .unwrap();
        (
            response.status().as_u16(),
            response.json().await.unwrap_or(Value::Null),
        )
    }

    /// Sends a request of one span whose ids are made of `number`.
    pub(crate) async fn send_span(&self, number: u64) {
        let span = json!({
            "traceId": format!("{:032x}", u128::from(number) + 1), "spanId": format!("{:016x}", number + 1),
            "name": "work", "kind": 2, "startTimeUnixNano": "1000000000", "endTimeUnixNano": "2000000000",
        });
        let resource = json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": "sender" } }] });
        let body = json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "spans": [span] }] }] });
        let response = self
            .client
            .post(format!("{}/v1/traces", self.otlp))
            .json(&body)
            .send()
            .await
            .unwrap();
        assert!(response.status().is_success(), "{}", response.status());
    }

    async fn status(&self, field: &str) -> u64 {
        self.get("/status").await.1[field].as_u64().unwrap()
    }

    /// What was dropped, but for polls that a busy machine left out.
    async fn dropped_but_late_polls(&self) -> u64 {
        let metrics = self.client.get(format!("{}/metrics", self.api));
        let text = metrics.send().await.unwrap().text().await.unwrap();
        let late = r#"reason="poll_late""#;
        let is_counted =
            |line: &&str| line.starts_with("rabtrace_dropped_total{") && !line.contains(late);
        let counted: Vec<&str> = text.lines().filter(is_counted).collect();
        assert!(!counted.is_empty(), "{text}");
        let value = |line: &&str| line.rsplit(' ').next()?.parse::<u64>().ok();
        counted.iter().map(|line| value(line).unwrap()).sum()
    }

    pub(crate) async fn until(&self, what: &str, field: &str, enough: u64) {
        eventually(what, WITHIN, || async {
            (self.status(field).await >= enough).then_some(())
        })
        .await;
    }
}

fn log_lines(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn listening(log: &Path, key: &str) -> Option<String> {
    let line = log_lines(log)
        .into_iter()
        .find(|line| line["fields"]["key"] == key)?;
    Some(line["fields"]["address"].as_str()?.to_owned())
}

pub(crate) fn broker_keys(broker: &Broker) -> [(&'static str, String); 4] {
    [
        ("broker.amqp_url", broker.amqp_url()),
        ("broker.management_url", broker.management_url()),
        ("broker.prometheus_urls", broker.prometheus_url()),
        ("broker.poll_interval", "500ms".to_owned()),
    ]
}

pub(crate) fn borrowed<'a>(keys: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    keys.iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect()
}

#[tokio::test]
async fn a_broker_that_goes_and_comes_is_told_once_each_and_no_span_is_lost() {
    let mut broker = Broker::start().await.unwrap();
    let agent = Agent::start(&borrowed(&broker_keys(&broker))).await;
    agent.until("two polls", "polls", 2).await;
    agent.send_span(0).await;
    broker.kill().unwrap();
    eventually("the agent notices", WITHIN, || async {
        (agent.get("/health").await.1["components"]["rabbitmq"]["status"] == "degraded")
            .then_some(())
    })
    .await;
    for number in 1..20 {
        agent.send_span(number).await;
    }
    assert_eq!(
        agent.get("/health").await.0,
        200,
        "a degraded part is no reason to restart the agent"
    );
    let polls = agent.status("polls").await;
    broker.restart().await.unwrap();
    agent.until("polls go on", "polls", polls + 2).await;
    agent.send_span(20).await;
    agent
        .until("every span is stored", "spans_stored", 21)
        .await;
    assert_eq!(agent.dropped_but_late_polls().await, 0);
    assert_eq!(agent.logged("component is degraded", "rabbitmq"), 1);
    assert_eq!(
        agent.logged("component works", "rabbitmq"),
        2,
        "at the start, and when it is back"
    );
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn influxdb_away_is_degraded_and_what_waits_is_written_when_it_is_there() {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let agent = Agent::start(&[("influx.url", &url), ("broker.poll_interval", "1h")]).await;
    for number in 0..50 {
        agent.send_span(number).await;
    }
    agent
        .until("the spans are stored", "spans_stored", 50)
        .await;
    eventually("the sink is degraded", WITHIN, || async {
        (agent.get("/health").await.1["components"]["influxdb"]["status"] == "degraded")
            .then_some(())
    })
    .await;
    assert_eq!(agent.status("points_written").await, 0);
    let data = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new("victoria-metrics");
    command
        .arg(format!("-storageDataPath={}", data.path().display()))
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"));
    let _server = Process::start(&mut command, &data.path().join("log"));
    agent
        .until("the points are written", "points_written", 50)
        .await;
    assert_eq!(agent.status("dropped").await, 0);
}

#[tokio::test]
async fn metrics_pass_the_prometheus_linter_and_the_api_asks_for_its_token() {
    let broker = Broker::start().await.unwrap();
    let mut keys = broker_keys(&broker).to_vec();
    keys.push(("api.token", "canary".to_owned()));
    let agent = Agent::start(&borrowed(&keys)).await;
    assert_eq!(agent.get("/status").await.0, 401);
    assert_eq!(agent.get("/api/v1/queues").await.0, 401);
    assert_eq!(
        agent
            .client
            .get(format!("{}/health/live", agent.api))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    broker.rabbitmqctl(&["eval", "rabbit_amqqueue:declare({resource,<<\"/\">>,queue,<<\"a \\\"b\\\"\">>}, true, false, [], none, <<\"t\">>)."]).await.unwrap();
    let text = eventually("the queue is in /metrics", WITHIN, || async {
        let response = agent
            .client
            .get(format!("{}/metrics", agent.api))
            .bearer_auth("canary")
            .send()
            .await
            .unwrap();
        Some(response.text().await.unwrap())
            .filter(|text| text.contains("rabtrace_queue_messages{"))
    })
    .await;
    let file = agent.folder.path().join("metrics");
    std::fs::write(&file, &text).unwrap();
    let mut lint = std::process::Command::new("sh");
    let (code, printed, complaint) = output(
        lint.arg("-c")
            .arg(format!("promtool check metrics < {}", file.display())),
    );
    assert_eq!(
        (code, printed.as_str(), complaint.as_str()),
        (0, "", ""),
        "{text}"
    );
    assert!(
        !std::fs::read_to_string(agent.folder.path().join("log"))
            .unwrap()
            .contains("canary")
    );
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn requests_that_never_end_do_not_hold_the_agent_up() {
    let (code, log) = undisturbed(async || {
        let ended = ended_with_requests().await;
        let is_well = ended.0 == Some(0);
        (ended, is_well)
    })
    .await;
    assert_eq!(code, Some(0), "{log}");
}

/// Ends an agent while two requests never do: its exit code, and what it logged.
async fn ended_with_requests() -> (Option<i32>, String) {
    use std::io::Write;
    let agent = Agent::start(&[("broker.poll_interval", "1h")]).await;
    let half = |base: &str, path: &str| {
        let mut stream = std::net::TcpStream::connect(base.trim_start_matches("http://")).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{{"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let held = [
        half(&agent.otlp, "/v1/traces"),
        half(&agent.api, "/api/v1/sql"),
    ];
    // An answer to a later request shows that the halves before it were taken.
    agent.send_span(1).await;
    agent.until("the span is stored", "spans_stored", 1).await;
    let Agent {
        mut process,
        folder,
        ..
    } = agent;
    let code = tokio::task::spawn_blocking(move || process.stop())
        .await
        .unwrap();
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    drop(held);
    (code, log)
}

#[tokio::test]
async fn an_agent_is_ready_though_its_broker_is_away() {
    let agent = Agent::start(&[
        ("broker.amqp_url", "amqp://127.0.0.1:1"),
        ("api.token", "t"),
    ])
    .await;
    let probe = |api: &str, token: &str| {
        let mut command = rabtrace();
        let listen = api.trim_start_matches("http://").to_owned();
        command.env("RABTRACE_API_LISTEN", listen);
        command.env("RABTRACE_API_TOKEN", token);
        output(command.args(["health", "--ready"]))
    };
    let (code, _, complaint) = probe(&agent.api, "t");
    assert_eq!(code, 0, "{complaint}");
    assert_eq!(probe(&agent.api, "another").0, 1);
    let nobody = format!("127.0.0.1:{}", free_port());
    assert_eq!(probe(&nobody, "t").0, 4);
}

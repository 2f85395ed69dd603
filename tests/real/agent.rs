//! The agent as a process: what it says, what it survives, what it refuses.

use std::path::Path;
use std::time::Duration;

use rabtrace::demo::broker::Broker;
use serde_json::{Value, json};

use crate::support::{Process, eventually, free_port, output, rabtrace};

const WITHIN: Duration = Duration::from_secs(30);

/// A running agent with a folder of its own and ports that the kernel chose.
pub(crate) struct Agent {
    process: Process,
    folder: tempfile::TempDir,
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

    async fn get(&self, path: &str) -> (u16, Value) {
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
    assert_eq!(agent.status("dropped").await, 0);
    assert_eq!(agent.logged("component is degraded", "rabbitmq"), 1);
    assert_eq!(
        agent.logged("component works", "rabbitmq"),
        2,
        "at the start, and when it is back"
    );
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn the_pipeline_alone_fills_an_agent_of_another_process() {
    let broker = Broker::start().await.unwrap();
    let agent = Agent::start(&borrowed(&broker_keys(&broker))).await;
    let grpc = listening(&agent.folder.path().join("log"), "receiver.grpc_listen").unwrap();
    let mut command = rabtrace();
    command.args([
        "demo",
        "--pipeline-only",
        "--for",
        "3s",
        "--amqp",
        &broker.amqp_url(),
    ]);
    command.args(["--otlp", &format!("http://{grpc}")]);
    let (code, _, remarks) = tokio::task::spawn_blocking(move || output(&mut command))
        .await
        .unwrap();
    assert_eq!(code, 0, "{remarks}");
    agent
        .until("spans of the pipeline", "spans_stored", 500)
        .await;
    let paths = eventually("whole paths", WITHIN, || async {
        let paths = agent.get("/api/v1/paths").await.1["rows"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        (paths.len() >= 6).then_some(paths)
    })
    .await;
    let whole = |row: &Value| {
        row["path"]
            .as_str()
            .unwrap()
            .starts_with("gateway > planner_queue > planner")
    };
    assert!(paths.iter().all(whole), "{paths:#?}");
    broker.stop().await.unwrap();
}

/// As the compose stack runs it: traces go from process to process.
#[tokio::test]
async fn services_of_their_own_processes_make_the_same_paths() {
    let broker = Broker::start().await.unwrap();
    let agent = Agent::start(&borrowed(&broker_keys(&broker))).await;
    let grpc = listening(&agent.folder.path().join("log"), "receiver.grpc_listen").unwrap();
    let log = |name: &str| agent.folder.path().join(name);
    let start = |name: &&str| {
        let mut command = rabtrace();
        command.args(["demo", "--pipeline-only", "--service", *name]);
        command.args(["--amqp", &broker.amqp_url()]);
        command.args(["--otlp", &format!("http://{grpc}")]);
        Process::start(&mut command, &log(name))
    };
    let mut services: Vec<Process> = rabtrace::demo::SERVICES.iter().map(start).collect();
    let path = "gateway > planner_queue > planner > responder_queue > responder > events > audit_queue > audit";
    eventually("the longest path", WITHIN, || async {
        let rows = agent.get("/api/v1/paths").await.1["rows"].clone();
        let mut rows = rows.as_array().cloned().unwrap_or_default().into_iter();
        rows.find(|row| row["path"] == path)
    })
    .await;

    for service in &mut services {
        assert_eq!(service.stop(), Some(0));
    }
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
async fn the_commands_ask_the_agent_or_the_file_and_cannot_write() {
    let agent = Agent::start(&[("broker.poll_interval", "1h")]).await;
    assert_eq!(
        agent.get("/health/ready").await.0,
        200,
        "ready without waiting for data"
    );
    agent.send_span(7).await;
    agent.until("the span is stored", "spans_stored", 1).await;
    let address = agent.api.trim_start_matches("http://").to_owned();
    let folder = agent.folder.path().join("store");
    let ask = |words: &[&str]| {
        let mut command = rabtrace();
        command
            .env("RABTRACE_STORE_FOLDER", &folder)
            .env("RABTRACE_API_LISTEN", &address)
            .args(words);
        output(&mut command)
    };
    let count = [
        "sql",
        "SELECT count(*) AS n FROM spans",
        "--output",
        "ndjson",
    ];
    assert_eq!(ask(&count), (0, "{\"n\":1}\n".to_owned(), String::new()));
    let (code, text, _) = ask(&["trace", "00000000"]);
    assert!(code == 0 && text.contains("sender  work"), "{code} {text}");
    assert_eq!(ask(&["trace", "ffffffff"]).0, 3);
    let (_, text, _) = ask(&["sql", "SELECT 1 AS n", "--output", "json"]);
    assert_eq!(text, "{\"rows\":[{\"n\":1}],\"schema_version\":1}\n");
    let (_, _, remark) = ask(&["sql", "SELECT 1 UNION SELECT 2", "--limit", "1"]);
    assert!(remark.contains("there are more rows"), "{remark}");
    for statement in [
        "DELETE FROM spans",
        "DROP VIEW spans",
        "ATTACH '/etc/passwd' AS x",
        "SELECT 1; SELECT 2",
    ] {
        let (code, printed, complaint) = ask(&["sql", statement]);
        assert!(
            code == 1 && printed.is_empty() && complaint.starts_with("error: "),
            "{statement}: {code} {complaint}"
        );
    }
    let Agent {
        process,
        folder: kept,
        ..
    } = agent;
    drop(process);
    let (code, text, remark) = ask(&count);
    assert_eq!((code, text.as_str()), (0, "{\"n\":1}\n"), "{remark}");
    assert!(remark.contains("reading the store's file"), "{remark}");
    drop(kept);
    assert_eq!(ask(&count).0, 4, "neither agent nor file");
}

#[tokio::test]
async fn what_cannot_work_is_told_before_anything_runs() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let run = |set: &[(&str, &str)]| {
        let mut command = rabtrace();
        command
            .env("RABTRACE_OTLP_GRPC_LISTEN", "127.0.0.1:0")
            .env("RABTRACE_OTLP_HTTP_LISTEN", "127.0.0.1:0");
        command
            .env("RABTRACE_API_LISTEN", "127.0.0.1:0")
            .env("RABTRACE_STORE_FOLDER", folder.path().join("store"));
        command.arg("agent");
        for (key, value) in set {
            command.args(["--set", &format!("{key}={value}")]);
        }
        let (code, _, complaint) = output(&mut command);
        (code, complaint)
    };
    let (code, complaint) = run(&[("receiver.http_listen", &address)]);
    assert!(
        code == 1
            && complaint.contains(&address)
            && complaint.contains("receiver.http_listen")
            && complaint.contains("fix"),
        "{complaint}"
    );
    let (code, complaint) = run(&[("store.folder", file.to_str().unwrap())]);
    assert!(code == 1 && complaint.contains("fix"), "{code} {complaint}");
    let (code, complaint) = run(&[("broker.pol_interval", "1s")]);
    assert!(
        code == 2 && complaint.contains("did you mean broker.poll_interval"),
        "{complaint}"
    );
    let (code, complaint) = run(&[("api.listen", "0.0.0.0:0")]);
    assert!(code == 2 && complaint.contains("api.token"), "{complaint}");
}

#[tokio::test]
async fn a_proxy_is_not_asked_for_the_agent() {
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let agent = Agent::start(&[("broker.poll_interval", "1h")]).await;
    let mut command = rabtrace();
    command
        .env(
            "HTTP_PROXY",
            format!("http://{}", proxy.local_addr().unwrap()),
        )
        .env(
            "http_proxy",
            format!("http://{}", proxy.local_addr().unwrap()),
        )
        .env(
            "RABTRACE_API_LISTEN",
            agent.api.trim_start_matches("http://"),
        )
        .args(["health", "--live"]);
    drop(proxy);
    assert_eq!(output(&mut command), (0, String::new(), String::new()));
}

#[tokio::test]
async fn requests_that_never_end_do_not_hold_the_agent_up() {
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
    assert_eq!(code, Some(0), "{log}");
    drop(held);
}

#[test]
fn a_broken_configuration_does_not_hide_the_example_that_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rabtrace.toml"), "x = 1").unwrap();
    let run = |words: &[&str]| output(rabtrace().current_dir(folder.path()).args(words));
    let (code, _, complaint) = run(&["config", "show"]);
    assert!(
        code == 2 && complaint.contains("config example"),
        "{complaint}"
    );
    let (code, example, complaint) = run(&["config", "example"]);
    assert!(code == 0 && example.contains("[broker]"), "{complaint}");
}

#[test]
fn the_demo_may_send_to_the_usual_port_of_a_collector() {
    let mut command = rabtrace();
    command.args(["demo", "--pipeline-only", "--amqp", "amqp://127.0.0.1:1"]);
    let (code, _, complaint) = output(command.args(["--otlp", "http://127.0.0.1:4317"]));
    assert!(
        code == 1 && !complaint.contains("own receiver"),
        "{code} {complaint}"
    );
}

#[tokio::test]
async fn an_agent_is_ready_though_its_broker_is_away() {
    let away = format!("amqp://127.0.0.1:{}", free_port());
    let agent = Agent::start(&[("broker.amqp_url", &away), ("api.token", "t")]).await;
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

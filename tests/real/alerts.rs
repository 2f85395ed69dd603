//! The alert rules: promtool checks and tests them, a real Prometheus loads them and scrapes the
//! real agent, each has its runbook, and no metric that they or the dashboards ask for is missing.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rabtrace::demo::broker::Broker;
use serde_json::Value;

use crate::agent::{Agent, borrowed, broker_keys};
use crate::support::{Process, eventually, free_port, output, rabtrace};

const WITHIN: Duration = Duration::from_secs(60);

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn promtool(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new("promtool");
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    output(command.args(arguments))
}

#[test]
fn each_alert_fires_on_its_case_and_stays_silent_beside_it() {
    let (code, said, complaint) = promtool(&["check", "rules", "deploy/prometheus/rules.yml"]);
    assert_eq!(code, 0, "{said}{complaint}");
    let (code, said, complaint) = promtool(&["test", "rules", "deploy/prometheus/rules.test.yml"]);
    assert_eq!(code, 0, "{said}{complaint}");
    let (rules, tests) = (
        read("deploy/prometheus/rules.yml"),
        read("deploy/prometheus/rules.test.yml"),
    );
    for name in alerts() {
        let case = format!("alertname: {name}\n");
        assert_eq!(tests.matches(&case).count(), 2, "{name} has not two cases");
    }
    // A rule that never fires does not pass.
    let folder = tempfile::tempdir().unwrap();
    let deaf = rules.replace(
        "rabtrace_queue_status_code == 3",
        "rabtrace_queue_status_code == 9",
    );
    assert_ne!(deaf, rules);
    std::fs::write(folder.path().join("rules.yml"), deaf).unwrap();
    std::fs::write(folder.path().join("rules.test.yml"), tests).unwrap();
    let file = folder.path().join("rules.test.yml");
    let (code, said, _) = promtool(&["test", "rules", file.to_str().unwrap()]);
    assert_ne!(code, 0, "{said}");
}

/// Names of the alerts, as Prometheus' file has them.
fn alerts() -> Vec<String> {
    let rules = read("deploy/prometheus/rules.yml");
    let names = rules.lines().filter_map(|line| {
        let name = line.trim().strip_prefix("- alert: ")?;
        Some(name.to_owned())
    });
    let names: Vec<String> = names.collect();
    assert!(names.len() >= 15, "{names:?}");
    names
}

/// Names of the rules in a file of Grafana's.
fn titles(rules: &str) -> Vec<String> {
    let titles = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("title: "));
    titles.map(str::to_owned).collect()
}

#[test]
fn each_alert_has_a_runbook_and_grafana_has_the_same_rules() {
    let headings = |text: &str| -> Vec<String> {
        let heads = text.lines().filter_map(|line| line.strip_prefix("## "));
        heads.map(str::to_owned).collect()
    };
    assert_eq!(headings(&read("docs/runbooks.md")), alerts());
    let of_influx = titles(&read("grafana/provisioning/influxdb-2/alerting.yml"));
    let of_agent = ["AgentDropping", "SpoolFilling"];
    let mut wanted = alerts();
    wanted.retain(|name| !of_agent.contains(&name.as_str()));
    assert_eq!(of_influx, wanted);
    let grafana = read("grafana/provisioning/prometheus/alerting.yml");
    assert_eq!(titles(&grafana), alerts());
    for name in alerts() {
        let anchor = format!("docs/runbooks.md#{}", name.to_lowercase());
        let rules = read("deploy/prometheus/rules.yml");
        assert!(
            rules.contains(&anchor) && grafana.contains(&anchor),
            "{anchor}"
        );
    }
}

/// A command that cannot be read ends with 2; without an agent and a store others end with 3 or 4.
#[test]
fn the_commands_of_the_runbooks_are_commands() {
    let folder = tempfile::tempdir().unwrap();
    let own = Path::new(env!("CARGO_BIN_EXE_rabtrace")).parent().unwrap();
    let path = format!("{}:{}", own.display(), std::env::var("PATH").unwrap());
    let page = read("docs/runbooks.md");
    let commands: BTreeSet<&str> = page
        .lines()
        .filter(|line| line.starts_with("rabtrace "))
        .collect();
    assert!(commands.len() > 15, "{commands:?}");
    for line in commands {
        let mut command = Command::new("sh");
        command
            .args(["-c", line])
            .current_dir(folder.path())
            .env("PATH", &path)
            .env("RABTRACE_STORE_FOLDER", folder.path())
            .env("RABTRACE_API_LISTEN", "127.0.0.1:1")
            .env("RABTRACE_AMQP_URL", "amqp://127.0.0.1:1");
        let (code, said, complaint) = output(&mut command);
        let expected = if line == "rabtrace check" {
            vec![10]
        } else {
            vec![3, 4]
        };
        assert!(
            expected.contains(&code),
            "{line}: {code}\n{said}{complaint}"
        );
    }
}

/// Metrics that a text asks for, without what Prometheus makes of a histogram.
fn asked(text: &str) -> BTreeSet<String> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let words = text
        .split(word)
        .filter(|word| word.starts_with("rabtrace_"));
    words
        .map(|word| word.trim_end_matches("_bucket").to_owned())
        .collect()
}

#[test]
fn every_metric_that_is_asked_for_is_in_the_reference() {
    let page = read("docs/measurements.md");
    let mut names = asked(&read("deploy/prometheus/rules.yml"));
    names.extend(asked(&read("grafana/dashboards/prometheus/rabtrace.json")));
    assert!(names.len() > 25, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("| `{name}` |")), "{name}");
    }
}

/// A Prometheus with the rules, that scrapes this agent.
struct Prometheus {
    _process: Process,
    _folder: tempfile::TempDir,
    url: String,
    client: reqwest::Client,
}

impl Prometheus {
    fn start(agent: &str, token: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let target = agent.trim_start_matches("http://");
        let config = read("deploy/prometheus/prometheus.yml")
            .replace("127.0.0.1:9469", target)
            .replace("15s", "1s");
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        std::fs::write(folder.path().join("token"), token).unwrap();
        std::fs::write(
            folder.path().join("rules.yml"),
            read("deploy/prometheus/rules.yml"),
        )
        .unwrap();
        let port = free_port();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--config.file")
            .arg(folder.path().join("prometheus.yml"))
            .arg("--storage.tsdb.path")
            .arg(folder.path().join("data"));
        let process = Process::start(&mut command, &folder.path().join("log"));
        Self {
            _process: process,
            _folder: folder,
            url: format!("http://127.0.0.1:{port}"),
            client: rabtrace::app::direct_http_client().unwrap(),
        }
    }

    /// The part `data` of what the API answers; none while it does not.
    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Option<Value> {
        let mut url = reqwest::Url::parse(&format!("{}/api/v1/{path}", self.url)).unwrap();
        url.query_pairs_mut().extend_pairs(query);
        let answer: Value = self.client.get(url).send().await.ok()?.json().await.ok()?;
        (answer["status"] == "success").then(|| answer["data"].clone())
    }

    /// The series that a query gives, once there are some.
    async fn series(&self, query: &str) -> Vec<Value> {
        eventually(query, WITHIN, || async {
            let found = self.get("query", &[("query", query)]).await?;
            let series = found["result"].as_array()?.clone();
            (!series.is_empty()).then_some(series)
        })
        .await
    }
}

/// Queries of the dashboard about the agent, as Grafana asks them.
fn panels() -> Vec<(String, String)> {
    let dashboard: Value =
        serde_json::from_str(&read("grafana/dashboards/prometheus/rabtrace.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    panels
        .map(|panel| {
            let query = text(&panel["targets"][0]["expr"]).replace("$__rate_interval", "10s");
            (text(&panel["title"]), query)
        })
        .collect()
}

#[tokio::test]
async fn prometheus_scrapes_the_agent_and_loads_its_rules() {
    let broker = Broker::start().await.unwrap();
    let mut keys = broker_keys(&broker).to_vec();
    keys.push(("api.token", "let-me-in".to_owned()));
    // An InfluxDB that is not there: what it should get waits in the spool.
    keys.push(("influx.url", format!("http://127.0.0.1:{}", free_port())));
    let agent = Agent::start(&borrowed(&keys)).await;
    let prometheus = Prometheus::start(&agent.api, "let-me-in");
    let mut pipeline = rabtrace();
    pipeline.args(["demo", "--pipeline-only", "--for", "10m"]);
    pipeline.args(["--amqp", &broker.amqp_url(), "--otlp", &agent.grpc]);
    let folder = tempfile::tempdir().unwrap();
    let pipeline = Process::start(&mut pipeline, &folder.path().join("log"));

    for query in [
        "up{job=\"rabtrace\"} == 1",
        "rabtrace_queue_consumers{queue=\"planner_queue\"} == 1",
        "rabtrace_queue_status_code",
        "rabtrace_node_running == 1",
        "rabtrace_broker_up == 1",
        "rabtrace_service_requests_total > 0",
        "rabtrace_agent_tokens_total > 0",
        "rabtrace_path_messages_total{path=\"gateway > planner_queue > planner\"} > 0",
        "histogram_quantile(0.95, sum by (path, le) (rabtrace_path_duration_seconds_bucket)) > 0",
        "process_resident_memory_bytes and on (job, instance) rabtrace_build_info",
    ] {
        prometheus.series(query).await;
    }
    // Nothing is lost, refused or forwarded here; where there is no InfluxDB nothing is written.
    let silent = ["Dropped", "Refused"];
    for (title, query) in panels() {
        if !silent.contains(&title.as_str()) {
            prometheus.series(&query).await;
        }
    }
    let rules = prometheus.get("rules", &[]).await.unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    let loaded: Vec<&str> = rules
        .iter()
        .map(|rule| rule["name"].as_str().unwrap())
        .collect();
    assert_eq!(loaded, alerts());
    for rule in rules {
        assert_ne!(rule["health"], "err", "{rule}");
    }

    let client = rabtrace::app::direct_http_client().unwrap();
    let page = client.get(format!("{}/metrics", agent.api));
    let page = page.bearer_auth("let-me-in").send().await.unwrap();
    check_metrics(&page.text().await.unwrap());
    drop(pipeline);
    broker.stop().await.unwrap();
}

/// promtool has nothing to say about the text.
fn check_metrics(text: &str) {
    let mut command = Command::new("promtool");
    command
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, text.as_bytes()).unwrap();
    drop(input);
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success() && said.is_empty(), "{said}");
}

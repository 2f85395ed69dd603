//! Ring three: the compose stack. It runs with `RABTRACE_STACK=1` once `docker compose up` stands;
//! without the variable it says that it did not run. The sample pipeline is run against the stack
//! first, so it need not have one of its own.
//!
//! The addresses and secrets of another stack: `INFLUX_HOST`, `INFLUX_ORG`, `INFLUX_BUCKET`,
//! `INFLUX_TOKEN`, `GRAFANA_URL`, `GRAFANA_PASSWORD`, `JAEGER_URL`, `PROMETHEUS_URL`, `RABTRACE_URL`,
//! `RABTRACE_API_TOKEN`, `RABTRACE_AMQP_URL`, `RABTRACE_OTLP_URL`, `RABTRACE_OTLP_TOKEN`.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod grafana;
mod influxdb;
mod traces;

use std::process::Command;

use reqwest::RequestBuilder;
use serde_json::Value;

/// What the stack has where nothing else is said: the values of `.env`.
const SETTINGS: [(&str, &str); 13] = [
    ("INFLUX_HOST", "http://127.0.0.1:8086"),
    ("INFLUX_ORG", "rabtrace"),
    ("INFLUX_BUCKET", "rabtrace"),
    ("INFLUX_TOKEN", "rabtrace-development-token"),
    ("GRAFANA_URL", "http://127.0.0.1:3000"),
    ("GRAFANA_PASSWORD", "rabtrace-development"),
    ("JAEGER_URL", "http://127.0.0.1:16686"),
    ("PROMETHEUS_URL", "http://127.0.0.1:9090"),
    ("RABTRACE_URL", "http://127.0.0.1:9469"),
    ("RABTRACE_API_TOKEN", "rabtrace-development-token"),
    (
        "RABTRACE_AMQP_URL",
        "amqp://rabtrace:rabtrace-development@127.0.0.1:5672",
    ),
    ("RABTRACE_OTLP_URL", "http://127.0.0.1:4317"),
    ("RABTRACE_OTLP_TOKEN", "rabtrace-development-token"),
];

/// How long the pipeline runs: what is told once a minute is told twice.
const RUNS: &str = "130s";

#[tokio::test]
async fn the_stack_does_what_it_says() {
    if std::env::var_os("RABTRACE_STACK").is_none() {
        println!("not run: set RABTRACE_STACK=1 once `docker compose up` stands");
        return;
    }
    tokio::task::spawn_blocking(pipeline).await.unwrap();
    influxdb::the_stack_fills_influxdb_2().await;
    influxdb::influxdb_2_gives_back_what_was_written().await;
    grafana::every_panels_query_has_rows().await;
    grafana::every_alert_rule_is_loaded().await;
    traces::every_trace_is_in_jaeger().await;
}

/// Runs the sample pipeline on the stack's broker, its telemetry going to the stack's agent.
fn pipeline() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rabtrace"));
    command.args(["demo", "--pipeline-only", "--for", RUNS]);
    command.args(["--amqp", &setting("RABTRACE_AMQP_URL")]);
    command.args(["--otlp", &setting("RABTRACE_OTLP_URL")]);
    let authorization = format!("authorization=Bearer%20{}", setting("RABTRACE_OTLP_TOKEN"));
    command.env("OTEL_EXPORTER_OTLP_HEADERS", authorization);
    let ended = command.output().unwrap();
    let complaint = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "the pipeline: {complaint}");
}

fn setting(name: &str) -> String {
    let known = SETTINGS.iter().find(|(known, _)| *known == name).unwrap();
    std::env::var(name).unwrap_or_else(|_| known.1.to_owned())
}

fn client() -> reqwest::Client {
    rabtrace::app::http_client().unwrap()
}

/// The answer to a request, which must be a good one.
async fn answer(request: RequestBuilder) -> Value {
    let response = request.send().await.unwrap();
    let (status, url) = (response.status(), response.url().clone());
    let text = response.text().await.unwrap();
    assert!(status.is_success(), "{url}: {status}: {text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{url}: {error}: {text}"))
}

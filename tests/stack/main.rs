//! Ring three: the compose stack. It runs with `RABTRACE_STACK=1` once `docker compose up` stands and
//! the sample pipeline has run for two minutes; without the variable it says that it did not run.
//!
//! The addresses and secrets of another stack: `INFLUX_HOST`, `INFLUX_ORG`, `INFLUX_BUCKET`,
//! `INFLUX_TOKEN`, `GRAFANA_URL`, `GRAFANA_PASSWORD`, `JAEGER_URL`, `PROMETHEUS_URL`, `RABTRACE_URL`,
//! `RABTRACE_API_TOKEN`.
#![expect(clippy::print_stdout, reason = "it says that it did not run")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod grafana;
mod influxdb;
mod traces;

use reqwest::RequestBuilder;
use serde_json::Value;

/// What the stack has where nothing else is said: the values of `.env`.
const SETTINGS: [(&str, &str); 10] = [
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
];

/// Whether the stack is there; says so when it is not asked for.
fn asked_for() -> bool {
    let asked = std::env::var_os("RABTRACE_STACK").is_some();
    if !asked {
        println!("not run: set RABTRACE_STACK=1 once `docker compose up` stands");
    }
    asked
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

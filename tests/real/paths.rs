//! Paths, from the channel through the agent to what the user reads.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod counted;
mod unseen;

use std::time::Duration;

use opentelemetry_otlp::{MetricExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use serde_json::Value;

use crate::agent::Agent;
use crate::support::{output, rabtrace};

/// The meter provider of a service, set up as the documentation says.
fn meters(agent: &Agent, name: &'static str) -> SdkMeterProvider {
    let exporter = MetricExporter::builder()
        .with_tonic()
        .with_endpoint(&agent.grpc)
        .with_temporality(Temporality::Delta)
        .build();
    let reader = PeriodicReader::builder(exporter.unwrap());
    SdkMeterProvider::builder()
        .with_reader(reader.with_interval(Duration::from_secs(1)).build())
        .with_view(rabtrace_otlp::path_view)
        .with_resource(Resource::builder().with_service_name(name).build())
        .build()
}

/// Sends what is left; the exporter has a thread of its own.
async fn shut_down(providers: impl IntoIterator<Item = SdkMeterProvider>) {
    for provider in providers {
        let shut_down = tokio::task::spawn_blocking(move || provider.shutdown());
        shut_down.await.unwrap().unwrap();
    }
}

/// What `rabtrace` answers to these arguments, in JSON.
fn ask(agent: &Agent, arguments: &[&str]) -> Value {
    let mut command = rabtrace();
    command.env(
        "RABTRACE_API_LISTEN",
        agent.api.trim_start_matches("http://"),
    );
    let (code, printed, complaint) = output(command.args(arguments).args(["--output", "json"]));
    assert_eq!(code, 0, "{printed}{complaint}");
    serde_json::from_str(&printed).unwrap()
}

/// Path and count of each row of `rabtrace paths`.
fn counts(agent: &Agent) -> Vec<(String, u64)> {
    let answer = ask(agent, &["paths"]);
    let rows = answer["rows"].as_array().unwrap().iter();
    let count = |row: &Value| {
        let path = row["path"].as_str().unwrap().to_owned();
        (path, row["count"].as_u64().unwrap())
    };
    rows.map(count).collect()
}

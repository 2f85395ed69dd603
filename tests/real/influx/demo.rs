//! The lines of the sample pipeline: real servers take every one of them.

use rabtrace::reference::MEASUREMENTS;
use serde_json::Value;

use super::InfluxDb;
use super::victoria_metrics::VictoriaMetrics;
use crate::support::{output, rabtrace};

/// Runs the demo with this server behind it: its report.
async fn demo(url: &str) -> Value {
    let mut command = rabtrace();
    command.args(["demo", "--for", "6s", "--output", "json", "--influx", url]);
    let ended = tokio::task::spawn_blocking(move || output(&mut command)).await;
    let (code, said, remarks) = ended.unwrap();
    assert_eq!(code, 0, "{remarks}");
    serde_json::from_str(&said).unwrap()
}

/// How many points the server took; none was refused.
fn taken(report: &Value) -> u64 {
    // A poll that a busy machine leaves out is no point.
    assert_eq!(report["dropped"], report["polls_late"], "{report}");
    let taken = report["points_written_influxdb"].as_u64().unwrap();
    assert!(taken > 500, "only {taken} points were written");
    taken
}

#[tokio::test]
async fn influxdb_1_takes_every_line_of_the_demo() {
    let server = InfluxDb::start(false).await;
    server.query("CREATE DATABASE rabtrace").await;
    taken(&demo(server.url()).await);
    let told = server.query("SHOW MEASUREMENTS").await.to_string();
    // Bindings are asked for once a minute at most.
    let shown = MEASUREMENTS
        .iter()
        .filter(|known| known.name != "rabbitmq_binding");
    for known in shown {
        assert!(
            told.contains(&format!("[\"{}\"]", known.name)),
            "no {} in {told}",
            known.name
        );
    }
}

#[tokio::test]
async fn victoria_metrics_takes_every_line_of_the_demo() {
    let server = VictoriaMetrics::start().await;
    taken(&demo(&server.url).await);
    for name in [
        "message_flow_count",
        "rabbitmq_queue_messages",
        "spans_duration_ms",
    ] {
        server.has(name).await;
    }
}

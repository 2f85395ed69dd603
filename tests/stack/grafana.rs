//! Grafana and Prometheus: every panel's query has rows, every alert rule is loaded.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{answer, client, setting};

/// Panels that a healthy pipeline leaves empty.
const MAY_BE_EMPTY: [&str; 3] = ["CPU of the services", "Requests under way", "Time to drain"];

fn dashboards(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana/dashboards");
    let files = std::fs::read_dir(folder.join(kind)).unwrap();
    files.map(|file| file.unwrap().path()).collect()
}

/// The query as Grafana would send it: everything is chosen in every variable.
fn chosen(target: &Value, source: &str) -> Value {
    let mut text = target.to_string();
    for name in ["vhost", "queue", "service", "path"] {
        text = text.replace(&format!("${{{name}:regex}}"), ".*");
        text = text.replace(&format!("IN (${{{name}:sqlstring}})"), "IS NOT NULL");
    }
    for (name, value) in [
        ("${agent}", "http://127.0.0.1:9469"),
        ("${input_price}", "3.0"),
        ("${output_price}", "15.0"),
    ] {
        text = text.replace(name, value);
    }
    let mut target: Value = serde_json::from_str(&text).unwrap();
    target["datasource"] = json!({ "uid": source });
    target["intervalMs"] = json!(10_000);
    target["maxDataPoints"] = json!(500);
    target
}

async fn check(kind: &str, source: &str) {
    let url = format!("{}/api/ds/query", setting("GRAFANA_URL"));
    let mut empty = Vec::new();
    for file in dashboards(kind) {
        let text = std::fs::read_to_string(&file).unwrap();
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                let body =
                    json!({ "queries": [chosen(target, source)], "from": "now-15m", "to": "now" });
                let request = client().post(&url).json(&body);
                let request = request.basic_auth("admin", Some(setting("GRAFANA_PASSWORD")));
                let told = answer(request).await;
                let frames = &told["results"][target["refId"].as_str().unwrap()]["frames"];
                let has_rows = frames.as_array().is_some_and(|frames| {
                    frames.iter().any(|frame| {
                        let columns = frame["data"]["values"].as_array();
                        columns.is_some_and(|columns| columns.iter().any(|of| of.get(0).is_some()))
                    })
                });
                let title = panel["title"].as_str().unwrap();
                if !has_rows && !MAY_BE_EMPTY.contains(&title) {
                    empty.push(format!("{}: {title}: {told}", file.display()));
                }
            }
        }
    }
    assert!(empty.is_empty(), "{}", empty.join("\n"));
}

/// What the stack's Grafana asks InfluxDB in: Flux, or SQL in the profile `v3`.
async fn dialect() -> &'static str {
    let url = format!(
        "{}/api/datasources/uid/rabtrace-influxdb",
        setting("GRAFANA_URL")
    );
    let request = client().get(url);
    let source = answer(request.basic_auth("admin", Some(setting("GRAFANA_PASSWORD")))).await;
    match source["jsonData"]["version"].as_str() {
        Some("SQL") => "sql",
        _ => "flux",
    }
}

pub(crate) async fn every_panels_query_has_rows() {
    check(dialect().await, "rabtrace-influxdb").await;
    check("prometheus", "rabtrace-prometheus").await;
}

/// How many rules the file has that both are made of.
fn rules() -> usize {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/rules.yml");
    let text = std::fs::read_to_string(file).unwrap();
    text.lines()
        .filter(|line| line.trim_start().starts_with("- alert:"))
        .count()
}

pub(crate) async fn every_alert_rule_is_loaded() {
    let wanted = rules();
    assert!(
        wanted > 0,
        "the file has no rule: is this test still looking?"
    );
    let url = format!("{}/api/v1/provisioning/alert-rules", setting("GRAFANA_URL"));
    let request = client()
        .get(url)
        .basic_auth("admin", Some(setting("GRAFANA_PASSWORD")));
    let of_grafana = answer(request).await.as_array().unwrap().len();
    let url = format!("{}/api/v1/rules?type=alert", setting("PROMETHEUS_URL"));
    let told = answer(client().get(url)).await;
    let groups = told["data"]["groups"].as_array().unwrap();
    let of_prometheus: usize = groups
        .iter()
        .map(|group| group["rules"].as_array().unwrap().len())
        .sum();
    assert_eq!((of_grafana, of_prometheus), (wanted, wanted));
}

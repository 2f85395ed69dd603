//! The compose stack: of the compose specification, whole for each profile, on loopback alone.
//!
//! No container engine runs here: `tests/stack.rs` asks a stack that stands.

use std::path::Path;
use std::process::Command;

use rabtrace::demo::broker::Broker;
use serde_json::Value;

use crate::dashboards::at_root;
use crate::support::{output, python, rabtrace};

const FILE: &str = "docker-compose.yml";

fn render(file: &Path, profile: &str) -> (i32, String, String) {
    let mut command = at_root(python());
    command.arg("tests/real/compose/render.py").arg(file);
    output(command.args([".env", profile]))
}

fn services(profile: &str) -> Value {
    let (code, said, complaint) = render(Path::new(FILE), profile);
    assert_eq!(code, 0, "{profile}: {complaint}");
    serde_json::from_str(&said).unwrap()
}

fn names(services: &Value) -> Vec<&str> {
    services
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn each_profile_starts_what_it_says() {
    let minimal = services("minimal");
    assert_eq!(
        names(&minimal),
        ["agent-minimal", "grafana-minimal", "influxdb", "rabbitmq"]
    );
    let full = services("full");
    for name in [
        "agent",
        "collector",
        "demo-gateway",
        "influxdb",
        "jaeger",
        "loki",
        "prometheus",
    ] {
        assert!(
            names(&full).contains(&name),
            "{name} is not in {:?}",
            names(&full)
        );
    }
    let three = services("v3");
    assert!(names(&three).contains(&"influxdb3") && !names(&three).contains(&"influxdb"));
    let of_demo = |services: &Value| {
        let demos = names(services).into_iter();
        demos
            .filter_map(|name| name.strip_prefix("demo-").map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let mut wanted = rabtrace::demo::SERVICES.map(str::to_owned).to_vec();
    wanted.sort();
    assert_eq!(of_demo(&full), wanted);
    assert_eq!(of_demo(&three), wanted);
}

/// The container that brings the broker its definitions, with the program of its image.
#[tokio::test]
async fn a_broker_takes_the_definitions() {
    let broker = Broker::start().await.unwrap();
    let services = services("full");
    let command = services["rabbitmq-definitions"]["command"]
        .as_array()
        .unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/compose/definitions.json");
    let management = broker.management_url();
    let management = management.trim_start_matches("http://");
    let login = "guest:guest";
    let arguments = command.iter().map(|part| {
        let part = part.as_str().unwrap();
        let part = part.replace("/definitions.json", file.to_str().unwrap());
        let part = part.replace("rabbitmq:15672", management);
        part.replace("rabtrace:rabtrace-development", login)
    });
    let mut bring = Command::new("busybox");
    let (code, said, complaint) = output(bring.args(arguments));
    assert_eq!(code, 0, "{bring:?}: {said}{complaint}");
    let client = rabtrace::app::direct_http_client().unwrap();
    let policies = client.get(format!("http://{management}/api/policies"));
    let policies = policies.basic_auth("guest", Some("guest")).send();
    let policies: Value = policies.await.unwrap().json().await.unwrap();
    assert_eq!(policies[0]["name"], "dead-letters", "{policies}");
    broker.stop().await.unwrap();
}

/// The agent's own check of its configuration takes what the stack sets.
#[test]
fn the_agent_takes_what_each_profile_sets() {
    for (profile, agent) in [
        ("full", "agent"),
        ("minimal", "agent-minimal"),
        ("v3", "agent-v3"),
    ] {
        let services = services(profile);
        let mut command = rabtrace();
        for (name, value) in services[agent]["environment"].as_object().unwrap() {
            command.env(name, value.as_str().unwrap());
        }
        let folder = tempfile::tempdir().unwrap();
        command.current_dir(folder.path()).args(["config", "show"]);
        let (code, said, complaint) = output(&mut command);
        assert_eq!(code, 0, "{profile}: {complaint}");
        for line in ["0.0.0.0:4317", "http://influxdb"] {
            assert!(said.contains(line), "{profile}: {line} is not in\n{said}");
        }
        assert!(!said.contains("development-token"), "{said}");
    }
}

#[test]
fn what_is_wrong_with_a_stack_is_found() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for linked in ["deploy", "grafana", "influx"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(linked);
        std::os::unix::fs::symlink(from, folder.path().join(linked)).unwrap();
    }
    let file = folder.path().join(FILE);
    for (sound, broken, told) in [
        (
            "read_only: true",
            "read_onli: true",
            "not of the compose specification",
        ),
        (
            "\"127.0.0.1:3000:3000\"",
            "\"3000:3000\"",
            "beyond loopback",
        ),
        (
            "${GRAFANA_PASSWORD:?}",
            "${GRAFANA_PASSWRD:?}",
            "GRAFANA_PASSWRD has no value",
        ),
        ("influx/setup.sh:", "influx/start.sh:", "which is not there"),
        (
            "agent: { condition: service_healthy, required: false }",
            "agent: { condition: service_healthy }",
            "which the profile does not start",
        ),
        (
            "healthcheck:\n      test: [\"CMD\", \"/usr/bin/loki\"",
            "x-healthcheck:\n      test: [\"CMD\", \"/usr/bin/loki\"",
            "loki has no health check",
        ),
        (
            "      - *prometheus-datasources\n",
            "",
            "that ask the data source rabtrace-prometheus",
        ),
        (
            "grafana/dashboards:/var/lib/grafana/dashboards",
            "grafana/dashboards:/var/lib/dashboards",
            "dashboards in /var/lib/grafana/dashboards/sql",
        ),
        (
            "&other-datasources ./deploy",
            "./grafana:/etc/grafana:ro\n      - &other-datasources ./deploy",
            "within /etc/grafana, which is read-only",
        ),
    ] {
        assert!(text.contains(sound), "{sound}");
        std::fs::write(&file, text.replace(sound, broken)).unwrap();
        let (code, _, complaint) = render(&file, "v3");
        let (_, _, of_full) = render(&file, "full");
        let said = format!("{complaint}{of_full}");
        assert!(said.contains(told), "{broken}: {code}: {said}");
    }
}

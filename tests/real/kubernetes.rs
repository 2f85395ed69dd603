//! The chart: Helm itself renders it, Kubernetes' schemas hold what comes out, and the plain
//! manifests are what it makes.

use std::path::Path;
use std::process::Command;

use crate::support::{output, python, rabtrace};

fn render() -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(python());
    command
        .current_dir(root)
        .arg("tests/real/kubernetes/render.py");
    command
}

/// What Helm makes of the chart with these values, or says when it refuses.
fn chart(values: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.json");
    std::fs::write(&file, values).unwrap();
    let (code, manifests, complaint) = output(render().arg("deploy/helm/rabtrace").arg(&file));
    if code != 0 {
        return Err(complaint);
    }
    let made = folder.path().join("manifests.yaml");
    std::fs::write(&made, &manifests).unwrap();
    let (code, said, complaint) = output(render().arg("--validate").arg(&made));
    assert_eq!(code, 0, "{complaint}");
    assert!(said.contains("fit Kubernetes"), "{said}");
    Ok(manifests)
}

#[test]
fn the_plain_manifests_are_those_of_the_chart_and_fit_kubernetes() {
    let mut command = render();
    command.args([
        "--plain",
        "deploy/helm/rabtrace",
        "deploy/kubernetes",
        "--check",
    ]);
    let (code, _, complaint) = output(&mut command);
    assert_eq!(code, 0, "{complaint}");
    let mut command = render();
    command.args([
        "--validate",
        "deploy/kubernetes/rabtrace.yaml",
        "deploy/kubernetes/monitoring.yaml",
    ]);
    let (code, said, complaint) = output(&mut command);
    assert_eq!(code, 0, "{complaint}");
    assert_eq!(said, "3 manifests fit Kubernetes 1.28 and 1.37\n");
}

const TOKENS: &str =
    r#"{"secret": {"RABTRACE_API_TOKEN": "a b\"c", "RABTRACE_OTLP_TOKEN": "another"}}"#;

/// The agent starts with what the chart sets: it listens off loopback there.
#[test]
fn the_agent_takes_what_the_chart_sets() {
    let made = chart(TOKENS).unwrap();
    let set = made.lines().filter_map(|line| {
        let line = line.trim().strip_prefix("- { name: ")?;
        let (name, value) = line.strip_suffix(" }")?.split_once(", value: ")?;
        Some((name, value.trim_matches('"')))
    });
    let set: Vec<(&str, &str)> = set.collect();
    assert!(
        set.contains(&("RABTRACE_API_LISTEN", "0.0.0.0:9469")),
        "{set:?}"
    );
    let ask = |secrets: &[(&str, &str)]| {
        let mut command = rabtrace();
        let folder = tempfile::tempdir().unwrap();
        command.current_dir(folder.path()).args(["config", "show"]);
        command.envs(set.iter().copied().chain(secrets.iter().copied()));
        output(&mut command)
    };
    let tokens = [
        ("RABTRACE_API_TOKEN", "a b\"c"),
        ("RABTRACE_OTLP_TOKEN", "another"),
    ];
    let (code, said, complaint) = ask(&tokens);
    assert_eq!(code, 0, "{said}{complaint}");
    let (code, _, complaint) = ask(&tokens[..1]);
    assert_eq!(code, 2, "{complaint}");
    assert!(complaint.contains("RABTRACE_OTLP_TOKEN"), "{complaint}");
}

#[test]
fn the_chart_asks_for_a_token_and_keeps_the_agent_small() {
    let complaint = chart("{}").unwrap_err();
    assert!(
        complaint.contains("secret.RABTRACE_API_TOKEN"),
        "{complaint}"
    );
    let complaint = chart(r#"{"secret": {"RABTRACE_API_TOKEN": "a"}}"#).unwrap_err();
    assert!(
        complaint.contains("secret.RABTRACE_OTLP_TOKEN"),
        "{complaint}"
    );
    let made = chart(TOKENS).unwrap();
    for part in [
        r#"RABTRACE_API_TOKEN: "a b\"c""#,
        "readOnlyRootFilesystem: true",
        "runAsNonRoot: true",
        "allowPrivilegeEscalation: false",
        "command: [/rabtrace, health, --ready]",
        "checksum/secret:",
        "storage: 10Gi",
        "memory: 512Mi",
    ] {
        assert!(made.contains(part), "{part} is not in\n{made}");
    }
    for kind in ["ServiceMonitor", "PrometheusRule", "NetworkPolicy"] {
        assert!(!made.contains(kind), "{kind} was not asked for");
    }
}

#[test]
fn every_part_of_the_chart_can_be_switched() {
    let values = r#"{
        "existingSecret": "ours",
        "persistence": {"existingClaim": "disk"},
        "serviceMonitor": {"enabled": true, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": true},
        "networkPolicy": {"enabled": true, "from": [{"podSelector": {"matchLabels": {"sends": "traces"}}}]},
        "podAnnotations": {"team": "bus"},
        "env": {"INFLUX_HOST": "http://influxdb:8086"}
    }"#;
    let made = chart(values).unwrap();
    for part in [
        "secretRef: { name: ours }",
        "claimName: disk",
        "release: prometheus",
        "kind: PrometheusRule",
        "alert: QueueGrowing",
        "sends: traces",
        "team: bus",
        r#"{ name: INFLUX_HOST, value: "http://influxdb:8086" }"#,
    ] {
        assert!(made.contains(part), "{part} is not in\n{made}");
    }
    assert!(!made.contains("kind: Secret\n") && !made.contains("volumeClaimTemplates"));
    let made = chart(r#"{"existingSecret": "ours", "persistence": {"enabled": false}}"#).unwrap();
    assert!(made.contains("emptyDir:"), "{made}");
    let made = chart(r#"{"existingSecret": "ours", "tls": {"secretName": "certificate"}, "serviceMonitor": {"enabled": true}}"#).unwrap();
    for part in [
        "name: RABTRACE_TLS_CERTIFICATE_FILE, value: /tls/tls.crt",
        "secret: { secretName: certificate, defaultMode: 0440 }",
        "path: /health/live, port: api, scheme: HTTPS",
        "serverName: rabtrace.default.svc",
    ] {
        assert!(made.contains(part), "{part} is not in\n{made}");
    }
    assert!(!made.contains("ALLOW_PLAINTEXT"), "{made}");
}

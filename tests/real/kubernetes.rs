//! The chart: Helm itself renders it, Kubernetes' schemas hold what comes out, and the plain
//! manifests are what it makes.

use std::path::Path;
use std::process::Command;

use crate::support::{output, python};

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

#[test]
fn the_chart_asks_for_a_token_and_keeps_the_agent_small() {
    let complaint = chart("{}").unwrap_err();
    assert!(
        complaint.contains("secret.RABTRACE_API_TOKEN"),
        "{complaint}"
    );
    let made = chart(r#"{"secret": {"RABTRACE_API_TOKEN": "a b\"c"}}"#).unwrap();
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
}

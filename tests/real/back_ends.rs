//! OTLP back ends that want a token: `rabtrace check` tells whether it is right, and the agent
//! delivers with it. The Collector's configurations between are sound.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::agent::Agent;
use crate::support::{Process, eventually, output, python, rabtrace};

const WITHIN: Duration = Duration::from_secs(30);
const TOKEN: &str = "Basic MTIzOnNlY3JldA==";
/// The same as `OTEL_EXPORTER_OTLP_HEADERS` has it: a value is percent-encoded.
const HEADERS: &str = "Authorization=Basic%20MTIzOnNlY3JldA%3D%3D";

struct BackEnd {
    _process: Process,
    folder: tempfile::TempDir,
    ports: Value,
}

impl BackEnd {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/back_ends/back_end.py");
        let log = folder.path().join("log");
        let process = Process::start(Command::new(python()).arg(script).arg(TOKEN), &log);
        let ports = eventually("the back end listens", WITHIN, || async {
            let text = std::fs::read_to_string(&log).ok()?;
            serde_json::from_str(text.lines().next()?).ok()
        })
        .await;
        Self {
            _process: process,
            folder,
            ports,
        }
    }

    /// The endpoint of a protocol; that of HTTP has a path, as Grafana Cloud's has.
    fn endpoint(&self, protocol: &str) -> String {
        match protocol {
            "grpc" => format!("http://127.0.0.1:{}", self.ports["grpc"]),
            _ => format!("http://127.0.0.1:{}/otlp", self.ports["http"]),
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// How many requests it answered so.
    fn answered(&self, how: &str) -> usize {
        let text = std::fs::read_to_string(self.log()).unwrap();
        text.lines().filter(|line| *line == how).count()
    }
}

/// What `rabtrace check` finds of the upstream.
fn check(endpoint: &str, protocol: &str, headers: &str) -> (Value, String) {
    let mut command = rabtrace();
    command
        .args(["check", "--output", "json"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        .env("OTEL_EXPORTER_OTLP_HEADERS", headers);
    let (_, said, complaint) = output(&mut command);
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{complaint}"));
    let rows = report["rows"].as_array().or(report.as_array()).unwrap();
    let upstream = rows.iter().find(|row| row["name"] == "upstream OTLP");
    (upstream.unwrap().clone(), format!("{said}{complaint}"))
}

#[tokio::test]
async fn a_back_end_that_wants_a_token_is_checked_and_fed() {
    for (protocol, how) in [("grpc", "grpc"), ("http/protobuf", "http")] {
        let back_end = BackEnd::start().await;
        let endpoint = back_end.endpoint(protocol);
        let (right, said) = check(&endpoint, protocol, HEADERS);
        assert_eq!(right["ok"], true, "{said}");
        assert!(!said.contains("MTIzOnNlY3JldA"), "{said}");
        assert_eq!(
            (back_end.answered(how), back_end.answered("refused")),
            (1, 0)
        );
        for wrong in ["", "Authorization=Basic%20d3Jvbmc%3D"] {
            let (finding, said) = check(&endpoint, protocol, wrong);
            assert_eq!(finding["ok"], false, "{said}");
            let why = finding["message"].as_str().unwrap();
            assert!(why.contains("invalid token"), "{said}");
            let fix = finding["fix"].as_str().unwrap();
            assert!(fix.contains("OTEL_EXPORTER_OTLP_HEADERS"), "{said}");
            assert!(!said.contains("d3Jvbmc"), "{said}");
        }
        let agent = Agent::start(&[
            ("forward.endpoint", &endpoint),
            ("forward.protocol", protocol),
            ("forward.headers", HEADERS),
        ])
        .await;
        agent.send_span(1).await;
        agent
            .until("the span is delivered", "requests_forwarded", 1)
            .await;
        assert!(back_end.answered(how) >= 2);
        assert_eq!(back_end.answered("refused"), 2);
    }
}

#[test]
fn the_configurations_of_the_collector_name_what_they_define() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let check = |files: &[PathBuf]| {
        let mut command = Command::new(python());
        output(
            command
                .arg(root.join("tests/real/collector/check.py"))
                .args(files),
        )
    };
    let folder = root.join("deploy/collector");
    let files = [
        "sidecar.yaml",
        "gateway.yaml",
        "logs.yaml",
        "../compose/collector.yaml",
    ];
    let files = files.map(|name| folder.join(name));
    let (code, said, complaint) = check(&files);
    assert_eq!(code, 0, "{said}{complaint}");
    let text = std::fs::read_to_string(folder.join("gateway.yaml")).unwrap();
    let broken = text
        .replacen(
            "extensions: [health_check, file_storage]",
            "extensions: [health_check]",
            1,
        )
        .replacen("[otlphttp/backend]", "[otlphttp/other]", 1)
        .replace("[memory_limiter, batch]", "[batch, memory_limiter]");
    let copy = tempfile::tempdir().unwrap();
    let file = copy.path().join("gateway.yaml");
    std::fs::write(&file, broken).unwrap();
    let (code, said, _) = check(&[file]);
    assert_eq!(code, 1);
    for fault in [
        "otlphttp/other is not there",
        "file_storage is not used",
        "file_storage is not started",
        "memory_limiter comes first",
    ] {
        assert!(said.contains(fault), "{fault} is not in\n{said}");
    }
}

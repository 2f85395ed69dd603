//! The dashboards: made by their source, as Grafana and a person need them, every Flux query through
//! the Flux compiler, every SQL query over the demo's points.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rabtrace::reference::MEASUREMENTS;

use crate::influx::scripted_server::{ScriptedServer, reply};
use crate::interop::peer::node;
use crate::support::{Process, eventually, output, python, rabtrace};

const WITHIN: Duration = Duration::from_secs(180);

pub(crate) fn at_root(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

pub(crate) fn check() -> Command {
    let mut command = at_root(node());
    command.arg("tests/real/dashboards/check.cjs");
    command
}

/// Versions of DataFusion: InfluxDB 3.9's and 3.10's, and that of 3.5 to 3.8.
pub(crate) const DATAFUSIONS: [&str; 2] = ["51", "49"];

/// Asks DataFusion of that version; the older one lies in a folder of its own.
pub(crate) fn datafusion(version: &str) -> Command {
    let venv = python().parent().unwrap().parent().unwrap().to_owned();
    let mut command = at_root(python());
    if version != DATAFUSIONS[0] {
        command.env("PYTHONPATH", venv.join(format!("datafusion-{version}")));
    }
    command.env("RABTRACE_DATAFUSION", version);
    command.arg("tests/real/dashboards/check.py");
    command
}

/// Whether the command succeeds with this text on its stdin.
pub(crate) fn takes(command: &mut Command, text: &str) -> bool {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = piped.stderr(Stdio::null()).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    child.wait().unwrap().success()
}

#[test]
fn dashboards_and_rules_are_what_their_source_makes() {
    let mut command = at_root(node());
    let (code, _, complaint) = output(command.args(["grafana/generate/main.mjs", "--check"]));
    assert_eq!(code, 0, "{complaint}");
}

#[test]
fn dashboards_are_sound_and_their_flux_compiles() {
    let (code, said, complaint) = output(check().arg("grafana/dashboards"));
    assert_eq!(code, 0, "{said}{complaint}");
    let sound = "from(bucket: v.defaultBucket) |> range(start: -1h) |> count()";
    assert!(takes(check().arg("--flux"), sound));
    let rules = "grafana/provisioning/influxdb-2/alerting.yml";
    let (code, said, complaint) = output(check().args(["--rules", rules]));
    assert_eq!(code, 0, "{said}{complaint}");
    // Flux finds this when it runs, which it does not here.
    let mixed = "from(bucket: v.defaultBucket) |> range(start: -1h) \
        |> filter(fn: (r) => r._field == \"messages\" or r._field == \"status\") ";
    assert!(takes(
        check().arg("--flux"),
        &format!("{mixed} |> group(columns: [\"queue\", \"_field\"])")
    ));
    assert!(!takes(
        check().arg("--flux"),
        &format!("{mixed} |> group(columns: [\"queue\"])")
    ));
    for broken in [
        "from(bucket: v.defaultBucket) |> rnge(start: -1h)",
        "from(bucket: v.defaultBucket) |> range(start: -1h",
        "from(bucket: v.defaultBucket) |> map(fn: (r) => ({r with x: 1.0 * 2}))",
    ] {
        assert!(!takes(check().arg("--flux"), broken), "{broken}");
    }
}

#[test]
fn faults_of_a_dashboard_are_found() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("grafana/dashboards/flux/errors.json")).unwrap();
    let mut dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array_mut().unwrap();
    let twin = panels[0].clone();
    panels.push(twin);
    panels[1]["fieldConfig"]["defaults"]["unit"] = "".into();
    panels[2]["description"] = "".into();
    panels[3]["targets"][0]["datasource"]["uid"] = "mine".into();
    let last = panels.len() - 2;
    panels[last]["fieldConfig"]["overrides"] = serde_json::json!([]);
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.json", "b.json"] {
        std::fs::write(folder.path().join(name), dashboard.to_string()).unwrap();
    }
    let (code, said, _) = output(check().arg(folder.path()));
    assert_eq!(code, 1);
    for fault in [
        "uid rabtrace-errors is that of a.json too",
        "two panels have one id",
        "lies over Error rate",
        "has no unit",
        "has no description",
        "names a data source",
        "its traces lead nowhere",
        "its paths lead nowhere",
    ] {
        assert!(said.contains(fault), "{fault} is not in\n{said}");
    }
}

/// What the demo tells only after a while: rates and ages need polls, failures their turn.
const LATE: [&str; 9] = [
    "head_age_s=",
    "messages_ack_rate=",
    "messages_deliver_get_rate=",
    "messages_publish_rate=",
    "messages_redeliver_rate=",
    "status=error",
    "task_metrics,",
    "dead_lettered_expired=",
    "mem_used=",
];

/// The lines that the demo writes until it has told everything.
async fn points() -> Vec<String> {
    let missing = Arc::new(Mutex::new(BTreeSet::from(LATE)));
    let left = Arc::clone(&missing);
    let server = ScriptedServer::start(Some("v2.7.12"), move |_, write| {
        let told = |part: &&str| !write.lines.iter().any(|line| line.contains(*part));
        left.lock().unwrap().retain(told);
        reply(204, "")
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let mut command = rabtrace();
    command.args(["demo", "--output", "json", "--influx", &server.url]);
    let log = folder.path().join("log");
    let mut demo = Process::start(&mut command, &log);
    eventually("the demo tells everything", WITHIN, || async {
        missing.lock().unwrap().is_empty().then_some(())
    })
    .await;
    let ended = tokio::task::spawn_blocking(move || demo.stop()).await;
    let said = std::fs::read_to_string(&log).unwrap();
    assert_eq!(ended.unwrap(), Some(0), "{said}");
    let writes = server.writes().into_iter();
    writes.flat_map(|write| write.lines).collect()
}

/// Tags and fields of a line, the fields with their type.
fn columns(line: &str) -> (String, Vec<String>, Vec<(String, &'static str)>) {
    let parsed = influxdb_line_protocol::parse_lines(line).next().unwrap();
    let parsed = parsed.unwrap();
    let tags = parsed.series.tag_set.iter().flatten();
    let tags = tags.map(|(name, _)| name.to_string()).collect();
    let kind = |value: &influxdb_line_protocol::FieldValue<'_>| match value {
        influxdb_line_protocol::FieldValue::I64(_) => "int",
        influxdb_line_protocol::FieldValue::F64(_) => "float",
        influxdb_line_protocol::FieldValue::String(_) => "string",
        _ => "another",
    };
    let fields = parsed.field_set.iter();
    let fields = fields.map(|(name, value)| (name.to_string(), kind(value)));
    (
        parsed.series.measurement.to_string(),
        tags,
        fields.collect(),
    )
}

/// The page of measurements has every column that was written, with its type.
fn check_reference(lines: &[String]) {
    for line in lines {
        let (name, tags, fields) = columns(line);
        let known = MEASUREMENTS.iter().find(|known| known.name == name);
        let known = known.unwrap_or_else(|| panic!("{name} is not in the reference"));
        for tag in tags {
            let there = known.tags.split(", ").any(|known| known == tag);
            assert!(there, "tag {tag} of {name} is not in the reference");
        }
        for (field, kind) in fields {
            let there = known.fields.iter().find(|(known, _, _)| *known == field);
            let (_, of, _) = there.unwrap_or_else(|| panic!("{name}.{field} is not there"));
            assert_eq!(*of, kind, "{name}.{field}");
        }
    }
    // Bindings are asked for once a minute at most: the monitor's own tests see them.
    let told = MEASUREMENTS
        .iter()
        .filter(|known| known.name != "rabbitmq_binding");
    for known in told {
        let begins = |line: &&String| line.starts_with(&format!("{},", known.name));
        assert!(lines.iter().any(|line| begins(&line)), "no {}", known.name);
    }
}

#[tokio::test]
async fn every_sql_query_has_rows_for_the_points_of_the_demo() {
    let lines = points().await;
    check_reference(&lines);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("points");
    std::fs::write(&file, lines.join("\n")).unwrap();
    for version in DATAFUSIONS {
        let mut all = datafusion(version);
        let (code, said, complaint) = output(all.arg("grafana").arg(&file));
        assert_eq!(code, 0, "{version}: {said}{complaint}");
        assert!(said.ends_with(" queries, 0 faults\n"), "{said}");
    }
    let query = || datafusion(DATAFUSIONS[0]);
    let sound = "SELECT count(*) FROM spans";
    assert!(takes(query().arg("--sql").arg(&file), sound));
    for broken in ["SELECT nothing FROM spans", "SELECT count( FROM spans"] {
        assert!(!takes(query().arg("--sql").arg(&file), broken), "{broken}");
    }
}

//! A password and tokens that can be recognised: they go to whom they are for, and nowhere else.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use rabtrace::metrics::{Metrics, Stage};
use rabtrace::spool::{Limits, Spool, SpoolSetup};
use serde_json::json;

use crate::harness::{Agent, Length, Load, Mode, Setup, Sink, eventually, rabtrace, report};

const CANARY: &str = "canary-7f3a9c";
const PATIENCE: Duration = Duration::from_secs(60);
/// The id of a span that says something, and is refused for good once.
const TELLING: u64 = 1_000;
/// Every route of the API that can be asked so, and some that are not there.
const PAGES: [&str; 16] = [
    "/",
    "/status",
    "/health",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/config",
    "/api/v1/config",
    "/api/v1/paths",
    "/api/v1/paths/one?path=jobs",
    "/api/v1/paths/diff",
    "/api/v1/queues",
    "/api/v1/traces",
    "/api/v1/traces/1",
    "/api/v1/slow",
    "/api/v1/errors",
];

fn has_canary(bytes: &[u8]) -> bool {
    let mut parts = bytes.windows(CANARY.len());
    parts.any(|part| part == CANARY.as_bytes())
}

/// Files below `folder` that contain the word.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if std::fs::read(&path).is_ok_and(|bytes| has_canary(&bytes)) {
            found.push(path.display().to_string());
        }
    }
    found
}

/// The keys of an agent whose secrets can be recognised.
fn keys(address: &str) -> Vec<(&'static str, String)> {
    vec![
        (
            "broker.amqp_url",
            format!("amqp://user:{CANARY}-amqp@127.0.0.1:1"),
        ),
        (
            "broker.management_url",
            format!("http://user:{CANARY}-management@127.0.0.1:1"),
        ),
        ("influx.url", format!("http://user:{CANARY}-url@{address}")),
        ("influx.token", format!("{CANARY}-influx")),
        (
            "forward.endpoint",
            format!("http://user:{CANARY}-endpoint@{address}"),
        ),
        ("forward.protocol", "http/protobuf".to_owned()),
        ("forward.headers", format!("authorization={CANARY}-header")),
        ("api.token", format!("{CANARY}-api")),
        ("log.level", "debug".to_owned()),
    ]
}

/// What the program prints with these words and keys.
fn printed(words: &[&str], keys: &[(&str, String)]) -> String {
    let mut command = rabtrace();
    command.args(words);
    for (key, value) in keys {
        command.args(["--set", &format!("{key}={value}")]);
    }
    let output = command.output().unwrap();
    let both = [output.stdout, output.stderr].concat();
    String::from_utf8(both).unwrap()
}

/// Records of a spool that have the word; they are packed on the disk.
async fn spooled(folder: &Path, sink: Stage) -> (u64, u64) {
    let setup = SpoolSetup {
        folder: folder.join("state/store/spool").join(sink.name()),
        sink,
        limits: Limits::default(),
        metrics: Metrics::new().unwrap(),
    };
    let (writer, mut reader) = Spool::open(setup).unwrap();
    drop(writer);
    let (mut records, mut hits) = (0, 0);
    while let Some(record) = reader.next().await {
        records += 1;
        hits += u64::from(has_canary(&record.payload));
    }
    (records, hits)
}

/// A span that says something.
fn telling(text: &str) -> Vec<u8> {
    let span = Span {
        trace_id: vec![9; 16],
        span_id: TELLING.to_be_bytes().to_vec(),
        name: text.to_owned(),
        kind: 2,
        start_time_unix_nano: 4_000_000_000_000_000_000,
        end_time_unix_nano: 4_000_000_000_005_000_000,
        ..Span::default()
    };
    let scope = ScopeSpans {
        spans: vec![span],
        ..ScopeSpans::default()
    };
    let resource_spans = vec![ResourceSpans {
        scope_spans: vec![scope],
        ..ResourceSpans::default()
    }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

async fn tell(agent: &Agent, told: &str) {
    let client = rabtrace::app::direct_http_client().unwrap();
    let post = client.post(format!("{}/v1/traces", agent.otlp));
    let post = post.header("content-type", "application/x-protobuf");
    let answer = post.body(telling(told)).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
}

/// Sends to sinks of every mood.
async fn ask(agent: &Agent, load: &Load, sink: &Sink, told: &str) {
    for mode in [
        Mode::Take,
        Mode::Refuse(401),
        Mode::Refuse(500),
        Mode::RefuseEvery(TELLING),
    ] {
        sink.answer_by(mode);
        let before = sink.requests();
        tell(agent, told).await;
        assert_eq!(load.send_one(&agent.otlp).await, Some(200));
        eventually("both sinks are asked", PATIENCE, || async {
            (sink.requests() >= before + 2).then_some(())
        })
        .await;
    }
    eventually("a line is refused for good", PATIENCE, || async {
        (agent.dropped("influx").await > 0).then_some(())
    })
    .await;
    // What waits then is found in the spools.
    sink.answer_by(Mode::Refuse(503));
    tell(agent, told).await;
}

/// By kind of place, how often the word stands there.
type Places = BTreeMap<&'static str, u64>;

/// Where the word stands after everything was used: `told` is the name of a span, and stands where
/// spans stand; `bucket` is a key that is no secret.
async fn places(told: &str, bucket: &str) -> Places {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::searching(CANARY);
    let mut keys = keys(&sink.url().replace("http://", ""));
    keys.push(("influx.bucket", bucket.to_owned()));
    let mut setup = Setup::new(folder.path());
    for (key, value) in &keys {
        setup = setup.set(key, value);
    }
    let agent = setup.with_token(&format!("{CANARY}-api")).start().await;
    ask(&agent, &Load::new(10), &sink, told).await;
    let mut found = Places::new();
    let mut shown = String::new();
    for page in PAGES {
        let text = agent.get(page).await.unwrap();
        *found.entry("pages").or_default() += u64::from(has_canary(text.as_bytes()));
        shown += &text;
    }
    assert!(
        shown.contains("rabtrace_dropped_total") && shown.contains("trace_id"),
        "the pages are there"
    );
    for words in [&["config", "show"][..], &["check"]] {
        let text = printed(words, &keys);
        assert!(text.contains("influx"), "{text}");
        *found.entry("commands").or_default() += u64::from(has_canary(text.as_bytes()));
    }
    assert_eq!(agent.stop().0, Some(0));
    let mut records = 0;
    for stage in [Stage::Influx, Stage::Forward] {
        let (read, hits) = spooled(folder.path(), stage).await;
        records += read;
        *found.entry("spools").or_default() += hits;
    }
    assert!(records > 0, "nothing was in the spools");
    let files = files(folder.path());
    println!("{files:?}");
    let logs = files.iter().filter(|file| file.contains("/log.")).count() as u64;
    found.insert("logs", logs);
    found.insert("other files", files.len() as u64 - logs);
    assert!(sink.requests() > 4, "nothing was exported");
    found.insert("exports", sink.with_forbidden());
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_stay_where_they_are() {
    let found = places("GET /", "metrics").await;
    report("secrets", Length::chosen(), &json!(found));
    assert!(found.values().all(|hits| *hits == 0), "{found:?}");
}

/// The control: what may be told is found in each of these places.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_is_found() {
    let found = places(&format!("GET /{CANARY}"), &format!("bucket-{CANARY}")).await;
    assert!(found.values().all(|hits| *hits > 0), "{found:?}");
}

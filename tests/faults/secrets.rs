//! A password and tokens that can be recognised: they go to whom they are for, and nowhere else.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Length, Load, Mode, Setup, Sink, eventually, rabtrace, report};

const CANARY: &str = "canary-7f3a9c";

/// Files below `folder` that contain the word.
fn hits(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(hits(&path));
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes
                .windows(CANARY.len())
                .any(|part| part == CANARY.as_bytes())
        {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_stay_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let keys = keys(&sink.url().replace("http://", ""));
    let mut setup = Setup::new(folder.path());
    for (key, value) in &keys {
        setup = setup.set(key, value);
    }
    let agent = setup.with_token(&format!("{CANARY}-api")).start().await;
    let load = Load::new(10);
    for mode in [
        Mode::Take,
        Mode::Refuse(401),
        Mode::Refuse(500),
        Mode::RefuseEvery(1),
    ] {
        sink.answer_by(mode);
        assert_eq!(load.send_one(&agent.otlp).await, Some(200));
        let before = sink.requests();
        eventually("both sinks are asked", Duration::from_secs(60), || async {
            (sink.requests() >= before + 2).then_some(())
        })
        .await;
    }
    let mut shown = String::new();
    for page in [
        "/status",
        "/health",
        "/metrics",
        "/config",
        "/api/v1/errors",
        "/api/v1/traces",
    ] {
        shown += &agent.get(page).await.unwrap();
    }
    assert!(
        shown.contains("rabtrace_dropped_total"),
        "the pages are there"
    );
    for words in [&["config", "show"][..], &["check"]] {
        shown += &printed(words, &keys);
    }
    let (code, _) = agent.stop();
    assert_eq!(code, Some(0));
    let found = hits(folder.path());
    report(
        "secrets",
        Length::chosen(),
        &json!({ "files": found.len() }),
    );
    assert!(found.is_empty(), "{found:?}");
    assert!(!shown.contains(CANARY), "{shown}");
    // The control: the search finds what is there.
    std::fs::write(folder.path().join("leak"), format!("x{CANARY}y")).unwrap();
    assert_eq!(hits(folder.path()).len(), 1);
}

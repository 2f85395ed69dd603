//! A password and a token that must not be seen: in no log, error, answer, command or file.

use std::path::Path;

use rustix::process::Signal;

use crate::agent::{Agent, WITHIN, client, span};
use crate::support::{eventually, output, rabtrace};

const CANARY: &str = "xyzzycanary";

/// A server that refuses everything and says back what it was sent, as some do.
async fn echo() -> String {
    let router = axum::Router::new().fallback(async |request: axum::extract::Request| {
        let told = format!("refused {} {}", request.method(), request.uri().path());
        (axum::http::StatusCode::UNAUTHORIZED, told)
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Every key that hides something, with a canary in it.
fn secret_keys(host: &str) -> Vec<(&'static str, String)> {
    let url = |scheme: &str| format!("{scheme}://user:{CANARY}@{host}");
    vec![
        ("broker.amqp_url", url("amqp")),
        ("broker.management_url", url("http")),
        (
            "broker.prometheus_urls",
            format!("{},{}", url("http"), url("https")),
        ),
        ("receiver.token", CANARY.to_owned()),
        ("influx.url", url("http")),
        ("influx.token", format!("user:{CANARY}")),
        ("forward.endpoint", url("http")),
        (
            "forward.headers",
            format!("authorization=Bearer {CANARY},x-key={CANARY}"),
        ),
        ("api.token", CANARY.to_owned()),
        ("grafana.url", url("http")),
    ]
}

fn file(keys: &[(&str, String)], more: &str) -> String {
    let mut text = more.to_owned();
    let mut section = "";
    for (key, value) in keys {
        let (of, name) = key.split_once('.').unwrap();
        if of != section {
            text.push_str(&format!("[{of}]\n"));
            section = of;
        }
        text.push_str(&format!("{name} = \"{value}\"\n"));
    }
    text
}

/// Files below `folder` that hold the canary.
fn seen_in(folder: &Path) -> Vec<String> {
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            seen.extend(seen_in(&path));
        } else if path.extension().is_none_or(|extension| extension != "toml") {
            let bytes = std::fs::read(&path).unwrap();
            let has = bytes
                .windows(CANARY.len())
                .any(|part| part == CANARY.as_bytes());
            seen.extend(has.then(|| path.display().to_string()));
        }
    }
    seen
}

#[test]
fn every_secret_key_is_in_the_test() {
    let example = rabtrace::config::example_toml();
    assert!(example.contains("[broker]"));
    let table = concat!(
        include_str!("../../src/config/table.rs"),
        include_str!("../../src/config/table/own.rs"),
    );
    let parts = table
        .split("    hidden(\n")
        .skip(1)
        .chain(table.split("    secret_url(\n").skip(1));
    let found: Vec<&str> = parts.map(|part| part.split('"').nth(1).unwrap()).collect();
    let tested = secret_keys("h");
    for key in &found {
        assert!(
            tested.iter().any(|(name, _)| name == key),
            "{key} is not tested"
        );
    }
    assert_eq!(found.len(), tested.len());
}

#[test]
fn a_panic_with_the_configuration_in_it_tells_nothing() {
    let flags = secret_keys("h").into_iter();
    let flags = flags.map(|(key, value)| (key.to_owned(), value, "test".to_owned()));
    let sources = rabtrace::config::Sources {
        file: None,
        flags: flags.collect(),
        env: &|_| None,
    };
    let loaded = rabtrace::config::load(&sources).unwrap();
    let panic = std::panic::catch_unwind(|| panic!("{loaded:?}")).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(
        message.contains("***") && !message.contains(CANARY),
        "{message}"
    );
}

#[tokio::test]
async fn what_is_secret_is_seen_nowhere() {
    // One that refuses, and a port on which nobody is.
    for host in [echo().await, "127.0.0.1:1".to_owned()] {
        let folder = tempfile::tempdir().unwrap();
        let keys = secret_keys(&host);
        let timing = "[log]\nlevel = \"debug\"\n";
        let agent = Agent::start(folder.path(), &file(&keys, timing), &[]).await;
        let client = client(None);
        let otlp = format!("http://{}/v1/traces", agent.http);
        for bearer in [CANARY, "wrong"] {
            let request = client.post(&otlp).bearer_auth(bearer).json(&span(1));
            request.send().await.unwrap();
        }
        let ask = async |path: &str, bearer: &str| {
            let url = format!("http://{}{path}", agent.api);
            let answer = client.get(url).bearer_auth(bearer).send().await.unwrap();
            answer.text().await.unwrap()
        };
        eventually("the sinks have failed", WITHIN, async || {
            let health = ask("/health", CANARY).await;
            let failed = |part: &str| {
                let health: serde_json::Value = serde_json::from_str(&health).unwrap();
                let status = health["components"][part]["status"].clone();
                status == "degraded" || status == "unhealthy"
            };
            (failed("upstream") && failed("rabbitmq")).then_some(())
        })
        .await;
        // A reload with mistakes in every secret, and one that is not even TOML.
        let broken: Vec<_> = keys
            .iter()
            .map(|(key, value)| (*key, format!("/{value}")))
            .collect();
        for text in [
            file(&broken, timing),
            file(&keys, timing).replace("\"\n", "\n"),
        ] {
            std::fs::write(folder.path().join("rabtrace.toml"), text).unwrap();
            let before = ask("/metrics", CANARY).await;
            agent.signal(Signal::HUP);
            eventually("it is refused", WITHIN, async || {
                let line = |text: &str| {
                    let mut lines = text.lines();
                    lines
                        .find(|line| line.contains("outcome=\"refused\""))
                        .map(str::to_owned)
                };
                (line(&ask("/metrics", CANARY).await) != line(&before)).then_some(())
            })
            .await;
        }
        for bearer in [CANARY, "wrong"] {
            for path in [
                "/status",
                "/health",
                "/metrics",
                "/nowhere",
                "/api/v1/queues",
                "/api/v1/traces",
            ] {
                let answer = ask(path, bearer).await;
                assert!(!answer.contains(CANARY), "{path}: {answer}");
            }
        }
        for command in [
            &["config", "show"][..],
            &["check"],
            &["queues"],
            &["health"],
        ] {
            let mut program = rabtrace();
            program.args(command).env("RUST_LOG", "debug");
            for (key, value) in &keys {
                program.args(["--set", &format!("{key}={value}")]);
            }
            program.args(["--set", &format!("api.listen={}", agent.api)]);
            let (_, data, errors) = output(&mut program);
            assert!(!data.contains(CANARY), "{command:?}: {data}");
            assert!(!errors.contains(CANARY), "{command:?}: {errors}");
        }
        drop(agent);
        assert_eq!(seen_in(folder.path()), Vec::<String>::new());
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
        assert!(
            log.contains("\"DEBUG\"") || log.contains("\"WARN\""),
            "is anything logged? {log}"
        );
    }
}

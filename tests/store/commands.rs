//! `rabtrace paths` on the store's file and on the API, which must say the same.

use std::net::SocketAddr;
use std::process::Command;
use std::time::SystemTime;

use rabtrace::api::{Addresses, Api, ApiSetup};
use rabtrace::health::Health;
use rabtrace::metrics::Metrics;
use rabtrace::model::unix_nano;
use rabtrace::store::{Reader, Store};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::paths::{PIPELINE, TEXTS, WEATHER, at, batch};
use crate::support::{HOUR, SECOND, config};

/// A store with messages a minute ago, and twice as fast ones an hour before.
fn fill(folder: &std::path::Path) -> Reader {
    let now = unix_nano(SystemTime::now());
    let mut store = Store::open(&config(folder), SystemTime::now).unwrap();
    let mut windows = Vec::new();
    for (start, ms) in [(now - HOUR - 60 * SECOND, 50.0), (now - 60 * SECOND, 100.0)] {
        windows.push(at(PIPELINE[1], start, &[(1.0, 1.0); 10]));
        windows.push(at(PIPELINE[3], start, &[(ms, ms); 50]));
    }
    let written = store.write(&[batch(&PIPELINE, &TEXTS, windows)]).unwrap();
    assert_eq!(written.windows, 4);
    store.reader().unwrap()
}

/// Exit code, stdout and stderr of `rabtrace` with these words.
fn run(api: SocketAddr, folder: &std::path::Path, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rabtrace"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RABTRACE_") {
            command.env_remove(&name);
        }
    }
    let output = command
        .env("RABTRACE_STORE_FOLDER", folder)
        .env("RABTRACE_API_LISTEN", api.to_string())
        .current_dir(folder)
        .args(words)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

/// Says what the commands do, wherever the answers come from.
fn check(ask: impl Fn(&[&str]) -> (i32, String, String)) {
    let (code, text, _) = ask(&["paths", "--sort", "p95"]);
    assert!(code == 0 && text.contains("p95 CHANGE"), "{code} {text}");
    let first = text.lines().nth(1).unwrap();
    assert!(
        first.contains(WEATHER) && first.contains("+100 %"),
        "{text}"
    );
    let (_, text, _) = ask(&[
        "paths", "--filter", "GATEWAY", "--filter", "weather", "--output", "json",
    ]);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["rows"].as_array().unwrap().len(), 1, "{text}");
    assert_eq!(json["rows"][0]["count"], 50);
    let (code, _, complaint) = ask(&["paths", "--sort", "luck"]);
    assert!(
        code == 2 && complaint.contains("redelivered"),
        "{complaint}"
    );

    let (code, text, _) = ask(&["paths", "--path", "> weather"]);
    assert!(
        code == 0 && text.contains("weather_queue > weather"),
        "{code} {text}"
    );
    let (code, text, _) = ask(&["paths", "--path", "0000000000000004", "--output", "ndjson"]);
    assert_eq!((code, text.lines().count()), (0, 4));
    let (code, text, complaint) = ask(&["paths", "--path", "gateway"]);
    assert_eq!((code, text.as_str()), (2, ""));
    assert!(
        complaint.contains(WEATHER) && complaint.contains("2 paths fit"),
        "{complaint}"
    );
    let (code, _, complaint) = ask(&["paths", "--path", "nowhere"]);
    assert!(code == 3 && complaint.contains("fix"), "{code} {complaint}");

    let (code, text, _) = ask(&["paths", "--diff", "1h"]);
    assert!(code == 10 && text.contains("SLOWER"), "{code} {text}");
    let (code, text, _) = ask(&["paths", "--diff", "1h", "--output", "json"]);
    let diff: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &diff["slower"][0]["path"]), (10, &WEATHER.into()));
    assert_eq!(diff["unchanged"], 1);
    let (code, text, _) = ask(&[
        "paths",
        "--diff",
        "1h",
        "--filter",
        "> planner >",
        "--since",
        "30m",
    ]);
    assert_eq!(code, 10, "{text}");
    let (code, text, _) = ask(&["paths", "--diff", "3h"]);
    assert!(
        code == 0 && text.contains("nothing to compare"),
        "{code} {text}"
    );
    assert_eq!(ask(&["paths", "--diff", "1h", "--path", "x"]).0, 2);
}

#[test]
fn the_file_answers_where_no_agent_does() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = unused.local_addr().unwrap();
    drop(unused);
    check(|words| run(address, folder.path(), words));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_answers_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let api = Api::new(ApiSetup {
        access: rabtrace::serve::Access::default(),
        reloads: rabtrace::api::ReloadBoard::default(),
        reader: fill(folder.path()),
        health: Health::default(),
        metrics: Metrics::new().unwrap(),
        addresses: Addresses {
            grpc: address,
            http: address,
            api: address,
        },
        dead_letters: Vec::new(),
        clock: SystemTime::now,
    });
    let stop = CancellationToken::new();
    let served = tokio::spawn(api.serve(listener, stop.clone()));
    // The file is elsewhere: only the API can answer.
    let elsewhere = tempfile::tempdir().unwrap();
    let here = elsewhere.path().to_owned();
    tokio::task::spawn_blocking(move || check(|words| run(address, &here, words)))
        .await
        .unwrap();
    refusals(address).await;
    stop.cancel();
    served.await.unwrap().unwrap();
}

/// What the API says to queries that it does not take.
async fn refusals(address: SocketAddr) {
    for (query, status, part) in [
        ("paths?sort=luck", 400, "sort is one of rate, count"),
        ("paths?limit=many", 400, "limit is a whole number"),
        ("paths?since=5", 400, "there is no \"since\""),
        ("paths/one", 400, "names no path"),
        ("paths/one?path=nowhere", 404, "nowhere"),
        ("paths/one?path=gateway", 409, "2 paths fit"),
        (
            "paths/diff?limit=5",
            400,
            "since_seconds, ago_seconds, filter",
        ),
        ("paths/two", 404, "there is no /api/v1/paths/two"),
    ] {
        let url = format!("http://{address}/api/v1/{query}");
        let client = rabtrace::app::direct_http_client().unwrap();
        let response = client.get(url).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{query}");
        let text = response.text().await.unwrap().replace("\\\"", "\"");
        assert!(
            text.contains(part) && text.contains("\"fix\""),
            "{query}: {text}"
        );
    }
}

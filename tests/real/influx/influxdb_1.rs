//! Debian's InfluxDB 1.6, started with folders and ports of its own, read back by its `/query`.

use std::process::Command;
use std::time::Duration;

use rabtrace::config::{Influx, Secret};
use rabtrace::health::Status;
use rabtrace::influx::check;
use rabtrace::model::{FieldValue, Point};
use serde_json::{Value, json};

use super::{Running, client, config, points};
use crate::support::{Process, eventually, free_port};

pub(crate) struct InfluxDb {
    folder: tempfile::TempDir,
    url: String,
    login: Option<&'static str>,
    process: Option<Process>,
}

impl InfluxDb {
    /// Starts one, without a database.
    pub(crate) async fn start(auth: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let (http, rpc) = (free_port(), free_port());
        let text = format!(
            "reporting-disabled = true\nbind-address = \"127.0.0.1:{rpc}\"\n\
             [meta]\ndir = \"{path}/meta\"\n\
             [data]\ndir = \"{path}/data\"\nwal-dir = \"{path}/wal\"\n\
             [monitor]\nstore-enabled = false\n\
             [http]\nbind-address = \"127.0.0.1:{http}\"\nlog-enabled = false\n\
             auth-enabled = {auth}\n"
        );
        std::fs::write(folder.path().join("influxdb.conf"), text).unwrap();
        let mut server = Self {
            folder,
            url: format!("http://127.0.0.1:{http}"),
            login: None,
            process: None,
        };
        server.run().await;
        server
    }

    /// Starts its process, on the same ports with the same data.
    pub(crate) async fn run(&mut self) {
        let folder = self.folder.path();
        let mut command = Command::new("influxd");
        command.arg("-config").arg(folder.join("influxdb.conf"));
        self.process = Some(Process::start(&mut command, &folder.join("log")));
        let ping = format!("{}/ping", self.url);
        let answers = || async { client().get(&ping).send().await.ok() };
        eventually("influxd answers", Duration::from_secs(20), answers).await;
    }

    /// Kills its process.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) async fn query(&self, query: &str) -> Value {
        let mut url: reqwest::Url = format!("{}/query", self.url).parse().unwrap();
        url.query_pairs_mut()
            .append_pair("db", "rabtrace")
            .append_pair("epoch", "ns")
            .append_pair("q", query);
        let mut request = client().post(url);
        if let Some((user, password)) = self.login.and_then(|login| login.split_once(':')) {
            request = request.basic_auth(user, Some(password));
        }
        let reply: Value = request.send().await.unwrap().json().await.unwrap();
        assert!(reply["error"].is_null(), "{query}: {reply}");
        assert!(reply["results"][0]["error"].is_null(), "{query}: {reply}");
        reply["results"][0].clone()
    }

    pub(crate) async fn count(&self, field: &str, measurement: &str) -> u64 {
        let reply = self
            .query(&format!("SELECT count({field}) FROM {measurement}"))
            .await;
        reply["series"][0]["values"][0][1].as_u64().unwrap_or(0)
    }
}

const TIME: i64 = 1_795_235_323_000_000_000;

/// Names that break a careless encoder.
fn odd_names() -> Vec<String> {
    let names = [
        "plain",
        "with space, comma=equals",
        "\"quoted\" 'single' $1",
        "slash/and ünïcödé 😀",
        "a\nflow,queue=injected n=1i 9",
        "tab\tand\rreturn and \0 nul",
        r"ends in \",
        r#"{"a":"x\"y"}"#,
        "# no comment",
    ];
    let long = "q".repeat(255);
    names
        .iter()
        .map(|name| (*name).to_owned())
        .chain([long])
        .collect()
}

/// The points of those names, one nanosecond after the other.
fn odd_points() -> Vec<Point> {
    let point = |(at, name): (i64, String)| {
        let mut point = Point::new("odd", TIME + at)
            .tag("queue", name.as_str())
            .text("name", Some(name))
            .text("empty", Some(""))
            .float("huge", Some(1e300))
            .float("tiny", Some(-1.25e-9))
            .float("nan", Some(f64::NAN))
            .int("n", Some(u64::MAX));
        point.fields.push(("flag", FieldValue::Bool(true)));
        point
            .fields
            .push(("bytes", FieldValue::Bytes(vec![0, 255])));
        point
    };
    (0..).zip(odd_names()).map(point).collect()
}

/// A name as the rules for tags leave it.
fn as_tag(name: &str) -> String {
    let replace = |character: char| match character {
        '\\' => '/',
        character if character.is_ascii_control() => ' ',
        character => character,
    };
    name.chars().map(replace).collect()
}

/// A name as the rules for texts leave it.
fn as_text(name: &str) -> String {
    let name = name.replace('\n', "\\n").replace('\r', "\\r");
    name.replace('\0', "\u{fffd}")
}

#[tokio::test]
async fn odd_names_and_values_read_back_as_they_were() {
    let server = InfluxDb::start(false).await;
    server.query("CREATE DATABASE rabtrace").await;
    let names = odd_names();
    let sink = Running::start(config(&server.url));
    sink.send(odd_points()).await;
    sink.until_settled(names.len() as u64).await;
    assert_eq!(sink.stop().await, (names.len() as u64, 0, 0));

    let reply = server
        .query("SELECT queue, \"name\", empty, huge, tiny, n, flag, bytes, nan FROM odd")
        .await;
    let expect: Vec<Value> = (0..)
        .zip(&names)
        .map(|(at, name): (i64, _)| {
            let (tag, text) = (as_tag(name), as_text(name));
            json!([
                TIME + at,
                tag,
                text,
                "",
                1e300,
                -1.25e-9,
                i64::MAX,
                true,
                "AP8=",
                null
            ])
        })
        .collect();
    let rows = reply["series"][0]["values"].as_array().unwrap();
    assert_eq!(rows, &expect);
    let measurements = server.query("SHOW MEASUREMENTS").await;
    let measurements = &measurements["series"][0]["values"];
    assert_eq!(measurements, &json!([["odd"]]), "nothing was injected");
}

#[tokio::test]
async fn a_partial_write_loses_only_its_bad_lines() {
    let server = InfluxDb::start(false).await;
    server.query("CREATE DATABASE rabtrace").await;
    let sink = Running::start(config(&server.url));
    // A time that the server cannot have, and a tag that is longer than a key may be.
    let mut sent = points(1, 20);
    sent.push(Point::new("flow", i64::MIN).int("n", Some(1)));
    let long = "x".repeat(70_000);
    sent.push(Point::new("flow", 99).tag("queue", long).int("n", Some(1)));
    sent.extend(points(21, 20));
    sink.send(sent).await;
    sink.until_settled(42).await;
    assert_eq!(sink.dropped("rejected"), 2);
    assert_eq!(server.count("n", "flow").await, 40);

    // The type of a field is that of its first value.
    let conflict = Point::new("flow", 100)
        .tag("queue", "orders")
        .float("n", Some(1.5));
    sink.send(vec![conflict]).await;
    sink.send(points(101, 4)).await;
    sink.until_settled(47).await;
    assert_eq!(sink.dropped("rejected"), 3);
    assert_eq!(server.count("n", "flow").await, 44);
    // What was refused is kept, and nothing else; sent to a measurement of its own it is taken.
    let letters = sink.dead_letters(2).await;
    let conflict = letters.last().unwrap();
    assert_eq!(conflict["lines"], json!(["flow,queue=orders n=1.5 100"]));
    assert_eq!(conflict["url"], json!(server.url));
    let reason = conflict["reason"].as_str().unwrap();
    assert!(reason.contains("field type conflict"), "{reason}");
    let mut number = 0;
    for letter in &letters {
        number += letter["refused_lines"].as_u64().unwrap();
    }
    assert_eq!(number, 3, "{letters:?}");
    let body = conflict["lines"][0].as_str().unwrap();
    let body = body.replacen("flow", "mended", 1);
    let write = client().post(format!("{}/write?db=rabtrace", server.url));
    let answer = write.body(body).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(server.count("n", "mended").await, 1);
    assert_eq!(sink.report().status, Status::Healthy);
    assert_eq!(sink.stop().await, (44, 3, 0));
}

#[tokio::test]
async fn a_missing_database_is_told_and_waited_for() {
    let server = InfluxDb::start(false).await;
    let client = client();
    let failure = check(&config(&server.url), &client).await.unwrap();
    let failure = failure.outcome.unwrap_err();
    assert!(failure.why.contains("database not found"), "{failure}");
    assert!(
        failure.fix.contains("CREATE DATABASE \"rabtrace\""),
        "{failure}"
    );
    let sink = Running::start(config(&server.url));
    sink.send(points(1, 5)).await;
    let message = sink.until_status(Status::Unhealthy).await;
    assert!(message.contains(&failure.fix), "{message}");
    server.query("CREATE DATABASE rabtrace").await;
    sink.until_settled(5).await;
    assert_eq!(server.count("n", "flow").await, 5);
    assert_eq!(sink.stop().await, (5, 0, 0));
    let found = check(&config(&server.url), &client).await.unwrap();
    assert!(found.outcome.unwrap().starts_with("InfluxDB 1.6"));
    assert_eq!(
        server.count("n", "flow").await,
        5,
        "the check wrote something"
    );
}

#[tokio::test]
async fn a_login_is_taken_or_refused() {
    let mut server = InfluxDb::start(true).await;
    server
        .query("CREATE USER rab WITH PASSWORD 'its' WITH ALL PRIVILEGES")
        .await;
    server.login = Some("rab:its");
    server.query("CREATE DATABASE rabtrace").await;
    let with = |token: &str| Influx {
        token: Secret::new(token),
        ..config(&server.url)
    };
    let client = client();
    let failure = check(&with("rab:wrong"), &client).await.unwrap();
    let failure = failure.outcome.unwrap_err();
    assert!(
        failure.why.contains("401") && failure.why.contains("influx.token"),
        "{failure}"
    );
    let found = check(&with("rab:its"), &client).await.unwrap();
    assert!(found.outcome.unwrap().contains("token accepted"));
    let sink = Running::start(with("rab:its"));
    sink.send(points(1, 5)).await;
    sink.until_settled(5).await;
    assert_eq!(server.count("n", "flow").await, 5);
    assert_eq!(sink.stop().await, (5, 0, 0));
}

#[tokio::test]
async fn everything_arrives_after_the_server_was_away() {
    let mut server = InfluxDb::start(false).await;
    server.query("CREATE DATABASE rabtrace").await;
    let settings = config(&server.url);
    let limit = settings.buffer_bytes as u64;
    let sink = Running::start(settings);
    let mut sent = 0_i64;
    for round in 0..3 {
        for _ in 0..40 {
            sink.send(points(sent + 1, 25)).await;
            sent += 25;
            assert!(sink.buffered() <= limit);
        }
        match round {
            0 => server.kill(),
            1 => {
                sink.until_status(Status::Degraded).await;
                server.run().await;
            }
            _ => {}
        }
    }
    let sent = sent.unsigned_abs();
    sink.until_settled(sent).await;
    assert_eq!(server.count("n", "flow").await, sent);
    assert_eq!(sink.stop().await, (sent, 0, 0));
}

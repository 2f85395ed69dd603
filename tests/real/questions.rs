//! The questions that ship with rabtrace: each compiles as Flux, and gives the same rows in InfluxDB
//! 3's SQL and on the embedded store, the right ones for a pipeline that is known.
//!
//! Flux is compiled and not run: no package brings an engine for it.

mod pipeline;

use std::time::Duration;

use rabtrace::questions::{QUESTIONS, Question};
use serde_json::{Value, json};

use self::pipeline::Pipeline;
use crate::dashboards::{DATAFUSIONS, check, datafusion, takes};
use crate::influx::scripted_server::{Reply, ScriptedServer, Write, reply};
use crate::support::{output, rabtrace};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn every_question_compiles_as_flux() {
    for question in QUESTIONS {
        let flux = question.flux("a \"bucket\" of \\ its own", HOUR);
        assert!(takes(check().arg("--flux"), &flux), "{flux}");
    }
    let flux = QUESTIONS[0].flux("rabtrace", HOUR);
    let broken = flux.replace("int(v: r.messages)", "int(v: r.messages) + 1.0");
    assert_ne!(broken, flux);
    assert!(!takes(check().arg("--flux"), &broken), "{broken}");
}

#[test]
fn tasks_compile_as_flux() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("influx/tasks");
    let mut tasks = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "flux") {
            let flux = std::fs::read_to_string(&path).unwrap();
            assert!(takes(check().arg("--flux"), &flux), "{}", path.display());
            tasks += 1;
        }
    }
    assert!(tasks > 0, "no task was found");
}

/// The rows of a question in SQL, on the lines of `pipeline`.
fn by_sql(version: &str, pipeline: &Pipeline, question: &Question) -> Vec<Vec<Value>> {
    let mut command = datafusion(version);
    command.arg("--sql").arg(pipeline.lines());
    let text = pipeline.path("question.sql");
    std::fs::write(&text, question.sql(HOUR)).unwrap();
    let (code, said, complaint) = crate::support::output_of(&mut command, &text);
    assert_eq!(code, 0, "{}: {complaint}", question.name);
    let rows: Vec<Value> = serde_json::from_str(&said).unwrap();
    rows.into_iter()
        .map(|row| {
            let told: Vec<&String> = row.as_object().unwrap().keys().collect();
            assert_eq!(told.len(), question.columns.len(), "{}", question.name);
            question
                .columns
                .iter()
                .map(|name| row[name].clone())
                .collect()
        })
        .collect()
}

/// Numbers of both kinds are equal if they are the same but for the last digits.
fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => (one - other).abs() <= 1e-9 * one.abs().max(1.0),
        _ => one == other,
    }
}

fn assert_same(name: &str, one: &[Vec<Value>], other: &[Vec<Value>]) {
    let equal = one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        });
    assert!(equal, "{name}:\n{one:?}\n{other:?}");
}

#[test]
fn sql_and_the_store_answer_alike_and_right() {
    let pipeline = Pipeline::run();
    for question in QUESTIONS {
        let result = pipeline.by_store(&question.store(HOUR));
        assert_eq!(result.columns, question.columns, "{}", question.name);
        assert!(!result.rows.is_empty(), "{} has no rows", question.name);
        for version in DATAFUSIONS {
            let rows = by_sql(version, &pipeline, question);
            assert_same(question.name, &rows, &result.rows);
        }
        let expected = pipeline.expected(question.name);
        assert_same(question.name, &expected, &result.rows);
    }
}

#[test]
fn the_command_asks_the_store_and_lists_the_questions() {
    let pipeline = Pipeline::run();
    let folder = format!("store.folder={}", pipeline.path("").display());
    let nowhere = format!("api.listen=127.0.0.1:{}", crate::support::free_port());
    let ask = |arguments: &[&str]| {
        let mut command = rabtrace();
        command.args(["--set", &folder, "--set", &nowhere, "query"]);
        output(command.args(arguments))
    };
    let (code, said, complaint) = ask(&["dead_letters", "--output", "ndjson"]);
    assert_eq!(
        (code, said.trim()),
        (0, r#"{"dead_lettered":7,"reason":"rejected"}"#),
        "{complaint}"
    );
    let (code, said, _) = ask(&[]);
    assert_eq!(code, 0);
    for question in QUESTIONS {
        assert!(
            said.contains(question.name) && said.contains(&question.answers()),
            "{said}"
        );
    }
    let (code, _, complaint) = ask(&["dead_leters"]);
    assert_eq!(code, 3);
    assert!(
        complaint.contains("there is no question \"dead_leters\""),
        "{complaint}"
    );
    let (code, _, complaint) = ask(&["dead_letters", "--against", "influx"]);
    assert_eq!(code, 3);
    assert!(
        complaint.contains("set influx.url (INFLUX_HOST)"),
        "{complaint}"
    );
}

#[test]
fn what_was_never_recorded_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let config = pipeline::store_config(folder.path());
    drop(rabtrace::store::Store::open(&config, std::time::SystemTime::now).unwrap());
    let mut command = rabtrace();
    command.args([
        "--set",
        &format!("store.folder={}", folder.path().display()),
    ]);
    command.args([
        "--set",
        &format!("api.listen=127.0.0.1:{}", crate::support::free_port()),
    ]);
    let (code, said, complaint) =
        output(command.args(["query", "dead_letters", "--output", "json"]));
    assert_eq!(code, 0, "{complaint}");
    assert!(said.contains("\"rows\":[]"), "{said}");
    assert!(
        complaint.contains("nothing was recorded for this question yet"),
        "{complaint}"
    );
}

/// What `rabtrace query NAME --against influx` says to a server of that version.
async fn ask_influx(
    version: &'static str,
    name: &'static str,
    answer: impl Fn(usize, &Write) -> Reply + Send + Sync + 'static,
) -> ((i32, String, String), Write) {
    let server = ScriptedServer::start(Some(version), answer).await;
    let mut command = rabtrace();
    command.args(["--set", &format!("influx.url={}", server.url)]);
    command.args([
        "--set",
        "influx.token=canary-token",
        "--set",
        "influx.org=us",
    ]);
    command.args([
        "query",
        name,
        "--against",
        "influx",
        "--since",
        "90s",
        "--output",
        "ndjson",
    ]);
    let said = tokio::task::spawn_blocking(move || output(&mut command))
        .await
        .unwrap();
    assert!(!said.2.contains("canary-token"), "{}", said.2);
    let asked = server.writes().first().cloned();
    let none = || Write {
        target: String::new(),
        authorization: None,
        gzip: false,
        lines: Vec::new(),
        at: std::time::Instant::now(),
    };
    (said, asked.unwrap_or_else(none))
}

#[tokio::test]
async fn influxdb_2_is_asked_in_flux() {
    let csv = "#datatype,string,long,string,long\r\n,result,table,reason,dead_lettered\r\n\
               ,_result,0,rejected,7\r\n\r\n";
    let ((code, said, complaint), asked) =
        ask_influx("v2.7.12", "dead_letters", move |_, _| reply(200, csv)).await;
    assert_eq!(
        (code, said.trim()),
        (0, r#"{"dead_lettered":7,"reason":"rejected"}"#),
        "{complaint}"
    );
    assert_eq!(asked.target, "/api/v2/query?org=us");
    assert_eq!(asked.authorization.as_deref(), Some("Token canary-token"));
    let body: Value = serde_json::from_str(&asked.lines.concat()).unwrap();
    assert_eq!(body["type"], json!("flux"));
    let flux = body["query"].as_str().unwrap();
    assert!(
        flux.contains("since = -90s") && flux.contains("bucket = \"rabtrace\""),
        "{flux}"
    );

    let late = "#datatype,string,long,string\r\n,result,table,reason\r\n,_result,0,a\r\n\r\n\
                error,reference\r\nmemory allocation limit reached,576\r\n";
    let ((code, said, complaint), _) =
        ask_influx("v2.7.12", "dead_letters", move |_, _| reply(200, late)).await;
    assert_eq!((code, said.as_str()), (1, ""));
    assert!(
        complaint.contains("could not answer: memory allocation limit reached"),
        "{complaint}"
    );
}

#[tokio::test]
async fn influxdb_3_is_asked_in_sql() {
    let rows = r#"[{"reason":"rejected","dead_lettered":7}]"#;
    let ((code, said, complaint), asked) =
        ask_influx("3.10.0", "dead_letters", move |_, _| reply(200, rows)).await;
    assert_eq!(
        (code, said.trim()),
        (0, r#"{"dead_lettered":7,"reason":"rejected"}"#),
        "{complaint}"
    );
    assert_eq!(asked.target, "/api/v3/query_sql");
    assert_eq!(asked.authorization.as_deref(), Some("Bearer canary-token"));
    let body: Value = serde_json::from_str(&asked.lines.concat()).unwrap();
    assert_eq!(
        (&body["db"], &body["format"]),
        (&json!("rabtrace"), &json!("json"))
    );
    assert!(
        body["q"]
            .as_str()
            .unwrap()
            .contains("INTERVAL '90 seconds'")
    );

    let absent = r#"{"error":"table 'public.iox.rabbitmq_global' not found"}"#;
    let ((code, said, complaint), _) =
        ask_influx("3.10.0", "dead_letters", move |_, _| reply(400, absent)).await;
    assert_eq!((code, said.as_str()), (0, ""), "{complaint}");
    assert!(complaint.contains("nothing was recorded"), "{complaint}");
}

#[tokio::test]
async fn a_server_that_cannot_be_asked_is_told_with_what_to_do() {
    let ((code, _, complaint), _) =
        ask_influx("1.6.7", "dead_letters", |_, _| reply(200, "")).await;
    assert_eq!(code, 1);
    assert!(
        complaint.contains("InfluxDB 1.x") && complaint.contains("--against store"),
        "{complaint}"
    );
    let refused = |_: usize, _: &Write| reply(401, r#"{"message":"unauthorized access"}"#);
    let ((code, _, complaint), _) = ask_influx("v2.7.12", "dead_letters", refused).await;
    assert_eq!(code, 1);
    assert!(
        complaint.contains("unauthorized access") && complaint.contains("INFLUX_TOKEN"),
        "{complaint}"
    );
    let mut command = rabtrace();
    command.args([
        "--set",
        &format!(
            "influx.url=http://127.0.0.1:{}",
            crate::support::free_port()
        ),
    ]);
    command.args(["query", "dead_letters", "--against", "influx"]);
    let (code, _, complaint) = output(&mut command);
    assert_eq!(code, 4, "{complaint}");
}

//! SQL of the user's: what it may ask, and what it may not.

use std::path::Path;
use std::time::{Duration, Instant};

use rabtrace::store::{Reader, SqlLimits, SqlResult, StoreError};
use serde_json::json;

use crate::support::{BASE, SECOND, hop, open, spans};

fn filled(folder: &Path) -> Reader {
    let mut store = open(folder);
    let hops = (1..=100).map(|number| {
        let mut hop = hop(number, BASE + i64::try_from(number).unwrap() * SECOND);
        hop.span.end_unix_nano = hop.span.start_unix_nano + number * 1_000_000;
        hop
    });
    store.write(&[spans(hops.collect())]).unwrap();
    store.reader().unwrap()
}

fn ask(reader: &Reader, text: &str) -> Result<SqlResult, StoreError> {
    reader.sql(text, SqlLimits::default())
}

#[test]
fn views_and_functions_answer_common_questions() {
    let folder = tempfile::tempdir().unwrap();
    let reader = filled(folder.path());
    let check = |text: &str, expected: serde_json::Value| {
        let answer = ask(&reader, text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(json!(answer.rows), expected, "{text}");
    };
    check(
        "SELECT service_name, count(*), percentile(duration_ms, 95), quantile(duration_ms, 0.5), \
         approx_percentile_cont(duration_ms, 0.5) FROM spans GROUP BY service_name",
        json!([["planner", 100, 95.05, 50.5, 50.5]]),
    );
    check(
        "SELECT time_bucket(60, time) AS bucket, count(*) FROM spans GROUP BY bucket",
        json!([[BASE, 59], [BASE + 60 * SECOND, 41]]),
    );
    check(
        "SELECT percentile(duration_ms, 50) FROM spans WHERE 0",
        json!([[null]]),
    );
    check(
        "SELECT json_extract(attributes, '$.\"messaging.system\"') FROM spans LIMIT 1",
        json!([["rabbitmq"]]),
    );
    check(
        "SELECT e.key FROM spans s, json_each(s.attributes) e WHERE s.trace_id LIKE '%01'",
        json!([["messaging.system"]]),
    );
    check(
        "WITH x AS (SELECT 1 AS a) SELECT a FROM x; -- done",
        json!([[1]]),
    );
    check(
        "SELECT name FROM pragma_table_info('spans') LIMIT 2",
        json!([["time"], ["trace_id"]]),
    );
    let columns = "SELECT time, trace_id, span_id, parent_span_id, service_name, span_name, kind, \
                   status, status_message, destination, start_ns, duration_ms, queue_ms, path, \
                   attributes, redelivered, events, links, resource FROM spans LIMIT 1";
    assert_eq!(ask(&reader, columns).unwrap().columns.len(), 19);
}

#[test]
fn rows_are_limited_and_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let reader = filled(folder.path());
    let limits = |rows| SqlLimits {
        rows,
        time: Duration::from_secs(5),
    };
    let answer = reader.sql("SELECT 1 FROM spans", limits(99)).unwrap();
    assert_eq!((answer.rows.len(), answer.truncated), (99, true));
    let answer = reader.sql("SELECT 1 FROM spans", limits(100)).unwrap();
    assert_eq!((answer.rows.len(), answer.truncated), (100, false));
}

#[test]
fn what_does_not_only_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let reader = filled(folder.path());
    let file = std::fs::read(reader.file()).unwrap();
    let check = |text: &str, why: &str| {
        let error = ask(&reader, text)
            .map(|answer| panic!("{text}: {answer:?}"))
            .unwrap_err();
        assert!(matches!(error, StoreError::Sql(_)), "{text}: {error:?}");
        let told = error.to_string();
        assert!(
            told.contains(why) && told.contains("fix "),
            "{text}: {told}"
        );
    };
    let elsewhere = folder.path().join("other.db");
    check("DELETE FROM spans", "writes");
    check("DELETE FROM dictionary_paths", "writes");
    check(
        "INSERT INTO dictionary_resources VALUES (9, 'x', 1)",
        "writes",
    );
    check(
        "UPDATE dictionary_paths SET text = 'x' RETURNING text",
        "writes",
    );
    check("DROP TABLE dictionary_paths", "writes");
    check("CREATE TABLE x (a)", "writes");
    check("CREATE TEMP TABLE x (a)", "writes");
    check("VACUUM", "");
    check(&format!("VACUUM INTO '{}'", elsewhere.display()), "");
    check(
        &format!("ATTACH '{}' AS other", elsewhere.display()),
        "ATTACH",
    );
    check("DETACH main", "ATTACH and DETACH");
    check("PRAGMA query_only = 0", "PRAGMA");
    check("PRAGMA journal_mode = DELETE", "PRAGMA");
    check("BEGIN IMMEDIATE", "transactions");
    check("SELECT load_extension('x')", "reaches beyond");
    check("SELECT 1; SELECT 2", "several");
    check("SELECT 1; DELETE FROM dictionary_paths", "");
    check("", "no statement");
    check("-- nothing", "no statement");
    check("SELECT $name, ?1", "parameters");
    assert!(!elsewhere.exists());
    assert_eq!(std::fs::read(reader.file()).unwrap(), file);
    assert_eq!(
        ask(&reader, "SELECT count(*) FROM spans").unwrap().rows[0][0],
        100
    );
}

#[test]
fn an_endless_statement_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let reader = filled(folder.path());
    let limits = SqlLimits {
        rows: 10,
        time: Duration::from_millis(200),
    };
    for text in [
        "WITH RECURSIVE x (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT max(n) FROM x",
        "SELECT count(*) FROM spans a, spans b, spans c, spans d, spans e, spans f",
    ] {
        let begun = Instant::now();
        let error = reader.sql(text, limits).unwrap_err();
        assert!(matches!(error, StoreError::SqlTimeout(_)), "{error:?}");
        assert!(error.to_string().contains("0.2 s"), "{error}");
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{:?}",
            begun.elapsed()
        );
    }
    let large = "SELECT replace(hex(zeroblob(8000000)), '0', '0000000000')";
    assert!(matches!(
        ask(&reader, large),
        Err(StoreError::Sql(_) | StoreError::Database(_))
    ));
}

#[test]
fn mistakes_are_told_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let reader = filled(folder.path());
    let check = |text: &str, needles: &[&str]| {
        let told = ask(&reader, text).unwrap_err().to_string();
        for needle in needles {
            assert!(told.contains(needle), "{text}: no {needle:?} in {told}");
        }
    };
    check(
        "SELECT *\nFORM spans",
        &["syntax error", "line 2, column 1", "^"],
    );
    check(
        "SELECT * FROM span",
        &["no such table: span", "tables  message_flow, paths, spans"],
    );
    check(
        "SELECT nme FROM spans",
        &["no such column: nme", "line 1, column 8", "LIMIT 1"],
    );
    check(
        "SELECT percentile(duration_ms, 950) FROM spans",
        &["from 0 to 100"],
    );
    check("SELECT time_bucket(0, time) FROM spans", &["above zero"]);
}

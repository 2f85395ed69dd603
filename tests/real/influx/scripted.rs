//! Each failure that a server can answer with, by a script.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rabtrace::config::Influx;
use rabtrace::config::Secret;
use rabtrace::health::Status;
use rabtrace::model::Point;
use tokio::sync::Notify;

use super::scripted_server::{Reply, ScriptedServer, reply};
use super::{PATIENCE, Running, config, points};
use crate::support::{eventually, free_port};

const VERSION_2: Option<&str> = Some("v2.7.12");

#[tokio::test]
async fn a_limited_write_is_sent_again_when_the_server_said() {
    let server = ScriptedServer::start(VERSION_2, |number, _| match number {
        0 => Reply {
            headers: vec![("retry-after", "1".to_owned())],
            ..reply(429, "{}")
        },
        _ => reply(204, ""),
    })
    .await;
    let sink = Running::start(config(&server.url));
    sink.send(points(1, 3)).await;
    sink.until_settled(3).await;
    let writes = server.writes();
    assert_eq!(writes.len(), 2);
    assert_eq!(writes[0].lines, writes[1].lines);
    let waited = writes[1].at - writes[0].at;
    assert!(waited >= Duration::from_secs(1), "only {waited:?}");
    assert_eq!(sink.stop().await, (3, 0, 0));
}

#[tokio::test]
async fn a_failing_server_degrades_the_part_until_it_answers() {
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let server = ScriptedServer::start(VERSION_2, move |_, _| {
        if gate.lock().unwrap().try_recv().is_ok() {
            reply(204, "")
        } else {
            reply(500, r#"{"code":"internal error","message":"disk full"}"#)
        }
    })
    .await;
    let sink = Running::start(config(&server.url));
    sink.send(points(1, 3)).await;
    let message = sink.until_status(Status::Degraded).await;
    assert!(
        message.contains("500 disk full") && message.contains(&server.url),
        "{message}"
    );
    release.send(()).unwrap();
    sink.until_settled(3).await;
    sink.until_status(Status::Healthy).await;
    assert_eq!(sink.stop().await, (3, 0, 0));
}

#[tokio::test]
async fn exactly_the_quoted_lines_are_lost() {
    let server = ScriptedServer::start(VERSION_2, |_, write| {
        let bad = write.lines.iter().filter(|line| line.ends_with('7'));
        let errors: Vec<_> = bad
            .map(|line| format!("unable to parse '{line}': it ends in seven"))
            .collect();
        if errors.is_empty() {
            return reply(204, "");
        }
        let body = serde_json::json!({ "code": "invalid", "message": errors.join("\n") });
        reply(400, body.to_string())
    })
    .await;
    let sink = Running::start(config(&server.url));
    sink.send(points(1, 30)).await;
    sink.until_settled(30).await;
    assert_eq!(sink.dropped("rejected"), 3);
    let writes = server.writes();
    assert_eq!(writes.len(), 2, "one more request, not a search");
    assert_eq!(writes[1].lines.len(), 27);
    assert_eq!(sink.report().status, Status::Healthy);
    assert_eq!(sink.stop().await, (27, 3, 0));
}

#[tokio::test]
async fn a_bad_line_that_is_not_named_is_searched_for() {
    let server = ScriptedServer::start(VERSION_2, |_, write| {
        if write.lines.iter().any(|line| line.contains("n=17i")) {
            reply(400, r#"{"code":"invalid","message":"something is wrong"}"#)
        } else {
            reply(204, "")
        }
    })
    .await;
    let sink = Running::start(config(&server.url));
    sink.send(points(1, 50)).await;
    sink.until_settled(50).await;
    assert_eq!(sink.dropped("rejected"), 1);
    let letters = sink.dead_letters(1).await;
    let lines = serde_json::json!(["flow,queue=orders n=17i 17"]);
    assert_eq!((letters.len(), &letters[0]["lines"]), (1, &lines));
    let reason = letters[0]["reason"].as_str().unwrap();
    assert!(reason.contains("something is wrong"), "{reason}");
    assert_eq!(sink.stop().await, (49, 1, 0));
}

/// Refuses a write with one of the bad lines in it, names none, and keeps the others' numbers.
async fn without_names(is_bad: fn(u64) -> bool) -> (ScriptedServer, Arc<Mutex<BTreeSet<u64>>>) {
    let taken = Arc::new(Mutex::new(BTreeSet::new()));
    let keep = Arc::clone(&taken);
    let server = ScriptedServer::start(VERSION_2, move |_, write| {
        let number = |line: &String| {
            let digits = line.split("n=").nth(1)?.split('i').next()?;
            digits.parse::<u64>().ok()
        };
        let numbers: Vec<u64> = write.lines.iter().filter_map(number).collect();
        if numbers.iter().copied().any(is_bad) {
            return reply(400, r#"{"code":"invalid","message":"something is wrong"}"#);
        }
        keep.lock().unwrap().extend(numbers);
        reply(204, "")
    })
    .await;
    (server, taken)
}

#[tokio::test]
async fn many_bad_lines_before_the_first_good_one_hold_nothing_up() {
    let (server, taken) = without_names(|number| number <= 40).await;
    let sink = Running::start(Influx {
        batch_lines: 5000,
        ..config(&server.url)
    });
    sink.send(points(1, 200)).await;
    sink.until_settled(200).await;
    assert_eq!(sink.dropped("rejected"), 40);
    assert_eq!(sink.stop().await, (160, 40, 0));
    assert_eq!(*taken.lock().unwrap(), (41..=200).collect());
}

#[tokio::test]
async fn bad_lines_all_over_a_batch_are_searched_for_without_a_pause() {
    let (server, taken) = without_names(|number| number % 20 == 0).await;
    let sink = Running::start(Influx {
        batch_lines: 5000,
        ..config(&server.url)
    });
    sink.send(points(1, 1000)).await;
    sink.until_settled(1000).await;
    assert_eq!(sink.dropped("rejected"), 50);
    let errors = sink.metric("rabtrace_errors_total{stage=\"influx\"}");
    assert_eq!(errors, 0, "the server took lines all the time");
    assert_eq!(sink.stop().await, (950, 50, 0));
    assert_eq!(taken.lock().unwrap().len(), 950);
}

#[tokio::test]
async fn a_server_that_refuses_everything_is_not_asked_for_every_line() {
    let server =
        ScriptedServer::start(VERSION_2, |_, _| reply(400, "no InfluxDB, but a proxy")).await;
    let sink = Running::start(Influx {
        batch_lines: 5000,
        ..config(&server.url)
    });
    sink.send(points(1, 5000)).await;
    let message = sink.until_status(Status::Unhealthy).await;
    assert!(message.contains("no InfluxDB, but a proxy"), "{message}");
    let asked = server.writes().len();
    assert!(asked < 1000, "it was asked {asked} times within a moment");
    assert_eq!(sink.dropped("rejected"), 0, "no line is to blame");
    assert_eq!(sink.stop().await, (0, 0, 5000), "they stay in the spool");
}

#[tokio::test]
async fn a_partial_write_is_not_sent_again() {
    let message = "failure writing points to database: partial write: field type conflict: input \
                   field \"n\" on measurement \"flow\" is type integer, already exists as type \
                   float dropped=4";
    let body = serde_json::json!({ "code": "unprocessable entity", "message": message });
    let server = ScriptedServer::start(VERSION_2, move |_, _| reply(422, body.to_string())).await;
    let sink = Running::start(config(&server.url));
    sink.send(points(1, 10)).await;
    sink.until_settled(10).await;
    assert_eq!(server.writes().len(), 1);
    assert_eq!(sink.stop().await, (6, 4, 0));
}

#[tokio::test]
async fn a_refused_token_keeps_the_data_and_says_what_to_do() {
    let is_known = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&is_known);
    let server = ScriptedServer::start(VERSION_2, move |_, _| {
        let unknown = r#"{"code":"unauthorized","message":"unauthorized access"}"#;
        match asked.load(Ordering::SeqCst) {
            true => reply(204, ""),
            false => reply(401, unknown),
        }
    })
    .await;
    let sink = Running::start(Influx {
        token: Secret::new("canary"),
        ..config(&server.url)
    });
    sink.send(points(1, 3)).await;
    let message = sink.until_status(Status::Unhealthy).await;
    for part in [&server.url, "influx.token", "401", "influx auth create"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    assert!(!message.contains("canary"), "{message}");
    is_known.store(true, Ordering::SeqCst);
    sink.until_settled(3).await;
    sink.until_status(Status::Healthy).await;
    assert_eq!(sink.stop().await, (3, 0, 0));
}

#[tokio::test]
async fn too_large_a_body_is_halved() {
    let server = ScriptedServer::start(VERSION_2, |_, write| {
        let longest = write.lines.iter().map(String::len).max();
        let too_large = write.lines.len() > 6 || longest > Some(1000);
        reply(if too_large { 413 } else { 204 }, "")
    })
    .await;
    let sink = Running::start(config(&server.url));
    let long = Point::new("long", 1).text("f", Some("x".repeat(2000)));
    sink.send(points(1, 40)).await;
    sink.send(vec![long]).await;
    sink.until_settled(41).await;
    assert_eq!(sink.dropped("too_large"), 1);
    assert_eq!(sink.stop().await, (40, 1, 0));
}

#[tokio::test]
async fn the_sender_never_waits_for_a_slow_server() {
    let hold = Arc::new(Notify::new());
    let held = hold.clone();
    let server = ScriptedServer::start(VERSION_2, move |number, _| Reply {
        held: (number == 0).then(|| held.clone()),
        ..reply(204, "")
    })
    .await;
    let sink = Running::start(Influx {
        timeout: PATIENCE * 2,
        ..config(&server.url)
    });
    sink.send(points(1, 1)).await;
    let arrived = || async { (!server.writes().is_empty()).then_some(()) };
    eventually("the slow write", PATIENCE, arrived).await;
    for n in 0..500 {
        sink.send(points(n * 10 + 10, 10)).await;
    }
    assert_eq!(sink.written(), 0, "the slow write is still in flight");
    hold.notify_one();
    sink.until_settled(5001).await;
    assert_eq!(sink.stop().await, (5001, 0, 0));
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_a_failure_that_passes() {
    let server = ScriptedServer::start(VERSION_2, |number, _| Reply {
        delay: Duration::from_secs(if number == 0 { 30 } else { 0 }),
        ..reply(204, "")
    })
    .await;
    let sink = Running::start(Influx {
        timeout: Duration::from_millis(300),
        ..config(&server.url)
    });
    sink.send(points(1, 2)).await;
    sink.until_settled(2).await;
    assert_eq!(server.writes().len(), 2);
    assert_eq!(sink.stop().await, (2, 0, 0));
}

#[tokio::test]
async fn what_a_server_took_is_what_is_counted_through_all_failures() {
    let taken = Arc::new(Mutex::new(BTreeSet::new()));
    let keep = taken.clone();
    let server = ScriptedServer::start(VERSION_2, move |number, write| {
        let replies = [204, 500, 413, 204, 401, 400, 204, 503, 204];
        match replies[number % replies.len()] {
            // A single line is never refused for good here.
            400 | 413 if write.lines.len() > 1 => reply(413, ""),
            status @ (401 | 500 | 503) => reply(status, r#"{"message":"by turns"}"#),
            _ => {
                keep.lock().unwrap().extend(write.lines.iter().cloned());
                reply(204, "")
            }
        }
    })
    .await;
    let sink = Running::start(Influx {
        batch_lines: 10,
        ..config(&server.url)
    });
    sink.send(points(1, 205)).await;
    sink.until_settled(205).await;
    assert_eq!(sink.stop().await, (205, 0, 0));
    assert_eq!(taken.lock().unwrap().len(), 205);
}

#[tokio::test]
async fn influxdb_3_lists_the_lines_it_refused() {
    let server = ScriptedServer::start(Some("3.10.0"), |_, write| {
        let entry = |(at, line): (usize, &String)| {
            serde_json::json!({
                "error_message": "a field of another type",
                "line_number": at + 1,
                "original_line": line,
            })
        };
        let bad = write.lines.iter().enumerate().skip(1).step_by(2);
        let data: Vec<_> = bad.map(entry).collect();
        let error = "partial write of line protocol occurred";
        let body = serde_json::json!({ "error": error, "data": data });
        reply(400, body.to_string())
    })
    .await;
    let sink = Running::start(config(&server.url));
    sink.send(points(1, 11)).await;
    sink.until_settled(11).await;
    assert_eq!(server.writes().len(), 1);
    assert_eq!(sink.stop().await, (6, 5, 0));
}

#[tokio::test]
async fn memory_is_bounded_and_every_line_is_accounted_for() {
    const LIMIT: u64 = 64 << 10;
    let url = format!("http://127.0.0.1:{}", free_port());
    let sink = Running::start(Influx {
        buffer_bytes: usize::try_from(LIMIT).unwrap(),
        ..config(&url)
    });
    for n in 0..400 {
        sink.send(points(n * 100, 100)).await;
        let buffered = sink.buffered();
        assert!(buffered <= LIMIT + 4096, "{buffered} bytes are kept");
    }
    let full = || async { (sink.waiting() == 40_000).then_some(()) };
    eventually("all lines in the spool", PATIENCE, full).await;
    let buffered = sink.buffered();
    assert!(buffered <= LIMIT + 4096, "{buffered} bytes are kept");
    let message = sink.until_status(Status::Degraded).await;
    assert!(message.contains(&url), "{message}");
    assert_eq!(sink.stop().await, (0, 0, 40_000));
}

#[tokio::test]
async fn a_stop_writes_what_is_there() {
    let server = ScriptedServer::start(VERSION_2, |_, _| reply(204, "")).await;
    let sink = Running::start(Influx {
        flush_interval: Duration::from_secs(3600),
        ..config(&server.url)
    });
    sink.send(points(1, 7)).await;
    sink.send(vec![Point::new("without fields", 1)]).await;
    let begun = Instant::now();
    assert_eq!(sink.stop().await, (7, 1, 0));
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_stop_gives_up_on_a_server_that_hangs() {
    let server = ScriptedServer::start(VERSION_2, |_, _| Reply {
        delay: Duration::from_secs(60),
        ..reply(204, "")
    })
    .await;
    let sink = Running::start(config(&server.url));
    sink.send(points(1, 7)).await;
    assert_eq!(sink.stop().await, (0, 0, 7));
}

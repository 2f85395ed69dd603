//! What the forwarder sends arrives unchanged, and nothing is lost without a count.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use rabtrace::config::{Config, Forward as Settings, Protocol, Secret};
use rabtrace::forward::{Forward, ForwardSetup, check};
use rabtrace::health::{Health, Status};
use rabtrace::metrics::{Metrics, Stage};
use rabtrace::model::Signal;
use rabtrace::spool::{DeadLetter, DeadLetterSetup, Limits, Spool, SpoolSetup, Writer};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Receiver, client, output, request};
use crate::support::{Process, eventually, free_port, python};

const PATIENCE: Duration = Duration::from_secs(30);

/// A forwarder at work.
struct Running {
    spool: Writer,
    metrics: Metrics,
    health: Health,
    stop: CancellationToken,
    task: JoinHandle<()>,
    /// Where the spool is, unless the test has it.
    folder: Option<tempfile::TempDir>,
}

impl Running {
    fn start(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut running = Self::start_in(folder.path(), settings);
        running.folder = Some(folder);
        running
    }

    fn start_in(folder: &Path, settings: Settings) -> Self {
        let (metrics, health) = (Metrics::new().unwrap(), Health::default());
        let (spool, reader) = Spool::open(SpoolSetup {
            folder: folder.to_owned(),
            sink: Stage::Forward,
            limits: Limits::default(),
            metrics: metrics.clone(),
        })
        .unwrap();
        let (dead_letter, letters) = DeadLetter::open(DeadLetterSetup {
            folder: folder.to_owned(),
            sink: Stage::Forward,
            max_bytes: 64 << 20,
            metrics: metrics.clone(),
            clock: std::time::SystemTime::now,
        })
        .unwrap();
        tokio::spawn(letters.run());
        let forward = Forward::new(ForwardSetup {
            config: settings,
            client: client(),
            metrics: metrics.clone(),
            component: health.component("forward"),
            dead_letter: Some(dead_letter),
        })
        .unwrap();
        let stop = CancellationToken::new();
        Self {
            spool,
            metrics,
            health,
            task: tokio::spawn(forward.run(reader, stop.clone())),
            stop,
            folder: None,
        }
    }

    async fn send(&self, payload: &Bytes) {
        let kept = self.spool.append(Signal::Traces.code(), 1, payload.clone());
        kept.await.unwrap();
    }

    /// Waits until the metrics' text has this line.
    async fn counted(&self, line: &str) {
        eventually(line, PATIENCE, || {
            let found = self.metrics.encode().unwrap().contains(line);
            async move { found.then_some(()) }
        })
        .await;
    }

    async fn failed_to_forward(&self) {
        let name = "rabtrace_errors_total{stage=\"forward\"} ";
        eventually(name, PATIENCE, || {
            let page = self.metrics.encode().unwrap();
            let number = page.lines().find_map(|line| line.strip_prefix(name));
            let failed = number.unwrap() != "0";
            async move { failed.then_some(()) }
        })
        .await;
    }

    fn status(&self) -> Status {
        self.health.reports()["forward"].status
    }
}

fn settings(protocol: Protocol, upstream: SocketAddr) -> Settings {
    Settings {
        endpoint: Some(Secret::new(format!("http://{upstream}"))),
        protocol,
        headers: vec![("X-Scope-OrgID".to_owned(), Secret::new("canary"))],
        timeout: Duration::from_secs(5),
        ..Config::default().forward
    }
}

/// Where nobody listens yet.
fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// Where nobody ever listens.
fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

fn upstream_of(receiver: &Receiver, protocol: Protocol) -> SocketAddr {
    match protocol {
        Protocol::Grpc => receiver.grpc,
        Protocol::HttpProtobuf => receiver.http,
    }
}

#[tokio::test]
async fn a_second_receiver_gets_the_same_bytes_in_the_same_order() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let mut receiver = Receiver::start(64).await;
        let running = Running::start(settings(protocol, upstream_of(&receiver, protocol)));
        let sent: Vec<Bytes> = (1..=20).map(|id| request(&[id, id + 100], 50)).collect();
        for payload in &sent {
            running.send(payload).await;
        }
        for payload in &sent {
            let batch = receiver.batches.recv().await.unwrap();
            assert_eq!(batch.payload, payload);
        }
        drop(running.spool);
        running.task.await.unwrap();
        assert_eq!(running.metrics.requests_forwarded.get(), 20);
        assert_eq!(running.metrics.dropped_total(), 0);
    }
}

/// Where the Python package of rotel has its program.
async fn rotel_program() -> String {
    let mut command = tokio::process::Command::new(python());
    command.args([
        "-c",
        "import os, rotel; print(os.path.dirname(rotel.__file__), end='')",
    ]);
    output(command).await + "/rotel-agent"
}

#[tokio::test]
async fn rotel_takes_what_is_forwarded_and_passes_it_on() {
    let program = rotel_program().await;
    for (protocol, name) in [(Protocol::Grpc, "grpc"), (Protocol::HttpProtobuf, "http")] {
        let mut receiver = Receiver::start(64).await;
        let folder = tempfile::tempdir().unwrap();
        let (grpc, http) = (free_address(), free_address());
        let mut command = std::process::Command::new(&program);
        command
            .args([
                "start",
                "--exporter",
                "otlp",
                "--otlp-exporter-protocol",
                name,
            ])
            .args(["--otlp-grpc-endpoint", &grpc.to_string()])
            .args(["--otlp-http-endpoint", &http.to_string()])
            .args(["--otlp-exporter-retry-initial-backoff", "100ms"])
            .arg("--otlp-exporter-endpoint")
            .arg(format!("http://{}", upstream_of(&receiver, protocol)))
            .arg("--pid-file")
            .arg(folder.path().join("pid"))
            .arg("--log-file")
            .arg(folder.path().join("log"));
        let _rotel = Process::start(&mut command, &folder.path().join("output"));

        let upstream = if protocol == Protocol::Grpc {
            grpc
        } else {
            http
        };
        // It starts while the forwarder already tries.
        let running = Running::start(settings(protocol, upstream));
        let ids: BTreeSet<u64> = (1..=60).collect();
        for id in &ids {
            running.send(&request(&[*id], 20)).await;
        }
        let mut arrived = BTreeSet::new();
        while arrived.len() < ids.len() {
            let batch = tokio::time::timeout(PATIENCE, receiver.batches.recv()).await;
            let spans = batch.expect("rotel passes spans on").unwrap().spans;
            for span in spans {
                assert_eq!(&*span.name, "n".repeat(20));
                arrived.insert(u64::from_be_bytes(*span.span_id.as_bytes()));
            }
        }
        assert_eq!(arrived, ids);
        running
            .counted("rabtrace_requests_forwarded_total 60")
            .await;
        assert_eq!(
            (running.status(), running.metrics.dropped_total()),
            (Status::Healthy, 0)
        );
        let finding = check(&settings(protocol, upstream), &client())
            .await
            .unwrap();
        assert!(finding.outcome.is_ok(), "{finding:?}");
    }
}

#[tokio::test]
async fn nothing_is_lost_while_the_upstream_is_away() {
    let address = free_address();
    let running = Running::start(settings(Protocol::Grpc, address));
    for id in 1..=50 {
        running.send(&request(&[id], 20)).await;
    }
    running.failed_to_forward().await;
    assert_eq!(running.status(), Status::Degraded);
    let mut receiver = Receiver::start_on(address, 64).await;
    for id in 1..=50 {
        let batch = tokio::time::timeout(PATIENCE, receiver.batches.recv()).await;
        assert_eq!(batch.unwrap().unwrap().payload, request(&[id], 20));
    }
    running
        .counted("rabtrace_buffered_bytes{sink=\"forward\"} 0")
        .await;
    assert_eq!(
        (running.status(), running.metrics.dropped_total()),
        (Status::Healthy, 0)
    );
}

#[tokio::test]
async fn what_is_not_sent_at_the_stop_goes_out_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let away = settings(Protocol::HttpProtobuf, nowhere());
    let running = Running::start_in(folder.path(), away);
    for id in 1..=50 {
        running.send(&request(&[id], 20)).await;
    }
    let begun = Instant::now();
    running.stop.cancel();
    running.task.await.unwrap();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(running.metrics.dropped_total(), 0);
    let spool = running.spool.spool();
    drop(running.spool);
    spool.closed().await;

    let mut receiver = Receiver::start(64).await;
    let back = settings(Protocol::HttpProtobuf, receiver.http);
    let running = Running::start_in(folder.path(), back);
    for id in 1..=50 {
        let batch = tokio::time::timeout(PATIENCE, receiver.batches.recv()).await;
        assert_eq!(batch.unwrap().unwrap().payload, request(&[id], 20));
    }
    running
        .counted("rabtrace_spool_records{sink=\"forward\"} 0")
        .await;
    assert_eq!(running.metrics.dropped_total(), 0);
}

/// What the scripted upstream saw of one request.
type Seen = Arc<Mutex<Vec<(Instant, HeaderMap)>>>;

/// An HTTP upstream that gives these answers one after the other, and then 200.
async fn scripted(answers: Vec<(u16, Option<u64>)>) -> (SocketAddr, Seen) {
    let freed = CancellationToken::new();
    freed.cancel();
    scripted_and_held(answers, freed).await
}

/// The same, and what comes after those answers is held until it is freed.
async fn scripted_and_held(
    answers: Vec<(u16, Option<u64>)>,
    freed: CancellationToken,
) -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let (answers, record) = (Arc::new(Mutex::new(answers.into_iter())), Arc::clone(&seen));
    let answer = move |headers: HeaderMap| {
        record.lock().unwrap().push((Instant::now(), headers));
        let (scripted, freed) = (answers.lock().unwrap().next(), freed.clone());
        async move {
            let Some((status, after)) = scripted else {
                freed.cancelled().await;
                return StatusCode::OK.into_response();
            };
            let mut answer = StatusCode::from_u16(status).unwrap().into_response();
            if let Some(seconds) = after {
                answer.headers_mut().insert("retry-after", seconds.into());
            }
            answer
        }
    };
    let router = axum::Router::new().route("/v1/traces", axum::routing::post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, seen)
}

#[tokio::test]
async fn retryable_answers_are_tried_again_and_others_are_dropped() {
    let answers = vec![
        (503, Some(2)),
        (429, None),
        (502, None),
        (504, None),
        (200, None),
        (400, None),
    ];
    let (address, seen) = scripted(answers).await;
    let running = Running::start(settings(Protocol::HttpProtobuf, address));
    for id in 1..=3 {
        running.send(&request(&[id], 20)).await;
    }
    running.counted("rabtrace_requests_forwarded_total 2").await;
    running
        .counted("rabtrace_dropped_total{reason=\"refused\",stage=\"forward\"} 1")
        .await;
    running
        .counted("rabtrace_errors_total{stage=\"forward\"} 4")
        .await;
    let folder = running.folder.as_ref().unwrap();
    sent_again(&folder.path().join("dead_letter.ndjson"), address).await;
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 5 + 1 + 1);
    let waited = seen[1].0 - seen[0].0;
    assert!(
        waited >= Duration::from_millis(1_990),
        "Retry-After was 2 s, it waited {waited:?}"
    );
    for (_, headers) in seen.iter() {
        assert_eq!(headers["x-scope-orgid"], "canary");
        assert_eq!(headers["content-encoding"], "gzip");
    }
}

/// The letter about the second request says why, and what is in it is that request.
async fn sent_again(file: &Path, upstream: SocketAddr) {
    let letter = eventually("the dead letter", PATIENCE, || async {
        let text = std::fs::read_to_string(file).ok()?;
        serde_json::from_str::<serde_json::Value>(&text).ok()
    })
    .await;
    assert_eq!(letter["url"], format!("http://{upstream}"));
    assert!(
        letter["reason"].as_str().unwrap().starts_with("400"),
        "{letter}"
    );
    assert!(!letter.to_string().contains("canary"), "{letter}");
    let mut receiver = Receiver::start(1).await;
    let again = client()
        .post(receiver.url(letter["path"].as_str().unwrap()))
        .json(&letter["request"]);
    assert_eq!(again.send().await.unwrap().status(), 200);
    let batch = receiver.batches.recv().await.unwrap();
    assert_eq!(batch.payload, request(&[2], 20));
}

#[tokio::test]
async fn a_refused_login_keeps_what_waits_until_it_is_mended() {
    for status in [401, 403] {
        let mended = CancellationToken::new();
        let refusals = vec![(status, None), (status, None)];
        let (address, seen) = scripted_and_held(refusals, mended.clone()).await;
        let running = Running::start(Settings {
            timeout: PATIENCE,
            ..settings(Protocol::HttpProtobuf, address)
        });
        for id in 1..=3 {
            running.send(&request(&[id], 20)).await;
        }
        running.failed_to_forward().await;
        assert_ne!(running.status(), Status::Healthy);
        mended.cancel();
        running.counted("rabtrace_requests_forwarded_total 3").await;
        assert_eq!(seen.lock().unwrap().len(), 5);
        assert_eq!(running.metrics.dropped_total(), 0);
        assert_eq!(running.status(), Status::Healthy);
    }
}

#[tokio::test]
async fn a_check_says_what_is_wrong() {
    assert!(check(&Config::default().forward, &client()).await.is_none());
    let receiver = Receiver::start(1).await;
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let upstream = settings(protocol, upstream_of(&receiver, protocol));
        let finding = check(&upstream, &client()).await.unwrap();
        assert!(finding.outcome.is_ok(), "{finding:?}");

        let away = check(&settings(protocol, nowhere()), &client())
            .await
            .unwrap();
        let failure = away.outcome.unwrap_err();
        assert!(
            failure.why.to_lowercase().contains("refused"),
            "{failure:?}"
        );
        assert!(failure.fix.contains("forward.endpoint"), "{failure:?}");
    }
    let swapped = settings(Protocol::Grpc, receiver.http);
    let failure = check(&swapped, &client())
        .await
        .unwrap()
        .outcome
        .unwrap_err();
    assert!(failure.fix.contains("http/protobuf"), "{failure:?}");
    let headers = vec![("a b".to_owned(), Secret::new("canary"))];
    let broken = Settings {
        headers,
        ..settings(Protocol::Grpc, receiver.grpc)
    };
    let failure = check(&broken, &client())
        .await
        .unwrap()
        .outcome
        .unwrap_err();
    assert!(
        failure.why.contains("a b") && !failure.why.contains("canary"),
        "{failure:?}"
    );
}

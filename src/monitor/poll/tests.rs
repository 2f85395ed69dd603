//! The monitor against scripted peers: what hangs, refuses, lies or is too large.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Monitor, MonitorSetup, skipped};
use crate::config::{Broker, Config, Secret};
use crate::health::{Health, Status};
use crate::metrics::Metrics;
use crate::model::Source;
use crate::monitor::failure::{Cause, MonitorError};

const DETAILED: &str = include_str!("../fixtures/detailed-4.0.5.txt");
const TIMEOUT: Duration = Duration::from_millis(300);

async fn serve(router: Router) -> Secret {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Secret::new(format!("http://{address}"))
}

async fn prometheus() -> Secret {
    let node = || async { include_str!("../fixtures/metrics-3.10.8.txt") };
    let detailed = || async { DETAILED };
    serve(
        Router::new()
            .route("/metrics/detailed", get(detailed))
            .route("/metrics", get(node)),
    )
    .await
}

/// A peer that takes every request and answers none.
async fn hanging() -> Secret {
    serve(Router::new().fallback(std::future::pending::<()>)).await
}

/// Nobody: a port that was free a moment ago.
async fn nobody() -> Secret {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    Secret::new(format!("http://{}", listener.local_addr().unwrap()))
}

/// A peer that announces an answer larger than any that is read.
async fn large() -> Secret {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 67108865\r\n\r\n";
            stream.write_all(head).await.unwrap();
            open.push(stream);
        }
    });
    Secret::new(url)
}

struct Watched {
    monitor: Monitor,
    health: Health,
    metrics: Metrics,
}

fn watch(prometheus: Secret, management: Secret) -> Watched {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (health, metrics) = (Health::default(), Metrics::new().unwrap());
    let monitor = Monitor::new(MonitorSetup {
        broker: Broker {
            management_url: management,
            prometheus_urls: vec![prometheus],
            poll_interval: Duration::from_millis(100),
            poll_timeout: TIMEOUT,
            ..Config::default().broker
        },
        client: reqwest::Client::new(),
        clock: SystemTime::now,
        metrics: metrics.clone(),
        component: health.component("broker"),
    });
    Watched {
        monitor,
        health,
        metrics,
    }
}

fn cause(error: MonitorError) -> Vec<Cause> {
    match error {
        MonitorError::Away(failures) => failures.into_iter().map(|failure| failure.cause).collect(),
        MonitorError::Login(failure) => vec![failure.cause],
    }
}

#[test]
fn polls_that_fell_out_are_counted() {
    let check = |apart, expect| {
        let interval = Duration::from_secs(5);
        assert_eq!(
            skipped(Duration::from_millis(apart), interval),
            expect,
            "{apart}"
        );
    };
    check(5_000, 0);
    check(4_990, 0);
    check(5_010, 0);
    check(10_000, 1);
    check(20_000, 3);
}

#[tokio::test]
async fn a_management_api_that_hangs_costs_one_time_limit_and_then_nothing() {
    let Watched {
        mut monitor,
        health,
        ..
    } = watch(prometheus().await, hanging().await);
    let begun = Instant::now();
    let snapshot = monitor.poll_once().await.unwrap();
    assert!(begun.elapsed() < TIMEOUT * 3, "{:?}", begun.elapsed());
    assert_eq!(
        (snapshot.queues.len(), snapshot.poll.source),
        (4, Source::Prometheus)
    );
    assert_eq!(snapshot.nodes.len(), 1, "the node tells of itself");
    let orders = snapshot
        .queues
        .iter()
        .find(|queue| &*queue.queue == "orders");
    assert_eq!(orders.unwrap().messages_publish, Some(4));
    let report = health.reports()["broker"].clone();
    assert_eq!(report.status, Status::Degraded);
    assert!(
        report.message.contains("no answer within 300 ms"),
        "{}",
        report.message
    );

    let begun = Instant::now();
    monitor.poll_once().await.unwrap();
    assert!(
        begun.elapsed() < TIMEOUT,
        "it was asked again at once: {:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_refused_login_of_one_source_is_told_while_the_other_works() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let refuse = move |headers: HeaderMap| async move {
        // guest:guest, the login of an AMQP URL without one.
        assert_eq!(headers["authorization"], "Basic Z3Vlc3Q6Z3Vlc3Q=");
        count.fetch_add(1, Ordering::Relaxed);
        let reason = r#"{"error":"not_authorized","reason":"User can only log in via localhost"}"#;
        (StatusCode::UNAUTHORIZED, reason)
    };
    let management = serve(Router::new().fallback(refuse)).await;
    let mut watched = watch(prometheus().await, management);
    watched.monitor.poll_once().await.unwrap();
    let report = watched.health.reports()["broker"].clone();
    assert_eq!(report.status, Status::Degraded);
    assert!(
        report
            .message
            .contains("(401): User can only log in via localhost"),
        "{report:?}"
    );
    assert!(asked.load(Ordering::Relaxed) > 0);
}

#[tokio::test]
async fn a_plugin_that_is_not_enabled_is_no_trouble() {
    let mut watched = watch(prometheus().await, nobody().await);
    watched.monitor.poll_once().await.unwrap();
    assert_eq!(watched.health.overall(), Status::Healthy);
}

#[tokio::test]
async fn what_is_not_a_broker_is_told_apart() {
    let page = || async { "<html>a router's login page</html>" };
    let mut watched = watch(serve(Router::new().fallback(page)).await, large().await);
    let error = watched.monitor.poll_once().await.unwrap_err();
    let causes = cause(error);
    assert!(
        matches!(&causes[..], [Cause::Body(_), Cause::TooLarge(_)]),
        "{causes:?}"
    );
    let text = watched.metrics.encode().unwrap();
    assert!(
        text.contains(r#"rabtrace_errors_total{stage="monitor"} 1"#),
        "{text}"
    );
}

#[tokio::test]
async fn polls_never_overlap_and_late_ones_are_skipped_and_counted() {
    let (at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (running, peak) = (at_once.clone(), most.clone());
    let slow = move || async move {
        let now = running.fetch_add(1, Ordering::SeqCst) + 1;
        peak.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(TIMEOUT * 2 / 3).await;
        running.fetch_sub(1, Ordering::SeqCst);
        DETAILED
    };
    let prometheus = serve(Router::new().route("/metrics/detailed", get(slow))).await;
    let Watched {
        monitor, metrics, ..
    } = watch(prometheus, nobody().await);
    let (out, mut snapshots) = mpsc::channel(8);
    let stop = CancellationToken::new();
    let running = tokio::spawn(monitor.run(out, stop.clone()));
    for _ in 0..4 {
        snapshots.recv().await.unwrap();
    }
    stop.cancel();
    running.await.unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 1);
    let text = metrics.encode().unwrap();
    assert!(
        text.contains(r#"rabtrace_dropped_total{reason="poll_late",stage="monitor"}"#),
        "{text}"
    );
}

//! The monitor against scripted peers: what hangs, refuses, lies or is too large.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::RawQuery;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

mod alarms;
mod closed;
mod of_3_13;
mod until;

use super::{Monitor, MonitorSetup, skipped};
use crate::config::{Broker, Config, Secret};
use crate::health::{Health, Status};
use crate::metrics::Metrics;
use crate::model::{BrokerSnapshot, FieldValue, PeerSample, Point, QueueSample, Source};
use crate::monitor::failure::{Cause, MonitorError};
use crate::tls::Material;
use until::until;

const DETAILED: &str = include_str!("../fixtures/detailed-4.0.5.txt");
/// An interval and a time limit that no peer that answers comes near, not even on a busy machine.
const CALM: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(45));

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

/// Nobody: a port that no listener is given.
fn nobody() -> Secret {
    Secret::new("http://127.0.0.1:1")
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
    watch_at(CALM, vec![prometheus], management)
}

fn watch_at(
    pace: (Duration, Duration),
    prometheus_urls: Vec<Secret>,
    management: Secret,
) -> Watched {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (health, metrics) = (Health::default(), Metrics::new().unwrap());
    let monitor = Monitor::new(MonitorSetup {
        broker: Broker {
            management_url: management,
            prometheus_urls,
            poll_interval: pace.0,
            poll_timeout: pace.1,
            ..Config::default().broker
        },
        client: Material::default().broker_client().unwrap(),
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

/// The peer of one source in a snapshot.
fn peer(snapshot: &BrokerSnapshot, source: Source) -> Option<&PeerSample> {
    snapshot
        .poll
        .peers
        .iter()
        .find(|peer| peer.source == source)
}

/// The queue of that name in [`DETAILED`].
fn orders(snapshot: &BrokerSnapshot) -> &QueueSample {
    let mut queues = snapshot.queues.iter();
    queues.find(|queue| &*queue.queue == "orders").unwrap()
}

#[tokio::test]
async fn a_management_api_that_hangs_holds_no_poll_up_and_is_told() {
    let pace = (Duration::from_secs(5), Duration::from_secs(4));
    let Watched {
        mut monitor,
        health,
        ..
    } = watch_at(pace, vec![prometheus().await], hanging().await);
    let begun = Instant::now();
    let mut polls = 0;
    while health.overall() != Status::Degraded {
        assert!(begun.elapsed() < pace.1 * 20, "it was never told");
        let asked = Instant::now();
        let snapshot = monitor.poll_once().await.unwrap();
        polls += 1;
        assert!(asked.elapsed() < pace.1, "{:?}", asked.elapsed());
        assert_eq!(
            (snapshot.queues.len(), snapshot.poll.source),
            (4, Source::Prometheus)
        );
        assert_eq!(orders(&snapshot).messages_publish, Some(4));
        if polls == 1 {
            assert_eq!(snapshot.nodes.len(), 1, "the node tells of itself");
        }
    }
    assert!(polls > 1, "polls went on while one request was under way");
    let report = health.reports()["broker"].clone();
    assert!(
        report.message.contains("no answer within 4000 ms"),
        "{}",
        report.message
    );
    monitor.poll_once().await.unwrap();
    assert_eq!(
        health.overall(),
        Status::Degraded,
        "it stays told until it answers"
    );
}

#[tokio::test]
async fn a_node_that_hangs_makes_gaps_for_itself_and_is_never_asked_twice_at_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let hang = move || {
        count.fetch_add(1, Ordering::Relaxed);
        std::future::pending::<()>()
    };
    let hanging = serve(Router::new().route("/metrics/detailed", get(hang))).await;
    // Two seconds are waited for it.
    let pace = (Duration::from_millis(2_500), Duration::from_secs(60));
    let mut watched = watch_at(pace, vec![prometheus().await, hanging], nobody());
    let snapshot = watched.monitor.poll_once().await.unwrap();
    assert_eq!(
        snapshot.queues.len(),
        4,
        "the other node's queues are there"
    );
    assert_eq!(orders(&snapshot).messages, Some(3));
    assert_eq!(
        orders(&snapshot).messages_publish,
        None,
        "the other node may have counted some too"
    );
    let up: Vec<bool> = snapshot.poll.peers.iter().map(|peer| peer.up).collect();
    assert_eq!(up, [true, false]);
    let snapshot = watched.monitor.poll_once().await.unwrap();
    assert_eq!(
        asked.load(Ordering::Relaxed),
        1,
        "the first request is still under way"
    );
    assert_eq!(snapshot.poll.peers[1].skipped, 1);
    assert_eq!(snapshot.poll.peers[1].error, Some("timeout"));
}

#[tokio::test]
async fn without_prometheus_depths_come_from_totals_and_counters_from_statistics() {
    let answer = |RawQuery(query): RawQuery| async move {
        let query = query.unwrap_or_default();
        assert!(!query.contains("page"), "never paged: {query}");
        if query.contains("enable_queue_totals=true") {
            return r#"[{"vhost":"/","name":"q","type":"classic","messages":7,"messages_ready":5,"messages_unacknowledged":2}]"#;
        }
        r#"[{"vhost":"/","name":"q","type":"classic","messages":3,"consumers":1,"message_stats":{"publish":9}}]"#
    };
    let management = Router::new().route("/api/queues", get(answer));
    let mut watched = watch(nobody(), serve(management).await);
    let snapshot = until(&mut watched.monitor, |snapshot| {
        snapshot.poll.counters.is_some() && snapshot.poll.source == Source::Totals
    })
    .await;
    let queue = &snapshot.queues[0];
    assert_eq!((queue.messages, queue.messages_publish), (Some(7), Some(9)));
    assert_eq!(queue.consumers, Some(1));
    let prometheus = peer(&snapshot, Source::Prometheus).unwrap();
    assert_eq!((prometheus.up, prometheus.error), (false, Some("refused")));
    assert_eq!(
        peer(&snapshot, Source::Totals).unwrap().http_status,
        Some(200)
    );
}

#[tokio::test]
async fn a_prometheus_plugin_that_comes_back_is_found_again() {
    let is_up = Arc::new(AtomicUsize::new(0));
    let state = is_up.clone();
    let detailed = move || async move {
        match state.load(Ordering::Relaxed) {
            0 => (StatusCode::NOT_FOUND, ""),
            _ => (StatusCode::OK, DETAILED),
        }
    };
    let prometheus = serve(Router::new().route("/metrics/detailed", get(detailed))).await;
    let listing = || async { r#"[{"vhost":"/","name":"q","messages":7}]"# };
    let management = serve(Router::new().route("/api/queues", get(listing))).await;
    let mut watched = watch(prometheus, management);
    let source = |snapshot: BrokerSnapshot| snapshot.poll.source;
    assert_eq!(
        source(watched.monitor.poll_once().await.unwrap()),
        Source::Totals
    );
    assert_eq!(
        source(watched.monitor.poll_once().await.unwrap()),
        Source::Totals
    );
    is_up.store(1, Ordering::Relaxed);
    assert_eq!(
        source(watched.monitor.poll_once().await.unwrap()),
        Source::Prometheus
    );
    is_up.store(0, Ordering::Relaxed);
    assert_eq!(
        source(watched.monitor.poll_once().await.unwrap()),
        Source::Totals
    );
}

#[tokio::test]
async fn a_poll_that_learned_nothing_is_a_snapshot_of_that_and_a_refused_login_is_named() {
    let refuse = || async { StatusCode::UNAUTHORIZED };
    let refusing = serve(Router::new().fallback(refuse)).await;
    let Watched { monitor, .. } = watch(nobody(), refusing);
    let (out, mut snapshots) = mpsc::channel(8);
    let stop = CancellationToken::new();
    let running = tokio::spawn(monitor.run(out, stop.clone()));
    let snapshot = snapshots.recv().await.unwrap();
    stop.cancel();
    running.await.unwrap();
    assert!(!snapshot.poll.up && snapshot.queues.is_empty());
    let totals = peer(&snapshot, Source::Totals).unwrap();
    assert_eq!(
        (totals.up, totals.http_status, totals.error),
        (false, Some(401), Some("login"))
    );
    let points: Vec<Point> = crate::monitor::points(&snapshot).collect();
    let mut of_poll = points.iter();
    assert!(of_poll.all(|point| point.measurement == "rabbitmq_poll"));
    let refused = |source: &str| {
        let mut points = points.iter();
        let tag = ("source", Arc::from(source));
        let of_peer = points.find(|point| point.tags.contains(&tag) && point.tags.len() == 3);
        let mut fields = of_peer.unwrap().fields.iter();
        fields.find(|(name, _)| *name == "login_refused").cloned()
    };
    let told = |value| Some(("login_refused", FieldValue::Int(value)));
    assert_eq!(refused("totals"), told(1));
    assert_eq!(refused("prometheus"), told(0), "nobody is there to refuse");
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
    let mut watched = watch(prometheus().await, nobody());
    watched.monitor.poll_once().await.unwrap();
    assert_eq!(watched.health.overall(), Status::Healthy);
}

#[tokio::test]
async fn what_is_not_a_broker_is_told_apart() {
    let page = || async { "<html>a router's login page</html>" };
    let mut watched = watch(serve(Router::new().fallback(page)).await, large().await);
    let causes = cause(watched.monitor.poll_once().await.unwrap_err());
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
    let interval = Duration::from_millis(100);
    let slow = move || async move {
        let now = running.fetch_add(1, Ordering::SeqCst) + 1;
        peak.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(interval * 2).await;
        running.fetch_sub(1, Ordering::SeqCst);
        DETAILED
    };
    let prometheus = serve(Router::new().route("/metrics/detailed", get(slow))).await;
    let pace = (interval, Duration::from_secs(30));
    let Watched { monitor, .. } = watch_at(pace, vec![prometheus], nobody());
    let (out, mut snapshots) = mpsc::channel(8);
    let stop = CancellationToken::new();
    let running = tokio::spawn(monitor.run(out, stop.clone()));
    let (mut answers, mut skipped) = (0, 0);
    while answers < 3 {
        let snapshot = snapshots.recv().await.unwrap();
        answers += u32::from(snapshot.poll.up);
        skipped = peer(&snapshot, Source::Prometheus).unwrap().skipped;
    }
    stop.cancel();
    running.await.unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 1);
    assert!(skipped > 1, "{skipped}: what was late left polls out");
}

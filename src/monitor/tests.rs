//! Many queues: what is asked of them, and what is kept over many polls.

use std::fmt::Write;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use allocation_counter::measure;
use axum::Router;
use axum::extract::RawQuery;
use axum::routing::get;

use super::lane::Reply;
use super::merge::Memory;
use super::prometheus::{DetailedScrape, Reading};
use super::round::Round;
use super::select::Selector;
use super::{Monitor, MonitorSetup};
use crate::config::{Broker, Config, Secret, Selection};
use crate::health::Health;
use crate::metrics::Metrics;

const QUEUES: usize = 100;

/// What a node of 4.0 says of busy queues.
fn answer(poll: usize) -> String {
    let mut text = "# TYPE rabbitmq_detailed_queue_messages gauge\n\
        # TYPE rabbitmq_detailed_queue_messages_acked_total counter\n\
        # TYPE rabbitmq_detailed_queue_exchange_messages_published_total counter\n"
        .to_owned();
    for (metric, label, value) in [
        ("messages_ready", "", 3),
        ("messages_unacked", "", 1),
        ("messages", "", 4),
        ("consumers", "", 2),
        ("messages_delivered_ack_total", "", 10 * poll),
        ("messages_acked_total", "", 10 * poll),
        ("get_empty_total", "", 0),
        (
            "exchange_messages_published_total",
            "exchange=\"\",",
            4 + 10 * poll,
        ),
    ] {
        for queue in 0..QUEUES {
            let row = format!("{metric}{{vhost=\"/\",{label}queue=\"queue.{queue}\"}} {value}");
            writeln!(text, "rabbitmq_detailed_queue_{row}").unwrap();
        }
    }
    text + "rabbitmq_build_info{rabbitmq_version=\"4.0.5\"} 1\n\
        rabbitmq_identity_info{rabbitmq_node=\"a\"} 1\n"
}

/// Reads an answer in chunks, as they come from a socket.
fn read(text: &str, earlier: Option<DetailedScrape>) -> DetailedScrape {
    let mut reading = Reading::new(earlier);
    text.as_bytes()
        .chunks(1000)
        .for_each(|chunk| reading.take(chunk));
    reading.finish().unwrap()
}

#[test]
fn a_row_allocates_nothing_once_its_name_is_known() {
    let (first, second) = (answer(1), answer(2));
    let scrape = read(&first, None);
    let mut again = None;
    let counted = measure(|| again = Some(read(&second, Some(scrape))));
    let again = again.unwrap();
    assert_eq!((again.rows, again.bad_rows), (8 * QUEUES as u64, 0));
    let queue = again.queues.get("/", "queue.7").unwrap();
    assert_eq!(
        (queue.messages.count(), queue.publish.count()),
        (Some(4), Some(24))
    );
    assert!(counted.count_total < 30, "{counted:?}");
    assert!(counted.bytes_max < 10_000, "{counted:?}");
}

#[test]
fn many_polls_of_the_same_queues_take_no_more_memory_than_few() {
    let begun = Instant::now();
    let (mut memory, mut earlier) = (Memory::default(), None);
    let selector = Selector::new(&Selection {
        include_vhosts: vec!["*".to_owned()],
        include_queues: vec!["*".to_owned()],
        max_queues: 10_000,
        ..Selection::default()
    });
    let mut poll = |polls: Range<usize>| {
        for number in polls {
            let at = begun + Duration::from_secs(5 * number as u64);
            let scrape = read(&answer(number), earlier.take());
            let mut round = Round {
                scrapes: vec![Ok(Reply {
                    value: scrape,
                    at,
                    bytes: 0,
                    took: Duration::ZERO,
                })],
                ..Round::default()
            };
            let merged = memory.merge(&round, &selector, (at, 0)).unwrap();
            assert_eq!(merged.queues.len(), QUEUES);
            assert_eq!(selector.select(merged.queues).queues.len(), QUEUES);
            let reply = round.scrapes.pop().unwrap().unwrap();
            earlier = Some(reply.value);
        }
    };
    // The age of the oldest message is told from 48 polls, a status from ten.
    let filled = measure(|| poll(0..100)).bytes_current;
    let each = filled / QUEUES as i64;
    assert!((500..1_400).contains(&each), "{each} bytes for each queue");
    let more = measure(|| poll(100..400)).bytes_current;
    assert_eq!(more, 0, "300 polls more");
}

/// What a node of 3.10 says of many queues.
fn many(has_consumers: bool) -> String {
    let mut text = "# TYPE rabbitmq_detailed_queue_messages gauge\n".to_owned();
    for queue in 0..600 {
        let mut row = |metric: &str, value: u64| {
            let labels = format!("{{vhost=\"/\",queue=\"{queue}\"}}");
            writeln!(text, "rabbitmq_detailed_queue_{metric}{labels} {value}").unwrap();
        };
        row("messages", 1);
        if has_consumers {
            row("consumers", 2);
        }
    }
    if has_consumers {
        text += "# TYPE rabbitmq_detailed_queue_consumers gauge\n";
    }
    text + "rabbitmq_build_info{rabbitmq_version=\"3.10.8\"} 1\n"
}

#[tokio::test]
async fn consumers_of_more_than_five_hundred_queues_are_asked_for_seldom() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let asked: Arc<Mutex<Vec<bool>>> = Arc::default();
    let seen = asked.clone();
    let detailed = move |RawQuery(query): RawQuery| async move {
        let has_consumers = query.unwrap_or_default().contains("queue_consumer_count");
        seen.lock().unwrap().push(has_consumers);
        many(has_consumers)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/metrics/detailed", get(detailed));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut monitor = Monitor::new(MonitorSetup {
        broker: Broker {
            prometheus_urls: vec![Secret::new(&url)],
            management_url: Secret::new(&url),
            ..Config::default().broker
        },
        client: reqwest::Client::new(),
        clock: SystemTime::now,
        metrics: Metrics::new().unwrap(),
        component: Health::default().component("broker"),
    });
    for _ in 0..10 {
        let snapshot = monitor.poll_once().await.unwrap();
        assert_eq!(snapshot.queues.len(), 600);
        let mut queues = snapshot.queues.iter();
        assert!(queues.all(|queue| queue.consumers == Some(2)));
    }
    let mut first = [false; 10];
    first[0] = true;
    assert_eq!(
        *asked.lock().unwrap(),
        first,
        "it is not time yet for another"
    );
}

//! How much memory a monitor has when every queue of a big broker is busy: answers of 4.0, made here.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;

use crate::account::{memory, until, usage};
use crate::roles::Role;

const QUEUES: usize = 10_000;
/// Polls, one each second.
const POLLS: u32 = 30;
/// Messages to each queue between two polls.
const MESSAGES: u64 = 10;
/// Messages that wait in each queue: what is remembered of it reaches back to the oldest.
const DEPTH: u64 = 250;

/// What a node of 4.0 says of busy queues at its poll `poll`.
fn answer(poll: u64) -> String {
    let depth = (MESSAGES * poll).min(DEPTH);
    let published = MESSAGES * poll;
    let left = published - depth;
    let mut text = "# TYPE rabbitmq_detailed_queue_messages gauge\n\
        # TYPE rabbitmq_detailed_queue_messages_acked_total counter\n\
        # TYPE rabbitmq_detailed_queue_exchange_messages_published_total counter\n"
        .to_owned();
    for (metric, label, value) in [
        ("messages_ready", "", depth),
        ("messages_unacked", "", 0),
        ("messages", "", depth),
        ("consumers", "", 1),
        ("get_total", "", 0),
        ("get_ack_total", "", 0),
        ("messages_delivered_total", "", 0),
        ("messages_delivered_ack_total", "", left),
        ("messages_redelivered_total", "", 0),
        ("messages_acked_total", "", left),
        ("get_empty_total", "", 0),
        (
            "exchange_messages_published_total",
            "exchange=\"\",",
            published,
        ),
    ] {
        for queue in 0..QUEUES {
            let row =
                format!("{metric}{{vhost=\"/\",{label}queue=\"bench.queue.{queue:05}\"}} {value}");
            writeln!(text, "rabbitmq_detailed_queue_{row}").expect("room");
        }
    }
    text + "rabbitmq_build_info{rabbitmq_version=\"4.0.5\"} 1\n\
        rabbitmq_identity_info{rabbitmq_node=\"a\"} 1\n"
}

pub(crate) async fn every_queue_busy() {
    let poll = Arc::new(AtomicU64::new(0));
    let detailed = move || {
        let poll = poll.clone();
        async move { answer(poll.fetch_add(1, Ordering::Relaxed)) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let here = format!("http://{}", listener.local_addr().expect("its address"));
    let router = Router::new().route("/metrics/detailed", get(detailed));
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let nowhere = "http://127.0.0.1:9".to_owned();
    let urls = ["amqp://127.0.0.1:9".to_owned(), nowhere, here];
    let mut watch = Role::start("watch", &urls, QUEUES);
    let (before, mut resident) = (usage(watch.pid()), Vec::new());
    for _ in 0..POLLS {
        let begun = Instant::now();
        watch.go().await;
        resident.push(memory(watch.pid()).0);
        until(begun + Duration::from_secs(1)).await;
    }
    let own_ms = (usage(watch.pid()).cpu_ms - before.cpu_ms) / f64::from(POLLS);
    let at = |poll: usize| resident.get(poll - 1).copied().unwrap_or_default();
    println!(
        "\n{:<44} {:>7.1} MiB resident after 6 polls, {:.1} after 20, {:.1} after {POLLS}, {:.1} at most; {own_ms:.1} ms own CPU a poll",
        format!("{QUEUES} busy queues, as 4.0 tells of them"),
        at(6),
        at(20),
        at(resident.len()),
        memory(watch.pid()).1,
    );
    server.abort();
}

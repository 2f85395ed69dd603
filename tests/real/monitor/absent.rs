//! Absent is never zero: a broker that keeps no statistics, and queues that go and come again.

use std::time::{Duration, Instant};

use lapin::options::{BasicAckOptions, QueueDeleteOptions};
use rabtrace::config;
use rabtrace::demo::broker::{Broker, Options};
use rabtrace::model::{BrokerSnapshot, Source};
use rabtrace::monitor::Monitor;

use super::setup::{
    broker_config, channel, client, declare, find, get, nowhere, poll_until, publish, watch,
};

#[tokio::test]
async fn a_broker_without_its_metrics_collector_still_tells_the_depth() {
    let broker = Broker::start_with(Options {
        config: vec!["management_agent.disable_metrics_collector = true".to_owned()],
        ..Options::default()
    })
    .await
    .unwrap();
    let (_connection, channel) = channel(&broker, "/").await;
    declare(&channel, "full").await;
    publish(&channel, "full", 20).await;
    // What the listing says to everybody else: neither depth nor counters.
    let url = format!("{}/api/queues", broker.management_url());
    let listing = client().get(url).basic_auth("guest", Some("guest"));
    let body = listing.send().await.unwrap().text().await.unwrap();
    assert!(body.contains("\"full\""), "{body}");
    assert!(!body.contains("\"messages\""), "{body}");
    assert!(!body.contains("message_stats"), "{body}");
    let all = broker_config(&broker);
    let management_only = config::Broker {
        prometheus_urls: vec![nowhere()],
        ..all.clone()
    };
    let prometheus_only = config::Broker {
        management_url: nowhere(),
        ..all.clone()
    };
    // The first statistics of a new queue come some seconds late.
    let mut first = watch(all.clone()).monitor;
    poll_until("the first depth", &mut first, |snapshot| {
        (find(snapshot, "/", "full")?.messages == Some(20)).then_some(())
    })
    .await;
    for (config, source) in [
        (all, Source::Prometheus),
        (prometheus_only, Source::Prometheus),
        (management_only, Source::Totals),
    ] {
        let mut monitor = watch(config).monitor;
        let (snapshot, queue) = poll_until("the depth", &mut monitor, |snapshot| {
            let queue = find(snapshot, "/", "full")?;
            assert_ne!(queue.messages, Some(0), "{queue:?}");
            (queue.messages == Some(20)).then(|| (snapshot.clone(), queue.clone()))
        })
        .await;
        assert_eq!(snapshot.poll.source, source);
        let published = (snapshot.poll.counters == Some(Source::Prometheus)).then_some(20);
        assert_eq!(queue.messages_publish, published, "{queue:?}");
        assert_eq!(queue.messages_ack, None, "{queue:?}");
        let consumers = (source == Source::Prometheus).then_some(0);
        assert_eq!(queue.consumers, consumers, "{queue:?}");
    }
}

/// Rows of counters that a node still has of a queue.
async fn ghosts(broker: &Broker, queue: &str) -> Vec<String> {
    let families = "family=queue_delivery_metrics&family=queue_exchange_metrics";
    let url = format!("{}/metrics/detailed?{families}", broker.prometheus_url());
    let answer = client().get(url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let text = answer.text().await.unwrap();
    let label = format!("queue=\"{queue}\"");
    let rows = text.lines().filter(|line| line.contains(&label));
    rows.map(str::to_owned).collect()
}

/// A deleted queue is not told of, though its counters stay for two minutes from 4.0 on; before,
/// nodes have none of single queues.
async fn stays_away(monitor: &mut Monitor, broker: &Broker, queue: &str) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(8) {
        let ghosts = ghosts(broker, queue).await;
        if let Ok(snapshot) = monitor.poll_once().await {
            assert_eq!(find(&snapshot, "/", queue), None);
            let has_counters = snapshot.poll.counters == Some(Source::Prometheus);
            assert_eq!(!ghosts.is_empty(), has_counters, "{ghosts:?}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_deleted_queue_stays_away_and_one_of_its_name_begins_anew() {
    let broker = Broker::start().await.unwrap();
    let (_connection, channel) = channel(&broker, "/").await;
    declare(&channel, "again").await;
    publish(&channel, "again", 9).await;
    for _ in 0..2 {
        let message = get(&channel, "again").await;
        message.ack(BasicAckOptions::default()).await.unwrap();
    }
    let mut monitor = watch(broker_config(&broker)).monitor;
    let depth = |snapshot: &BrokerSnapshot| find(snapshot, "/", "again")?.messages;
    let before = poll_until("all counts", &mut monitor, |snapshot| {
        let queue = find(snapshot, "/", "again")?;
        let counts = (queue.messages, queue.messages_publish, queue.messages_ack);
        (counts == (Some(7), Some(9), Some(2))).then(|| queue.clone())
    })
    .await;

    let options = QueueDeleteOptions::default();
    channel.queue_delete("again".into(), options).await.unwrap();
    poll_until("its end", &mut monitor, |snapshot| {
        find(snapshot, "/", "again").is_none().then_some(())
    })
    .await;
    stays_away(&mut monitor, &broker, "again").await;

    let made = Instant::now();
    declare(&channel, "again").await;
    publish(&channel, "again", 1).await;
    let judge = |snapshot: &BrokerSnapshot| {
        let queue = find(snapshot, "/", "again")?;
        assert!(queue.first_seen_unix_nano > before.first_seen_unix_nano);
        let since = queue.counted_since_unix_nano;
        assert!(since.is_none() || since > before.counted_since_unix_nano);
        // One message, in the five seconds that a rate spans.
        for rate in [queue.messages_publish_rate, queue.messages_ack_rate] {
            assert!(rate.is_none_or(|rate| rate <= 0.25), "{queue:?}");
        }
        assert!(queue.messages.is_none_or(|depth| depth <= 1), "{queue:?}");
        let age = queue.head_age.map_or(Duration::ZERO, |age| age.age);
        let is_stamped = queue.head_message_timestamp.is_some();
        assert!(is_stamped || age <= made.elapsed(), "{queue:?}");
        Some(())
    };
    poll_until("the new one", &mut monitor, |snapshot| {
        judge(snapshot);
        (depth(snapshot) == Some(1)).then_some(())
    })
    .await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(8) {
        if let Ok(snapshot) = monitor.poll_once().await {
            judge(&snapshot).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

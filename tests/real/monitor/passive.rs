//! Queues over AMQP alone: a broker without plugins, and the watched queues beside the polls.

use std::collections::BTreeMap;
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use rabtrace::config;
use rabtrace::demo::broker::{Broker, Options};
use rabtrace::model::{BrokerSnapshot, Source};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::setup::{broker_config, channel, declare, find, nowhere, publish, watch};

fn ready(snapshot: &BrokerSnapshot) -> BTreeMap<String, Option<u64>> {
    let queues = snapshot.queues.iter();
    queues
        .map(|queue| (queue.queue.to_string(), queue.messages_ready))
        .collect()
}

#[tokio::test]
async fn a_broker_without_plugins_is_asked_over_amqp_and_missing_names_cost_only_themselves() {
    let broker = Broker::start_with(Options {
        management: false,
        prometheus: false,
        ..Options::default()
    })
    .await
    .unwrap();
    let (_connection, channel) = channel(&broker, "/").await;
    let (_other, theirs) = super::setup::channel(&broker, "/").await;
    let exclusive = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    theirs
        .queue_declare("theirs".into(), exclusive, FieldTable::default())
        .await
        .unwrap();
    let mut names = vec!["missing".to_owned(), "theirs".to_owned()];
    let mut expect = BTreeMap::new();
    for index in 0..600_usize {
        let name = format!("q{index}");
        declare(&channel, &name).await;
        publish(&channel, &name, index % 3).await;
        expect.insert(name.clone(), Some((index % 3) as u64));
        names.push(name);
        if index % 200 == 50 {
            names.push(format!("missing{index}"));
        }
    }
    let mut watched = watch(config::Broker {
        management_url: nowhere(),
        prometheus_urls: vec![nowhere()],
        poll_interval: Duration::from_secs(20),
        poll_timeout: Duration::from_secs(20),
        watch_queues: names,
        ..broker_config(&broker)
    });
    let snapshot = watched.monitor.poll_once().await.unwrap();
    assert_eq!(snapshot.poll.source, Source::Passive);
    assert_eq!(ready(&snapshot), expect);
    let queue = find(&snapshot, "/", "q2").unwrap();
    assert_eq!(
        (queue.consumers, queue.messages),
        (Some(0), None),
        "absent is not zero"
    );
    assert_eq!(
        snapshot.poll.bad_rows, 5,
        "four do not exist, one is another's"
    );
    // What was learned is asked for again, and what is published is seen at once.
    publish(&channel, "q0", 2).await;
    let snapshot = watched.monitor.poll_once().await.unwrap();
    assert_eq!(ready(&snapshot)["q0"], Some(2));
}

#[tokio::test]
async fn watched_queues_are_seen_at_once_between_two_polls() {
    let broker = Broker::start_with(Options {
        management: false,
        ..Options::default()
    })
    .await
    .unwrap();
    let (_connection, channel) = channel(&broker, "/").await;
    declare(&channel, "hot").await;
    let watched = watch(config::Broker {
        management_url: nowhere(),
        poll_interval: Duration::from_secs(3600),
        watch_queues: vec!["hot".to_owned()],
        watch_interval: Duration::from_millis(100),
        ..broker_config(&broker)
    });
    let (out, mut snapshots) = mpsc::channel(64);
    let stop = CancellationToken::new();
    let running = tokio::spawn(watched.monitor.run(out, stop.clone()));
    for depth in 1..4 {
        publish(&channel, "hot", 1).await;
        let seen = async {
            while let Some(snapshot) = snapshots.recv().await {
                let queue =
                    find(&snapshot, "/", "hot").filter(|_| snapshot.poll.source == Source::Passive);
                if queue.is_some_and(|queue| queue.messages_ready == Some(depth)) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(5), seen)
            .await
            .unwrap();
    }
    stop.cancel();
    running.await.unwrap();
}

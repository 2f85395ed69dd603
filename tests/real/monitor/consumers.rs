//! Consumers of many queues: asked for seldom, and told soon when they go.

use std::ops::Range;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use lapin::options::BasicConsumeOptions;
use lapin::types::FieldTable;
use rabtrace::config::{self, Statistics};
use rabtrace::demo::broker::Broker;
use rabtrace::model::{BrokerSnapshot, Source};

use super::setup::{broker_config, channel, declare, find, poll_until, watch};

/// Queues of which consumers are not asked for in every poll.
const MANY: usize = 510;
/// Between two polls.
const APART: Duration = Duration::from_secs(2);
/// When consumers are asked for in any case.
const IN_ANY_CASE: Range<Duration> = Duration::from_secs(25)..Duration::from_secs(40);
/// Longest until one that went is missed: the next poll may ask too early, and then it is asked again
/// after 15 s.
const MISSED: Duration = Duration::from_secs(22);

fn bytes(snapshot: &BrokerSnapshot) -> u64 {
    let mut peers = snapshot.poll.peers.iter();
    let node = peers.find(|peer| peer.source == Source::Prometheus);
    node.map_or(0, |peer| peer.bytes)
}

fn consumers(snapshot: &BrokerSnapshot) -> Option<u64> {
    find(snapshot, "/", "q0")?.consumers
}

#[tokio::test]
async fn a_consumer_that_goes_is_missed_soon_though_consumers_are_asked_for_seldom() {
    let broker = Broker::start().await.unwrap();
    let (connection, queues) = channel(&broker, "/").await;
    stream::iter(0..MANY)
        .for_each_concurrent(64, |number| {
            let channel = queues.clone();
            async move { declare(&channel, &format!("q{number}")).await }
        })
        .await;
    let consuming = connection.create_channel().await.unwrap();
    let consume = consuming.basic_consume(
        "q0".into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let _consumer = consume.await.unwrap();
    // A listing with statistics, as counters before 4.0 come from, would tell consumers too.
    let mut monitor = watch(config::Broker {
        statistics: Statistics::Never,
        poll_interval: Duration::from_secs(5),
        ..broker_config(&broker)
    })
    .monitor;
    poll_until("the consumer", &mut monitor, |snapshot| {
        (consumers(snapshot) == Some(1) && snapshot.queues.len() == MANY).then_some(())
    })
    .await;
    // Until they were asked for because it is time, and not because something had changed.
    let (mut least, mut asked) = (u64::MAX, Instant::now());
    loop {
        tokio::time::sleep(APART).await;
        // A busy machine may not answer in time.
        let Ok(snapshot) = monitor.poll_once().await else {
            continue;
        };
        assert_eq!(consumers(&snapshot), Some(1), "it is as it was");
        least = least.min(bytes(&snapshot));
        let since = asked.elapsed();
        if bytes(&snapshot) * 100 > least * 105 {
            asked = Instant::now();
            if IN_ANY_CASE.contains(&since) {
                break;
            }
        }
        assert!(since < IN_ANY_CASE.end, "they are not asked for");
    }
    consuming.close(200, "done".into()).await.unwrap();
    let gone = Instant::now();
    poll_until("the consumer that went", &mut monitor, |snapshot| {
        (consumers(snapshot) == Some(0)).then_some(())
    })
    .await;
    assert!(gone.elapsed() < MISSED, "{:?}", gone.elapsed());
}

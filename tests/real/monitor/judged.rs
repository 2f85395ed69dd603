//! Age of the oldest message, status and drain time against a script that knows the truth.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, BasicQosOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Consumer};
use rabtrace::config;
use rabtrace::demo::broker::Broker;
use rabtrace::model::{AgeMethod, HeadAge, QueueStatus};

use super::setup::{broker_config, channel, declare, find, poll_until, publish, watch};

/// When each message that is still in the queue was published, the oldest first.
type Truth = Arc<Mutex<VecDeque<Instant>>>;

/// Publishes at a rate that changes and takes at one that does not, so that the queue grows and
/// shrinks; never empties it.
async fn play(channel: Channel, truth: Truth) {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for tick in 0_u32.. {
        ticks.tick().await;
        let number = if (tick / 100) % 2 == 0 { 6 } else { 1 };
        for _ in 0..number {
            let properties = BasicProperties::default();
            let options = BasicPublishOptions::default();
            let made = Instant::now();
            let sent = channel.basic_publish("".into(), "aged".into(), options, b"x", properties);
            truth.lock().unwrap().push_back(made);
            sent.await.unwrap();
        }
        for _ in 0..3 {
            if truth.lock().unwrap().len() > 20 {
                let message = channel
                    .basic_get("aged".into(), BasicGetOptions::default())
                    .await;
                let message = message.unwrap().unwrap();
                message.ack(BasicAckOptions::default()).await.unwrap();
                truth.lock().unwrap().pop_front();
            }
        }
    }
}

fn error(age: &HeadAge, truth: &Truth) -> Duration {
    let oldest = *truth.lock().unwrap().front().unwrap();
    age.age.abs_diff(oldest.elapsed())
}

/// Queues that nobody reads, that one consumer holds up, that are empty.
async fn lay_out(channel: &Channel) -> Consumer {
    for queue in ["aged", "lonely", "stuck", "idle"] {
        declare(channel, queue).await;
    }
    publish(channel, "lonely", 3).await;
    publish(channel, "stuck", 3).await;
    channel
        .basic_qos(1, BasicQosOptions::default())
        .await
        .unwrap();
    let stuck = ("stuck".into(), "held".into());
    let consume = BasicConsumeOptions::default();
    channel
        .basic_consume(stuck.0, stuck.1, consume, FieldTable::default())
        .await
        .unwrap()
}

#[tokio::test]
async fn age_status_and_drain_time_are_what_the_script_did() {
    let broker = Broker::start().await.unwrap();
    let (_connection, channel) = channel(&broker, "/").await;
    let _consumer = lay_out(&channel).await;
    let config = config::Broker {
        poll_interval: Duration::from_secs(1),
        ..broker_config(&broker)
    };
    // Statistics are late: whoever looks too early sees empty queues, and is right to call them well.
    let mut before = watch(config.clone());
    poll_until("the depths", &mut before.monitor, |snapshot| {
        let depth = |queue| find(snapshot, "/", queue)?.messages;
        (depth("lonely") == Some(3) && depth("stuck") == Some(3)).then_some(())
    })
    .await;
    let mut watched = watch(config);
    // The monitor is there before the messages: else it knows only how old they are at least.
    watched.monitor.poll_once().await.unwrap();
    let truth = Truth::default();
    let script = tokio::spawn(play(channel.clone(), truth.clone()));
    let mut errors = Vec::new();
    let mut statuses: BTreeMap<&str, QueueStatus> = BTreeMap::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    for _ in 0..45 {
        ticks.tick().await;
        let snapshot = watched.monitor.poll_once().await.unwrap();
        for queue in ["lonely", "stuck", "idle"] {
            let status = find(&snapshot, "/", queue).and_then(|queue| queue.status);
            statuses.extend(status.map(|status| (queue, status)));
        }
        let age = find(&snapshot, "/", "aged").and_then(|queue| queue.head_age);
        if let Some(age) = age.filter(|age| age.method == AgeMethod::Estimate) {
            errors.push((error(&age, &truth), age.error.unwrap()));
        }
    }
    script.abort();
    errors.sort();
    println!("{} estimates, error and bound: {errors:?}", errors.len());
    assert!(errors.len() > 15, "{}", errors.len());
    let beyond = errors.iter().find(|(error, bound)| error > bound);
    assert_eq!(beyond, None, "an error beyond its bound");
    assert!(
        errors[errors.len() / 2].0 < Duration::from_secs(6),
        "{errors:?}"
    );
    let expect = [
        ("idle", QueueStatus::Ok),
        ("lonely", QueueStatus::NoConsumer),
        ("stuck", QueueStatus::Stalled),
    ];
    assert_eq!(statuses, BTreeMap::from(expect));
}

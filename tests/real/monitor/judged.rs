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
use rabtrace::model::{AgeMethod, BrokerSnapshot, QueueStatus};

use super::setup::{
    broker_config, channel, declare, declare_quorum, find, poll_until, publish, watch,
};

/// When each message that is still in the queue was published, the oldest first.
type Truth = Arc<Mutex<VecDeque<Instant>>>;

/// Publishes at a rate that changes and takes at one that does not, so that the queue grows and
/// shrinks; never empties it.
async fn play(channel: Channel, queue: &str, truth: Truth) {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for tick in 0_u32.. {
        ticks.tick().await;
        let number = if (tick / 100) % 2 == 0 { 6 } else { 1 };
        for _ in 0..number {
            let properties = BasicProperties::default();
            let options = BasicPublishOptions::default();
            let made = Instant::now();
            let sent = channel.basic_publish("".into(), queue.into(), options, b"x", properties);
            truth.lock().unwrap().push_back(made);
            sent.await.unwrap();
        }
        for _ in 0..3 {
            if truth.lock().unwrap().len() > 20 {
                let message = channel
                    .basic_get(queue.into(), BasicGetOptions::default())
                    .await;
                let message = message.unwrap().unwrap();
                message.ack(BasicAckOptions::default()).await.unwrap();
                truth.lock().unwrap().pop_front();
            }
        }
    }
}

/// A queue that a script plays with, and how far off its age was: error and bound of each poll.
struct Played {
    queue: &'static str,
    truth: Truth,
    script: tokio::task::JoinHandle<()>,
    errors: Vec<(Duration, Duration)>,
}

impl Played {
    fn begin(channel: Channel, queue: &'static str) -> Self {
        let truth = Truth::default();
        let theirs = truth.clone();
        Self {
            queue,
            truth,
            script: tokio::spawn(async move { play(channel, queue, theirs).await }),
            errors: Vec::new(),
        }
    }

    fn compare(&mut self, snapshot: &BrokerSnapshot) {
        let Some(oldest) = self.truth.lock().unwrap().front().copied() else {
            return;
        };
        let age = find(snapshot, "/", self.queue).and_then(|queue| queue.head_age);
        if let Some(age) = age.filter(|age| age.method == AgeMethod::Estimate) {
            let error = age.age.abs_diff(oldest.elapsed());
            self.errors.push((error, age.error.unwrap()));
        }
    }

    /// How good the estimates were; none may be off by more than it says of itself.
    fn judge(mut self, median: Duration) -> String {
        self.script.abort();
        self.errors.sort();
        let at = |share: usize| self.errors[self.errors.len() * share / 100].0.as_secs_f64();
        let text = format!(
            "{}: {} estimates, error median {:.2} s, 90 % {:.2} s, largest {:.2} s",
            self.queue,
            self.errors.len(),
            at(50),
            at(90),
            self.errors.last().unwrap().0.as_secs_f64(),
        );
        let beyond = self.errors.iter().find(|(error, bound)| error > bound);
        assert_eq!(beyond, None, "{}: an error beyond its bound", self.queue);
        assert!(
            at(50) < median.as_secs_f64(),
            "{}: {:?}",
            self.queue,
            self.errors
        );
        text
    }
}

/// Queues that nobody reads, that one consumer holds up, that are empty.
async fn lay_out(channel: &Channel) -> Consumer {
    for queue in ["lonely", "stuck", "idle"] {
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

/// How long the script plays.
fn playtime() -> u64 {
    let text = std::env::var("RABTRACE_TEST_AGE_SECONDS");
    text.map_or(60, |text| text.parse().unwrap())
}

#[tokio::test]
async fn the_age_of_the_oldest_message_is_what_a_script_knows() {
    let broker = Broker::start().await.unwrap();
    let (connection, first) = channel(&broker, "/").await;
    declare(&first, "classic").await;
    declare_quorum(&first, "quorum").await;
    let config = config::Broker {
        poll_interval: Duration::from_secs(5),
        ..broker_config(&broker)
    };
    let mut monitor = watch(config).monitor;
    // The monitor is there before the messages: else it knows only how old they are at least.
    let counted = poll_until("both queues", &mut monitor, |snapshot| {
        let depth = |queue| find(snapshot, "/", queue)?.messages;
        (depth("classic").is_some() && depth("quorum").is_some()).then_some(())
    });
    counted.await;
    let mut played = Vec::new();
    for queue in ["classic", "quorum"] {
        let channel = connection.create_channel().await.unwrap();
        played.push(Played::begin(channel, queue));
    }
    let mut ticks = tokio::time::interval(Duration::from_secs(5));
    let mut counters = None;
    for _ in 0..playtime() / 5 {
        ticks.tick().await;
        let Ok(snapshot) = monitor.poll_once().await else {
            continue;
        };
        counters = snapshot.poll.counters.or(counters);
        played
            .iter_mut()
            .for_each(|played| played.compare(&snapshot));
    }
    println!("counters from {counters:?}");
    for played in played {
        assert!(played.errors.len() > 5, "{:?}", played.errors);
        println!("{}", played.judge(Duration::from_secs(5)));
    }
}

#[tokio::test]
async fn status_is_what_the_script_did() {
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
    let mut statuses: BTreeMap<&str, QueueStatus> = BTreeMap::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    for _ in 0..40 {
        ticks.tick().await;
        let Ok(snapshot) = watched.monitor.poll_once().await else {
            continue;
        };
        for queue in ["lonely", "stuck", "idle"] {
            let status = find(&snapshot, "/", queue).and_then(|queue| queue.status);
            statuses.extend(status.map(|status| (queue, status)));
        }
    }
    let expect = [
        ("idle", QueueStatus::Ok),
        ("lonely", QueueStatus::NoConsumer),
        ("stuck", QueueStatus::Stalled),
    ];
    assert_eq!(statuses, BTreeMap::from(expect));
}

//! Age of the oldest message, status and drain time against a script that knows the truth.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, UNIX_EPOCH};

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions,
    BasicQosOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Consumer};
use rabtrace::config;
use rabtrace::demo::broker::Broker;
use rabtrace::model::{AgeMethod, BrokerSnapshot, QueueStatus};
use tokio::task::JoinSet;

use super::setup::{
    broker_config, channel, declare, declare_quorum, find, get, poll_until, publish, watch,
};

/// When each message was published, the oldest first: those in the queue, and those that were taken, with
/// when that was.
#[derive(Default)]
struct Messages {
    here: VecDeque<Instant>,
    taken: Vec<(Instant, Instant)>,
}

impl Messages {
    /// When the message was published that was the oldest at that moment.
    fn oldest_at(&self, moment: Instant) -> Option<Instant> {
        let taken = self.taken.partition_point(|(_, taken)| *taken <= moment);
        let (made, _) = self.taken.get(taken).copied().unzip();
        made.or_else(|| self.here.front().copied())
    }
}

type Truth = Arc<Mutex<Messages>>;

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
            truth.lock().unwrap().here.push_back(made);
            sent.await.unwrap();
        }
        for _ in 0..3 {
            if truth.lock().unwrap().here.len() > 20 {
                let message = channel
                    .basic_get(queue.into(), BasicGetOptions::default())
                    .await;
                let message = message.unwrap().unwrap();
                message.ack(BasicAckOptions::default()).await.unwrap();
                let mut truth = truth.lock().unwrap();
                let made = truth.here.pop_front().unwrap();
                truth.taken.push((made, Instant::now()));
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
        // The poll looked at the queue a moment ago.
        let wall = UNIX_EPOCH + Duration::from_nanos(snapshot.time_unix_nano.unsigned_abs());
        let looked = Instant::now() - wall.elapsed().unwrap_or_default();
        let Some(oldest) = self.truth.lock().unwrap().oldest_at(looked) else {
            return;
        };
        let age = find(snapshot, "/", self.queue).and_then(|queue| queue.head_age);
        if let Some(age) = age.filter(|age| age.method == AgeMethod::Estimate) {
            let error = age.age.abs_diff(looked.saturating_duration_since(oldest));
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
            at(50) <= median.as_secs_f64(),
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

/// Whether more than two tasks wait for each processor, so that what a broker says is late by more
/// than is to be shown here. With `RABTRACE_TEST_AGE_STRICT=1` that is no excuse.
fn is_loaded() -> bool {
    if std::env::var("RABTRACE_TEST_AGE_STRICT").is_ok_and(|strict| strict == "1") {
        return false;
    }
    let text = std::fs::read_to_string("/proc/loadavg").unwrap();
    let of_last_minute: f64 = text.split(' ').next().unwrap().parse().unwrap();
    let processors = std::thread::available_parallelism().unwrap().get();
    of_last_minute > 2.0 * processors as f64
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
    let is_loaded = is_loaded();
    println!("counters from {counters:?}, machine is loaded: {is_loaded}");
    for played in played {
        assert!(played.errors.len() > 5, "{:?}", played.errors);
        let median = match (played.queue, is_loaded) {
            ("quorum", false) => Duration::from_millis(200),
            (_, false) => Duration::from_secs(2),
            (_, true) => Duration::from_secs(5),
        };
        println!("{}", played.judge(median));
    }
}

/// Publishes `come` and takes `go` of a queue for good, every 100 ms.
async fn shift(channel: Channel, queue: &'static str, (come, go): (usize, usize)) {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        publish(&channel, queue, come).await;
        for _ in 0..go {
            let message = get(&channel, queue).await;
            message.ack(BasicAckOptions::default()).await.unwrap();
        }
    }
}

/// Gives back whatever it gets, ten a second: none of it is ever done.
async fn give_back(channel: Channel, queue: &'static str) {
    let one = channel.basic_qos(1, BasicQosOptions::default());
    one.await.unwrap();
    let consume = BasicConsumeOptions::default();
    let consumer = channel.basic_consume(
        queue.into(),
        "gives-back".into(),
        consume,
        FieldTable::default(),
    );
    let mut consumer = consumer.await.unwrap();
    while let Some(delivery) = consumer.next().await {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let again = BasicNackOptions {
            requeue: true,
            ..BasicNackOptions::default()
        };
        delivery.unwrap().acker.nack(again).await.unwrap();
    }
}

#[tokio::test]
async fn status_is_what_the_script_did() {
    let broker = Broker::start().await.unwrap();
    let (connection, channel) = channel(&broker, "/").await;
    let _consumer = lay_out(&channel).await;
    let filled = [("growing", 20), ("shrinking", 3_000), ("bouncing", 5)];
    for (queue, messages) in filled {
        declare(&channel, queue).await;
        publish(&channel, queue, usize::try_from(messages).unwrap()).await;
    }
    let config = config::Broker {
        poll_interval: Duration::from_secs(1),
        ..broker_config(&broker)
    };
    // Statistics are late: whoever looks too early sees empty queues, and is right to call them well.
    let mut before = watch(config.clone());
    poll_until("the depths", &mut before.monitor, |snapshot| {
        let depth = |queue: &str| find(snapshot, "/", queue)?.messages;
        let others = [("lonely", 3), ("stuck", 3)];
        let mut all = filled.into_iter().chain(others);
        let is_there = |(queue, messages)| depth(queue) == Some(messages);
        all.all(is_there).then_some(())
    })
    .await;
    let mut scripts = JoinSet::new();
    for (queue, share) in [("growing", (3, 1)), ("shrinking", (0, 2))] {
        let channel = connection.create_channel().await.unwrap();
        scripts.spawn(shift(channel, queue, share));
    }
    let other = connection.create_channel().await.unwrap();
    scripts.spawn(give_back(other, "bouncing"));
    let expect = BTreeMap::from([
        ("bouncing", QueueStatus::Poison),
        ("growing", QueueStatus::FallingBehind),
        ("idle", QueueStatus::Ok),
        ("lonely", QueueStatus::NoConsumer),
        ("shrinking", QueueStatus::Draining),
        ("stuck", QueueStatus::Stalled),
    ]);
    let mut monitor = watch(config).monitor;
    let mut statuses: BTreeMap<&str, QueueStatus> = BTreeMap::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let begun = Instant::now();
    // The script goes on for as long as there are messages to take.
    while statuses != expect && begun.elapsed() < Duration::from_secs(100) {
        ticks.tick().await;
        let Ok(snapshot) = monitor.poll_once().await else {
            continue;
        };
        for queue in expect.keys() {
            let status = find(&snapshot, "/", queue).and_then(|queue| queue.status);
            statuses.extend(status.map(|status| (*queue, status)));
        }
    }
    assert_eq!(statuses, expect);
    assert_eq!(scripts.len(), 3);
    assert!(scripts.try_join_next().is_none(), "a script ended");
}

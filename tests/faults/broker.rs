//! A broker that is killed and started again, as the monitor's series show it: gaps, never zeros
//! or spikes.
//!
//! That spans of publishes and deliveries agree with what the application saw is shown beside the
//! library, in `tests/real/lapin/kills.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions};
use lapin::options::{ConfirmSelectOptions, QueueDeclareOptions, QueuePurgeOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, PublisherConfirm};
use rabtrace::demo::broker::Broker;
use serde_json::{Value, json};

use crate::harness::{Length, Setup, Sink, eventually, report};

const PATIENCE: Duration = Duration::from_secs(60);
/// Messages in the queue that nobody touches.
const KEPT: u64 = 20;
/// Messages a second through the other one.
const RATE: u64 = 1_000;

/// Between two polls.
const POLL: Duration = Duration::from_secs(1);
/// Between two points when polls are missing; a broker that was killed is away for longer.
const GAP: Duration = Duration::from_millis(2_500);

/// What is wrong in the series, and how large they are.
#[derive(Debug, Default)]
struct Series {
    points: u64,
    zeros: u64,
    spikes: u64,
    gaps: u64,
}

fn field(line: &str, name: &str) -> Option<f64> {
    let start = line.find(&format!("{name}="))? + name.len() + 1;
    let text = line.get(start..)?;
    let end = text.find([',', ' ']).unwrap_or(text.len());
    text.get(..end)?.trim_end_matches('i').parse().ok()
}

/// Reads both queues' series: the kept depth is what it is or absent, a rate never more than twice
/// what was published.
fn read(kept: &[(Instant, String)]) -> Series {
    let mut series = Series::default();
    let mut last: Option<Instant> = None;
    for (at, line) in kept {
        if line.contains("queue=kept") {
            series.points += 1;
            let depth = field(line, "messages");
            if depth.is_some_and(|depth| depth != KEPT as f64) {
                println!("not {KEPT}: {line}");
                series.zeros += 1;
            }
            let gap = last.replace(*at).map(|last| *at - last);
            series.gaps += u64::from(gap.is_some_and(|gap| gap > GAP));
        }
        let rates = [
            "messages_publish_rate",
            "messages_ack_rate",
            "messages_deliver_get_rate",
        ];
        let rates = rates.iter().filter_map(|name| field(line, name));
        series.spikes += rates
            .filter(|rate| !(0.0..=2.0 * RATE as f64).contains(rate))
            .count() as u64;
    }
    series
}

/// The same of an agent that tells the last value again while it sees nothing.
fn repeated(kept: &[(Instant, String)]) -> Vec<(Instant, String)> {
    let mut told = Vec::<(Instant, String)>::new();
    let kept = kept.iter().filter(|(_, line)| line.contains("queue=kept"));
    for (at, line) in kept {
        while let Some((last, value)) = told.last().filter(|(last, _)| *at - *last > GAP) {
            told.push((*last + POLL, value.clone()));
        }
        told.push((*at, line.clone()));
    }
    told
}

async fn channel(broker: &Broker) -> Option<(Connection, Channel)> {
    let url = broker.amqp_url();
    let connecting = Connection::connect(&url, ConnectionProperties::default());
    let connection = connecting.await.ok()?;
    let channel = connection.create_channel().await.ok()?;
    let confirms = channel.confirm_select(ConfirmSelectOptions::default());
    confirms.await.ok()?;
    Some((connection, channel))
}

async fn publish(channel: &Channel, queue: &str) -> lapin::Result<PublisherConfirm> {
    let properties = BasicProperties::default().with_delivery_mode(2);
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish("".into(), queue.into(), options, b"body", properties);
    sent.await
}

/// What was published and confirmed, and how long that took.
#[derive(Default)]
struct Published {
    messages: AtomicU64,
    micros: AtomicU64,
}

/// Publishes and consumes at the rate until the connection is lost.
async fn work(channel: Channel, published: Arc<Published>) {
    let consumer = channel.basic_consume(
        "steady".into(),
        "faults".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let Ok(mut consumer) = consumer.await else {
        return;
    };
    let consume = async {
        use futures_util::StreamExt;
        while let Some(Ok(delivery)) = consumer.next().await {
            if delivery.ack(BasicAckOptions::default()).await.is_err() {
                return;
            }
        }
    };
    let begun = Instant::now();
    let (waiting, mut confirms) = tokio::sync::mpsc::channel(1_000);
    let publish = async {
        for number in 0_u64.. {
            let due = begun + Duration::from_micros(number * 1_000_000 / RATE);
            tokio::time::sleep_until(due.into()).await;
            let Ok(confirm) = publish(&channel, "steady").await else {
                break;
            };
            if waiting.send(confirm).await.is_err() {
                break;
            }
        }
        drop(waiting);
    };
    let confirm = async {
        let mut last = begun;
        while let Some(confirm) = confirms.recv().await {
            if confirm.await.is_err() {
                return;
            }
            let now = Instant::now();
            let micros = u64::try_from((now - last).as_micros()).unwrap();
            last = now;
            published.messages.fetch_add(1, Ordering::SeqCst);
            published.micros.fetch_add(micros, Ordering::SeqCst);
        }
    };
    tokio::join!(consume, publish, confirm);
}

async fn declare(channel: &Channel) {
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    for queue in ["kept", "steady"] {
        let declared = channel.queue_declare(queue.into(), durable, FieldTable::default());
        declared.await.unwrap();
    }
    for _ in 0..KEPT {
        publish(channel, "kept").await.unwrap().await.unwrap();
    }
}

/// Waits until the series have so many more points of the kept queue.
async fn see(sink: &Sink, more: usize) {
    let number = || {
        sink.kept()
            .iter()
            .filter(|(_, line)| line.contains("queue=kept"))
            .count()
    };
    let before = number();
    eventually("points of the queue", PATIENCE, || async {
        (number() >= before + more).then_some(())
    })
    .await;
}

/// What became of the series.
struct Kills {
    series: Series,
    /// The same, of an agent that tells the last value again.
    repeated: Series,
    /// After the queue really was emptied.
    emptied: Series,
    messages: u64,
    messages_per_second: f64,
}

/// So many kills; then, as a control, the queue really is emptied.
async fn kills(number: u32) -> Kills {
    let mut broker = Broker::start().await.unwrap();
    let (connection, open) = channel(&broker).await.unwrap();
    declare(&open).await;
    drop((connection, open));
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::keeping("rabbitmq_queue,");
    let setup = Setup::new(folder.path())
        .set("influx.url", sink.url())
        .set("influx.flush_interval", "100ms")
        .set("broker.amqp_url", broker.amqp_url())
        .set("broker.management_url", broker.management_url())
        .set("broker.prometheus_urls", broker.prometheus_url())
        .set("broker.poll_interval", format!("{}s", POLL.as_secs()));
    let mut agent = setup.start().await;
    // The broker itself tells late what it has just taken.
    eventually("the whole depth", PATIENCE, || async {
        let kept = sink.kept();
        let line = kept.iter().rfind(|(_, line)| line.contains("queue=kept"))?;
        (field(&line.1, "messages") == Some(KEPT as f64)).then_some(())
    })
    .await;
    sink.forget();
    let published = Arc::new(Published::default());
    for kill in 0..=number {
        let (connection, open) = eventually("a connection", PATIENCE, || channel(&broker)).await;
        let working = tokio::spawn(work(open, Arc::clone(&published)));
        see(&sink, 4).await;
        if kill < number {
            broker.kill().unwrap();
        }
        drop(connection);
        working.abort();
        if kill < number {
            broker.restart().await.unwrap();
        }
        assert!(agent.runs());
    }
    let kept = sink.kept();
    let (series, repeated) = (read(&kept), read(&repeated(&kept)));
    let (_connection, open) = channel(&broker).await.unwrap();
    let purged = open.queue_purge("kept".into(), QueuePurgeOptions::default());
    purged.await.unwrap();
    eventually("the empty queue", PATIENCE, || async {
        (read(&sink.kept()).zeros > 0).then_some(())
    })
    .await;
    assert_eq!(agent.panics(), 0);
    let messages = published.messages.load(Ordering::SeqCst);
    let seconds = published.micros.load(Ordering::SeqCst) as f64 / 1e6;
    Kills {
        series,
        repeated,
        emptied: read(&sink.kept()),
        messages,
        messages_per_second: messages as f64 / seconds,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_leaves_gaps_and_no_zeros() {
    let length = Length::chosen();
    let number = length.of(1, 20, 50);
    let kills = kills(number).await;
    let series = &kills.series;
    let figures: Value = json!({
        "kills": number,
        "messages": kills.messages,
        "messages_per_second": kills.messages_per_second.round(),
        "points": series.points,
        "zeros": series.zeros,
        "spikes": series.spikes,
        "gaps": series.gaps,
    });
    report("broker", length, &figures);
    assert_eq!((series.zeros, series.spikes), (0, 0), "{series:?}");
    assert!(series.gaps >= u64::from(number), "{series:?}");
    if length != Length::Short {
        assert!(kills.messages_per_second >= 0.9 * RATE as f64, "{figures}");
    }
    // The controls: a queue that is empty is told from one that was not seen, values that are told
    // again from a gap, and a leap of a counter from what was published.
    assert!(kills.emptied.zeros > 0, "{:?}", kills.emptied);
    assert_eq!(kills.repeated.gaps, 0, "{:?}", kills.repeated);
    let leap = "rabbitmq_queue,queue=steady messages_ack_rate=94373 1".to_owned();
    assert_eq!(read(&[(Instant::now(), leap)]).spikes, 1);
}

//! Connections that the broker closes and killed brokers, under load: the spans tell what the application saw, each
//! once, and none is left open.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use opentelemetry_sdk::trace::SpanData;
use rabtrace::demo::broker::Broker;
use rabtrace_lapin::Confirmation;
use rabtrace_lapin::lapin::options::{
    BasicAckOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions, QueueDeclareOptions,
};
use rabtrace_lapin::lapin::types::FieldTable;
use rabtrace_lapin::lapin::{BasicProperties, ConnectionProperties, Error};
use rabtrace_lapin::message::Delivery;
use rabtrace_lapin::{TracedChannel, TracedConfirm, TracedConsumer};
use tokio::sync::watch;

use super::service::{Service, attribute, broker};
use crate::support::eventually;

/// Losses of all connections.
const KILLS: usize = 50;
/// So many of them by SIGKILL of the broker, which starts again on its data; at the others the
/// broker closes all connections by force. The variable takes its place: each takes seconds, so that 50
/// need more than the four minutes that nextest gives a test.
const BROKER_KILLS: usize = 5;
const VARIABLE: &str = "RABTRACE_TEST_BROKER_KILLS";
/// Messages a second at most, and how long each connection works before it is lost: at all where the
/// variable is set, so that the ordinary suite has short lives.
const RATE: u32 = 1_000;
const LIFE: Duration = Duration::from_secs(1);
/// So many at once: a clock ticks by the millisecond.
const TICK: u32 = 4;
/// Publishes that wait for their confirm, and deliveries that wait for their settlement.
const WINDOW: usize = 8;

/// Runs in the broker: closes all connections when a file says so, and says so when it has.
const KILL_CONNECTIONS: &str = "
    Wait = fun W(F) -> case filelib:is_file(F) of true -> ok; false -> timer:sleep(5), W(F) end end,
    Name = fun(K, N) -> lists:concat([\"FOLDER/\", K, N]) end,
    [begin Wait(Name(kill, N)),
           [rabbit_networking:close_connection(Pid, \"a test's own\") || Pid <- rabbit_networking:connections_local()],
           file:write_file(Name(done, N), <<>>)
     end || N <- lists:seq(1, COUNT)], killed.";

/// What both sides did so far.
#[derive(Debug, Default)]
struct Progress {
    confirmed: AtomicUsize,
    settled: AtomicUsize,
}

impl Progress {
    /// Waits until more was confirmed and settled than can have been under way before: lapin does
    /// not come back from a second loss in the middle of a recovery.
    async fn goes_on(&self) {
        let now = || [&self.confirmed, &self.settled].map(|count| count.load(Ordering::Acquire));
        let before = now();
        eventually("both sides at work", Duration::from_secs(60), || async {
            let gone_on = now()
                .iter()
                .zip(before)
                .all(|(now, before)| *now > before + 2 * WINDOW);
            gone_on.then_some(())
        })
        .await;
    }
}

/// By message, what happened to it how often.
type Seen = BTreeMap<(String, &'static str), usize>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_agree_with_what_the_application_saw() {
    let chosen: Option<usize> = std::env::var(VARIABLE)
        .ok()
        .map(|text| text.parse().unwrap());
    let broker_kills = chosen.unwrap_or(BROKER_KILLS).min(KILLS);
    println!("{broker_kills} of {KILLS} losses by SIGKILL of the broker; {VARIABLE} says how many");
    let mut broker = broker().await;
    let publisher = recovering(&broker, "gateway").await.with_confirms().await;
    let consumer = recovering(&broker, "planner").await;
    declare(&publisher.channel).await;
    let qos = consumer.channel.basic_qos(8, BasicQosOptions::default());
    qos.await.unwrap();
    let stream = consumer.consume("killed").await;

    let publishing = Arc::new(AtomicBool::new(true));
    let (stop, stopped) = watch::channel(false);
    let progress = Arc::new(Progress::default());
    let mut lives = Lives::new(&progress, chosen.is_some());
    let (channel, until) = (publisher.channel.clone(), Arc::clone(&publishing));
    let publishes = tokio::spawn(publish(channel, until, Arc::clone(&progress)));
    let channel = consumer.channel.clone();
    let settled = tokio::spawn(consume((stream, channel), stopped, Arc::clone(&progress)));
    let begun = Instant::now();
    kill_connections(&broker, KILLS - broker_kills, &mut lives).await;
    println!("connections closed: {:?}", begun.elapsed());
    for _ in 0..broker_kills {
        lives.live().await;
        broker.kill().unwrap();
        broker.restart().await.unwrap();
    }
    lives.live().await;
    println!("broker killed: {:?}", begun.elapsed());
    publishing.store(false, Ordering::Release);
    let publishes = publishes.await.unwrap();
    stop.send_replace(true);
    let settled = settled.await.unwrap();

    for service in [&publisher, &consumer] {
        service.connection.close(200, "done".into()).await.unwrap();
    }
    let spans = publisher.take();
    let number = agree(&publishes, &spans, ("publish", "rabtrace.publish.outcome"));
    println!("{number} spans of publishes, each as the application saw it");
    for outcome in ["acked", "channel_lost"] {
        let times: usize = count(&publishes, outcome);
        println!("publishes {outcome}: {times}");
        assert!(times > 0, "{outcome}");
    }
    let spans = consumer.take();
    let number = agree(&settled, &spans, ("process", "rabtrace.settlement"));
    println!("{number} spans of deliveries, each as the application saw it");
    for settlement in ["ack", "nack_requeue", "channel_lost"] {
        let times = count(&settled, settlement);
        println!("deliveries {settlement}: {times}");
        assert!(times > 0, "{settlement}");
    }
    if let Some(rate) = lives.rate() {
        println!("confirmed a second: {rate:.0}");
        assert!(rate >= 0.9 * f64::from(RATE), "only {rate:.0} a second");
    }
}

async fn declare(channel: &TracedChannel) {
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare("killed".into(), options, FieldTable::default());
    declared.await.unwrap();
}

/// What was done between losses.
struct Lives {
    progress: Arc<Progress>,
    /// How long each is, beyond the first messages.
    long: Option<Duration>,
    confirmed: usize,
    time: Duration,
}

impl Lives {
    fn new(progress: &Arc<Progress>, are_long: bool) -> Self {
        Self {
            progress: Arc::clone(progress),
            long: are_long.then_some(LIFE),
            confirmed: 0,
            time: Duration::ZERO,
        }
    }

    /// Both sides work again, and go on for a while.
    async fn live(&mut self) {
        self.progress.goes_on().await;
        let Some(long) = self.long else { return };
        let confirmed = || self.progress.confirmed.load(Ordering::Acquire);
        let (before, begun) = (confirmed(), Instant::now());
        tokio::time::sleep(long).await;
        self.confirmed += confirmed() - before;
        self.time += begun.elapsed();
    }

    /// Messages that were confirmed in a second, where lives were long.
    fn rate(&self) -> Option<f64> {
        self.long?;
        Some(self.confirmed as f64 / self.time.as_secs_f64())
    }
}

async fn kill_connections(broker: &Broker, count: usize, lives: &mut Lives) {
    let folder = broker.folder().to_owned();
    let script = KILL_CONNECTIONS
        .replace("COUNT", &count.to_string())
        .replace("FOLDER", folder.to_str().unwrap());
    let words = ["eval", script.as_str()];
    let kills = async {
        for number in 1..=count {
            lives.live().await;
            std::fs::write(folder.join(format!("kill{number}")), []).unwrap();
            let done = folder.join(format!("done{number}"));
            let killed = || async { done.exists().then_some(()) };
            eventually("the kill", Duration::from_secs(30), killed).await;
        }
    };
    let (killed, ()) = tokio::join!(broker.rabbitmqctl(&words), kills);
    assert_eq!(killed.unwrap().trim(), "killed");
}

fn count(seen: &Seen, wanted: &str) -> usize {
    let seen = seen.iter();
    seen.filter(|((_, how), _)| *how == wanted)
        .map(|(_, times)| times)
        .sum()
}

/// The application's list and that of the spans are the same: nothing missing, nothing twice. Gives
/// the number of spans. The control: one span less and one more are found.
fn agree(seen: &Seen, spans: &[SpanData], names: (&str, &str)) -> usize {
    let differences = compare(seen, spans, names);
    assert!(differences.is_empty(), "{}: {differences:#?}", names.0);
    let is_meant =
        |span: &SpanData| attribute(span, "messaging.operation.name").as_deref() == Some(names.0);
    let number = spans.iter().filter(|span| is_meant(span)).count();
    for at in [0, number / 2, number - 1] {
        let mut doctored = spans.to_vec();
        let meant = spans.iter().enumerate().filter(|(_, span)| is_meant(span));
        let (index, span) = meant
            .skip(at)
            .map(|(at, span)| (at, span.clone()))
            .next()
            .unwrap();
        doctored.push(span);
        assert_eq!(
            compare(seen, &doctored, names).len(),
            2,
            "one is there twice"
        );
        doctored.pop();
        doctored.remove(index);
        assert!(
            !compare(seen, &doctored, names).is_empty(),
            "one is missing"
        );
    }
    number
}

/// What one list has and the other has not.
fn compare(
    seen: &Seen,
    spans: &[SpanData],
    (operation, attribute_name): (&str, &str),
) -> Vec<String> {
    let mut told = BTreeMap::<(String, String), usize>::new();
    for span in spans {
        if attribute(span, "messaging.operation.name").as_deref() == Some(operation) {
            let id = attribute(span, "messaging.message.id").unwrap();
            let how = attribute(span, attribute_name).unwrap();
            *told.entry((id, how)).or_default() += 1;
        }
    }
    let seen: BTreeMap<_, _> = seen
        .iter()
        .map(|((id, how), times)| ((id.clone(), (*how).to_owned()), *times))
        .collect();
    let differs = |who: &str, one: &BTreeMap<(String, String), usize>, other: &BTreeMap<_, _>| {
        let entries = one
            .iter()
            .filter(|(key, times)| other.get(*key) != Some(*times));
        entries
            .map(|(key, times)| format!("{who} {key:?} {times}"))
            .collect::<Vec<_>>()
    };
    let missing = differs("the application saw", &seen, &told);
    [missing, differs("the spans say", &told, &seen)].concat()
}

async fn recovering(broker: &Broker, name: &str) -> Service {
    let properties = ConnectionProperties::default()
        .configure_backoff(|backoff| {
            backoff
                .with_min_delay(Duration::from_millis(20))
                .with_max_delay(Duration::from_millis(500))
                .with_max_times(1_000)
        })
        .enable_auto_recover();
    Service::connect_with(&broker.amqp_url(), name, properties, |config| config).await
}

/// Waits until the channel works again.
async fn recover(channel: &TracedChannel, error: Error) {
    if channel.wait_for_recovery(error).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn publish(
    channel: TracedChannel,
    publishing: Arc<AtomicBool>,
    progress: Arc<Progress>,
) -> Seen {
    let mut seen = Seen::new();
    let mut waiting: Vec<(String, TracedConfirm)> = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) * TICK / RATE);
    for number in 0_u32.. {
        if number.is_multiple_of(TICK) {
            ticks.tick().await;
        }
        let last = !publishing.load(Ordering::Acquire);
        if waiting.len() >= WINDOW || last {
            for (id, confirm) in waiting.drain(..) {
                let how = match confirm.await {
                    Ok(Confirmation::Ack(_)) => {
                        progress.confirmed.fetch_add(1, Ordering::AcqRel);
                        "acked"
                    }
                    Ok(_) => "nacked",
                    Err(_) => "channel_lost",
                };
                *seen.entry((id, how)).or_default() += 1;
            }
        }
        if last {
            break;
        }
        let id = format!("m-{number}");
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_message_id(id.as_str().into());
        let options = BasicPublishOptions::default();
        let sent = channel.basic_publish("".into(), "killed".into(), options, b"body", properties);
        match sent.await {
            Ok(confirm) => waiting.push((id, confirm)),
            Err(error) => {
                *seen.entry((id, "failed")).or_default() += 1;
                recover(&channel, error).await;
            }
        }
    }
    seen
}

/// Handles deliveries until it is told to stop and nothing has come for a while.
async fn consume(
    (mut consumer, channel): (TracedConsumer, TracedChannel),
    mut stop: watch::Receiver<bool>,
    progress: Arc<Progress>,
) -> Seen {
    let mut seen = Seen::new();
    let mut held: Vec<Delivery> = Vec::new();
    loop {
        let item = tokio::select! {
            item = consumer.next() => item,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match item.expect("the consumer came to its end") {
            Ok(delivery) => held.push(delivery),
            Err(error) => recover(&channel, error).await,
        }
        // Two are held at a time, so that every kill finds one.
        if held.len() > 2 {
            settle(held.remove(0), &mut seen).await;
            progress.settled.fetch_add(1, Ordering::AcqRel);
        }
    }
    for delivery in held {
        settle(delivery, &mut seen).await;
    }
    seen
}

async fn settle(delivery: Delivery, seen: &mut Seen) {
    let id = delivery
        .properties
        .message_id()
        .clone()
        .unwrap()
        .to_string();
    let refused = delivery.delivery_tag.is_multiple_of(7) && !delivery.redelivered;
    let (answer, how) = if refused {
        let options = BasicNackOptions {
            requeue: true,
            ..BasicNackOptions::default()
        };
        (delivery.nack(options).await, "nack_requeue")
    } else {
        (delivery.ack(BasicAckOptions::default()).await, "ack")
    };
    let how = match answer {
        Ok(true) => how,
        Ok(false) | Err(_) => "channel_lost",
    };
    *seen.entry((id, how)).or_default() += 1;
}

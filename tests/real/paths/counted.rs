//! Every message is counted and timed though none is sampled: what the agent says is held against
//! what the programs counted and stamped by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use rabtrace::demo::broker::Broker;
use rabtrace_lapin::lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, QueueDeclareOptions,
};
use rabtrace_lapin::lapin::types::FieldTable;
use rabtrace_lapin::lapin::{BasicProperties, ConnectionProperties};
use rabtrace_lapin::{TraceConfig, TracedChannel, TracedConnection};
use tokio::task::JoinSet;

use super::{ask, counts, meters, shut_down};
use crate::agent::Agent;
use crate::lapin::service::broker;
use crate::support::eventually;

/// Producers, and consumers.
const SIDES: u64 = 8;
const QUEUE: &str = "jobs";
/// How far a quantile of 320 buckets may be off, over values between 10 µs and 100 s.
const ERROR: f64 = 0.045;

/// Messages in all; `RABTRACE_TEST_PATH_MESSAGES` says another number.
fn messages() -> u64 {
    let chosen = std::env::var("RABTRACE_TEST_PATH_MESSAGES").ok();
    chosen.map_or(40_000, |number| number.parse().unwrap())
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

/// A connection of a service whose sampler takes nothing.
async fn connect(
    broker: &Broker,
    name: &str,
    (tracers, meters): (&SdkTracerProvider, &SdkMeterProvider),
) -> TracedConnection {
    let config = TraceConfig::new()
        .with_tracer_provider(tracers)
        .with_meter_provider(meters)
        .with_service_name(name);
    let properties = ConnectionProperties::default();
    let url = broker.amqp_url();
    let connection = TracedConnection::connect_traced(&url, properties, config);
    connection.await.unwrap()
}

async fn produce(channel: TracedChannel, number: u64) {
    for _ in 0..number {
        let stamp = now_us().to_le_bytes();
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default();
        let publish = channel.basic_publish("".into(), QUEUE.into(), options, &stamp, properties);
        publish.await.unwrap().await.unwrap();
    }
}

/// Takes messages until all of them are taken by somebody: how long each waited.
async fn consume(channel: TracedChannel, left: Arc<AtomicU64>) -> Vec<u64> {
    let qos = channel.basic_qos(200, BasicQosOptions::default());
    qos.await.unwrap();
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = channel.basic_consume(QUEUE.into(), "".into(), options, arguments);
    let mut consumer = consumer.await.unwrap();
    let mut waits = Vec::new();
    while left.load(Ordering::Relaxed) > 0 {
        let next = tokio::time::timeout(Duration::from_millis(200), consumer.next());
        let Ok(Some(delivery)) = next.await else {
            continue;
        };
        let delivery = delivery.unwrap();
        let stamp = u64::from_le_bytes(delivery.data.as_slice().try_into().unwrap());
        waits.push(now_us() - stamp);
        delivery.ack(BasicAckOptions::default()).await.unwrap();
        left.fetch_sub(1, Ordering::Relaxed);
    }
    waits
}

/// Sends and takes that many messages: the waits, in order of their length.
async fn run(agent: &Agent, broker: &Broker, number: u64) -> Vec<u64> {
    let tracers = SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOff)
        .build();
    let (sender, taker) = (meters(agent, "gateway"), meters(agent, "worker"));
    let producers = connect(broker, "gateway", (&tracers, &sender)).await;
    let consumers = connect(broker, "worker", (&tracers, &taker)).await;
    let channel = producers.create_channel().await.unwrap();
    let declared = channel.queue_declare(
        QUEUE.into(),
        QueueDeclareOptions::default(),
        FieldTable::default(),
    );
    declared.await.unwrap();
    let left = Arc::new(AtomicU64::new(number));
    let (mut producing, mut consuming) = (JoinSet::new(), JoinSet::new());
    for _ in 0..SIDES {
        let channel = consumers.create_channel().await.unwrap();
        consuming.spawn(consume(channel, Arc::clone(&left)));
        let channel = producers.create_channel().await.unwrap();
        producing.spawn(produce(channel, number / SIDES));
    }
    producing.join_all().await;
    let mut waits: Vec<u64> = consuming.join_all().await.into_iter().flatten().collect();
    waits.sort_unstable();
    producers.close(200, "done".into()).await.unwrap();
    consumers.close(200, "done".into()).await.unwrap();
    shut_down([sender, taker]).await;
    waits
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_is_counted_and_timed_though_none_is_sampled() {
    let broker = broker().await;
    let agent = Agent::start(&[("broker.poll_interval", "1h")]).await;
    let number = messages() / SIDES * SIDES;
    let waits = run(&agent, &broker, number).await;
    assert_eq!(waits.len() as u64, number);

    let path = "gateway > jobs > worker";
    let expect = [(path.to_owned(), number)];
    eventually(
        "every message is counted",
        Duration::from_secs(30),
        || async { (counts(&agent) == expect).then_some(()) },
    )
    .await;
    let answer = ask(&agent, &["paths", "--path", path]);
    let hops = answer["hops"].as_array().unwrap();
    let counted: Vec<_> = hops.iter().map(|hop| hop["count"].as_u64()).collect();
    assert_eq!(counted, [Some(number), Some(number)], "{answer:#}");
    for (percent, name) in [(50, "p50_ms"), (95, "p95_ms"), (99, "p99_ms")] {
        let truth = waits[(waits.len() - 1) * percent / 100] as f64 / 1e3;
        let told = hops[1]["wait"][name].as_f64().unwrap();
        // The stamps are taken some microseconds before and after the checkpoints.
        let bound = (truth * ERROR).max(0.1);
        assert!(
            (told - truth).abs() <= bound,
            "{name}: {truth} ms waited, {told} ms told"
        );
    }
    let spans = ask(&agent, &["sql", "SELECT count(*) AS n FROM spans"]);
    assert_eq!(spans["rows"][0]["n"], 0, "{spans}");
}

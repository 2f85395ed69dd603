//! Settling several deliveries at once, across clones, queues and recoveries; and settling through
//! the channel instead of lapin's acker.

use std::time::Duration;

use futures_util::StreamExt;
use opentelemetry_sdk::trace::SpanData;
use rabtrace::demo::broker::Broker;
use rabtrace_lapin::lapin::ConnectionProperties;
use rabtrace_lapin::lapin::options::{
    BasicAckOptions, BasicNackOptions, BasicRecoverOptions, BasicRejectOptions,
};
use rabtrace_lapin::lapin::types::FieldTable;
use rabtrace_lapin::message::Delivery;
use rabtrace_lapin::{TraceConfig, TracedConsumer};

use super::service::{Service, attribute, broker, next};
use crate::support::eventually;

#[tokio::test]
async fn multiple_settles_exactly_the_right_ones() {
    let broker = broker().await;
    over_two_queues(&broker).await;
    given_back(&broker).await;
    across_a_recovery(&broker).await;
    all_after_a_recovery(&broker).await;
}

#[tokio::test]
async fn settling_through_the_channel_is_the_same() {
    let broker = broker().await;
    let fast = settled(&broker, TraceConfig::with_fast_settle).await;
    let slow = settled(&broker, |config| config).await;
    assert_eq!(fast, slow);
    after_the_channels_handle_is_gone(&broker).await;
}

/// Tag and settlement of each delivery's span, by tag.
fn settlements(spans: &[SpanData]) -> Vec<(u64, String)> {
    let mut settled: Vec<_> = spans
        .iter()
        .filter_map(|span| Some((tag(span), attribute(span, "rabtrace.settlement")?)))
        .collect();
    settled.sort();
    settled
}

fn tag(span: &SpanData) -> u64 {
    let tag = attribute(span, "messaging.rabbitmq.message.delivery_tag");
    tag.unwrap().parse().unwrap()
}

fn expected(tags: impl IntoIterator<Item = u64>, settlement: &str) -> Vec<(u64, String)> {
    tags.into_iter()
        .map(|tag| (tag, settlement.to_owned()))
        .collect()
}

/// The span of the settlement, which ends first.
fn settle_span(spans: &[SpanData]) -> (String, u64, Option<String>, usize) {
    let span = &spans[0];
    let count = attribute(span, "messaging.batch.message_count");
    (
        span.name.to_string(),
        tag(span),
        count,
        span.links.iter().count(),
    )
}

async fn take(consumer: &mut TracedConsumer, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    for _ in 0..count {
        taken.push(next(consumer).await);
    }
    taken
}

async fn send(service: &Service, queue: &str, count: usize) {
    for _ in 0..count {
        service.publish("", queue).await.unwrap();
    }
}

async fn over_two_queues(broker: &Broker) {
    let service = Service::connect(broker, "planner").await;
    for queue in ["left", "right"] {
        service.queue(queue, FieldTable::default()).await;
    }
    let (mut left, mut right) = (
        service.consume("left").await,
        service.consume("right").await,
    );
    let mut taken = Vec::new();
    for _ in 0..4 {
        for (queue, consumer) in [("left", &mut left), ("right", &mut right)] {
            send(&service, queue, 1).await;
            taken.push(next(consumer).await);
        }
    }
    service.take();
    let clone = service.channel.clone().clone();
    let multiple = BasicAckOptions { multiple: true };
    clone.basic_ack(4, multiple).await.unwrap();
    let spans = service.take();
    // Of two destinations: named for none but the broker, each link with its own.
    let url = broker.amqp_url();
    let (_, server) = url.rsplit_once('@').unwrap();
    let expect = (format!("ack {server}"), 4, Some("4".to_owned()), 4);
    assert_eq!(settle_span(&spans), expect);
    let mut names: Vec<_> = spans[0]
        .links
        .iter()
        .flat_map(|link| &link.attributes)
        .collect();
    names.sort_by_key(|name| name.value.to_string());
    let names: Vec<_> = names.iter().map(|name| name.value.to_string()).collect();
    assert!(names.starts_with(&["left".to_owned()]) && names.ends_with(&["right".to_owned()]));
    assert_eq!(settlements(&spans), expected(1..=4, "ack"));

    let acker = taken[6].acker.clone();
    let options = BasicNackOptions {
        multiple: true,
        requeue: true,
    };
    assert!(acker.nack(options).await.unwrap());
    let spans = service.take();
    let expect = (format!("nack {server}"), 7, Some("3".to_owned()), 3);
    assert_eq!(settle_span(&spans), expect);
    assert_eq!(settlements(&spans), expected(5..=7, "nack_requeue"));
    // The broker means the same three.
    let mut again = take(&mut left, 2).await;
    again.extend(take(&mut right, 1).await);
    assert!(again.iter().all(|delivery| delivery.redelivered));
    service.channel.basic_ack(0, multiple).await.unwrap();
    assert_eq!(settlements(&service.take()), expected(8..=11, "ack"));
    drop((taken, again));
    assert_eq!(service.ended(), 0, "a span ended twice");
}

async fn given_back(broker: &Broker) {
    let service = Service::connect(broker, "planner").await;
    service.queue("back", FieldTable::default()).await;
    let mut consumer = service.consume("back").await;
    send(&service, "back", 3).await;
    let taken = take(&mut consumer, 3).await;
    taken[1].ack(BasicAckOptions::default()).await.unwrap();
    service.take();
    let options = BasicRecoverOptions { requeue: true };
    service.channel.basic_recover(options).await.unwrap();
    let spans = service.take();
    assert!(spans[0].name.starts_with("recover"), "{spans:#?}");
    assert_eq!(settlements(&spans[1..]), expected([1, 3], "recovered"));
    let again = take(&mut consumer, 2).await;
    assert!(again.iter().all(|delivery| delivery.redelivered));
    drop((taken, again));
    assert_eq!(
        settlements(&service.take()),
        expected([4, 5], "dropped_unsettled")
    );
}

async fn across_a_recovery(broker: &Broker) {
    let properties = ConnectionProperties::default().enable_auto_recover();
    let url = broker.amqp_url();
    let service = Service::connect_with(&url, "planner", properties, |config| config).await;
    service.queue("survives", FieldTable::default()).await;
    let mut consumer = service.consume("survives").await;
    send(&service, "survives", 4).await;
    let old = take(&mut consumer, 4).await;
    service.take();
    let kill = ["close_all_connections", "a test's own"];
    broker.rabbitmqctl(&kill).await.unwrap();
    let first = eventually(
        "a delivery after the recovery",
        Duration::from_secs(30),
        || async {
            let mut consumer = consumer.clone();
            consumer.next().await.unwrap().ok()
        },
    );
    let mut new = vec![first.await];
    new.extend(take(&mut consumer, 1).await);
    assert_eq!(
        (new[0].delivery_tag, new[1].delivery_tag),
        (1, 2),
        "tags begin anew"
    );
    assert!(old.iter().all(|delivery| delivery.acker.poisoned()));
    let lost = service.take();
    for span in &lost {
        let settlement = attribute(span, "rabtrace.settlement");
        assert_eq!(settlement.as_deref(), Some("channel_lost"));
    }
    let clone = service.channel.clone();
    let multiple = BasicAckOptions { multiple: true };
    clone.basic_ack(2, multiple).await.unwrap();
    let spans = service.take();
    let expect = ("ack survives".to_owned(), 2, Some("2".to_owned()), 2);
    assert_eq!(settle_span(&spans), expect);
    assert_eq!(settlements(&spans), expected(1..=2, "ack"));
    for process in &spans[1..] {
        assert_eq!(attribute(process, "rabtrace.attempt").as_deref(), Some("2"));
        assert_eq!(process.links.iter().count(), 2);
    }
    // An old tag says nothing any more, neither alone nor as the last of several.
    let (last, rest) = old.split_last().unwrap();
    assert!(!last.ack(multiple).await.unwrap());
    assert!(!rest[2].ack(BasicAckOptions::default()).await.unwrap());
    drop(old);
    let mut lost = [lost, service.take()].concat();
    assert_eq!(
        settlements(&lost),
        expected(1..=4, "channel_lost"),
        "{lost:#?}"
    );
    lost.clear();
    let rest = take(&mut consumer, 2).await;
    rest[1].ack(multiple).await.unwrap();
    assert_eq!(settlements(&service.take()), expected(3..=4, "ack"));
    drop((new, rest));
    assert_eq!(service.ended(), 0, "a span ended twice");
}

/// An ack of all on the new channel, before anything was handed out there.
async fn all_after_a_recovery(broker: &Broker) {
    let properties = ConnectionProperties::default().enable_auto_recover();
    let url = broker.amqp_url();
    let service = Service::connect_with(&url, "planner", properties, |config| config).await;
    service.queue("idle", FieldTable::default()).await;
    let mut consumer = service.consume("idle").await;
    send(&service, "idle", 2).await;
    let old = take(&mut consumer, 2).await;
    let kill = ["close_all_connections", "a test's own"];
    broker.rabbitmqctl(&kill).await.unwrap();
    let channel = &service.channel;
    eventually("the recovery", Duration::from_secs(30), || async {
        (old[0].acker.poisoned() && channel.status().connected()).then_some(())
    })
    .await;
    service.take();
    let multiple = BasicAckOptions { multiple: true };
    channel.basic_ack(0, multiple).await.unwrap();
    assert_eq!(settlements(&service.take()), []);
    drop(old);
    assert_eq!(
        settlements(&service.take()),
        expected(1..=2, "channel_lost")
    );
}

/// One script through all ways to settle: what the application saw, and the spans.
async fn settled(
    broker: &Broker,
    change: impl FnOnce(TraceConfig) -> TraceConfig,
) -> (Vec<String>, Vec<String>) {
    let (url, properties) = (broker.amqp_url(), ConnectionProperties::default());
    let service = Service::connect_with(&url, "planner", properties, change).await;
    service.queue("script", FieldTable::default()).await;
    let mut consumer = service.consume("script").await;
    send(&service, "script", 7).await;
    let taken = take(&mut consumer, 7).await;
    service.take();
    let one = BasicAckOptions::default();
    let many = BasicAckOptions { multiple: true };
    let discard = BasicNackOptions::default();
    let mut answers = vec![
        format!("ack {:?}", taken[0].ack(one).await),
        format!("ack again {:?}", taken[0].ack(one).await),
        format!("nack {:?}", taken[1].nack(discard).await),
        format!(
            "reject {:?}",
            taken[2].reject(BasicRejectOptions::default()).await
        ),
        format!("many {:?}", taken[4].ack(many).await),
        format!("usable {}", taken[4].acker.usable()),
    ];
    let spans: Vec<_> = service.take();
    let clone = taken[5].acker.clone();
    let race = tokio::join!(taken[5].ack(one), clone.ack(one));
    let mut race = [race.0.unwrap(), race.1.unwrap()];
    race.sort_unstable();
    answers.push(format!("race {race:?}"));
    let raced = service.take();
    assert_eq!(settlements(&raced), expected([6], "ack"));
    service.channel.close(200, "done".into()).await.unwrap();
    answers.push(format!("closed {:?}", taken[6].ack(one).await));
    drop(taken);
    assert_eq!(settlements(&service.take()), expected([7], "channel_lost"));
    let shown = spans.iter().map(|span| {
        let settlement = attribute(span, "rabtrace.settlement");
        let batch = attribute(span, "messaging.batch.message_count");
        format!("{} {} {settlement:?} {batch:?}", span.name, tag(span))
    });
    (answers, shown.collect())
}

/// A consumer keeps lapin's channel open when the application has no handle of it any more.
async fn after_the_channels_handle_is_gone(broker: &Broker) {
    let (url, properties) = (broker.amqp_url(), ConnectionProperties::default());
    let change = TraceConfig::with_fast_settle;
    let mut service = Service::connect_with(&url, "planner", properties, change).await;
    service.queue("orphans", FieldTable::default()).await;
    let mut consumer = service.consume("orphans").await;
    send(&service, "orphans", 3).await;
    let taken = take(&mut consumer, 2).await;
    let one = BasicAckOptions::default();
    assert!(taken[0].ack(one).await.unwrap());
    service.channel = service.connection.create_channel().await.unwrap();
    service.take();
    // A second ack of the first would close the channel.
    assert!(!taken[0].ack(one).await.unwrap());
    assert!(taken[1].ack(one).await.unwrap());
    assert!(!taken[1].ack(one).await.unwrap());
    let last = next(&mut consumer).await;
    assert!(last.ack(one).await.unwrap());
    drop((taken, last));
    assert_eq!(settlements(&service.take()), expected([2, 3], "ack"));
}

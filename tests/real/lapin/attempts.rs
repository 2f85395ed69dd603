//! A message that comes again: the attempt's number, the attempt before, why and where it died.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_sdk::trace::SpanData;
use rabtrace::demo::broker::Broker;
use rabtrace_lapin::TracedConsumer;
use rabtrace_lapin::lapin::BasicProperties;
use rabtrace_lapin::lapin::options::{
    BasicAckOptions, BasicPublishOptions, BasicRejectOptions, QueueDeclareOptions,
};
use rabtrace_lapin::lapin::types::{AMQPValue, FieldTable};

use super::service::{Service, assert_child, attribute, broker, next};

#[tokio::test]
async fn attempts_are_numbered_linked_and_explained() {
    let broker = broker().await;
    requeued_then_dead_lettered(&broker).await;
    over_the_delivery_limit(&broker).await;
    in_a_retry_loop(&broker).await;
    stamped(&broker).await;
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// Arguments of a queue that gives what it does not want to another one.
fn dead_letters_to(queue: &str) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-dead-letter-exchange".into(), text(""));
    arguments.insert("x-dead-letter-routing-key".into(), text(queue));
    arguments
}

async fn refuse(service: &Service, consumer: &mut TracedConsumer, requeue: bool) -> SpanData {
    let delivery = next(consumer).await;
    delivery
        .reject(BasicRejectOptions { requeue })
        .await
        .unwrap();
    drop(delivery);
    process(service)
}

async fn accept(service: &Service, consumer: &mut TracedConsumer) -> SpanData {
    let delivery = next(consumer).await;
    delivery.ack(BasicAckOptions::default()).await.unwrap();
    drop(delivery);
    process(service)
}

/// The span of a delivery, which ends after that of its settlement.
fn process(service: &Service) -> SpanData {
    let mut spans = service.take();
    assert_eq!(spans.len(), 2, "{spans:#?}");
    spans.remove(1)
}

/// Publishes one message; its span.
async fn publish(service: &Service, queue: &str) -> SpanData {
    service.publish("", queue).await.unwrap();
    service.take_one()
}

fn attempt(span: &SpanData) -> String {
    attribute(span, "rabtrace.attempt").unwrap_or_else(|| "1".to_owned())
}

fn death(span: &SpanData) -> [Option<String>; 3] {
    ["reason", "queue", "count"].map(|fact| attribute(span, &format!("rabtrace.death.{fact}")))
}

fn died(reason: &str, queue: &str, count: &str) -> [Option<String>; 3] {
    [reason, queue, count].map(|fact| Some(fact.to_owned()))
}

/// Every attempt is a child of the publish and links to it, then to the attempt before.
fn check_chain(publish: &SpanData, attempts: &[SpanData]) {
    let mut before = None;
    for (number, span) in (1..).zip(attempts) {
        assert_eq!(attempt(span), format!("{number}"), "{span:#?}");
        assert_child(span, publish);
        let links = span.links.iter().map(|link| link.span_context.span_id());
        let creation = Some(publish.span_context.span_id());
        let expect = creation.into_iter().chain(before);
        assert!(links.eq(expect), "{number}: {span:#?}");
        before = Some(span.span_context.span_id());
    }
}

async fn requeued_then_dead_lettered(broker: &Broker) {
    let service = Service::connect(broker, "planner").await;
    service.queue("dead", FieldTable::default()).await;
    service.queue("work", dead_letters_to("dead")).await;
    let (mut work, mut dead) = (service.consume("work").await, service.consume("dead").await);
    let publish = publish(&service, "work").await;
    let mut attempts = Vec::new();
    for requeue in [true, true, true, false] {
        attempts.push(refuse(&service, &mut work, requeue).await);
    }
    attempts.push(accept(&service, &mut dead).await);
    check_chain(&publish, &attempts);
    let redelivered = attempts.iter().map(|span| {
        let redelivered = attribute(span, "rabtrace.redelivered");
        redelivered.is_some_and(|value| value == "true")
    });
    assert!(redelivered.eq([false, true, true, true, false]));
    assert!(
        attempts[..4]
            .iter()
            .all(|span| death(span) == [const { None }; 3])
    );
    assert_eq!(death(&attempts[4]), died("rejected", "work", "1"));
}

async fn over_the_delivery_limit(broker: &Broker) {
    let service = Service::connect(broker, "planner").await;
    service.queue("given_up", FieldTable::default()).await;
    let mut arguments = dead_letters_to("given_up");
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(2));
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let channel = &service.channel;
    let declared = channel.queue_declare("limited".into(), options, arguments);
    declared.await.unwrap();
    let mut limited = service.consume("limited").await;
    let mut given_up = service.consume("given_up").await;
    let publish = publish(&service, "limited").await;
    let mut attempts = Vec::new();
    for _ in 0..3 {
        attempts.push(refuse(&service, &mut limited, true).await);
    }
    attempts.push(accept(&service, &mut given_up).await);
    check_chain(&publish, &attempts);
    assert_eq!(death(&attempts[3]), died("delivery_limit", "limited", "1"));
}

async fn in_a_retry_loop(broker: &Broker) {
    let service = Service::connect(broker, "planner").await;
    let mut arguments = dead_letters_to("again");
    arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(20));
    service.queue("later", arguments).await;
    service.queue("again", dead_letters_to("later")).await;
    let mut again = service.consume("again").await;
    let publish = publish(&service, "again").await;
    let mut attempts = Vec::new();
    for _ in 0..3 {
        attempts.push(refuse(&service, &mut again, false).await);
    }
    attempts.push(accept(&service, &mut again).await);
    check_chain(&publish, &attempts);
    // Each round dies twice: refused here, expired there.
    assert_eq!(death(&attempts[1]), died("expired", "later", "2"));
    assert_eq!(death(&attempts[3]), died("expired", "later", "6"));
}

async fn stamped(broker: &Broker) {
    let service = Service::connect(broker, "planner").await;
    service.queue("stamped", FieldTable::default()).await;
    let mut consumer = service.consume("stamped").await;
    let parts = |span: &SpanData| {
        ["ingress", "broker", "prefetch"]
            .map(|part| attribute(span, &format!("rabtrace.wait.{part}.duration")))
    };
    publish(&service, "stamped").await;
    let process = accept(&service, &mut consumer).await;
    assert_eq!(parts(&process), [const { None }; 3]);

    // As the broker's interceptors write them, where they run.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_millis()).unwrap();
    for (stamps, expect) in [
        (vec![("timestamp_in_ms", now + 1)], [true, false, false]),
        (
            vec![("x-opt-rabbitmq-sent-time", now - 10)],
            [false, false, true],
        ),
        (
            vec![
                ("timestamp_in_ms", now - 30),
                ("x-opt-rabbitmq-sent-time", now - 10),
            ],
            // Stamped before it was published: a clock is off.
            [false, true, true],
        ),
    ] {
        let mut headers = FieldTable::default();
        for (key, value) in stamps {
            headers.insert(key.into(), AMQPValue::LongLongInt(value));
        }
        let properties = BasicProperties::default().with_headers(headers);
        let options = BasicPublishOptions::default();
        let channel = &service.channel;
        // Ahead of the broker by its own clock: received after it was published.
        let sent = channel.basic_publish("".into(), "stamped".into(), options, b"", properties);
        sent.await.unwrap();
        service.take();
        let span = accept(&service, &mut consumer).await;
        let parts = parts(&span);
        let first_is_free = expect[0];
        for (number, (part, expect)) in parts.iter().zip(expect).enumerate() {
            // Whether now + 1 ms is after the publish is up to the machine.
            if !(first_is_free && number == 0) {
                assert_eq!(part.is_some(), expect, "{number} {span:#?}");
            }
        }
        if let Some(broker) = &parts[1] {
            assert_eq!(broker, "0.02");
        }
    }
}

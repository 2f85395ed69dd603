//! Messages of strangers: their context is linked to or not looked at, as the rule of their queue
//! says.

use opentelemetry::trace::SpanId;
use rabtrace::demo::broker::Broker;
use rabtrace_lapin::lapin::options::{BasicAckOptions, BasicPublishOptions};
use rabtrace_lapin::lapin::types::{AMQPValue, FieldTable};
use rabtrace_lapin::lapin::{BasicProperties, ConnectionProperties};
use rabtrace_lapin::{Relation, Rule};

use super::service::{Service, attribute, broker, next};

const HOSTILE_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const HOSTILE_SPAN: &str = "00f067aa0ba902b7";

#[tokio::test]
async fn a_rule_keeps_the_context_of_strangers_out() {
    let broker = broker().await;
    hostile(&broker, Relation::Parent).await;
    hostile(&broker, Relation::Link).await;
    hostile(&broker, Relation::Ignore).await;
}

async fn hostile(broker: &Broker, relation: Relation) {
    let queue = match relation {
        Relation::Parent => "trusted",
        Relation::Link => "public_in",
        Relation::Ignore => "hooks",
    };
    let (url, properties) = (broker.amqp_url(), ConnectionProperties::default());
    let service = Service::connect_with(&url, "planner", properties, |config| {
        config
            .with_rule(Rule::queue("public_*").with_relation(Relation::Link))
            .with_rule(Rule::queue("hooks").with_relation(Relation::Ignore))
    });
    let service = service.await;
    service.queue(queue, FieldTable::default()).await;
    send_hostile(&service, queue).await;
    let delivery = next(&mut service.consume(queue).await).await;
    let relayed = service.channel.basic_publish(
        "".into(),
        "nobody".into(),
        BasicPublishOptions::default(),
        b"body",
        delivery.properties.clone(),
    );
    relayed.await.unwrap();
    delivery.ack(BasicAckOptions::default()).await.unwrap();
    let spans = service.take();
    let [publish, ack, process] = spans.as_slice() else {
        panic!("{spans:#?}");
    };
    let follows = relation == Relation::Parent;
    for span in &spans {
        let trace = span.span_context.trace_id().to_string();
        assert_eq!(trace == HOSTILE_TRACE, follows, "{relation:?} {span:#?}");
    }
    let parent = process.parent_span_id;
    let expect = [SpanId::INVALID, SpanId::from_hex(HOSTILE_SPAN).unwrap()];
    assert_eq!(parent, expect[usize::from(follows)], "{relation:?}");
    for span in [process, ack] {
        let links = span
            .links
            .iter()
            .map(|link| link.span_context.span_id().to_string());
        let linked = links.eq([HOSTILE_SPAN]);
        assert_eq!(
            linked,
            relation != Relation::Ignore,
            "{relation:?} {span:#?}"
        );
    }
    // The body's publish follows the delivery, whatever the headers say that it passes on.
    assert_eq!(publish.parent_span_id, process.span_context.span_id());
    assert!(publish.links.links.is_empty(), "{relation:?} {publish:#?}");
    assert_eq!(
        attribute(process, "rabtrace.settlement").as_deref(),
        Some("ack")
    );
}

/// A stranger is not traced by us.
async fn send_hostile(service: &Service, queue: &str) {
    let mut headers = FieldTable::default();
    let parent = format!("00-{HOSTILE_TRACE}-{HOSTILE_SPAN}-01");
    headers.insert("traceparent".into(), AMQPValue::LongString(parent.into()));
    let properties = BasicProperties::default().with_headers(headers);
    let options = BasicPublishOptions::default();
    let channel = service.channel.untraced();
    let sent = channel.basic_publish("".into(), queue.into(), options, b"body", properties);
    sent.await.unwrap();
}

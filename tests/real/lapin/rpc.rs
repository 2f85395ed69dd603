//! Requests and replies: one trace, also for a reply that comes late, and no generated names.

use std::time::Duration;

use futures_util::StreamExt;
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SpanData;
use rabtrace_lapin::lapin::BasicProperties;
use rabtrace_lapin::lapin::options::{
    BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions, QueueDeclareOptions,
};
use rabtrace_lapin::lapin::types::FieldTable;
use rabtrace_lapin::message::Delivery;
use rabtrace_lapin::{TraceConfig, TracedConsumer};

use super::service::{Service, assert_child, attribute, broker, next};

const DIRECT: &str = "amq.rabbitmq.reply-to";

#[tokio::test]
async fn request_and_reply_are_one_trace() {
    let broker = broker().await;
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone()).build();
    let meters = SdkMeterProvider::builder().with_reader(reader).build();
    let change = |config: TraceConfig| config.with_meter_provider(&meters);
    let client = Service::configured(&broker.amqp_url(), "client", change).await;
    let server = Service::configured(&broker.amqp_url(), "server", change).await;
    server.queue("rpc", FieldTable::default()).await;
    let parts = (&client, &server);

    let generated = declare_reply_queue(&client).await;
    assert!(generated.starts_with("amq.gen-"));
    through(parts, &generated, "amq.gen").await;
    through(parts, DIRECT, DIRECT).await;
    client.queue("replies", FieldTable::default()).await;
    through(parts, "replies", "replies").await;

    meters.force_flush().unwrap();
    let metrics = format!("{:?}", exporter.get_finished_metrics().unwrap());
    assert!(metrics.contains("messaging.client.operation.duration"));
    assert!(metrics.contains("amq.gen"));
    for name in [generated.as_str(), "amq.gen-", "amq.rabbitmq.reply-to."] {
        assert!(!metrics.contains(name), "{name} is in a metric");
    }
}

async fn declare_reply_queue(client: &Service) -> String {
    let options = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    let arguments = FieldTable::default();
    let declared = client.channel.queue_declare("".into(), options, arguments);
    declared.await.unwrap().name().to_string()
}

async fn consume(service: &Service, queue: &str) -> TracedConsumer {
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let (channel, arguments) = (&service.channel, FieldTable::default());
    let consumer = channel.basic_consume(queue.into(), "".into(), options, arguments);
    consumer.await.unwrap()
}

async fn send(service: &Service, key: &str, properties: BasicProperties) {
    let options = BasicPublishOptions::default();
    let channel = &service.channel;
    let sent = channel.basic_publish("".into(), key.into(), options, b"body", properties);
    sent.await.unwrap().await.unwrap();
}

/// Answers a request from within the loop over the consumer.
async fn reply(server: &Service, request: Delivery) {
    let to = request.properties.reply_to().clone().unwrap();
    let id = request.properties.correlation_id().clone().unwrap();
    let properties = BasicProperties::default().with_correlation_id(id);
    send(server, to.as_str(), properties).await;
}

/// A reply in time, and one after the caller gave up.
async fn through((client, server): (&Service, &Service), reply_to: &str, name: &str) {
    let mut requests = consume(server, "rpc").await;
    let mut replies = consume(client, reply_to).await;
    for (id, is_late) in [("in time", false), ("late", true)] {
        let properties = BasicProperties::default()
            .with_reply_to(reply_to.into())
            .with_correlation_id(id.into());
        send(client, "rpc", properties).await;
        let request = next(&mut requests).await;
        if is_late {
            let wait = tokio::time::timeout(Duration::from_millis(20), replies.next());
            assert!(wait.await.is_err(), "a reply came before the answer");
        }
        reply(server, request).await;
        drop(next(&mut replies).await);
        assert_one_trace(&[client.take(), server.take()].concat(), id, name);
    }
    let tag = requests.tag();
    let cancelled = server
        .channel
        .basic_cancel(tag, BasicCancelOptions::default());
    cancelled.await.unwrap();
}

fn assert_one_trace(spans: &[SpanData], id: &str, reply_name: &str) {
    let named = |name: String| {
        let found = spans.iter().find(|span| span.name == name);
        found.unwrap_or_else(|| panic!("no span is named {name}: {spans:#?}"))
    };
    let request = named("publish rpc".to_owned());
    let handled = named("process rpc".to_owned());
    let answer = named(format!("publish {reply_name}"));
    let received = named(format!("process {reply_name}"));
    assert_child(handled, request);
    assert_child(answer, handled);
    assert_child(received, answer);
    assert_eq!(spans.len(), 4, "{spans:#?}");
    let conversation = "messaging.message.conversation_id";
    let is_anonymous = reply_name.starts_with("amq.");
    for span in spans {
        assert_eq!(attribute(span, conversation).as_deref(), Some(id));
    }
    for span in [answer, received] {
        let anonymous = attribute(span, "messaging.destination.anonymous");
        let expect = is_anonymous.then(|| "true".to_owned());
        assert_eq!(anonymous, expect, "{span:#?}");
    }
}

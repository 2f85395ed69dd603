//! What became of a publish is on its span.

use std::time::Duration;

use opentelemetry::trace::Status;
use rabtrace::demo::broker::Broker;
use rabtrace_lapin::Confirmation;
use rabtrace_lapin::lapin::options::{BasicGetOptions, BasicPublishOptions};
use rabtrace_lapin::lapin::types::{AMQPValue, FieldTable, LongString};
use rabtrace_lapin::lapin::{BasicProperties, ErrorKind};

use super::service::{Service, attribute, broker};
use crate::support::eventually;

#[tokio::test]
async fn what_became_of_a_publish_is_on_its_span() {
    let broker = broker().await;
    acknowledged(&broker).await;
    refused(&broker).await;
    returned(&broker).await;
    to_a_missing_exchange(&broker).await;
    given_up(&broker).await;
    with_headers_that_fill_the_frame(&broker).await;
}

fn outcome(service: &Service) -> (String, Option<String>, Status) {
    let span = service.take_one();
    (
        attribute(&span, "rabtrace.publish.outcome").unwrap(),
        attribute(&span, "error.type"),
        span.status,
    )
}

async fn acknowledged(broker: &Broker) {
    let service = Service::confirming(broker, "gateway").await;
    service.queue("confirmed", FieldTable::default()).await;
    let confirm = service.publish("", "confirmed").await.unwrap();
    assert_eq!(service.ended(), 0, "the span ended before the confirm");
    assert_eq!(confirm.await.unwrap(), Confirmation::Ack(None));
    assert_eq!(outcome(&service), ("acked".to_owned(), None, Status::Unset));
}

async fn refused(broker: &Broker) {
    let service = Service::confirming(broker, "gateway").await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    let overflow = AMQPValue::LongString("reject-publish".into());
    arguments.insert("x-overflow".into(), overflow);
    service.queue("full", arguments).await;
    let refused = eventually("a nack", Duration::from_secs(20), || async {
        let confirmation = service.publish("", "full").await.unwrap().await.unwrap();
        let span = outcome(&service);
        confirmation.is_nack().then_some(span)
    });
    let status = Status::error("the broker did not take the message");
    let expect = ("nacked".to_owned(), Some("nack".to_owned()), status);
    assert_eq!(refused.await, expect);
}

async fn returned(broker: &Broker) {
    let service = Service::confirming(broker, "gateway").await;
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let properties = BasicProperties::default();
    let channel = &service.channel;
    let published =
        channel.basic_publish("".into(), "nowhere".into(), options, b"body", properties);
    let confirmation = published.await.unwrap().await.unwrap();
    assert_eq!(confirmation.take_message().unwrap().data, b"body");
    let status = Status::error("NO_ROUTE");
    let expect = ("returned".to_owned(), Some("NO_ROUTE".to_owned()), status);
    assert_eq!(outcome(&service), expect);
}

async fn to_a_missing_exchange(broker: &Broker) {
    let service = Service::confirming(broker, "gateway").await;
    let confirm = service.publish("missing", "key").await.unwrap();
    let error = confirm.await.unwrap_err();
    let ErrorKind::ProtocolError(protocol) = error.kind() else {
        panic!("{error:?}");
    };
    assert_eq!(protocol.get_id(), 404);
    let expect = (
        "channel_lost".to_owned(),
        Some("NOT_FOUND".to_owned()),
        Status::error(error.to_string()),
    );
    assert_eq!(outcome(&service), expect);

    let closed = eventually("the channel's end", Duration::from_secs(10), || async {
        let published = service.publish("", "key").await;
        published.err().map(|error| (error, outcome(&service)))
    });
    let (error, (outcome, error_type, _)) = closed.await;
    assert!(
        matches!(error.kind(), ErrorKind::InvalidChannelState(..)),
        "{error:?}"
    );
    assert_eq!(outcome, "failed");
    assert_eq!(error_type.as_deref(), Some("InvalidChannelState"));
}

/// A dropped confirm is waited for in the background.
async fn given_up(broker: &Broker) {
    let service = Service::confirming(broker, "gateway").await;
    service.queue("unwatched", FieldTable::default()).await;
    drop(service.publish("", "unwatched").await.unwrap());
    let ended = eventually("the confirm", Duration::from_secs(10), || async {
        (service.ended() > 0).then(|| outcome(&service))
    });
    assert_eq!(ended.await, ("acked".to_owned(), None, Status::Unset));
    let waited = service.channel.wait_for_confirms().await.unwrap();
    assert!(waited.is_empty());
}

/// 131,000 bytes of headers leave no room for the context in a frame of 131,072, and 8,100 none in
/// the smaller frame that a connection asks for.
async fn with_headers_that_fill_the_frame(broker: &Broker) {
    let service = Service::confirming(broker, "gateway").await;
    service.queue("big", FieldTable::default()).await;
    for (length, expect) in [(1_000, true), (130_900, true), (131_000, false)] {
        assert_eq!(has_context(&service, length).await, expect, "{length}");
    }
    let url = format!("{}?frame_max=8192", broker.amqp_url());
    let service = Service::connect_to(&url, "gateway").await;
    let service = service.with_confirms().await;
    for (length, expect) in [(1_000, true), (8_100, false)] {
        assert_eq!(has_context(&service, length).await, expect, "{length}");
    }
}

/// Publishes a message with headers of that length, and tells whether it came with its context.
async fn has_context(service: &Service, length: usize) -> bool {
    let text: LongString = "x".repeat(length).into();
    let mut headers = FieldTable::default();
    headers.insert("filler".into(), AMQPValue::LongString(text));
    let properties = BasicProperties::default().with_headers(headers);
    let options = BasicPublishOptions::default();
    let channel = &service.channel;
    let published = channel.basic_publish("".into(), "big".into(), options, b"body", properties);
    let confirmation = published.await.unwrap().await.unwrap();
    assert!(confirmation.is_ack(), "{length}");
    let get = || channel.basic_get("big".into(), BasicGetOptions { no_ack: true });
    let message = eventually("the message", Duration::from_secs(10), || async {
        get().await.unwrap()
    });
    let message = message.await;
    let headers = message.properties.headers().as_ref().unwrap();
    headers.contains_key("traceparent")
}

//! A delivery's span ends with its settlement, whichever way that goes.

use futures_util::{FutureExt, StreamExt};
use opentelemetry::trace::{SpanId, Status};
use opentelemetry_sdk::trace::SpanData;
use rabtrace::demo::broker::Broker;
use rabtrace_lapin::lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicQosOptions, BasicRejectOptions,
};
use rabtrace_lapin::lapin::types::FieldTable;
use rabtrace_lapin::lapin::{Connection, ErrorKind};
use rabtrace_lapin::message::Delivery;

use super::service::{Service, assert_child, attribute, broker, next};

#[tokio::test]
async fn a_span_ends_with_the_settlement_of_its_delivery() {
    let broker = broker().await;
    refused_and_delivered_again(&broker).await;
    by_tag(&broker).await;
    dropped_unsettled(&broker).await;
    given_up_under_way(&broker).await;
    with_a_channel_that_goes(&broker).await;
    errors_are_lapins_own(&broker).await;
}

fn settlement(span: &SpanData) -> String {
    attribute(span, "rabtrace.settlement").unwrap()
}

async fn refused_and_delivered_again(broker: &Broker) {
    let service = Service::connect(broker, "planner").await;
    service.queue("retries", FieldTable::default()).await;
    let mut consumer = service.consume("retries").await;
    service.publish("", "retries").await.unwrap();
    let publish = service.take_one();

    let requeue = BasicNackOptions {
        requeue: true,
        ..BasicNackOptions::default()
    };
    next(&mut consumer).await.nack(requeue).await.unwrap();
    let first = service.take();
    assert_eq!(first[0].name, "nack retries");
    assert_eq!(settlement(&first[1]), "nack_requeue");
    assert_eq!(attribute(&first[1], "rabtrace.redelivered"), None);

    let requeue = BasicRejectOptions { requeue: true };
    next(&mut consumer).await.reject(requeue).await.unwrap();
    let second = service.take();
    assert_eq!(second[0].name, "reject retries");
    assert_eq!(settlement(&second[1]), "reject_requeue");
    assert_eq!(
        attribute(&second[1], "rabtrace.redelivered").as_deref(),
        Some("true")
    );

    next(&mut consumer)
        .await
        .reject(BasicRejectOptions::default())
        .await
        .unwrap();
    let third = service.take();
    assert_eq!(settlement(&third[1]), "reject_discard");
    for process in [&first[1], &second[1], &third[1]] {
        assert_child(process, &publish);
        let hash = attribute(process, "rabtrace.path.hash");
        assert_eq!(hash, attribute(&first[1], "rabtrace.path.hash"));
    }
}

async fn by_tag(broker: &Broker) {
    let service = Service::connect(broker, "planner").await;
    service.queue("batches", FieldTable::default()).await;
    let mut consumer = service.consume("batches").await;
    for _ in 0..5 {
        service.publish("", "batches").await.unwrap();
    }
    let mut deliveries: Vec<Delivery> = Vec::new();
    for _ in 0..5 {
        deliveries.push(next(&mut consumer).await);
    }
    service.take();
    let clone = service.channel.clone();
    let multiple = BasicAckOptions { multiple: true };
    clone
        .basic_ack(deliveries[2].delivery_tag, multiple)
        .await
        .unwrap();
    let spans = service.take();
    let (ack, processes) = spans.split_first().unwrap();
    assert_eq!(ack.name, "ack batches");
    assert_eq!(
        attribute(ack, "messaging.batch.message_count").as_deref(),
        Some("3")
    );
    assert_eq!(ack.links.links.len(), 3);
    assert_eq!(processes.len(), 3);
    assert!(processes.iter().all(|span| settlement(span) == "ack"));

    let tag = deliveries[4].delivery_tag;
    clone
        .basic_nack(tag, BasicNackOptions::default())
        .await
        .unwrap();
    let spans = service.take();
    assert_eq!(settlement(&spans[1]), "nack_discard");
    let tag = deliveries[3].delivery_tag;
    clone
        .basic_reject(tag, BasicRejectOptions::default())
        .await
        .unwrap();
    let spans = service.take();
    assert_eq!(settlement(&spans[1]), "reject_discard");
    drop(deliveries);
    assert_eq!(service.ended(), 0, "a span ended twice");
    let get = service
        .channel
        .basic_get("batches".into(), BasicGetOptions::default());
    assert!(
        get.await.unwrap().is_none(),
        "the broker saw other settlements"
    );
}

async fn dropped_unsettled(broker: &Broker) {
    let service = Service::connect(broker, "planner").await;
    service.queue("forgotten", FieldTable::default()).await;
    let mut consumer = service.consume("forgotten").await;
    service.publish("", "forgotten").await.unwrap();
    let delivery = next(&mut consumer).await;
    service.take();
    let Delivery { data, acker, .. } = delivery;
    assert_eq!((data.as_slice(), service.ended()), (&b"body"[..], 0));
    drop(acker);
    let process = service.take_one();
    assert_eq!(settlement(&process), "dropped_unsettled");
    assert_eq!(process.status, Status::Unset);
}

async fn given_up_under_way(broker: &Broker) {
    let service = Service::connect(broker, "planner").await;
    service.queue("hasty", FieldTable::default()).await;
    let one_by_one = service.channel.basic_qos(1, BasicQosOptions::default());
    one_by_one.await.unwrap();
    let mut consumer = service.consume("hasty").await;
    for _ in 0..2 {
        service.publish("", "hasty").await.unwrap();
    }
    let delivery = next(&mut consumer).await;
    service.take();
    let ack = delivery.ack(BasicAckOptions::default());
    assert!(ack.now_or_never().is_none(), "the ack was not under way");
    drop(delivery);
    let spans = service.take();
    let [ack, process] = spans.as_slice() else {
        panic!("{spans:#?}");
    };
    assert_eq!(ack.name, "ack hasty");
    assert_eq!(settlement(process), "ack");
    // The broker has it: it sends the next one.
    next(&mut consumer).await;
}

async fn with_a_channel_that_goes(broker: &Broker) {
    let service = Service::connect(broker, "planner").await;
    service.queue("lost", FieldTable::default()).await;
    let mut consumer = service.consume("lost").await;
    service.publish("", "lost").await.unwrap();
    let delivery = next(&mut consumer).await;
    service.take();
    // A tag that the broker never gave: it closes the channel.
    let unknown = service.channel.basic_ack(4_711, BasicAckOptions::default());
    unknown.await.unwrap();
    let error = consumer.next().await.unwrap().unwrap_err();
    let spans = service.take();
    let [ack, process] = spans.as_slice() else {
        panic!("{spans:#?}");
    };
    // Of no delivery: named for the broker.
    assert!(ack.name.starts_with("ack 127.0.0.1:"), "{}", ack.name);
    assert_eq!(ack.parent_span_id, SpanId::INVALID);
    assert_eq!(settlement(process), "channel_lost");
    assert_eq!(
        attribute(process, "error.type").as_deref(),
        Some("PRECONDITION_FAILED")
    );
    assert_eq!(process.status, Status::error(error.to_string()));
    assert!(!delivery.ack(BasicAckOptions::default()).await.unwrap());
    drop(delivery);
    assert_eq!(service.ended(), 0, "a span ended twice");
}

async fn errors_are_lapins_own(broker: &Broker) {
    let service = Service::connect(broker, "planner").await;
    let connection: &Connection = &service.connection;
    let lapin_channel = connection.create_channel().await.unwrap();
    let get = || BasicGetOptions::default();
    let expect = lapin_channel
        .basic_get("missing".into(), get())
        .await
        .unwrap_err();
    let error = service
        .channel
        .basic_get("missing".into(), get())
        .await
        .unwrap_err();
    assert_eq!(error, expect);
    let ErrorKind::ProtocolError(protocol) = error.kind() else {
        panic!("{error:?}");
    };
    assert_eq!(protocol.get_id(), 404);
    let receive = service.take_one();
    assert_eq!(receive.name, "receive missing");
    assert_eq!(
        attribute(&receive, "error.type").as_deref(),
        Some("NOT_FOUND")
    );
    assert_eq!(receive.status, Status::error(error.to_string()));
}

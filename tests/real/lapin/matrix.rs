//! Every way to receive gives the same span.

use std::pin::Pin;

use opentelemetry_sdk::trace::SpanData;
use rabtrace::demo::broker::Broker;
use rabtrace_lapin::ConsumerDelegate;
use rabtrace_lapin::lapin::BasicProperties;
use rabtrace_lapin::lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions,
};
use rabtrace_lapin::lapin::types::FieldTable;
use rabtrace_lapin::message::{Delivery, DeliveryResult};
use tokio::sync::mpsc;

use super::service::{Service, assert_child, attribute, broker, next};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Stream,
    Closure,
    ByHand,
    Get,
    NoAckStream,
    NoAckClosure,
    NoAckGet,
    Cancelled,
}

#[tokio::test]
async fn every_way_to_receive_gives_the_same_span() {
    let broker = broker().await;
    let expect = received(&broker, Way::Stream).await;
    assert!(expect.contains("messaging.message.id = m-1"), "{expect}");
    assert!(expect.contains("rabtrace.path.hash = "), "{expect}");
    for way in [
        Way::Closure,
        Way::ByHand,
        Way::Get,
        Way::NoAckStream,
        Way::NoAckClosure,
        Way::NoAckGet,
        Way::Cancelled,
    ] {
        let mut shown = received(&broker, way).await;
        if matches!(way, Way::NoAckStream | Way::NoAckClosure | Way::NoAckGet) {
            let settlement = "rabtrace.settlement = no_ack";
            assert!(shown.contains(settlement), "{shown}");
            shown = shown.replace(settlement, "rabtrace.settlement = ack");
        }
        assert_eq!(shown, expect, "{way:?}");
    }
}

/// The span of one delivery, after it was checked that there is one only.
async fn received(broker: &Broker, way: Way) -> String {
    let gateway = Service::connect(broker, "gateway").await;
    let planner = Service::connect(broker, "planner").await;
    gateway.queue("matrix", FieldTable::default()).await;
    gateway
        .channel
        .confirm_select(Default::default())
        .await
        .unwrap();
    let properties = BasicProperties::default()
        .with_message_id("m-1".into())
        .with_correlation_id("c-1".into());
    let options = BasicPublishOptions::default();
    let channel = &gateway.channel;
    let sent = channel.basic_publish("".into(), "matrix".into(), options, b"body", properties);
    assert!(sent.await.unwrap().await.unwrap().is_ack());
    receive(&planner, way).await;
    // Its consumer must not take the next message.
    planner.connection.close(200, "done".into()).await.unwrap();
    let publish = gateway.take_one();
    let processes: Vec<SpanData> = planner
        .take()
        .into_iter()
        .filter(|span| attribute(span, "messaging.operation.name").as_deref() == Some("process"))
        .collect();
    let [process] = processes.as_slice() else {
        panic!("{way:?}: {processes:#?}");
    };
    assert_child(process, &publish);
    let links = process.links.iter().map(|link| link.span_context.span_id());
    assert!(links.eq([publish.span_context.span_id()]), "{way:?}");
    shown(process)
}

async fn receive(planner: &Service, way: Way) {
    let no_ack = matches!(way, Way::NoAckStream | Way::NoAckClosure | Way::NoAckGet);
    let (sender, mut taken) = mpsc::channel(1);
    let delivery = if matches!(way, Way::Get | Way::NoAckGet) {
        let get = planner
            .channel
            .basic_get("matrix".into(), BasicGetOptions { no_ack });
        get.await.unwrap().unwrap().delivery
    } else {
        let options = BasicConsumeOptions {
            no_ack,
            ..BasicConsumeOptions::default()
        };
        let (queue, tag) = ("matrix".into(), "mine".into());
        let consumer = planner
            .channel
            .basic_consume(queue, tag, options, FieldTable::default());
        let mut consumer = consumer.await.unwrap();
        match way {
            Way::Closure | Way::NoAckClosure => consumer.set_delegate(move |result| {
                let sender = sender.clone();
                async move { hand_on(&sender, result).await }
            }),
            Way::ByHand => consumer.set_delegate(ByHand(sender)),
            _ => {
                let delivery = next(&mut consumer).await;
                sender.send(delivery).await.unwrap();
            }
        }
        let delivery = taken.recv().await.unwrap();
        let cancel = planner
            .channel
            .basic_cancel("mine".into(), BasicCancelOptions::default());
        if way == Way::Cancelled {
            cancel.await.unwrap();
            drop(consumer);
        }
        delivery
    };
    assert_eq!(
        processes(planner),
        0,
        "{way:?}: ended before it was settled"
    );
    if !no_ack {
        assert!(delivery.ack(BasicAckOptions::default()).await.unwrap());
        assert_eq!(processes(planner), 1, "{way:?}");
    }
    drop(delivery);
    assert_eq!(processes(planner), 1, "{way:?}");
}

/// How many spans of deliveries ended; they are kept.
fn processes(planner: &Service) -> usize {
    let spans = planner.seen();
    let is = |span: &&SpanData| span.name == "process matrix";
    spans.iter().filter(is).count()
}

struct ByHand(mpsc::Sender<Delivery>);

impl ConsumerDelegate for ByHand {
    fn on_new_delivery(
        &self,
        delivery: DeliveryResult,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let sender = self.0.clone();
        Box::pin(async move { hand_on(&sender, delivery).await })
    }
}

async fn hand_on(sender: &mpsc::Sender<Delivery>, delivery: DeliveryResult) {
    if let Ok(Some(delivery)) = delivery {
        sender.send(delivery).await.unwrap();
    }
}

/// Name, kind, status and attributes, without the values that are times.
fn shown(span: &SpanData) -> String {
    let attributes = span.attributes.iter().map(|attribute| {
        let key = attribute.key.as_str();
        if key.ends_with("duration") {
            return format!("{key} = some");
        }
        format!("{key} = {}", attribute.value)
    });
    let mut lines: Vec<String> = attributes.collect();
    lines.sort();
    let head = format!("{} {:?} {:?}", span.name, span.span_kind, span.status);
    format!("{head}\n{}", lines.join("\n"))
}

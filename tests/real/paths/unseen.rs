//! A path through services that know nothing of it: what they hand on is continued, what they do
//! unseen is shown as unknown.

use std::time::Duration;

use rabtrace_lapin::lapin::options::BasicAckOptions;
use rabtrace_lapin::lapin::types::FieldTable;

use super::{counts, meters, shut_down};
use crate::agent::Agent;
use crate::interop::peer::Peer;
use crate::lapin::service::{Service, broker, next};
use crate::support::eventually;

#[tokio::test]
async fn services_that_are_not_ours_are_unknown_parts_of_the_path() {
    let broker = broker().await;
    let agent = Agent::start(&[("broker.poll_interval", "1h")]).await;
    let url = broker.amqp_url();
    let (sender, taker) = (meters(&agent, "gateway"), meters(&agent, "archive"));
    let gateway = Service::configured(&url, "gateway", |config| {
        config.with_meter_provider(&sender)
    });
    let gateway = gateway.await.with_confirms().await;
    for queue in ["first", "second", "third"] {
        gateway.queue(queue, FieldTable::default()).await;
    }
    gateway.publish("", "first").await.unwrap().await.unwrap();
    Peer::Pika
        .run(&broker, &["consume", "first", "1", "second"])
        .await;
    Peer::Amqplib
        .run(&broker, &["consume", "second", "1", "third"])
        .await;
    let archive = Service::configured(&url, "archive", |config| config.with_meter_provider(&taker));
    let archive = archive.await;
    let mut consumer = archive.consume("third").await;
    let delivery = next(&mut consumer).await;
    delivery.ack(BasicAckOptions::default()).await.unwrap();
    shut_down([sender, taker]).await;

    let expect = [("gateway > first > ? > third > archive".to_owned(), 1)];
    eventually("the path is there", Duration::from_secs(30), || async {
        (counts(&agent) == expect).then_some(())
    })
    .await;
}

//! Publishes in a transaction end with it.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use opentelemetry_sdk::trace::SpanData;
use rabtrace::demo::broker::Broker;
use rabtrace_lapin::lapin::options::QueuePurgeOptions;
use rabtrace_lapin::lapin::types::FieldTable;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::service::{Service, attribute, broker, outcome};
use crate::support::eventually;

#[tokio::test]
async fn publishes_end_with_their_transaction() {
    let broker = broker().await;
    committed_and_rolled_back(&broker).await;
    lost(&broker).await;
    never_ended(&broker).await;
}

async fn service(broker: &Broker) -> Service {
    let service = Service::connect(broker, "gateway").await;
    service.queue("orders", FieldTable::default()).await;
    service.channel.tx_select().await.unwrap();
    service
}

async fn publish(service: &Service, exchange: &str) {
    for _ in 0..3 {
        let confirm = service.publish(exchange, "orders").await.unwrap();
        confirm.await.unwrap();
    }
    assert_eq!(service.ended(), 0, "the transaction goes on");
}

/// Operations and outcomes; the transaction's own span is first.
fn shown(spans: &[SpanData]) -> Vec<String> {
    let operation = |span| attribute(span, "messaging.operation.name").unwrap();
    let shown = |span| format!("{} {}", operation(span), outcome(span));
    spans.iter().map(shown).collect()
}

async fn committed_and_rolled_back(broker: &Broker) {
    let service = service(broker).await;
    for (commit, own, outcome) in [
        (true, "commit ", "committed"),
        (false, "rollback ", "rolled_back"),
        (true, "commit ", "committed"),
    ] {
        publish(&service, "").await;
        if commit {
            service.channel.tx_commit().await.unwrap();
        } else {
            service.channel.tx_rollback().await.unwrap();
        }
        let publish = format!("publish {outcome}");
        let expect = [own, &publish, &publish, &publish];
        assert_eq!(shown(&service.take()), expect);
        let options = QueuePurgeOptions::default();
        let purged = service.channel.queue_purge("orders".into(), options);
        let expect = if commit { 3 } else { 0 };
        assert_eq!(purged.await.unwrap(), expect);
    }
    service.assert_nothing_kept();
}

/// The broker closes the channel at the first publish; the answer is held back until the transaction
/// was committed, or is there before.
async fn lost(broker: &Broker) {
    let (url, answers) = held(broker).await;
    for (is_late, cause) in [(true, "NOT_FOUND"), (false, "InvalidChannelState")] {
        let service = Service::connect_to(&url, "gateway").await;
        service.channel.tx_select().await.unwrap();
        answers.send_replace(!is_late);
        let confirm = service.publish("missing", "orders").await.unwrap();
        drop(confirm);
        if !is_late {
            let is_closed = async || (!service.channel.status().connected()).then_some(());
            eventually("the channel closes", Duration::from_secs(10), is_closed).await;
        }
        // It is sent when it is first looked at.
        let mut commit = pin!(service.channel.tx_commit());
        let ended = poll!(commit.as_mut());
        answers.send_replace(true);
        let ended = match ended {
            Poll::Ready(ended) => ended,
            Poll::Pending => commit.await,
        };
        ended.unwrap_err();
        let expect = [
            format!("commit  {cause}"),
            format!("publish channel_lost {cause}"),
        ];
        assert_eq!(shown(&service.take()), expect);
        service.assert_nothing_kept();
    }
}

/// The broker behind a relay that hands its answers on only while it is told to.
async fn held(broker: &Broker) -> (String, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("amqp://guest:guest@{address}");
    let broker = broker.amqp_url();
    let to = broker.rsplit('@').next().unwrap().to_owned();
    let (answers, told) = watch::channel(true);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (mut from_client, mut to_client) = client.into_split();
            let server = TcpStream::connect(&to).await.unwrap();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
            let mut told = told.clone();
            tokio::spawn(async move {
                let mut bytes = vec![0; 64 << 10];
                while let Ok(length @ 1..) = from_server.read(&mut bytes).await {
                    told.wait_for(|is_told| *is_told).await.unwrap();
                    to_client.write_all(&bytes[..length]).await.unwrap();
                }
            });
        }
    });
    (url, answers)
}

async fn never_ended(broker: &Broker) {
    let mut service = service(broker).await;
    publish(&service, "").await;
    service.channel = service.connection.create_channel().await.unwrap();
    assert_eq!(shown(&service.take()), ["publish dropped"; 3]);
}

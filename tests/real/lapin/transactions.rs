//! Publishes in a transaction end with it.

use opentelemetry_sdk::trace::SpanData;
use rabtrace::demo::broker::Broker;
use rabtrace_lapin::lapin::options::QueuePurgeOptions;
use rabtrace_lapin::lapin::types::FieldTable;

use super::service::{Service, attribute, broker, outcome};

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

/// The broker closes the channel at the first publish.
async fn lost(broker: &Broker) {
    let service = service(broker).await;
    let confirm = service.publish("missing", "orders").await.unwrap();
    drop(confirm);
    service.channel.tx_commit().await.unwrap_err();
    let shown = shown(&service.take());
    // Where the close was faster than the commit, lapin knows of the channel's state alone.
    let is_late = shown[0] == "commit  InvalidChannelState";
    let cause = if is_late {
        "InvalidChannelState"
    } else {
        "NOT_FOUND"
    };
    let expect = [
        format!("commit  {cause}"),
        format!("publish channel_lost {cause}"),
    ];
    assert_eq!(shown, expect);
    service.assert_nothing_kept();
}

async fn never_ended(broker: &Broker) {
    let mut service = service(broker).await;
    publish(&service, "").await;
    service.channel = service.connection.create_channel().await.unwrap();
    assert_eq!(shown(&service.take()), ["publish dropped"; 3]);
}

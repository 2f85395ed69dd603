//! A poll of RabbitMQ 3.13, which no tree of Debian has: synthetic answers, as its source writes
//! them, and not recorded ones. Nodes tell depths with names that are escaped, and know no family of
//! counters; the listing has statistics only where columns are asked for.

use axum::Router;
use axum::extract::RawQuery;
use axum::routing::get;

use super::until::until;
use super::{peer, serve, watch};
use crate::model::Source;

/// Rows of the families that 3.13 has; what it does not know it leaves out without a word.
const DETAILED: &str = include_str!("../../fixtures/detailed-3.13-synthetic.txt");

const VHOST: &str = "odd v, \"x\"=\\/\u{e9}";

/// One queue as each kind of listing tells it.
fn listing(query: &str) -> String {
    let name = r#""vhost":"odd v, \"x\"=\\/é","name":"he said \"hi\"","type":"quorum""#;
    let rest = if query.contains("enable_queue_totals=true") {
        r#","messages":9,"messages_ready":9,"messages_unacknowledged":0"#
    } else if query.contains("columns=") {
        r#","state":"running","messages":3,"consumers":2,"message_stats":{"publish":11,"deliver_get":8,"ack":8}"#
    } else {
        // Cut short, unless `/api/queues/detailed` is asked for.
        r#","state":"running","arguments":{},"durable":true"#
    };
    format!("[{{{name}{rest}}}]")
}

fn management() -> Router {
    let queues = |RawQuery(query): RawQuery| async move { listing(&query.unwrap_or_default()) };
    let overview = || async {
        r#"{"cluster_name":"rabbit@vm","rabbitmq_version":"3.13.7","object_totals":{"queues":7}}"#
    };
    let nodes = || async {
        r#"[{"name":"rabbit@localhost","running":true,"uptime":60000,"applications":[{"name":"rabbit","version":"3.13.7"}]}]"#
    };
    let exchanges = || async {
        r#"[{"vhost":"/","name":"events","type":"topic","message_stats":{"publish_in":11,"publish_out":12}}]"#
    };
    Router::new()
        .route("/api/queues", get(queues))
        .route("/api/overview", get(overview))
        .route("/api/nodes", get(nodes))
        .route("/api/exchanges", get(exchanges))
}

#[tokio::test]
async fn depths_come_from_the_nodes_and_counters_from_the_listing_with_columns() {
    let detailed = || async { DETAILED };
    let prometheus = Router::new().route("/metrics/detailed", get(detailed));
    let mut watched = watch(serve(prometheus).await, serve(management()).await);
    let snapshot = until(&mut watched.monitor, |snapshot| {
        snapshot.poll.source == Source::Prometheus
            && snapshot.poll.counters.is_some()
            && snapshot.overview.version.is_some()
            && !snapshot.exchanges.is_empty()
    })
    .await;
    assert_eq!(snapshot.poll.counters, Some(Source::Management));
    assert_eq!((snapshot.queues.len(), snapshot.poll.bad_rows), (7, 0));
    assert_eq!(snapshot.overview.version.as_deref(), Some("3.13.7"));
    let mut queues = snapshot.queues.iter();
    let queue = queues
        .find(|queue| &*queue.queue == "he said \"hi\"")
        .unwrap();
    assert_eq!(&*queue.vhost, VHOST);
    assert_eq!(queue.queue_type.as_deref(), Some("quorum"));
    // The depth is the node's, which is newer; the counters are the listing's.
    assert_eq!((queue.messages, queue.consumers), (Some(3), Some(0)));
    assert_eq!(
        (queue.messages_publish, queue.messages_ack),
        (Some(11), Some(8))
    );
    let exchange = &snapshot.exchanges[0];
    assert_eq!(
        (exchange.messages_publish_in, exchange.messages_confirmed),
        (Some(11), None),
        "absent is not zero"
    );
}

#[tokio::test]
async fn without_its_prometheus_plugin_depths_come_from_the_totals() {
    let mut watched = watch(super::nobody(), serve(management()).await);
    let snapshot = until(&mut watched.monitor, |snapshot| {
        snapshot.poll.source == Source::Totals && snapshot.poll.counters.is_some()
    })
    .await;
    assert_eq!(peer(&snapshot, Source::Totals).unwrap().rows, 1);
    let queue = &snapshot.queues[0];
    assert_eq!(
        (queue.messages, queue.messages_publish),
        (Some(9), Some(11))
    );
}

//! Queues, a monitor, and the broker's own word, for the tests beside.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use rabtrace::config::{self, Config, Secret};
use rabtrace::demo::broker::Broker;
use rabtrace::health::Health;
use rabtrace::metrics::Metrics;
use rabtrace::model::{BrokerSnapshot, QueueSample};
use rabtrace::monitor::{Monitor, MonitorSetup, OtlpMetrics};
use rabtrace::tls::Material;

use crate::support::eventually;

/// Statistics of the management API are up to ten seconds old, and a busy machine is slow.
pub(super) const STATISTICS: Duration = Duration::from_secs(60);
/// A virtual host whose name has all that breaks formats but a line break.
pub(super) const ODD_VHOST: &str = "odd v, \"x\"=\\/%é";

pub(super) fn odd_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "plain",
        "a b",
        "a,b",
        "k=v",
        "he said \"hi\"",
        "c:\\temp\\",
        "a/b",
        "100%",
        "q?a=b#c",
        "\u{fc}ber-\u{1f600}",
        "\"} 5",
        "tab\there",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("x".repeat(255));
    names
}

pub(super) fn broker_config(broker: &Broker) -> config::Broker {
    config::Broker {
        amqp_url: Secret::new(broker.amqp_url()),
        management_url: Secret::new(broker.management_url()),
        prometheus_urls: vec![Secret::new(broker.prometheus_url())],
        // Whoever answers does so in time, on a busy machine too.
        poll_interval: Duration::from_secs(20),
        poll_timeout: Duration::from_secs(15),
        ..Config::default().broker
    }
}

pub(super) fn nowhere() -> Secret {
    Secret::new("http://127.0.0.1:1")
}

pub(super) fn client() -> reqwest::Client {
    Material::default().broker_client().unwrap()
}

pub(super) struct Watched {
    pub(super) monitor: Monitor,
    pub(super) health: Health,
    pub(super) metrics: Metrics,
}

pub(super) fn watch(broker: config::Broker) -> Watched {
    let (health, metrics) = (Health::default(), Metrics::new().unwrap());
    let monitor = Monitor::new(MonitorSetup {
        broker,
        client: client(),
        clock: SystemTime::now,
        metrics: metrics.clone(),
        component: health.component("broker"),
    });
    Watched {
        monitor,
        health,
        metrics,
    }
}

/// A channel with confirms in `vhost`, which is made.
pub(super) async fn channel(broker: &Broker, vhost: &str) -> (Connection, Channel) {
    let mut url = broker.amqp_url();
    if vhost != "/" {
        broker.rabbitmqctl(&["add_vhost", vhost]).await.unwrap();
        broker
            .rabbitmqctl(&["set_permissions", "-p", vhost, "guest", ".*", ".*", ".*"])
            .await
            .unwrap();
        let all = percent_encoding::NON_ALPHANUMERIC;
        url = format!(
            "{url}/{}",
            percent_encoding::utf8_percent_encode(vhost, all)
        );
    }
    let connection = Connection::connect(&url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .unwrap();
    (connection, channel)
}

pub(super) async fn declare(channel: &Channel, queue: &str) {
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(queue.into(), options, FieldTable::default())
        .await
        .unwrap();
}

pub(super) async fn declare_quorum(channel: &Channel, queue: &str) {
    let mut arguments = FieldTable::default();
    let kind = AMQPValue::LongString(LongString::from("quorum"));
    arguments.insert("x-queue-type".into(), kind);
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(queue.into(), options, arguments);
    declared.await.unwrap();
}

pub(super) async fn publish(channel: &Channel, queue: &str, number: usize) {
    let properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_timestamp(1_700_000_000);
    for _ in 0..number {
        channel
            .basic_publish(
                "".into(),
                queue.into(),
                BasicPublishOptions::default(),
                b"hello",
                properties.clone(),
            )
            .await
            .unwrap()
            .await
            .unwrap();
    }
}

pub(super) async fn get(channel: &Channel, queue: &str) -> lapin::message::BasicGetMessage {
    let message = channel
        .basic_get(queue.into(), BasicGetOptions::default())
        .await
        .unwrap();
    message.unwrap()
}

pub(super) fn find<'a>(
    snapshot: &'a BrokerSnapshot,
    vhost: &str,
    queue: &str,
) -> Option<&'a QueueSample> {
    let mut queues = snapshot.queues.iter();
    queues.find(|sample| &*sample.vhost == vhost && &*sample.queue == queue)
}

pub(super) type Depth = (Option<u64>, Option<u64>, Option<u64>, Option<u64>);

/// Ready, unacknowledged, all messages and consumers of each queue of `vhost`.
pub(super) fn depths(snapshot: &BrokerSnapshot, vhost: &str) -> BTreeMap<String, Depth> {
    let of_vhost = snapshot
        .queues
        .iter()
        .filter(|queue| &*queue.vhost == vhost);
    of_vhost
        .map(|queue| {
            let depth = (
                queue.messages_ready,
                queue.messages_unack,
                queue.messages,
                queue.consumers,
            );
            (queue.queue.to_string(), depth)
        })
        .collect()
}

/// The same, from the broker's own command.
pub(super) async fn listed(broker: &Broker, vhost: &str) -> BTreeMap<String, Depth> {
    let columns = "messages_ready messages_unacknowledged messages consumers name";
    let mut words = vec!["list_queues", "--formatter", "json", "-p", vhost];
    words.extend(columns.split(' '));
    let text = broker.rabbitmqctl(&words).await.unwrap();
    let rows: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    rows.iter()
        .map(|row| {
            let count = |name: &str| row[name].as_u64();
            let depth = (
                count("messages_ready"),
                count("messages_unacknowledged"),
                count("messages"),
                count("consumers"),
            );
            (row["name"].as_str().unwrap().to_owned(), depth)
        })
        .collect()
}

/// Polls until `probe` finds in a snapshot what it looks for.
pub(super) async fn poll_until<T>(
    what: &str,
    monitor: &mut Monitor,
    probe: impl Fn(&BrokerSnapshot) -> Option<T>,
) -> T {
    let monitor = tokio::sync::Mutex::new(monitor);
    // A poll may find nothing in time on a busy machine.
    let poll = || async { probe(&monitor.lock().await.poll_once().await.ok()?) };
    eventually(what, STATISTICS, poll).await
}

/// Fills an odd virtual host with queues of odd names, each another depth. Of those in "plain" one
/// is held; "a b" has a consumer that holds one.
pub(super) async fn fill(broker: &Broker) -> (Connection, Channel, Consumer) {
    let (connection, channel) = channel(broker, ODD_VHOST).await;
    for (index, name) in odd_names().iter().enumerate() {
        declare(&channel, name).await;
        publish(&channel, name, index + 1).await;
    }
    get(&channel, "plain").await;
    channel
        .basic_qos(1, BasicQosOptions::default())
        .await
        .unwrap();
    let mut consumer = channel
        .basic_consume(
            "a b".into(),
            "consumer".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    consumer.next().await.unwrap().unwrap();
    (connection, channel, consumer)
}

/// Attributes of the resources of which a snapshot tells by OTLP.
pub(super) fn otlp_resources(snapshot: &BrokerSnapshot) -> Vec<BTreeMap<String, String>> {
    let mut otlp = OtlpMetrics::new(1);
    let requests = otlp.requests(snapshot);
    let resources = requests.flat_map(|request| request.resource_metrics);
    resources
        .map(|of| {
            let attributes = of.resource.unwrap().attributes;
            let pair = |pair: KeyValue| (pair.key, format!("{:?}", pair.value.unwrap().value));
            attributes.into_iter().map(pair).collect()
        })
        .collect()
}

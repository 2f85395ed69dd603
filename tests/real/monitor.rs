//! The monitor against a real broker: its numbers are those of `rabbitmqctl`, whichever plugin
//! answers; odd names, refused logins, a broker that goes and comes back.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, BasicQosOptions,
    BasicRejectOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use rabtrace::config::{self, Secret};
use rabtrace::demo::broker::{Broker, Options};
use rabtrace::health::{Health, Status};
use rabtrace::metrics::Metrics;
use rabtrace::model::{BrokerSnapshot, QueueSample, Source};
use rabtrace::monitor::{Monitor, MonitorError, MonitorSetup, check, otlp_metrics, points};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::{eventually, free_port};

/// Statistics of the management API are up to ten seconds old.
const STATISTICS: Duration = Duration::from_secs(20);
/// A virtual host whose name has all that breaks formats but a line break.
const ODD_VHOST: &str = "odd v, \"x\"=\\/%é";

fn odd_names() -> Vec<String> {
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

fn broker_config(broker: &Broker) -> config::Broker {
    config::Broker {
        amqp_url: Secret::new(broker.amqp_url()),
        management_url: Secret::new(broker.management_url()),
        prometheus_urls: vec![Secret::new(broker.prometheus_url())],
        poll_interval: Duration::from_millis(500),
        poll_timeout: Duration::from_secs(5),
    }
}

fn nowhere() -> Secret {
    Secret::new(format!("http://127.0.0.1:{}", free_port()))
}

fn client() -> reqwest::Client {
    // Another test of this process may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

struct Watched {
    monitor: Monitor,
    health: Health,
    metrics: Metrics,
}

fn watch(broker: config::Broker) -> Watched {
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
async fn channel(broker: &Broker, vhost: &str) -> (Connection, Channel) {
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

async fn declare(channel: &Channel, queue: &str) {
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(queue.into(), options, FieldTable::default())
        .await
        .unwrap();
}

async fn publish(channel: &Channel, queue: &str, number: usize) {
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

async fn get(channel: &Channel, queue: &str) -> lapin::message::BasicGetMessage {
    let message = channel
        .basic_get(queue.into(), BasicGetOptions::default())
        .await
        .unwrap();
    message.unwrap()
}

fn find<'a>(snapshot: &'a BrokerSnapshot, vhost: &str, queue: &str) -> Option<&'a QueueSample> {
    let mut queues = snapshot.queues.iter();
    queues.find(|sample| &*sample.vhost == vhost && &*sample.queue == queue)
}

type Depth = (Option<u64>, Option<u64>, Option<u64>, Option<u64>);

/// Ready, unacknowledged, all messages and consumers of each queue of `vhost`.
fn depths(snapshot: &BrokerSnapshot, vhost: &str) -> BTreeMap<String, Depth> {
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
async fn listed(broker: &Broker, vhost: &str) -> BTreeMap<String, Depth> {
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
async fn poll_until<T>(
    what: &str,
    monitor: &mut Monitor,
    probe: impl Fn(&BrokerSnapshot) -> Option<T>,
) -> T {
    let monitor = tokio::sync::Mutex::new(monitor);
    let poll = || async { probe(&monitor.lock().await.poll_once().await.unwrap()) };
    eventually(what, STATISTICS, poll).await
}

/// Fills an odd virtual host with queues of odd names, each another depth. Of those in "plain" one
/// is held; "a b" has a consumer that holds one.
async fn fill(broker: &Broker) -> (Connection, Channel, Consumer) {
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

#[tokio::test]
async fn depths_are_those_of_rabbitmqctl_whatever_the_names_and_the_source() {
    let broker = Broker::start().await.unwrap();
    let _open = fill(&broker).await;
    let all = broker_config(&broker);
    let prometheus_only = config::Broker {
        management_url: nowhere(),
        ..all.clone()
    };
    let management_only = config::Broker {
        prometheus_urls: vec![nowhere()],
        ..all.clone()
    };
    let expect = listed(&broker, ODD_VHOST).await;
    assert_eq!(expect.len(), odd_names().len());
    assert_eq!(expect["plain"], (Some(0), Some(1), Some(1), Some(0)));
    assert_eq!(expect["a b"], (Some(1), Some(1), Some(2), Some(1)));
    for (what, config, source) in [
        ("both", all, Source::Prometheus),
        ("prometheus", prometheus_only, Source::Prometheus),
        ("management", management_only, Source::Management),
    ] {
        let mut watched = watch(config);
        let snapshot = poll_until(what, &mut watched.monitor, |snapshot| {
            // A node's own numbers come some seconds after it started.
            let node = snapshot.nodes.first()?;
            let whole = depths(snapshot, ODD_VHOST) == expect && node.mem_used > Some(1 << 20);
            whole.then(|| snapshot.clone())
        })
        .await;
        assert_eq!(snapshot.poll.source, source, "{what}");
        assert_eq!(snapshot.poll.bad_rows, 0, "{what}");
        assert_eq!(snapshot.nodes.len(), 1, "{what}");
        assert_eq!(&*snapshot.nodes[0].node, broker.node_name(), "{what}");
        assert_eq!(
            snapshot.nodes[0].version, snapshot.overview.version,
            "{what}"
        );
        assert_eq!(
            snapshot.overview.queues,
            Some(expect.len() as u64),
            "{what}"
        );
        assert!(!snapshot.cluster.is_empty(), "{what}");
        assert_eq!(watched.health.overall(), Status::Healthy, "{what}");
        assert!(points(&snapshot).len() > expect.len(), "{what}");
        assert_eq!(
            otlp_metrics(&snapshot, 1).resource_metrics.len(),
            expect.len(),
            "{what}"
        );
    }
    let findings = check(&broker_config(&broker), &client()).await;
    let fine = findings
        .iter()
        .all(|finding| matches!(&finding.outcome, Ok(text) if text.starts_with("RabbitMQ ")));
    assert!(fine && findings.len() == 2, "{findings:?}");
}

#[tokio::test]
async fn counters_and_rates_are_those_of_what_was_done() {
    let broker = Broker::start().await.unwrap();
    let (_connection, channel) = channel(&broker, "/").await;
    declare(&channel, "counted").await;
    let mut monitor = watch(broker_config(&broker)).monitor;
    publish(&channel, "counted", 4).await;
    let first = poll_until("the first publishes", &mut monitor, |snapshot| {
        let queue = find(snapshot, "/", "counted")?;
        (queue.messages_publish == Some(4)).then(|| queue.clone())
    })
    .await;
    assert_eq!(first.messages_ack, None, "absent is not zero");
    assert_eq!(first.queue_type.as_deref(), Some("classic"));
    assert_eq!(first.state.as_deref(), Some("running"));
    assert_eq!(first.node.as_deref(), Some(broker.node_name()));

    publish(&channel, "counted", 6).await;
    get(&channel, "counted")
        .await
        .reject(BasicRejectOptions { requeue: true })
        .await
        .unwrap();
    for _ in 0..3 {
        let message = get(&channel, "counted").await;
        message.ack(BasicAckOptions::default()).await.unwrap();
    }
    let (counted, exchange) = poll_until("all counters and a rate", &mut monitor, |snapshot| {
        let queue = find(snapshot, "/", "counted")?;
        let totals = (
            queue.messages_publish,
            queue.messages_deliver_get,
            queue.messages_ack,
            queue.messages_redeliver,
        );
        let exchange = snapshot
            .exchanges
            .iter()
            .find(|exchange| exchange.exchange.is_empty())?;
        let whole = totals == (Some(10), Some(4), Some(3), Some(1))
            && queue.messages_publish_rate > Some(0.0)
            && queue.message_bytes == Some(35)
            && exchange.messages_publish_in == Some(10);
        whole.then(|| (queue.clone(), exchange.clone()))
    })
    .await;
    // Six messages in one window of five seconds or more.
    let rate = counted.messages_publish_rate.unwrap();
    assert!(rate <= 6.0 / 4.7, "{rate}");
    assert!(counted.memory > Some(1000), "{counted:?}");
    assert_eq!(counted.head_message_timestamp, Some(1_700_000_000));
    assert_eq!(exchange.messages_publish_out, Some(10));
}

#[tokio::test]
async fn a_refused_login_says_so_and_never_shows_the_password() {
    let broker = Broker::start_with(Options {
        prometheus: false,
        ..Options::default()
    })
    .await
    .unwrap();
    let config = config::Broker {
        amqp_url: Secret::new("amqp://guest:canary@127.0.0.1"),
        prometheus_urls: vec![nowhere()],
        ..broker_config(&broker)
    };
    let mut watched = watch(config.clone());
    let error = watched.monitor.poll_once().await.unwrap_err();
    assert!(matches!(error, MonitorError::Login(_)), "{error}");
    let findings = check(&config, &client()).await;
    let report = watched.health.reports()["broker"].clone();
    let texts = format!("{error} {error:?} {findings:?} {report:?}");
    for expect in [
        "login refused (401)",
        "/api/",
        "guest",
        "set_user_tags rabtrace monitoring",
    ] {
        assert!(texts.contains(expect), "{expect:?} is not in {texts}");
    }
    assert!(!texts.contains("canary"), "{texts}");
    assert_eq!(report.status, Status::Degraded);
    assert!(
        findings.iter().all(|finding| finding.outcome.is_err()),
        "{findings:?}"
    );

    // A user of the broker without the tag is refused too, with the broker's reason.
    broker
        .rabbitmqctl(&["add_user", "plain", "canary"])
        .await
        .unwrap();
    let mut untagged = watch(config::Broker {
        amqp_url: Secret::new("amqp://plain:canary@127.0.0.1"),
        ..config
    });
    let error = untagged.monitor.poll_once().await.unwrap_err();
    assert!(matches!(error, MonitorError::Login(_)), "{error}");
    broker
        .rabbitmqctl(&["set_user_tags", "plain", "monitoring"])
        .await
        .unwrap();
    untagged.monitor.poll_once().await.unwrap();
}

/// How often the broker's component changed to each status, watched closely.
async fn transitions(health: Health, stop: CancellationToken) -> Vec<Status> {
    let mut seen = vec![health.overall()];
    while !stop.is_cancelled() {
        let now = health.overall();
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    seen
}

#[tokio::test]
async fn a_broker_that_goes_and_comes_back_is_told_once_each_and_makes_no_spike() {
    let mut broker = Broker::start().await.unwrap();
    let (connection, channel) = channel(&broker, "/").await;
    declare(&channel, "kept").await;
    publish(&channel, "kept", 20).await;
    let Watched {
        monitor,
        health,
        metrics,
    } = watch(broker_config(&broker));
    let (out, mut snapshots) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let running = tokio::spawn(monitor.run(out, stop.clone()));
    let watching = tokio::spawn(transitions(health.clone(), stop.clone()));
    let first = eventually("the first depth", STATISTICS, || {
        let snapshot = snapshots.try_recv().ok();
        async move {
            snapshot.filter(|snapshot| {
                find(snapshot, "/", "kept").is_some_and(|queue| queue.messages == Some(20))
            })
        }
    })
    .await;
    assert_eq!(
        find(&first, "/", "kept").unwrap().messages_publish_rate,
        None
    );

    drop((connection, channel));
    broker.kill().unwrap();
    eventually("away", STATISTICS, || {
        let status = health.overall();
        async move { (status == Status::Degraded).then_some(()) }
    })
    .await;
    while snapshots.try_recv().is_ok() {}
    broker.restart().await.unwrap();

    let mut after = Vec::new();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(12);
    while let Ok(Some(snapshot)) = tokio::time::timeout_at(deadline, snapshots.recv()).await {
        after.extend(find(&snapshot, "/", "kept").cloned());
    }
    assert!(after.len() > 5, "snapshots go on: {}", after.len());
    for queue in &after {
        assert!(queue.messages.is_none_or(|depth| depth == 20), "{queue:?}");
        assert!(
            queue.messages_publish_rate.is_none_or(|rate| rate == 0.0),
            "{queue:?}"
        );
    }
    assert_eq!(after.last().unwrap().messages, Some(20));
    // Nobody takes them: the queue to the flow is full, and each that is dropped is counted.
    eventually("a dropped snapshot", STATISTICS, || {
        let text = metrics.encode().unwrap();
        let dropped =
            text.contains(r#"rabtrace_dropped_total{reason="flow_full",stage="monitor"}"#);
        async move { dropped.then_some(()) }
    })
    .await;
    stop.cancel();
    running.await.unwrap();
    assert_eq!(
        watching.await.unwrap(),
        [
            Status::Starting,
            Status::Healthy,
            Status::Degraded,
            Status::Healthy
        ]
    );
}

//! The monitor against a real broker: its numbers are those of `rabbitmqctl`, whichever plugin
//! answers; odd names, refused logins, a broker that goes and comes back.

#![expect(clippy::unwrap_used, reason = "these functions serve tests alone")]

mod absent;
mod cluster;
mod consumers;
mod counted;
mod judged;
mod passive;
mod recovery;
mod selected;
mod setup;

use std::cell::Cell;

use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicRejectOptions, QueueBindOptions};
use lapin::types::FieldTable;
use rabtrace::config::{self, Secret};
use rabtrace::demo::broker::{Broker, Options};
use rabtrace::health::Status;
use rabtrace::model::{BindingSample, Source};
use rabtrace::monitor::{MonitorError, check, points};

use setup::{
    ODD_VHOST, broker_config, channel, client, declare, depths, fill, find, get, listed, nowhere,
    odd_names, otlp_resources, poll_until, publish, watch,
};

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
        ("management", management_only, Source::Totals),
    ] {
        let mut watched = watch(config);
        let snapshot = poll_until(what, &mut watched.monitor, |snapshot| {
            // A node's own numbers come some seconds after it started.
            let node = snapshot.nodes.first()?;
            let whole = depths(snapshot, ODD_VHOST) == expect
                && node.mem_used > Some(1 << 20)
                && snapshot.overview.version.is_some();
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
        assert!(points(&snapshot).count() > expect.len(), "{what}");
        assert_eq!(
            otlp_resources(&snapshot)
                .iter()
                .filter(|resource| resource.contains_key("rabbitmq.queue.name"))
                .count(),
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

/// Gets from the queue "empty".
async fn get_nothing(channel: &Channel, times: usize) {
    for _ in 0..times {
        let options = BasicGetOptions::default();
        let got = channel.basic_get("empty".into(), options).await.unwrap();
        assert!(got.is_none());
    }
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
        // Whoever goes on at once has no poll yet from which a rate may span.
        let seen = (queue.messages_publish, queue.messages_publish_rate);
        (seen == (Some(4), Some(0.0))).then(|| queue.clone())
    })
    .await;
    assert_eq!(first.messages_ack, None, "absent is not zero");
    assert_eq!(first.queue_type.as_deref(), Some("classic"));
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
    // On a busy machine the rate is over before the last counter is there.
    let most = Cell::new(0.0_f64);
    let (source, counted, exchange) = poll_until("all counters", &mut monitor, |snapshot| {
        let queue = find(snapshot, "/", "counted")?;
        let rate = queue.messages_publish_rate.unwrap_or_default();
        most.set(most.get().max(rate));
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
        let source = snapshot.poll.counters?;
        let whole = totals == (Some(10), Some(4), Some(3), Some(1))
            && most.get() > 0.0
            && (queue.message_bytes == Some(35) || source == Source::Prometheus)
            && exchange.messages_publish_in == Some(10);
        whole.then(|| (source, queue.clone(), exchange.clone()))
    })
    .await;
    // Six messages in one window of five seconds or more.
    assert!(most.get() <= 6.0 / 4.7, "{most:?}");
    if source == Source::Prometheus {
        // From 4.0 on the nodes count, and no listing is asked for.
        let seen = (exchange.messages_confirmed, exchange.messages_returned);
        assert_eq!(seen, (Some(10), Some(0)));
        return;
    }
    assert_eq!(counted.state.as_deref(), Some("running"));
    assert!(counted.memory > Some(1000), "{counted:?}");
    assert_eq!(counted.head_message_timestamp, Some(1_700_000_000));
    assert_eq!(exchange.messages_publish_out, Some(10));
}

#[tokio::test]
async fn gets_that_find_nothing_are_counted_and_have_a_rate() {
    let broker = Broker::start().await.unwrap();
    let (_connection, channel) = channel(&broker, "/").await;
    declare(&channel, "empty").await;
    let mut monitor = watch(broker_config(&broker)).monitor;
    get_nothing(&channel, 2).await;
    poll_until("a rate of none", &mut monitor, |snapshot| {
        let queue = find(snapshot, "/", "empty")?;
        let seen = (queue.messages_get_empty, queue.messages_get_empty_rate);
        (seen == (Some(2), Some(0.0))).then_some(())
    })
    .await;
    get_nothing(&channel, 6).await;
    let rate = poll_until("a rate of some", &mut monitor, |snapshot| {
        let queue = find(snapshot, "/", "empty")?;
        let rate = queue.messages_get_empty_rate.filter(|rate| *rate > 0.0)?;
        (queue.messages_get_empty == Some(8)).then_some(rate)
    })
    .await;
    assert!(rate <= 6.0 / 4.7, "{rate}");
}

#[tokio::test]
async fn bindings_are_told_when_they_are_new() {
    let broker = Broker::start().await.unwrap();
    let (_connection, channel) = channel(&broker, "/").await;
    declare(&channel, "orders").await;
    let bound = channel.queue_bind(
        "orders".into(),
        "amq.topic".into(),
        "order.#".into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    bound.await.unwrap();
    let mut monitor = watch(broker_config(&broker)).monitor;
    let told = poll_until("the binding", &mut monitor, |snapshot| {
        (!snapshot.bindings.is_empty()).then(|| snapshot.bindings.clone())
    })
    .await;
    let expect = BindingSample {
        vhost: "/".into(),
        source: "amq.topic".into(),
        destination: "orders".into(),
        destination_type: "queue".into(),
        routing_key: "order.#".into(),
        present: true,
    };
    assert_eq!(told, [expect], "not that of the default exchange");
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

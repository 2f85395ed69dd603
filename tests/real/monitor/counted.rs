//! What is counted of messages that went nowhere, of connections that come and go, of streams, and
//! of exchanges and queues that the configuration lets in.

use std::collections::BTreeMap;

use lapin::options::{
    BasicPublishOptions, BasicRejectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, ExchangeKind};
use rabtrace::config;
use rabtrace::demo::broker::Broker;
use rabtrace::model::{BrokerSnapshot, Source};

use super::setup::{
    broker_config, channel, declare, find, get, nowhere, poll_until, publish, watch,
};

async fn declare_with(channel: &Channel, queue: &str, arguments: &[(&str, AMQPValue)]) {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        table.insert((*name).into(), value.clone());
    }
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(queue.into(), options, table);
    declared.await.unwrap();
}

/// What all nodes, protocols and types of queues counted.
fn totals(snapshot: &BrokerSnapshot) -> BTreeMap<&'static str, u64> {
    let mut totals = BTreeMap::new();
    for (name, count) in snapshot.globals.iter().flat_map(|global| &global.counts) {
        *totals.entry(*name).or_default() += count;
    }
    totals
}

/// Three messages expire, two are rejected, of four only one has room.
async fn let_die(channel: &Channel) {
    let text = |text: &str| AMQPValue::LongString(LongString::from(text));
    let to_graveyard = [
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text("graveyard")),
    ];
    declare(channel, "graveyard").await;
    let with = |name, value| [&to_graveyard[..], &[(name, AMQPValue::LongInt(value))]].concat();
    declare_with(channel, "dying", &with("x-message-ttl", 1)).await;
    declare_with(channel, "short", &with("x-max-length", 1)).await;
    declare_with(channel, "picky", &to_graveyard).await;
    publish(channel, "dying", 3).await;
    publish(channel, "short", 4).await;
    publish(channel, "picky", 2).await;
    for _ in 0..2 {
        let message = get(channel, "picky").await;
        let reject = BasicRejectOptions { requeue: false };
        message.reject(reject).await.unwrap();
    }
}

/// One message that nobody takes comes back, two are gone.
async fn send_nowhere(channel: &Channel) {
    for mandatory in [true, false, false] {
        let options = BasicPublishOptions {
            mandatory,
            ..BasicPublishOptions::default()
        };
        let sent = channel.basic_publish(
            "amq.direct".into(),
            "nobody".into(),
            options,
            b"x",
            BasicProperties::default(),
        );
        sent.await.unwrap().await.unwrap();
    }
}

#[tokio::test]
async fn dead_letters_are_counted_by_reason_and_what_nobody_takes_by_exchange() {
    let broker = Broker::start().await.unwrap();
    let (_connection, channel) = channel(&broker, "/").await;
    let_die(&channel).await;
    send_nowhere(&channel).await;
    // Alone a node is asked for its totals with every poll.
    let mut monitor = watch(config::Broker {
        management_url: nowhere(),
        ..broker_config(&broker)
    })
    .monitor;
    let expect = [
        ("dead_lettered_expired", 3),
        ("dead_lettered_rejected", 2),
        ("dead_lettered_maxlen", 3),
        ("unroutable_returned", 1),
        ("unroutable_dropped", 2),
    ];
    let snapshot = poll_until("all counts", &mut monitor, |snapshot| {
        let totals = totals(snapshot);
        let whole = expect
            .iter()
            .all(|(name, count)| totals.get(name) == Some(count));
        whole.then(|| snapshot.clone())
    })
    .await;
    let dead = snapshot.globals.iter().find(|global| {
        let counts = &mut global.counts.iter();
        counts.any(|count| *count == ("dead_lettered_expired", 3))
    });
    let dead = dead.unwrap();
    assert_eq!(
        (&*dead.queue_type, &*dead.dead_letter_strategy),
        ("classic", "at_most_once")
    );
    let direct = poll_until("the exchange", &mut monitor, |snapshot| {
        // Before 4.0 nodes do not count by exchange.
        if snapshot.poll.counters.is_none() {
            return Some(None);
        }
        let mut exchanges = snapshot.exchanges.iter();
        let direct = exchanges.find(|exchange| &*exchange.exchange == "amq.direct")?;
        (direct.messages_dropped == Some(2)).then(|| Some(direct.clone()))
    })
    .await;
    if let Some(direct) = direct {
        let seen = (direct.messages_publish_in, direct.messages_returned);
        assert_eq!(seen, (Some(3), Some(1)));
    }
}

#[tokio::test]
async fn connections_channels_and_queues_that_come_and_go_are_counted() {
    let broker = Broker::start().await.unwrap();
    let mut monitor = watch(config::Broker {
        management_url: nowhere(),
        ..broker_config(&broker)
    })
    .monitor;
    let (connection, channel) = channel(&broker, "/").await;
    declare(&channel, "short-lived").await;
    channel
        .queue_delete("short-lived".into(), Default::default())
        .await
        .unwrap();
    connection.close(200, "done".into()).await.unwrap();
    poll_until("what came and went", &mut monitor, |snapshot| {
        let node = snapshot.nodes.first()?;
        let seen = [
            node.connections_opened,
            node.connections_closed,
            node.channels_opened,
            node.channels_closed,
            node.queues_declared,
            node.queues_created,
            node.queues_deleted,
        ];
        seen.iter().all(|count| *count >= Some(1)).then_some(())
    })
    .await;
}

/// What it says in `/metrics` comes once a minute only, and the listing of nodes has no counts.
#[tokio::test]
async fn a_node_tells_of_itself_with_every_poll() {
    let broker = Broker::start().await.unwrap();
    let (_connection, channel) = channel(&broker, "/").await;
    declare(&channel, "q").await;
    let mut monitor = watch(broker_config(&broker)).monitor;
    let whole = |snapshot: &BrokerSnapshot| {
        let [node] = &*snapshot.nodes else {
            return None;
        };
        assert_eq!(node.running, Some(true));
        let seen = [
            node.mem_used,
            node.mem_limit,
            node.disk_free,
            node.disk_free_limit,
            node.fd_used,
            node.fd_total,
            node.proc_used,
            node.proc_total,
            node.run_queue,
            node.connections_opened,
            node.connections_closed,
            node.channels_opened,
            node.queues_declared,
        ];
        let is_whole = seen.iter().all(Option::is_some) && node.connections_opened >= Some(1);
        is_whole.then_some(())
    };
    poll_until("a node's own numbers", &mut monitor, whole).await;
    for _ in 0..3 {
        let snapshot = monitor.poll_once().await.unwrap();
        assert!(whole(&snapshot).is_some(), "{:?}", snapshot.nodes);
    }
}

#[tokio::test]
async fn a_stream_has_a_depth_and_an_exchange_that_comes_later_has_its_type() {
    let broker = Broker::start().await.unwrap();
    let (_connection, channel) = channel(&broker, "/").await;
    let mut monitor = watch(broker_config(&broker)).monitor;
    poll_until(
        "the exchanges that are always there",
        &mut monitor,
        |snapshot| (snapshot.poll.source == Source::Prometheus).then_some(()),
    )
    .await;
    let stream = AMQPValue::LongString(LongString::from("stream"));
    declare_with(&channel, "log", &[("x-queue-type", stream)]).await;
    let options = ExchangeDeclareOptions::default();
    let declared = channel.exchange_declare(
        "later".into(),
        ExchangeKind::Fanout,
        options,
        FieldTable::default(),
    );
    declared.await.unwrap();
    let bound = channel.queue_bind(
        "log".into(),
        "later".into(),
        "".into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    bound.await.unwrap();
    for _ in 0..5 {
        let sent = channel.basic_publish(
            "later".into(),
            "".into(),
            BasicPublishOptions::default(),
            b"x",
            BasicProperties::default(),
        );
        sent.await.unwrap().await.unwrap();
    }
    poll_until("both with their types", &mut monitor, |snapshot| {
        let queue = find(snapshot, "/", "log")?;
        let mut exchanges = snapshot.exchanges.iter();
        let later = exchanges.find(|exchange| &*exchange.exchange == "later")?;
        let types = (queue.queue_type.as_deref(), later.exchange_type.as_deref());
        let counts = (queue.messages, later.messages_publish_in);
        let whole = types == (Some("stream"), Some("fanout")) && counts == (Some(5), Some(5));
        whole.then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_what_is_let_in_is_told_and_from_4_3_on_only_that_is_asked_for() {
    let broker = Broker::start().await.unwrap();
    let (_connection, channel) = channel(&broker, "/").await;
    for queue in ["orders.eu", "orders.tmp", "orders.us", "bills", "a+b"] {
        declare(&channel, queue).await;
    }
    for index in 0..30 {
        declare(&channel, &format!("other.{index}")).await;
    }
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let mut config = broker_config(&broker);
    config.selection.include_queues = names(&["orders.*", "bil?s", "a+b"]);
    config.selection.exclude_queues = names(&["*.tmp"]);
    let mut monitor = watch(config).monitor;
    let expect = ["a+b", "bills", "orders.eu", "orders.us"];
    let snapshot = poll_until("those that are let in", &mut monitor, |snapshot| {
        let mut names: Vec<&str> = snapshot.queues.iter().map(|queue| &*queue.queue).collect();
        names.sort_unstable();
        assert!(names.iter().all(|name| expect.contains(name)), "{names:?}");
        let is_whole = names == expect && snapshot.overview.version.is_some();
        is_whole.then(|| snapshot.clone())
    })
    .await;
    let version = snapshot.overview.version.unwrap();
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap());
    let is_filtered = (parts.next(), parts.next()) >= (Some(4), Some(3));
    let mut peers = snapshot.poll.peers.iter();
    let node = peers.find(|peer| peer.source == Source::Prometheus);
    let rows = node.unwrap().rows;
    // Three depths of each.
    assert_eq!(is_filtered, rows < 30 * 3, "{rows} rows of {version}");
}

#[tokio::test]
async fn queues_of_one_connection_and_those_without_a_name_share_a_series() {
    let broker = Broker::start().await.unwrap();
    let (_connection, channel) = channel(&broker, "/").await;
    declare(&channel, "own").await;
    for (queue, exclusive) in [("reply-1", true), ("reply-2", true), ("", false)] {
        let options = QueueDeclareOptions {
            exclusive,
            auto_delete: true,
            ..QueueDeclareOptions::default()
        };
        let declared = channel.queue_declare(queue.into(), options, FieldTable::default());
        declared.await.unwrap();
    }
    let mut monitor = watch(broker_config(&broker)).monitor;
    poll_until("two folds", &mut monitor, |snapshot| {
        let queues = snapshot.queues.iter();
        let seen: BTreeMap<&str, Option<u64>> =
            queues.map(|queue| (&*queue.queue, queue.folded)).collect();
        let expect = [
            ("(exclusive)", Some(2)),
            ("amq.gen-*", Some(1)),
            ("own", None),
        ];
        (seen == BTreeMap::from(expect)).then_some(())
    })
    .await;
}

//! What the configuration lets in: virtual hosts are asked for by name, also at the management API,
//! and of the exchanges the busiest have a series of their own.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, ExchangeKind};
use rabtrace::config::{self, Secret};
use rabtrace::demo::broker::Broker;
use rabtrace::model::{BrokerSnapshot, OTHER, Source};
use rabtrace::monitor::Monitor;

use super::setup::{broker_config, channel, declare, nowhere, poll_until, publish, watch};

/// A name that must be encoded whole.
const WANTED: &str = "wanted/v 1";
/// Queues of the other virtual host.
const OTHERS: u64 = 30;

async fn exchange(channel: &Channel, name: &str, messages: usize) {
    let options = ExchangeDeclareOptions::default();
    let table = FieldTable::default();
    let declared = channel.exchange_declare(name.into(), ExchangeKind::Fanout, options, table);
    declared.await.unwrap();
    for _ in 0..messages {
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default();
        let sent = channel.basic_publish(name.into(), "".into(), options, b"x", properties);
        sent.await.unwrap().await.unwrap();
    }
}

/// Rows that a source told of in a snapshot.
fn rows(snapshot: &BrokerSnapshot, source: Source) -> Option<u64> {
    let mut peers = snapshot.poll.peers.iter();
    Some(peers.find(|peer| peer.up && peer.source == source)?.rows)
}

/// Rows that each source told of, once all of `sources` did, and the exchange is there if one is
/// told of at all; nothing is ever told of another virtual host.
async fn until_wanted(
    what: &str,
    monitor: &mut Monitor,
    sources: &[Source],
) -> HashMap<Source, u64> {
    // What is costly is asked for now and then, and not all of it in the same poll.
    let seen = RefCell::new((HashMap::new(), false));
    poll_until(what, monitor, |snapshot| {
        let queues = snapshot.queues.iter().map(|queue| &*queue.vhost);
        let exchanges = snapshot.exchanges.iter().map(|exchange| &*exchange.vhost);
        let bindings = snapshot.bindings.iter().map(|binding| &*binding.vhost);
        let vhosts: BTreeSet<&str> = queues.chain(exchanges).chain(bindings).collect();
        assert!(vhosts.iter().all(|vhost| *vhost == WANTED), "{vhosts:?}");
        let (told, has_exchange) = &mut *seen.borrow_mut();
        let mut exchanges = snapshot.exchanges.iter();
        *has_exchange |= exchanges.any(|exchange| &*exchange.exchange == "events");
        for source in sources {
            told.extend(rows(snapshot, *source).map(|rows| (*source, rows)));
        }
        // Before 4.0 nodes tell of no exchange.
        let is_old = sources == [Source::Prometheus] && snapshot.poll.counters.is_none();
        let is_whole = snapshot.queues.len() == 3 && told.len() == sources.len();
        (is_whole && (*has_exchange || is_old)).then(|| told.clone())
    })
    .await
}

#[tokio::test]
async fn a_virtual_host_that_is_named_is_all_that_is_asked_for_and_told() {
    let broker = Broker::start().await.unwrap();
    let (_here, here) = channel(&broker, "/").await;
    for index in 0..OTHERS {
        declare(&here, &format!("other.{index}")).await;
    }
    exchange(&here, "noise", 3).await;
    let (_there, there) = channel(&broker, WANTED).await;
    for queue in ["a", "b", "c"] {
        declare(&there, queue).await;
        publish(&there, queue, 1).await;
    }
    exchange(&there, "events", 2).await;
    let mut named = broker_config(&broker);
    named.selection.include_vhosts = vec![WANTED.to_owned(), "not there".to_owned()];

    // The nodes: four rows of a queue at most, and counters from 4.0 on.
    let of_nodes = config::Broker {
        management_url: nowhere(),
        ..named.clone()
    };
    let mut monitor = watch(of_nodes).monitor;
    let told = until_wanted("of the nodes", &mut monitor, &[Source::Prometheus]).await;
    let told = told[&Source::Prometheus];
    assert!(told < OTHERS * 3, "{told} rows of three queues");
    let mut all = watch(broker_config(&broker)).monitor;
    let told = poll_until("all of them", &mut all, |snapshot| {
        rows(snapshot, Source::Prometheus)
    })
    .await;
    assert!(told >= OTHERS * 3, "{told} rows of all queues");

    // The management API, as a user that may use nothing anywhere. Without any permissions in the
    // virtual host it is told so, where a listing of everything would be empty without a word.
    let created = ["add_user", "watcher", "canary"];
    broker.rabbitmqctl(&created).await.unwrap();
    let tagged = ["set_user_tags", "watcher", "monitoring"];
    broker.rabbitmqctl(&tagged).await.unwrap();
    let of_management = config::Broker {
        amqp_url: Secret::new("amqp://watcher:canary@127.0.0.1"),
        prometheus_urls: vec![nowhere()],
        ..named
    };
    let mut monitor = watch(of_management).monitor;
    let refused = monitor.poll_once().await.unwrap_err().to_string();
    assert!(refused.contains("set_permissions -p VHOST"), "{refused}");
    let none = ["set_permissions", "-p", WANTED, "watcher", "^$", "^$", "^$"];
    broker.rabbitmqctl(&none).await.unwrap();
    let sources = [Source::Totals, Source::Management];
    let told = until_wanted("of management", &mut monitor, &sources).await;
    assert_eq!(told, sources.map(|source| (source, 3)).into());
}

#[tokio::test]
async fn the_busiest_exchanges_have_a_series_and_the_others_share_one() {
    let broker = Broker::start().await.unwrap();
    let (_connection, channel) = channel(&broker, "/").await;
    for (name, messages) in [("quiet", 1), ("busy", 30), ("slow", 5), ("busier", 60)] {
        exchange(&channel, name, messages).await;
    }
    let mut config = broker_config(&broker);
    config.selection.max_queues = 2;
    let mut monitor = watch(config).monitor;
    let snapshot = poll_until("all counts", &mut monitor, |snapshot| {
        let exchanges = snapshot.exchanges.iter();
        let counted = exchanges.filter_map(|exchange| exchange.messages_publish_in);
        (counted.sum::<u64>() == 90).then(|| snapshot.clone())
    })
    .await;
    let names: Vec<&str> = snapshot
        .exchanges
        .iter()
        .map(|exchange| &*exchange.exchange)
        .collect();
    assert_eq!(names, ["busier", "busy", OTHER]);
    let other = &snapshot.exchanges[2];
    assert_eq!(other.folded, Some(snapshot.poll.exchanges_cut));
    assert!(other.folded >= Some(2), "{other:?}");
    assert_eq!(other.messages_publish_in, None, "its members change");
}

//! A real cluster of two nodes: each is asked and they are added up, and a node that hangs, dies or
//! gives a queue away makes gaps for its own queues, never zeros, spikes or new series.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use lapin::{Channel, Connection};
use rabtrace::config::{self, Secret};
use rabtrace::demo::broker::{Broker, Options};
use rabtrace::model::{BrokerSnapshot, QueueSample, Source};
use rabtrace::monitor::{Monitor, points};

use super::setup::{
    broker_config, channel, declare, declare_quorum, find, otlp_resources, poll_until, publish,
    watch,
};

/// Two nodes, and a channel to each.
struct Cluster {
    one: Broker,
    other: Broker,
    here: (Connection, Channel),
    there: (Connection, Channel),
}

/// Queues "here" and "there", each on the node of its name, with messages from both.
async fn cluster() -> Cluster {
    let one = Broker::start().await.unwrap();
    let other = one.join(Options::default()).await.unwrap();
    let (here, there) = (channel(&one, "/").await, channel(&other, "/").await);
    declare(&here.1, "here").await;
    declare(&there.1, "there").await;
    for (queue, from_one, from_other) in [("here", 3, 4), ("there", 1, 2)] {
        publish(&here.1, queue, from_one).await;
        publish(&there.1, queue, from_other).await;
    }
    Cluster {
        one,
        other,
        here,
        there,
    }
}

impl Cluster {
    fn config(&self) -> config::Broker {
        let urls = [&self.one, &self.other].map(|node| Secret::new(node.prometheus_url()));
        config::Broker {
            prometheus_urls: urls.to_vec(),
            poll_interval: Duration::from_secs(1),
            poll_timeout: Duration::from_secs(5),
            ..broker_config(&self.one)
        }
    }
}

fn depth_at(snapshot: &BrokerSnapshot, queue: &str) -> Option<(u64, String)> {
    let queue = find(snapshot, "/", queue)?;
    Some((queue.messages?, queue.node.as_deref()?.to_owned()))
}

/// Waits until both queues are whole: depth, place and what was published.
async fn until_whole(monitor: &mut Monitor, cluster: &Cluster) {
    poll_until("both queues", monitor, |snapshot| {
        let (here, there) = (find(snapshot, "/", "here")?, find(snapshot, "/", "there")?);
        let whole = depth_at(snapshot, "here") == Some((7, cluster.one.node_name().to_owned()))
            && depth_at(snapshot, "there") == Some((3, cluster.other.node_name().to_owned()))
            && (here.messages_publish, there.messages_publish) == (Some(7), Some(3));
        whole.then_some(())
    })
    .await;
}

/// Every sample of one queue over some time, one poll a second; a poll that found nothing at all
/// is none. No poll may take longer than it takes to notice a node that hangs.
async fn course(monitor: &mut Monitor, queue: &str, within: Duration) -> Vec<Option<QueueSample>> {
    let (begun, mut seen) = (Instant::now(), Vec::new());
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    while begun.elapsed() < within {
        ticks.tick().await;
        let asked = Instant::now();
        let snapshot = monitor.poll_once().await;
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(10), "a poll took {took:?}");
        seen.push(
            snapshot
                .ok()
                .and_then(|snapshot| find(&snapshot, "/", queue).cloned()),
        );
    }
    seen
}

/// The depth is that or absent, totals never fall, and nothing was published.
fn assert_only_gaps(seen: &[Option<QueueSample>], depth: u64) {
    let mut published = 0;
    for sample in seen.iter().flatten() {
        assert!(
            sample.messages.is_none_or(|seen| seen == depth),
            "{sample:?}"
        );
        let ready = sample.messages_ready;
        assert!(ready.is_none_or(|ready| ready == depth), "{sample:?}");
        for rate in [sample.messages_publish_rate, sample.messages_ack_rate] {
            assert!(rate.is_none_or(|rate| rate == 0.0), "{sample:?}");
        }
        let total = sample.messages_publish.unwrap_or(published);
        assert!(total >= published, "{sample:?} after {published}");
        published = total;
    }
}

#[tokio::test]
async fn every_node_is_asked_and_a_queue_that_both_publish_to_counts_once() {
    let cluster = cluster().await;
    let mut monitor = watch(cluster.config()).monitor;
    until_whole(&mut monitor, &cluster).await;
    // A listing that was slow is left out for a while.
    let snapshot = poll_until("both nodes", &mut monitor, |snapshot| {
        (snapshot.nodes.len() == 2).then(|| snapshot.clone())
    })
    .await;
    let names: Vec<&str> = snapshot.queues.iter().map(|queue| &*queue.queue).collect();
    assert_eq!(BTreeSet::from_iter(&names).len(), names.len(), "{names:?}");
    assert_eq!(names.len(), 2);
    let expect = BTreeSet::from([cluster.one.node_name(), cluster.other.node_name()]);
    let nodes = snapshot.nodes.iter().map(|node| &*node.node);
    assert_eq!(nodes.collect::<BTreeSet<&str>>(), expect);
    let peers = snapshot.poll.peers.iter();
    let asked = peers.filter(|peer| peer.up && peer.source == Source::Prometheus);
    let asked: BTreeSet<&str> = asked.map(|peer| &*peer.node).collect();
    assert_eq!(asked, expect);
    // What is published from one node and from the other is one rate.
    publish(&cluster.here.1, "here", 10).await;
    publish(&cluster.there.1, "here", 10).await;
    poll_until("both halves", &mut monitor, |snapshot| {
        let queue = find(snapshot, "/", "here")?;
        assert!(
            queue.messages_publish.is_none_or(|total| total <= 27),
            "{queue:?}"
        );
        let whole = queue.messages_publish == Some(27) && queue.messages == Some(27);
        whole.then_some(())
    })
    .await;
}

/// Measurement and tags of a queue's point, and its resource in OTLP: what makes a series of it.
fn series(snapshot: &BrokerSnapshot, queue: &str) -> BTreeSet<String> {
    let of_queue = points(snapshot).filter(|point| {
        let is_it =
            |(key, value): &(&str, std::sync::Arc<str>)| *key == "queue" && &**value == queue;
        point.tags.iter().any(is_it)
    });
    let mut series: BTreeSet<String> = of_queue
        .map(|point| format!("{} {:?}", point.measurement, point.tags))
        .collect();
    let is_it = |resource: &&BTreeMap<String, String>| {
        let name = resource.get("rabbitmq.queue.name");
        name.is_some_and(|name| name.contains(&format!("\"{queue}\"")))
    };
    let resources = otlp_resources(snapshot);
    let of_queue = resources.iter().filter(is_it);
    series.extend(of_queue.map(|resource| format!("otlp {resource:?}")));
    series
}

#[tokio::test]
async fn a_leader_that_moves_makes_no_spike_and_no_new_series() {
    let cluster = cluster().await;
    declare_quorum(&cluster.here.1, "moving").await;
    publish(&cluster.here.1, "moving", 20).await;
    let mut monitor = watch(cluster.config()).monitor;
    let whole = |snapshot: &BrokerSnapshot| {
        let (depth, node) = depth_at(snapshot, "moving")?;
        let queue = find(snapshot, "/", "moving")?;
        let known = depth == 20 && queue.messages_publish == Some(20);
        (known && queue.queue_type.is_some()).then(|| (node, series(snapshot, "moving")))
    };
    let (from, before) = poll_until("the queue", &mut monitor, whole).await;
    assert_eq!(before.len(), 2, "{before:?}");
    let (one, other) = (cluster.one.node_name(), cluster.other.node_name());
    let to = if from == one { other } else { one };
    let transfer = format!(
        "{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, <<\"moving\">>)), \
         rabbit_quorum_queue:transfer_leadership(Q, '{to}')."
    );
    cluster.one.rabbitmqctl(&["eval", &transfer]).await.unwrap();
    let seen = course(&mut monitor, "moving", Duration::from_secs(15)).await;
    assert_only_gaps(&seen, 20);
    let after = poll_until("its new leader", &mut monitor, |snapshot| {
        let (node, series) = whole(snapshot)?;
        (node == to).then_some(series)
    })
    .await;
    assert_eq!(before, after);
}

#[tokio::test]
async fn a_node_that_hangs_holds_nothing_up_and_its_queues_are_gaps() {
    let cluster = cluster().await;
    // From 4.1 on a node answers after ten seconds only, as long as another one hangs.
    let mut monitor = watch(config::Broker {
        poll_timeout: Duration::from_secs(15),
        ..cluster.config()
    })
    .monitor;
    until_whole(&mut monitor, &cluster).await;
    cluster.other.pause().unwrap();
    let hung = Duration::from_secs(25);
    let (begun, mut here, mut there) = (Instant::now(), 0, Vec::new());
    while begun.elapsed() < hung {
        let asked = Instant::now();
        let snapshot = monitor.poll_once().await;
        let took = asked.elapsed();
        // Four fifths of the interval, half a second for what only adds to it, and a busy machine.
        assert!(took < Duration::from_secs(5), "a poll took {took:?}");
        let Ok(snapshot) = snapshot else { continue };
        let queue = find(&snapshot, "/", "here").unwrap();
        assert_eq!(queue.messages, Some(7), "{queue:?}");
        here += 1;
        there.push(find(&snapshot, "/", "there").cloned());
        let mut peers = snapshot.poll.peers.iter();
        assert!(peers.any(|peer| peer.up && &*peer.node == cluster.one.node_name()));
    }
    assert!(here >= 2, "only {here} polls");
    assert_only_gaps(&there, 3);
    let last = there.last().unwrap();
    assert_eq!(
        last.as_ref().and_then(|queue| queue.messages),
        None,
        "a gap: {last:?}"
    );
    cluster.other.resume().unwrap();
    let back = course(&mut monitor, "there", Duration::from_secs(10)).await;
    assert_only_gaps(&back, 3);
    // Counters of the management API, which hung with it, are asked for again much later.
    poll_until("its depth", &mut monitor, |snapshot| {
        (depth_at(snapshot, "there")?.0 == 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_node_that_dies_and_comes_back_is_a_gap_or_a_reset() {
    let mut cluster = cluster().await;
    let mut monitor = watch(cluster.config()).monitor;
    until_whole(&mut monitor, &cluster).await;
    cluster.other.kill().unwrap();
    let away = course(&mut monitor, "there", Duration::from_secs(10)).await;
    assert_only_gaps(&away, 3);
    let last = away.last().unwrap();
    assert_eq!(
        last.as_ref().and_then(|queue| queue.messages),
        None,
        "a gap: {last:?}"
    );
    cluster.other.restart().await.unwrap();
    let back = course(&mut monitor, "there", Duration::from_secs(15)).await;
    assert_only_gaps(&back, 3);
    poll_until("its depth", &mut monitor, |snapshot| {
        (depth_at(snapshot, "there")?.0 == 3 && depth_at(snapshot, "here")?.0 == 7).then_some(())
    })
    .await;
    // What is published from now on is counted from where the total stood.
    publish(&cluster.here.1, "there", 5).await;
    let published = |sample: &QueueSample| sample.messages_publish;
    let before = back
        .iter()
        .flatten()
        .filter_map(published)
        .max()
        .unwrap_or(0);
    poll_until("what came since", &mut monitor, |snapshot| {
        let queue = find(snapshot, "/", "there")?;
        let total = queue.messages_publish.unwrap_or(before);
        assert!(total >= before && total <= before.max(3) + 5, "{queue:?}");
        (queue.messages == Some(8)).then_some(())
    })
    .await;
}

//! What a round says of the cluster and its nodes, beside the queues.

use std::sync::Arc;

use super::listing::reply;
use super::round::Round;
use crate::model::{GlobalSample, NodeSample, OverviewSample};

/// The cluster's name.
pub(super) fn cluster(round: &Round) -> Option<Arc<str>> {
    let overview = reply(round.overview.as_ref()).and_then(|reply| reply.value.name.clone());
    let scrapes = || {
        let mut replies = round.scrapes.iter().flatten();
        replies.find_map(|reply| reply.value.cluster.clone())
    };
    overview.or_else(scrapes)
}

/// The nodes as the management API lists them, and what only they themselves tell; in a round
/// without a listing, those that answered.
pub(super) fn nodes(round: &Round) -> Vec<NodeSample> {
    let listing = reply(round.nodes.as_ref());
    let mut nodes = listing.map_or_else(Vec::new, |listing| listing.value.clone());
    let detailed = round.scrapes.iter().flatten();
    let detailed = detailed.filter_map(|reply| reply.value.own());
    // Which may have been asked for some polls ago: counts must not fall.
    let aggregated = round.node_scrapes.iter().flatten();
    let aggregated = aggregated.map(|reply| reply.value.node());
    for own in detailed.chain(aggregated) {
        match nodes.iter_mut().find(|node| node.node == own.node) {
            Some(node) => fill(node, own),
            None => nodes.push(own),
        }
    }
    let version = overview(round).version;
    for node in nodes.iter_mut().filter(|node| node.version.is_none()) {
        node.version.clone_from(&version);
    }
    nodes
}

/// Takes from another sample of the node what this one does not have.
fn fill(node: &mut NodeSample, other: NodeSample) {
    node.running = node.running.or(other.running);
    node.mem_used = node.mem_used.or(other.mem_used);
    node.mem_limit = node.mem_limit.or(other.mem_limit);
    node.mem_alarm = node.mem_alarm.or(other.mem_alarm);
    node.disk_free = node.disk_free.or(other.disk_free);
    node.disk_free_limit = node.disk_free_limit.or(other.disk_free_limit);
    node.disk_free_alarm = node.disk_free_alarm.or(other.disk_free_alarm);
    node.fd_used = node.fd_used.or(other.fd_used);
    node.fd_total = node.fd_total.or(other.fd_total);
    node.sockets_used = node.sockets_used.or(other.sockets_used);
    node.sockets_total = node.sockets_total.or(other.sockets_total);
    node.proc_used = node.proc_used.or(other.proc_used);
    node.proc_total = node.proc_total.or(other.proc_total);
    node.run_queue = node.run_queue.or(other.run_queue);
    node.uptime = node.uptime.or(other.uptime);
    node.connections_opened = node.connections_opened.or(other.connections_opened);
    node.connections_closed = node.connections_closed.or(other.connections_closed);
    node.channels_opened = node.channels_opened.or(other.channels_opened);
    node.channels_closed = node.channels_closed.or(other.channels_closed);
    node.queues_declared = node.queues_declared.or(other.queues_declared);
    node.queues_created = node.queues_created.or(other.queues_created);
    node.queues_deleted = node.queues_deleted.or(other.queues_deleted);
    node.unreachable_peers = node.unreachable_peers.or(other.unreachable_peers);
    if node.version.is_none() {
        node.version = other.version;
    }
}

/// What each node counted over all of its queues, in a round that asked for it.
pub(super) fn globals(round: &Round) -> Vec<GlobalSample> {
    let replies = round.node_scrapes.iter().flatten();
    replies.flat_map(|reply| reply.value.globals()).collect()
}

/// The totals of the cluster, in a round that asked for them; the sums of the nodes where the
/// management API is away.
pub(super) fn overview(round: &Round) -> OverviewSample {
    if let Some(reply) = reply(round.overview.as_ref()) {
        return reply.value.overview.clone();
    }
    let mut overview = OverviewSample::default();
    if !round.has_totals {
        for reply in round.node_scrapes.iter().flatten() {
            reply.value.add_to(&mut overview);
        }
    }
    overview
}

#[cfg(test)]
mod tests {
    use super::nodes;
    use crate::model::NodeSample;
    use crate::monitor::lane::Reply;
    use crate::monitor::prometheus::{DetailedScrape, NodeScrape};
    use crate::monitor::round::Round;

    fn scrape(node: &str) -> DetailedScrape {
        let text = format!(
            "# TYPE rabbitmq_detailed_queue_messages gauge\n\
             rabbitmq_detailed_connections_opened_total 7\n\
             rabbitmq_detailed_process_resident_memory_bytes 2000\n\
             rabbitmq_build_info{{rabbitmq_version=\"4.0.5\"}} 1\n\
             rabbitmq_identity_info{{rabbitmq_node=\"{node}\"}} 1\n"
        );
        DetailedScrape::parse(&text).unwrap()
    }

    #[test]
    fn a_node_is_as_it_is_listed_then_as_it_says_itself() {
        let listed = NodeSample {
            node: "a".into(),
            running: Some(true),
            mem_used: Some(1000),
            ..NodeSample::default()
        };
        let away = NodeSample {
            node: "b".into(),
            running: Some(false),
            ..NodeSample::default()
        };
        let aggregated = NodeScrape::parse(
            "rabbitmq_alarms_memory_used_watermark 1\nrabbitmq_connections_opened_total 6\n\
             rabbitmq_identity_info{rabbitmq_node=\"a\"} 1",
        );
        let mut round = Round {
            scrapes: vec![Ok(Reply::now(scrape("a")))],
            node_scrapes: vec![Ok(Reply::now(aggregated.unwrap()))],
            nodes: Some(Ok(Reply::now(vec![listed, away.clone()]))),
            has_totals: true,
            ..Round::default()
        };
        let whole = NodeSample {
            node: "a".into(),
            running: Some(true),
            mem_used: Some(1000),
            mem_alarm: Some(true),
            connections_opened: Some(7),
            version: Some("4.0.5".into()),
            ..NodeSample::default()
        };
        assert_eq!(nodes(&round), [whole.clone(), away]);
        (round.nodes, round.node_scrapes) = (None, Vec::new());
        let between = NodeSample {
            mem_used: Some(2000),
            mem_alarm: None,
            ..whole
        };
        assert_eq!(nodes(&round), [between]);
    }
}

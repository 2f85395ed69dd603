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

/// The nodes as the management API lists them, else as they tell of themselves; how many
/// connections, channels and queues came and went only they tell.
pub(super) fn nodes(round: &Round) -> Vec<NodeSample> {
    let own = || {
        let replies = round.node_scrapes.iter().flatten();
        replies.map(|reply| reply.value.node())
    };
    let Some(listing) = reply(round.nodes.as_ref()) else {
        return own().collect();
    };
    let version = overview(round).version;
    let mut nodes = listing.value.clone();
    for node in &mut nodes {
        if node.version.is_none() {
            node.version.clone_from(&version);
        }
        if let Some(own) = own().find(|own| own.node == node.node) {
            node.uptime = node.uptime.or(own.uptime);
            node.connections_opened = own.connections_opened;
            node.connections_closed = own.connections_closed;
            node.channels_opened = own.channels_opened;
            node.channels_closed = own.channels_closed;
            node.queues_declared = own.queues_declared;
            node.queues_created = own.queues_created;
            node.queues_deleted = own.queues_deleted;
            node.unreachable_peers = own.unreachable_peers;
        }
    }
    nodes
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

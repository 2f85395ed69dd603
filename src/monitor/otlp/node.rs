//! A node of the cluster, and what it counted over all of its queues.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, ResourceMetrics};

use super::encode::{Resourced, Times, count_point, text};
use super::metrics as of;
use crate::model::{BrokerSnapshot, GlobalSample, NodeSample};

/// One node; none if nothing is known of it.
pub(super) fn node(
    snapshot: &BrokerSnapshot,
    node: &NodeSample,
    times: Times,
) -> Option<ResourceMetrics> {
    let since = times.since(node.started_unix_nano);
    let mut metrics = Resourced::new(&snapshot.cluster).name("rabbitmq.node.name", &node.node);
    let millis = |uptime: std::time::Duration| u64::try_from(uptime.as_millis()).ok();
    for (metric, count) in [
        (&of::RUNNING, node.running.map(u64::from)),
        (&of::MEM_USED, node.mem_used),
        (&of::MEM_LIMIT, node.mem_limit),
        (&of::MEM_ALARM, node.mem_alarm.map(u64::from)),
        (&of::DISK_FREE, node.disk_free),
        (&of::DISK_FREE_LIMIT, node.disk_free_limit),
        (&of::DISK_FREE_ALARM, node.disk_free_alarm.map(u64::from)),
        (&of::FD_USED, node.fd_used),
        (&of::FD_TOTAL, node.fd_total),
        (&of::SOCKETS_USED, node.sockets_used),
        (&of::SOCKETS_TOTAL, node.sockets_total),
        (&of::PROC_USED, node.proc_used),
        (&of::PROC_TOTAL, node.proc_total),
        (&of::RUN_QUEUE, node.run_queue),
        (&of::UPTIME, node.uptime.and_then(millis)),
        (&of::CONNECTION_CREATED, node.connections_opened),
        (&of::CONNECTION_CLOSED, node.connections_closed),
        (&of::CHANNEL_CREATED, node.channels_opened),
        (&of::CHANNEL_CLOSED, node.channels_closed),
        (&of::QUEUE_DECLARED, node.queues_declared),
        (&of::QUEUE_CREATED, node.queues_created),
        (&of::QUEUE_DELETED, node.queues_deleted),
        (&of::UNREACHABLE_PEERS, node.unreachable_peers),
    ] {
        metrics.count(metric, since, count);
    }
    let of_node = |global: &&GlobalSample| global.node == node.node;
    for metric in of::OTLP_METRICS {
        let Some(event) = metric.name.strip_prefix(of::GLOBAL) else {
            continue;
        };
        let globals = snapshot.globals.iter().filter(of_node);
        metrics.points(
            metric,
            globals.flat_map(|global| count(global, event, since)),
        );
    }
    metrics.done()
}

fn count(global: &GlobalSample, event: &str, since: Times) -> Option<NumberDataPoint> {
    let (_, count) = global.counts.iter().find(|(name, _)| *name == event)?;
    Some(count_point(since, *count, attributes(global)))
}

fn attributes(global: &GlobalSample) -> Vec<KeyValue> {
    let all = [
        ("protocol", &*global.protocol),
        ("queue_type", &*global.queue_type),
        ("dead_letter_strategy", &*global.dead_letter_strategy),
    ];
    let known = all.into_iter().filter(|(_, value)| !value.is_empty());
    known.map(|(key, value)| text(key, value)).collect()
}

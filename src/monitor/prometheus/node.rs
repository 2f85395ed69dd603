//! `/metrics`: one node and what it adds to the totals, for when the management API is away.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::row::{labels, number, split_metric, whole};
use crate::model::{NodeSample, OverviewSample};

/// The aggregated numbers of one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeScrape {
    node: Arc<str>,
    version: Option<Arc<str>>,
    sums: HashMap<&'static str, f64>,
}

/// Metrics that are read; the rows of one are added up, whatever their labels.
const READ: &[&str] = &[
    "alarms_free_disk_space_watermark",
    "alarms_memory_used_watermark",
    "channels",
    "connections",
    "consumers",
    "disk_space_available_bytes",
    "disk_space_available_limit_bytes",
    "erlang_processes_limit",
    "erlang_processes_used",
    "erlang_scheduler_run_queue",
    "erlang_uptime_seconds",
    "global_messages_acknowledged_total",
    "global_messages_delivered_total",
    "global_messages_received_total",
    "process_max_fds",
    "process_max_tcp_sockets",
    "process_open_fds",
    "process_open_tcp_sockets",
    "process_resident_memory_bytes",
    "queue_messages",
    "queue_messages_ready",
    "queue_messages_unacked",
    "queues",
    "resident_memory_limit_bytes",
];

impl NodeScrape {
    /// Reads the text; none if it names no node.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut scrape = Self::default();
        for line in text.split('\n') {
            if let Some((name, rest)) = line.strip_prefix("rabbitmq_").and_then(split_metric) {
                scrape.read_row(name, rest);
            }
        }
        (!scrape.node.is_empty()).then_some(scrape)
    }

    fn read_row(&mut self, name: &str, rest: &str) {
        match name {
            "build_info" | "identity_info" => {
                labels(rest, |key, value| match key {
                    "rabbitmq_version" => self.version = Some(value.into()),
                    "rabbitmq_node" => self.node = value.into(),
                    _ => {}
                });
            }
            _ => {
                let Ok(index) = READ.binary_search(&name) else {
                    return;
                };
                let value = rest.rsplit_once("} ").map_or(rest, |(_, value)| value);
                if let (Some(name), Some(value)) = (READ.get(index), number(value)) {
                    *self.sums.entry(name).or_default() += value;
                }
            }
        }
    }

    fn count(&self, name: &str) -> Option<u64> {
        whole(*self.sums.get(name)?)
    }

    fn flag(&self, name: &str) -> Option<bool> {
        Some(self.count(name)? > 0)
    }

    /// The node.
    pub(crate) fn node(&self) -> NodeSample {
        let uptime = self.sums.get("erlang_uptime_seconds");
        NodeSample {
            node: self.node.clone(),
            running: Some(true),
            mem_used: self.count("process_resident_memory_bytes"),
            mem_limit: self.count("resident_memory_limit_bytes"),
            mem_alarm: self.flag("alarms_memory_used_watermark"),
            disk_free: self.count("disk_space_available_bytes"),
            disk_free_limit: self.count("disk_space_available_limit_bytes"),
            disk_free_alarm: self.flag("alarms_free_disk_space_watermark"),
            fd_used: self.count("process_open_fds"),
            fd_total: self.count("process_max_fds"),
            sockets_used: self.count("process_open_tcp_sockets"),
            sockets_total: self.count("process_max_tcp_sockets"),
            proc_used: self.count("erlang_processes_used"),
            proc_total: self.count("erlang_processes_limit"),
            run_queue: self.count("erlang_scheduler_run_queue"),
            uptime: uptime.and_then(|seconds| Duration::try_from_secs_f64(*seconds).ok()),
            version: self.version.clone(),
        }
    }

    /// Adds this node's part to the totals of the cluster.
    pub(crate) fn add_to(&self, overview: &mut OverviewSample) {
        let add = |place: &mut Option<u64>, name: &str| {
            if let Some(count) = self.count(name) {
                *place = Some(place.unwrap_or(0).saturating_add(count));
            }
        };
        add(&mut overview.connections, "connections");
        add(&mut overview.channels, "channels");
        add(&mut overview.consumers, "consumers");
        add(&mut overview.queues, "queues");
        add(&mut overview.messages, "queue_messages");
        add(&mut overview.messages_ready, "queue_messages_ready");
        add(&mut overview.messages_unack, "queue_messages_unacked");
        add(
            &mut overview.messages_published,
            "global_messages_received_total",
        );
        add(
            &mut overview.messages_delivered,
            "global_messages_delivered_total",
        );
        add(
            &mut overview.messages_acked,
            "global_messages_acknowledged_total",
        );
        if overview.version.is_none() {
            overview.version.clone_from(&self.version);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{NodeScrape, READ};
    use crate::model::OverviewSample;

    #[test]
    fn the_names_are_sorted() {
        assert!(READ.is_sorted());
    }

    #[test]
    fn a_node_and_its_part_of_the_totals() {
        let scrape = NodeScrape::parse(include_str!("../fixtures/metrics-3.10.8.txt")).unwrap();
        let node = scrape.node();
        assert_eq!(&*node.node, "rabbit@localhost");
        assert_eq!(node.version.as_deref(), Some("3.10.8"));
        assert_eq!(node.mem_used, Some(140_881_920));
        assert_eq!(node.mem_alarm, Some(false));
        assert_eq!(node.uptime.unwrap().as_secs(), 825);
        let mut overview = OverviewSample::default();
        scrape.add_to(&mut overview);
        scrape.add_to(&mut overview);
        assert_eq!(overview.queues, Some(22), "two nodes");
        assert_eq!(overview.messages_published, Some(66));
        assert_eq!(overview.exchanges, None);
    }

    #[test]
    fn another_text_is_refused() {
        for text in ["", "<html>", "rabbitmq_queues 3", "rabbitmq_identity_info{"] {
            assert!(NodeScrape::parse(text).is_none(), "{text}");
        }
    }
}

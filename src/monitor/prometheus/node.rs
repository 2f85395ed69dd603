//! One node: what it says of itself with every scrape, and in `/metrics` of all that it does, for when
//! the management API is away.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::row::{labels, number, split_metric, whole};
use crate::model::{GlobalSample, NodeSample, OverviewSample};

/// The numbers of one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeScrape {
    node: Arc<str>,
    version: Option<Arc<str>>,
    sums: HashMap<&'static str, f64>,
    globals: BTreeMap<[String; 3], Vec<(&'static str, u64)>>,
}

/// What comes behind `global_messages_`, and the names that the counts have here.
const GLOBALS: &[(&str, &str)] = &[
    ("acknowledged_total", "acked"),
    ("confirmed_total", "confirmed"),
    ("dead_lettered_confirmed_total", "dead_lettered_confirmed"),
    (
        "dead_lettered_delivery_limit_total",
        "dead_lettered_delivery_limit",
    ),
    ("dead_lettered_expired_total", "dead_lettered_expired"),
    ("dead_lettered_maxlen_total", "dead_lettered_maxlen"),
    ("dead_lettered_rejected_total", "dead_lettered_rejected"),
    ("delivered_total", "delivered"),
    ("get_empty_total", "get_empty"),
    ("received_total", "received"),
    ("redelivered_total", "redelivered"),
    ("routed_total", "routed"),
    ("unroutable_dropped_total", "unroutable_dropped"),
    ("unroutable_returned_total", "unroutable_returned"),
];

/// Metrics that are read; the rows of one are added up, whatever their labels.
const READ: &[&str] = &[
    "alarms_free_disk_space_watermark",
    "alarms_memory_used_watermark",
    "channels",
    "channels_closed_total",
    "channels_opened_total",
    "connections",
    "connections_closed_total",
    "connections_opened_total",
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
    "queues_created_total",
    "queues_declared_total",
    "queues_deleted_total",
    "resident_memory_limit_bytes",
    "unreachable_cluster_peers_count",
];

/// Those of them that `/metrics/detailed` has of a node too.
const OWN: &[&str] = &[
    "channels_closed_total",
    "channels_opened_total",
    "connections_closed_total",
    "connections_opened_total",
    "disk_space_available_bytes",
    "disk_space_available_limit_bytes",
    "erlang_processes_limit",
    "erlang_processes_used",
    "erlang_scheduler_run_queue",
    "erlang_uptime_seconds",
    "process_max_fds",
    "process_max_tcp_sockets",
    "process_open_fds",
    "process_open_tcp_sockets",
    "process_resident_memory_bytes",
    "queues_created_total",
    "queues_declared_total",
    "queues_deleted_total",
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

    /// The metric of a row of `/metrics/detailed`, if it is of the node itself.
    pub(super) fn own_metric(name: &str) -> Option<&'static str> {
        let name = name.strip_prefix("rabbitmq_detailed_")?;
        OWN.get(OWN.binary_search(&name).ok()?).copied()
    }

    /// Takes the value of such a row. There is one of each, and before those of queues: what a name
    /// that is not escaped looks like comes too late.
    pub(super) fn take_own(&mut self, metric: &'static str, row: &str) {
        if let Some(value) = number(row) {
            self.sums.entry(metric).or_insert(value);
        }
    }

    /// Whose numbers they are.
    pub(super) fn name(&mut self, node: Arc<str>, version: Option<Arc<str>>) {
        (self.node, self.version) = (node, version);
    }

    /// Connections and channels that came or went since it started.
    pub(super) fn churn(&self) -> u64 {
        let counts = [
            "connections_opened_total",
            "connections_closed_total",
            "channels_opened_total",
            "channels_closed_total",
        ];
        let counts = counts.into_iter().filter_map(|name| self.count(name));
        counts.fold(0, u64::saturating_add)
    }

    /// Whether it has less memory or disk than it must have: its alarms are raised, or about to be.
    pub(super) fn is_short(&self) -> bool {
        let is_below = |less: &str, more: &str| {
            let both = self.sums.get(less).zip(self.sums.get(more));
            both.is_some_and(|(less, more)| less <= more)
        };
        is_below(
            "resident_memory_limit_bytes",
            "process_resident_memory_bytes",
        ) || is_below(
            "disk_space_available_bytes",
            "disk_space_available_limit_bytes",
        )
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
                if let Some(name) = name.strip_prefix("global_messages_") {
                    self.read_global(name, rest);
                }
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

    fn read_global(&mut self, name: &str, rest: &str) {
        let place = GLOBALS.binary_search_by_key(&name, |(theirs, _)| theirs);
        let Some((_, name)) = place.ok().and_then(|place| GLOBALS.get(place)) else {
            return;
        };
        let mut of = [const { String::new() }; 3];
        let [protocol, queue_type, strategy] = &mut of;
        let value = labels(rest, |key, value| match key {
            "protocol" => *protocol = value.into_owned(),
            "queue_type" => {
                let name = value.strip_prefix("rabbit_").unwrap_or(&value);
                *queue_type = name.strip_suffix("_queue").unwrap_or(name).to_owned();
            }
            "dead_letter_strategy" => *strategy = value.into_owned(),
            _ => {}
        });
        if let Some(count) = value.and_then(number).and_then(whole) {
            self.globals.entry(of).or_default().push((name, count));
        }
    }

    /// What it counted over all of its queues, since it started.
    pub(crate) fn globals(&self) -> Vec<GlobalSample> {
        let sample =
            |([protocol, queue_type, strategy], counts): (&[String; 3], &Vec<_>)| GlobalSample {
                node: self.node.clone(),
                protocol: protocol.as_str().into(),
                queue_type: queue_type.as_str().into(),
                dead_letter_strategy: strategy.as_str().into(),
                counts: counts.clone(),
            };
        self.globals.iter().map(sample).collect()
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
            started_unix_nano: None,
            connections_opened: self.count("connections_opened_total"),
            connections_closed: self.count("connections_closed_total"),
            channels_opened: self.count("channels_opened_total"),
            channels_closed: self.count("channels_closed_total"),
            queues_declared: self.count("queues_declared_total"),
            queues_created: self.count("queues_created_total"),
            queues_deleted: self.count("queues_deleted_total"),
            unreachable_peers: self.count("unreachable_cluster_peers_count"),
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
    use super::{GLOBALS, NodeScrape, OWN, READ};
    use crate::model::OverviewSample;

    #[test]
    fn the_names_are_sorted() {
        assert!(READ.is_sorted() && OWN.is_sorted());
        assert!(GLOBALS.is_sorted());
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
    fn counts_by_protocol_and_type_of_queue() {
        let text = concat!(
            include_str!("../fixtures/metrics-3.10.8.txt"),
            "rabbitmq_global_messages_dead_lettered_expired_total{queue_type=\"rabbit_classic_queue\",",
            "dead_letter_strategy=\"at_most_once\"} 4\n"
        );
        let globals = NodeScrape::parse(text).unwrap().globals();
        let of = |protocol: &str, queue_type: &str| {
            let mut all = globals.iter();
            let found = all.find(|of| &*of.protocol == protocol && &*of.queue_type == queue_type);
            found.unwrap().counts.clone()
        };
        assert_eq!(of("amqp091", ""), [("received", 33)]);
        assert_eq!(of("amqp091", "quorum"), [("acked", 0), ("delivered", 0)]);
        assert_eq!(of("", "classic"), [("dead_lettered_expired", 4)]);
    }

    #[test]
    fn another_text_is_refused() {
        for text in ["", "<html>", "rabbitmq_queues 3", "rabbitmq_identity_info{"] {
            assert!(NodeScrape::parse(text).is_none(), "{text}");
        }
    }
}

//! What one poll of a broker saw. A value that the source does not have is `None`, never zero.

use std::sync::Arc;
use std::time::Duration;

/// Where the numbers of a poll came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// `/metrics/detailed` of the plugin `rabbitmq_prometheus`.
    Prometheus,
    /// `/api/queues` of the plugin `rabbitmq_management`, with its statistics.
    Management,
}

impl Source {
    /// The value of the tag `source`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::Management => "management",
        }
    }
}

/// One queue. Counters are totals since the broker began to count.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the names are the management API's")]
pub struct QueueSample {
    pub vhost: Arc<str>,
    pub queue: Arc<str>,
    /// `classic`, `quorum` or `stream`.
    pub queue_type: Option<Arc<str>>,
    pub node: Option<Arc<str>>,
    pub state: Option<Arc<str>>,
    pub messages: Option<u64>,
    pub messages_ready: Option<u64>,
    pub messages_unack: Option<u64>,
    pub consumers: Option<u64>,
    pub messages_publish: Option<u64>,
    /// Delivered by consume or get, with or without acknowledgement.
    pub messages_deliver_get: Option<u64>,
    pub messages_ack: Option<u64>,
    pub messages_redeliver: Option<u64>,
    /// Per second, from two polls of ours; none at first sight and after a reset.
    pub messages_publish_rate: Option<f64>,
    pub messages_deliver_get_rate: Option<f64>,
    pub messages_ack_rate: Option<f64>,
    pub messages_redeliver_rate: Option<f64>,
    /// Bytes of memory that the queue's process holds.
    pub memory: Option<u64>,
    /// Bytes of all message bodies in it.
    pub message_bytes: Option<u64>,
    /// Unix time, in seconds, of the `timestamp` property of the oldest message, where there is one.
    pub head_message_timestamp: Option<u64>,
}

/// One exchange.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the names are the management API's")]
pub struct ExchangeSample {
    pub vhost: Arc<str>,
    /// Empty for the default exchange.
    pub exchange: Arc<str>,
    pub exchange_type: Option<Arc<str>>,
    pub messages_publish_in: Option<u64>,
    pub messages_publish_out: Option<u64>,
    pub messages_publish_in_rate: Option<f64>,
    pub messages_publish_out_rate: Option<f64>,
}

/// One node of the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the names are the management API's")]
pub struct NodeSample {
    pub node: Arc<str>,
    pub running: Option<bool>,
    pub mem_used: Option<u64>,
    pub mem_limit: Option<u64>,
    pub mem_alarm: Option<bool>,
    pub disk_free: Option<u64>,
    pub disk_free_limit: Option<u64>,
    pub disk_free_alarm: Option<bool>,
    pub fd_used: Option<u64>,
    pub fd_total: Option<u64>,
    pub sockets_used: Option<u64>,
    pub sockets_total: Option<u64>,
    pub proc_used: Option<u64>,
    pub proc_total: Option<u64>,
    pub run_queue: Option<u64>,
    pub uptime: Option<Duration>,
    pub version: Option<Arc<str>>,
}

/// The totals of the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the names are the management API's")]
pub struct OverviewSample {
    pub connections: Option<u64>,
    pub channels: Option<u64>,
    pub consumers: Option<u64>,
    pub exchanges: Option<u64>,
    pub queues: Option<u64>,
    pub messages: Option<u64>,
    pub messages_ready: Option<u64>,
    pub messages_unack: Option<u64>,
    pub messages_published: Option<u64>,
    pub messages_delivered: Option<u64>,
    pub messages_acked: Option<u64>,
    pub version: Option<Arc<str>>,
}

/// How the poll itself went.
#[derive(Clone, Debug, PartialEq)]
pub struct PollSample {
    /// Where the queues' numbers came from.
    pub source: Source,
    /// From the first request to the last answer.
    pub duration: Duration,
    /// Bytes of all answers.
    pub bytes: u64,
    /// Rows that were read.
    pub rows: u64,
    /// Rows that could not be read.
    pub bad_rows: u64,
    /// How old the numbers may be at most, by the broker's own statistics interval.
    pub staleness: Duration,
}

/// One poll of one cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerSnapshot {
    /// Name of the cluster, as the broker tells it.
    pub cluster: Arc<str>,
    /// When the answers began to come in; nanoseconds since the Unix epoch.
    pub time_unix_nano: i64,
    /// Queues that exist.
    pub queues: Vec<QueueSample>,
    /// Exchanges.
    pub exchanges: Vec<ExchangeSample>,
    /// Nodes.
    pub nodes: Vec<NodeSample>,
    /// Totals.
    pub overview: OverviewSample,
    /// The poll itself.
    pub poll: PollSample,
}

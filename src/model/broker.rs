//! What one poll of a broker saw. A value that the source does not have is `None`, never zero.

use std::sync::Arc;
use std::time::Duration;

/// Where the numbers of a poll came from, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// `/metrics/detailed` of the plugin `rabbitmq_prometheus`.
    Prometheus,
    /// `/api/queues` of the plugin `rabbitmq_management`, with depths and without statistics.
    Totals,
    /// `/api/queues` of the plugin `rabbitmq_management`, with its statistics.
    Management,
    /// `queue.declare` with `passive`, over AMQP.
    Passive,
}

impl Source {
    /// The value of the tag `source`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::Totals => "totals",
            Self::Management => "management",
            Self::Passive => "amqp",
        }
    }
}

/// How the age of a queue's oldest message is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgeMethod {
    /// There is no message: nothing waits.
    Empty,
    /// The message's own property `timestamp`.
    Timestamp,
    /// When the count of published messages was what it must have been for that message.
    Estimate,
    /// It was there before the monitor: it is at least so old.
    AtLeast,
}

impl AgeMethod {
    /// The value of the field `head_age_method`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Timestamp => "timestamp",
            Self::Estimate => "estimate",
            Self::AtLeast => "at_least",
        }
    }
}

/// The age of a queue's oldest message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadAge {
    /// How long it has been there.
    pub age: Duration,
    /// How it is known.
    pub method: AgeMethod,
    /// By how much the age may be off either way; none where only a lower bound is known.
    pub error: Option<Duration>,
}

/// How a queue does, judged over its last polls; in the order of what it asks of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QueueStatus {
    /// It was empty within the window, or what comes in goes out.
    Ok,
    /// It gets shorter.
    Draining,
    /// Too few polls saw it.
    Unknown,
    /// Messages are acknowledged, and it only gets longer.
    FallingBehind,
    /// Messages come back more often than they are acknowledged.
    Poison,
    /// There are consumers, and nothing is acknowledged.
    Stalled,
    /// There are messages and no consumer.
    NoConsumer,
}

impl QueueStatus {
    /// The value of the field `status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Draining => "draining",
            Self::Unknown => "unknown",
            Self::FallingBehind => "falling_behind",
            Self::Poison => "poison",
            Self::Stalled => "stalled",
            Self::NoConsumer => "no_consumer",
        }
    }

    /// The value of the field `status_code`: the larger, the worse.
    #[must_use]
    pub const fn code(self) -> u64 {
        self as u64
    }
}

/// One queue. Counters are totals since the broker began to count; they never fall while the
/// monitor runs and the queue exists.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the names are the management API's")]
pub struct QueueSample {
    pub vhost: Arc<str>,
    pub queue: Arc<str>,
    /// `classic`, `quorum` or `stream`.
    pub queue_type: Option<Arc<str>>,
    pub node: Option<Arc<str>>,
    pub state: Option<Arc<str>>,
    /// Whether it belongs to one connection.
    pub exclusive: Option<bool>,
    pub messages: Option<u64>,
    pub messages_ready: Option<u64>,
    pub messages_unack: Option<u64>,
    pub consumers: Option<u64>,
    pub messages_publish: Option<u64>,
    /// Delivered by consume or get, with or without acknowledgement.
    pub messages_deliver_get: Option<u64>,
    pub messages_ack: Option<u64>,
    pub messages_redeliver: Option<u64>,
    /// Those of them that needed no acknowledgement: gone with that.
    pub messages_deliver_no_ack: Option<u64>,
    /// `basic.get` that found the queue empty.
    pub messages_get_empty: Option<u64>,
    /// Per second, from two polls of ours; none at first sight and after a reset.
    pub messages_publish_rate: Option<f64>,
    pub messages_deliver_get_rate: Option<f64>,
    pub messages_ack_rate: Option<f64>,
    pub messages_redeliver_rate: Option<f64>,
    pub messages_get_empty_rate: Option<f64>,
    /// Bytes of memory that the queue's process holds.
    pub memory: Option<u64>,
    /// Bytes of all message bodies in it.
    pub message_bytes: Option<u64>,
    /// Unix time, in seconds, of the `timestamp` property of the oldest message, where there is one.
    pub head_message_timestamp: Option<u64>,
    /// Age of the oldest message.
    pub head_age: Option<HeadAge>,
    /// Time until it is empty, if it goes on getting shorter as it did.
    pub drain_time: Option<Duration>,
    /// How it does.
    pub status: Option<QueueStatus>,
    /// When the monitor first saw it, or saw it again; nanoseconds since the Unix epoch.
    pub first_seen_unix_nano: Option<i64>,
    /// Since when its counters count without a break: what they had before is not known to have come
    /// since; nanoseconds since the Unix epoch.
    pub counted_since_unix_nano: Option<i64>,
    /// How many queues this series stands for, where it stands for several.
    pub folded: Option<u64>,
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
    /// Confirmed to their publishers.
    pub messages_confirmed: Option<u64>,
    /// Published as mandatory, and returned since no queue took them.
    pub messages_returned: Option<u64>,
    /// Published without mandatory, and dropped since no queue took them.
    pub messages_dropped: Option<u64>,
    pub messages_publish_in_rate: Option<f64>,
    pub messages_publish_out_rate: Option<f64>,
    /// Since when its counters count without a break; nanoseconds since the Unix epoch.
    pub counted_since_unix_nano: Option<i64>,
    /// How many exchanges this series stands for, if it stands for several.
    pub folded: Option<u64>,
}

/// A binding that came or went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the management API's")]
pub struct BindingSample {
    pub vhost: Arc<str>,
    /// The exchange that messages come from.
    pub source: Arc<str>,
    pub destination: Arc<str>,
    /// `queue` or `exchange`.
    pub destination_type: Arc<str>,
    pub routing_key: Arc<str>,
    /// Whether it is there now.
    pub present: bool,
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
    /// When it started, by its own uptime; nanoseconds since the Unix epoch.
    pub started_unix_nano: Option<i64>,
    /// Opened, closed, declared, created and deleted: counts since the node started.
    pub connections_opened: Option<u64>,
    pub connections_closed: Option<u64>,
    pub channels_opened: Option<u64>,
    pub channels_closed: Option<u64>,
    pub queues_declared: Option<u64>,
    pub queues_created: Option<u64>,
    pub queues_deleted: Option<u64>,
    /// Other nodes of the cluster that it does not reach.
    pub unreachable_peers: Option<u64>,
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

/// What one node counted for one protocol and one type of queue, since it started.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the names are those of rabbitmq_prometheus")]
pub struct GlobalSample {
    pub node: Arc<str>,
    /// `amqp091`, `amqp10`, `mqtt310` and so on; empty for dead letters.
    pub protocol: Arc<str>,
    /// `classic`, `quorum`, `stream`; empty where a count is of no queue's type.
    pub queue_type: Arc<str>,
    /// `at_most_once`, `at_least_once` or `disabled`; empty but for dead letters.
    pub dead_letter_strategy: Arc<str>,
    /// Name of each count, `received` or `dead_lettered_expired`, and the count.
    pub counts: Vec<(&'static str, u64)>,
}

/// How one peer was asked in a poll.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerSample {
    /// What was asked for.
    pub source: Source,
    /// The node's name, else host and port of its URL.
    pub node: Arc<str>,
    /// Whether it answered.
    pub up: bool,
    /// From the request to the last byte.
    pub duration: Option<Duration>,
    /// Bytes of the answer.
    pub bytes: u64,
    /// Rows that were read.
    pub rows: u64,
    /// Rows that could not be read.
    pub bad_rows: u64,
    /// Requests that were not made since one was still under way, so far.
    pub skipped: u64,
    /// Status of the answer.
    pub http_status: Option<u16>,
    /// Why there is no answer, in a word: `login`, `timeout`, `refused` and so on.
    pub error: Option<&'static str>,
}

impl PeerSample {
    /// Whether it answered, and refused the login.
    #[must_use]
    pub fn refuses_login(&self) -> bool {
        self.error == Some("login")
    }
}

/// How the poll itself went.
#[derive(Clone, Debug, PartialEq)]
pub struct PollSample {
    /// Where the queues' depths came from.
    pub source: Source,
    /// Where the queues' counters came from.
    pub counters: Option<Source>,
    /// Whether it looked at the watched queues alone, between two polls of all.
    pub of_watched: bool,
    /// Whether anything was learned of any queue.
    pub up: bool,
    /// From the first request to the last answer.
    pub duration: Duration,
    /// Bytes of all answers.
    pub bytes: u64,
    /// Rows that were read.
    pub rows: u64,
    /// Rows that could not be read.
    pub bad_rows: u64,
    /// Queues that exist and that the configuration lets in.
    pub queues: u64,
    /// Queues without a series of their own, as they are beyond the cap.
    pub series_cut: u64,
    /// Exchanges that are in the series `_other`.
    pub exchanges_cut: u64,
    /// How old the numbers may be at most, by the broker's own statistics interval.
    pub staleness: Duration,
    /// Each node and API that was asked.
    pub peers: Vec<PeerSample>,
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
    /// Bindings that came or went since they were listed last; all of them at first.
    pub bindings: Vec<BindingSample>,
    /// Nodes.
    pub nodes: Vec<NodeSample>,
    /// What each node counted, in a poll that asked for it.
    pub globals: Vec<GlobalSample>,
    /// Totals.
    pub overview: OverviewSample,
    /// The poll itself.
    pub poll: PollSample,
}

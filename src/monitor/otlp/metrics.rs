//! Every metric that the monitor tells by OTLP: what is encoded by, and what the page of reference
//! is made of. Units of the Collector's metrics are its own: to Prometheus they are part of the name.

/// What the names begin with of what a node counted over all of its queues.
pub(super) const GLOBAL: &str = "rabbitmq.global.messages.";

/// How a metric is aggregated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpKind {
    /// A cumulative sum that only grows.
    Counter,
    /// A cumulative sum that may fall.
    UpDownCounter,
    /// The newest value.
    Gauge,
    /// A cumulative histogram.
    Histogram,
}

impl OtlpKind {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::UpDownCounter => "up-down counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct OtlpMetric {
    /// What it is a metric of: `queue`, `exchange`, `node` or `cluster`.
    pub of: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// How it is aggregated.
    pub kind: OtlpKind,
    /// Attributes of its points.
    pub attributes: &'static str,
    /// What it says.
    pub about: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $of:literal, $name:literal, $unit:literal, $kind:ident, $attributes:literal, $about:literal;)+) => {
        $(pub(super) const $constant: OtlpMetric = OtlpMetric {
            of: $of,
            name: $name,
            unit: $unit,
            kind: OtlpKind::$kind,
            attributes: $attributes,
            about: $about,
        };)+

        /// Every metric of the monitor.
        pub const OTLP_METRICS: &[OtlpMetric] = &[$($constant),+];
    };
}

metrics! {
    CONSUMERS = "queue", "rabbitmq.consumer.count", "{consumers}", UpDownCounter, "", "";
    CURRENT = "queue", "rabbitmq.message.current", "{messages}", UpDownCounter, "state", "`ready` or `unacknowledged`";
    PUBLISHED = "queue", "rabbitmq.message.published", "{messages}", Counter, "", "";
    DELIVERED = "queue", "rabbitmq.message.delivered", "{messages}", Counter, "", "by consume or get, with or without acknowledgement";
    DELIVERED_NO_ACK = "queue", "rabbitmq.message.delivered_no_ack", "{messages}", Counter, "", "of these, those that needed no acknowledgement";
    ACKNOWLEDGED = "queue", "rabbitmq.message.acknowledged", "{messages}", Counter, "", "";
    REDELIVERED = "queue", "rabbitmq.message.redelivered", "{messages}", Counter, "", "";
    GET_EMPTY = "queue", "rabbitmq.queue.get_empty", "{gets}", Counter, "", "`basic.get` that found the queue empty";
    HEAD_AGE = "queue", "rabbitmq.queue.head.age", "s", Gauge, "", "age of the oldest message";
    HEAD_AGE_ERROR = "queue", "rabbitmq.queue.head.age_error", "s", Gauge, "", "by how much it may be off; absent where the age is a lower bound";
    DRAIN_TIME = "queue", "rabbitmq.queue.drain_time", "s", Gauge, "", "until it is empty; absent if it does not get shorter";
    STATUS = "queue", "rabbitmq.queue.status", "1", Gauge, "", "0 ok, 1 draining, 2 unknown, 3 falling behind, 4 poison, 5 stalled, 6 no consumer";
    MEMORY = "queue", "rabbitmq.queue.memory", "By", UpDownCounter, "", "of the queue's process";
    MESSAGE_BYTES = "queue", "rabbitmq.queue.message_bytes", "By", UpDownCounter, "", "of all message bodies in it";
    FOLDED = "queue", "rabbitmq.queue.folded", "{queues}", UpDownCounter, "", "how many queues share this series, where several do";

    PUBLISHED_IN = "exchange", "rabbitmq.exchange.messages.published_in", "{messages}", Counter, "", "";
    PUBLISHED_OUT = "exchange", "rabbitmq.exchange.messages.published_out", "{messages}", Counter, "", "before RabbitMQ 4.0, or from the management API";
    CONFIRMED = "exchange", "rabbitmq.exchange.messages.confirmed", "{messages}", Counter, "", "from RabbitMQ 4.0 on";
    DROPPED = "exchange", "rabbitmq.message.dropped", "{messages}", Counter, "reason", "unroutable, `returned` to the publisher or `dropped`; from RabbitMQ 4.0 on";
    EXCHANGES_FOLDED = "exchange", "rabbitmq.exchange.folded", "{exchanges}", UpDownCounter, "", "how many exchanges share this series, where several do";

    RUNNING = "node", "rabbitmq.node.running", "1", Gauge, "", "1 or 0";
    MEM_USED = "node", "rabbitmq.node.mem_used", "{bytes}", UpDownCounter, "", "";
    MEM_LIMIT = "node", "rabbitmq.node.mem_limit", "{bytes}", UpDownCounter, "", "";
    MEM_ALARM = "node", "rabbitmq.node.mem_alarm", "{status}", UpDownCounter, "", "1 or 0, once a minute";
    DISK_FREE = "node", "rabbitmq.node.disk_free", "{bytes}", UpDownCounter, "", "";
    DISK_FREE_LIMIT = "node", "rabbitmq.node.disk_free_limit", "{bytes}", UpDownCounter, "", "";
    DISK_FREE_ALARM = "node", "rabbitmq.node.disk_free_alarm", "{status}", UpDownCounter, "", "1 or 0, once a minute";
    FD_USED = "node", "rabbitmq.node.fd_used", "{fd}", UpDownCounter, "", "";
    FD_TOTAL = "node", "rabbitmq.node.fd_total", "{fd}", UpDownCounter, "", "";
    SOCKETS_USED = "node", "rabbitmq.node.sockets_used", "{sockets}", UpDownCounter, "", "before RabbitMQ 4.0";
    SOCKETS_TOTAL = "node", "rabbitmq.node.sockets_total", "{sockets}", UpDownCounter, "", "before RabbitMQ 4.0";
    PROC_USED = "node", "rabbitmq.node.proc_used", "{processes}", UpDownCounter, "", "Erlang processes";
    PROC_TOTAL = "node", "rabbitmq.node.proc_total", "{processes}", UpDownCounter, "", "";
    RUN_QUEUE = "node", "rabbitmq.node.run_queue", "{threads}", UpDownCounter, "", "";
    UPTIME = "node", "rabbitmq.node.uptime", "ms", Gauge, "", "";
    CONNECTION_CREATED = "node", "rabbitmq.node.connection_created", "{connections}", Counter, "", "";
    CONNECTION_CLOSED = "node", "rabbitmq.node.connection_closed", "{connections}", Counter, "", "";
    CHANNEL_CREATED = "node", "rabbitmq.node.channel_created", "{channels}", Counter, "", "";
    CHANNEL_CLOSED = "node", "rabbitmq.node.channel_closed", "{channels}", Counter, "", "";
    QUEUE_DECLARED = "node", "rabbitmq.node.queue_declared", "{queues}", Counter, "", "";
    QUEUE_CREATED = "node", "rabbitmq.node.queue_created", "{queues}", Counter, "", "";
    QUEUE_DELETED = "node", "rabbitmq.node.queue_deleted", "{queues}", Counter, "", "";
    UNREACHABLE_PEERS = "node", "rabbitmq.node.unreachable_peers", "{nodes}", UpDownCounter, "", "once a minute";
    GLOBAL_RECEIVED = "node", "rabbitmq.global.messages.received", "{messages}", Counter, "protocol", "once a minute, as all below";
    GLOBAL_ROUTED = "node", "rabbitmq.global.messages.routed", "{messages}", Counter, "protocol", "";
    GLOBAL_CONFIRMED = "node", "rabbitmq.global.messages.confirmed", "{messages}", Counter, "protocol", "";
    GLOBAL_UNROUTABLE_DROPPED = "node", "rabbitmq.global.messages.unroutable_dropped", "{messages}", Counter, "protocol", "";
    GLOBAL_UNROUTABLE_RETURNED = "node", "rabbitmq.global.messages.unroutable_returned", "{messages}", Counter, "protocol", "";
    GLOBAL_DELIVERED = "node", "rabbitmq.global.messages.delivered", "{messages}", Counter, "protocol, queue_type", "";
    GLOBAL_ACKED = "node", "rabbitmq.global.messages.acked", "{messages}", Counter, "protocol, queue_type", "";
    GLOBAL_REDELIVERED = "node", "rabbitmq.global.messages.redelivered", "{messages}", Counter, "protocol, queue_type", "";
    GLOBAL_GET_EMPTY = "node", "rabbitmq.global.messages.get_empty", "{messages}", Counter, "protocol, queue_type", "`basic.get` that found a queue empty";
    GLOBAL_EXPIRED = "node", "rabbitmq.global.messages.dead_lettered_expired", "{messages}", Counter, "queue_type, dead_letter_strategy", "";
    GLOBAL_REJECTED = "node", "rabbitmq.global.messages.dead_lettered_rejected", "{messages}", Counter, "queue_type, dead_letter_strategy", "";
    GLOBAL_MAXLEN = "node", "rabbitmq.global.messages.dead_lettered_maxlen", "{messages}", Counter, "queue_type, dead_letter_strategy", "";
    GLOBAL_DELIVERY_LIMIT = "node", "rabbitmq.global.messages.dead_lettered_delivery_limit", "{messages}", Counter, "queue_type, dead_letter_strategy", "";
    GLOBAL_DEAD_CONFIRMED = "node", "rabbitmq.global.messages.dead_lettered_confirmed", "{messages}", Counter, "queue_type, dead_letter_strategy", "";

    CONNECTIONS = "cluster", "rabbitmq.cluster.connections", "{connections}", UpDownCounter, "", "";
    CHANNELS = "cluster", "rabbitmq.cluster.channels", "{channels}", UpDownCounter, "", "";
    ALL_CONSUMERS = "cluster", "rabbitmq.cluster.consumers", "{consumers}", UpDownCounter, "", "";
    EXCHANGES = "cluster", "rabbitmq.cluster.exchanges", "{exchanges}", UpDownCounter, "", "";
    QUEUES = "cluster", "rabbitmq.cluster.queues", "{queues}", UpDownCounter, "", "";
    POLL_UP = "cluster", "rabbitmq.poll.up", "1", Gauge, "", "whether the newest poll learned anything";
    POLL_DURATION = "cluster", "rabbitmq.poll.duration", "s", Histogram, "source", "of polls, by where depths came from";
    POLL_ERRORS = "cluster", "rabbitmq.poll.errors", "{errors}", Counter, "source, error.type", "peers that did not answer: `login`, `timeout`, `refused`, …";
    POLL_BAD_ROWS = "cluster", "rabbitmq.poll.bad_rows", "{rows}", Counter, "", "rows that could not be read";
    POLL_STALENESS = "cluster", "rabbitmq.poll.staleness", "s", Gauge, "", "age that the numbers may have";
    SERIES_CUT = "cluster", "rabbitmq.poll.series_cut", "{queues}", UpDownCounter, "", "queues that are in `_other`";
    EXCHANGES_CUT = "cluster", "rabbitmq.poll.exchanges_cut", "{exchanges}", UpDownCounter, "", "exchanges that are in `_other`";
}

//! Which field of which measurement becomes which metric.

use std::time::Duration;

/// How the values of a metric come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The newest value.
    Gauge,
    /// A count as the broker tells it.
    Told,
    /// The sum of what each window counted since the agent started.
    Counted,
}

/// One metric: a value, or one for each word of a label.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    /// The label whose words tell the fields apart; empty if there is one field.
    pub(super) label: &'static str,
    /// Fields, and the word of each.
    pub(super) fields: &'static [(&'static str, &'static str)],
    /// The field's value times this is the metric's.
    pub(super) factor: f64,
}

/// The metrics that are made of one measurement.
pub(super) struct Group {
    pub(super) measurement: &'static str,
    /// Whether its points are those with the tag `node`, or without; `None`: all.
    pub(super) with_node: Option<bool>,
    /// Tags, and the label that each becomes.
    pub(super) labels: &'static [(&'static str, &'static str)],
    /// Label sets that show at most.
    pub(super) max_rows: usize,
    /// Age at which a value that is not told again no longer shows.
    pub(super) fresh: Duration,
    /// Whether a point tells all there is: what it lacks is not known any more.
    pub(super) whole: bool,
    pub(super) families: &'static [Family],
}

const fn gauge(
    name: &'static str,
    field: &'static [(&'static str, &'static str)],
    help: &'static str,
) -> Family {
    Family {
        name,
        help,
        kind: Kind::Gauge,
        label: "",
        fields: field,
        factor: 1.0,
    }
}

const fn told(
    name: &'static str,
    field: &'static [(&'static str, &'static str)],
    help: &'static str,
) -> Family {
    Family {
        kind: Kind::Told,
        ..gauge(name, field, help)
    }
}

const fn counted(
    name: &'static str,
    field: &'static [(&'static str, &'static str)],
    help: &'static str,
) -> Family {
    Family {
        kind: Kind::Counted,
        ..gauge(name, field, help)
    }
}

const fn by(label: &'static str, family: Family) -> Family {
    Family { label, ..family }
}

const fn times(factor: f64, family: Family) -> Family {
    Family { factor, ..family }
}

/// A few polls of the broker, or windows.
const MINUTE: Duration = Duration::from_secs(60);
/// A few rounds of what is asked once a minute.
const MINUTES: Duration = Duration::from_secs(200);

/// Every metric of this module but those of paths.
pub(super) const GROUPS: &[Group] = &[
    Group {
        measurement: "rabbitmq_queue",
        with_node: None,
        labels: &[("vhost", "vhost"), ("queue", "queue")],
        max_rows: 1_000,
        fresh: MINUTE,
        whole: true,
        families: QUEUE,
    },
    Group {
        measurement: "rabbitmq_node",
        with_node: None,
        labels: &[("node", "node")],
        max_rows: 100,
        fresh: MINUTES,
        whole: false,
        families: NODE,
    },
    Group {
        measurement: "rabbitmq_poll",
        with_node: Some(false),
        labels: &[],
        max_rows: 1,
        fresh: MINUTES,
        whole: false,
        families: POLL,
    },
    Group {
        measurement: "rabbitmq_poll",
        with_node: Some(true),
        labels: &[("node", "node"), ("source", "source")],
        max_rows: 400,
        fresh: MINUTES,
        whole: false,
        families: PEER,
    },
    Group {
        measurement: "rabbitmq_global",
        with_node: None,
        labels: &[
            ("node", "node"),
            ("queue_type", "queue_type"),
            ("dead_letter_strategy", "dead_letter_strategy"),
        ],
        max_rows: 1_000,
        fresh: MINUTES,
        whole: false,
        families: GLOBAL,
    },
    Group {
        measurement: "service_metrics",
        with_node: None,
        labels: &[("service_name", "service")],
        max_rows: 1_000,
        fresh: MINUTES,
        whole: false,
        families: SERVICE,
    },
    Group {
        measurement: "agent_metrics",
        with_node: None,
        labels: &[
            ("agent_id", "agent"),
            ("notification_type", "notification_type"),
        ],
        max_rows: 1_000,
        fresh: MINUTES,
        whole: false,
        families: AGENT,
    },
];

const QUEUE: &[Family] = &[
    by(
        "state",
        gauge(
            "rabtrace_queue_messages",
            &[
                ("messages_ready", "ready"),
                ("messages_unack", "unacknowledged"),
            ],
            "Messages in a queue, by state.",
        ),
    ),
    gauge(
        "rabtrace_queue_consumers",
        &[("consumers", "")],
        "Consumers of a queue.",
    ),
    gauge(
        "rabtrace_queue_head_age_seconds",
        &[("head_age_s", "")],
        "Age of the oldest message of a queue.",
    ),
    gauge(
        "rabtrace_queue_drain_seconds",
        &[("eta_drain_s", "")],
        "Time until a queue is empty if it goes on like this; absent if it does not get shorter.",
    ),
    gauge(
        "rabtrace_queue_status_code",
        &[("status_code", "")],
        "0 ok, 1 draining, 2 unknown, 3 falling behind, 4 poison, 5 stalled, 6 no consumer.",
    ),
    told(
        "rabtrace_queue_messages_published_total",
        &[("messages_publish", "")],
        "Messages that were published to a queue.",
    ),
    told(
        "rabtrace_queue_messages_delivered_total",
        &[("messages_deliver_get", "")],
        "Messages of a queue that were delivered.",
    ),
    told(
        "rabtrace_queue_messages_acknowledged_total",
        &[("messages_ack", "")],
        "Messages of a queue that were acknowledged.",
    ),
    told(
        "rabtrace_queue_messages_redelivered_total",
        &[("messages_redeliver", "")],
        "Messages of a queue that were delivered again.",
    ),
];

const NODE: &[Family] = &[
    gauge(
        "rabtrace_node_running",
        &[("running", "")],
        "Whether a node of the broker runs.",
    ),
    gauge(
        "rabtrace_node_memory_used_bytes",
        &[("mem_used", "")],
        "Memory that a node uses.",
    ),
    gauge(
        "rabtrace_node_memory_limit_bytes",
        &[("mem_limit", "")],
        "Memory at which a node stops its publishers.",
    ),
    gauge(
        "rabtrace_node_disk_free_bytes",
        &[("disk_free", "")],
        "Free disk of a node.",
    ),
    gauge(
        "rabtrace_node_disk_free_limit_bytes",
        &[("disk_free_limit", "")],
        "Free disk at which a node stops its publishers.",
    ),
    by(
        "resource",
        gauge(
            "rabtrace_node_alarm",
            &[("mem_alarm", "memory"), ("disk_free_alarm", "disk")],
            "Whether an alarm of a node is raised: publishers are blocked.",
        ),
    ),
    gauge(
        "rabtrace_node_file_descriptors",
        &[("fd_used", "")],
        "File descriptors that a node has open.",
    ),
    gauge(
        "rabtrace_node_file_descriptors_limit",
        &[("fd_total", "")],
        "File descriptors that a node may open.",
    ),
];

const POLL: &[Family] = &[gauge(
    "rabtrace_broker_up",
    &[("up", "")],
    "Whether the newest poll of the broker learned anything.",
)];

const PEER: &[Family] = &[
    gauge(
        "rabtrace_broker_peer_up",
        &[("up", "")],
        "Whether a node or API of the broker answered when it was last asked.",
    ),
    gauge(
        "rabtrace_broker_peer_login_refused",
        &[("login_refused", "")],
        "Whether a node or API of the broker refused the login when it was last asked.",
    ),
];

const GLOBAL: &[Family] = &[by(
    "reason",
    told(
        "rabtrace_broker_dead_lettered_total",
        &[
            ("dead_lettered_expired", "expired"),
            ("dead_lettered_rejected", "rejected"),
            ("dead_lettered_maxlen", "maxlen"),
            ("dead_lettered_delivery_limit", "delivery_limit"),
        ],
        "Messages that queues gave up, by reason.",
    ),
)];

const SERVICE: &[Family] = &[
    counted(
        "rabtrace_service_requests_total",
        &[("requests", "")],
        "Server and consumer spans of a service.",
    ),
    counted(
        "rabtrace_service_errors_total",
        &[("errors", "")],
        "Of these, those that failed.",
    ),
    times(
        1e6,
        gauge(
            "rabtrace_service_memory_bytes",
            &[("memory_usage_mb", "")],
            "Memory of a service, as it tells by process.memory.usage.",
        ),
    ),
    times(
        0.01,
        gauge(
            "rabtrace_service_cpu_ratio",
            &[("cpu_usage_percent", "")],
            "CPU of a service, as it tells by process.cpu.utilization.",
        ),
    ),
];

const AGENT: &[Family] = &[
    counted(
        "rabtrace_agent_notifications_received_total",
        &[("notifications_received", "")],
        "Notifications that an agent of the platform took.",
    ),
    counted(
        "rabtrace_agent_notifications_processed_total",
        &[("notifications_processed", "")],
        "Of these, those that did not fail.",
    ),
    counted(
        "rabtrace_agent_tool_executions_total",
        &[("tool_executions", "")],
        "Tools that an agent of the platform executed.",
    ),
    counted(
        "rabtrace_agent_llm_calls_total",
        &[("llm_calls", "")],
        "Calls of a language model.",
    ),
    by(
        "direction",
        counted(
            "rabtrace_agent_tokens_total",
            &[("input_tokens", "input"), ("output_tokens", "output")],
            "Tokens of a language model.",
        ),
    ),
];

//! Samples of everything.

use std::time::Duration;

use crate::model::{
    AgeMethod, BrokerSnapshot, ExchangeSample, GlobalSample, HeadAge, NodeSample, OverviewSample,
    PeerSample, PollSample, QueueSample, QueueStatus, Source,
};

pub(super) const NOW: i64 = 2_000;

pub(super) fn snapshot(queues: Vec<QueueSample>) -> BrokerSnapshot {
    BrokerSnapshot {
        cluster: "c".into(),
        time_unix_nano: NOW,
        queues,
        exchanges: Vec::new(),
        bindings: Vec::new(),
        nodes: Vec::new(),
        overview: OverviewSample::default(),
        globals: Vec::new(),
        poll: PollSample {
            source: Source::Prometheus,
            counters: None,
            of_watched: false,
            up: true,
            duration: Duration::from_millis(30),
            bytes: 0,
            rows: 0,
            bad_rows: 0,
            queues: 2,
            series_cut: 0,
            exchanges_cut: 0,
            staleness: Duration::ZERO,
            peers: Vec::new(),
        },
    }
}

/// A queue of which all is known, with a long name.
pub(super) fn full(index: usize) -> QueueSample {
    let count = Some(u64::MAX >> 2);
    QueueSample {
        vhost: "production".into(),
        queue: format!("a.rather.long.name.of.a.queue.{index:05}").into(),
        queue_type: Some("classic".into()),
        node: Some("rabbit@a-long-name-of-a-host.example.com".into()),
        messages: count,
        messages_ready: count,
        messages_unack: count,
        consumers: count,
        messages_publish: count,
        messages_deliver_get: count,
        messages_ack: count,
        messages_redeliver: count,
        messages_deliver_no_ack: count,
        messages_get_empty: count,
        memory: count,
        message_bytes: count,
        head_age: Some(HeadAge {
            age: Duration::from_millis(1_500),
            method: AgeMethod::Estimate,
            error: Some(Duration::from_millis(200)),
        }),
        drain_time: Some(Duration::from_secs(9)),
        status: Some(QueueStatus::Draining),
        first_seen_unix_nano: Some(500),
        counted_since_unix_nano: Some(600),
        folded: Some(2),
        ..QueueSample::default()
    }
}

pub(super) fn exchange() -> ExchangeSample {
    ExchangeSample {
        vhost: "/".into(),
        exchange: "events".into(),
        exchange_type: Some("topic".into()),
        messages_publish_in: Some(5),
        messages_publish_out: Some(4),
        messages_confirmed: Some(3),
        messages_returned: Some(2),
        messages_dropped: Some(1),
        counted_since_unix_nano: Some(700),
        folded: Some(2),
        ..ExchangeSample::default()
    }
}

fn node() -> NodeSample {
    let (count, flag) = (Some(7), Some(true));
    NodeSample {
        node: "rabbit@a".into(),
        running: flag,
        mem_used: count,
        mem_limit: count,
        mem_alarm: flag,
        disk_free: count,
        disk_free_limit: count,
        disk_free_alarm: flag,
        fd_used: count,
        fd_total: count,
        sockets_used: count,
        sockets_total: count,
        proc_used: count,
        proc_total: count,
        run_queue: count,
        uptime: Some(Duration::from_secs(1)),
        started_unix_nano: Some(100),
        connections_opened: count,
        connections_closed: count,
        channels_opened: count,
        channels_closed: count,
        queues_declared: count,
        queues_created: count,
        queues_deleted: count,
        unreachable_peers: count,
        version: None,
    }
}

/// A snapshot of which nothing is absent.
pub(super) fn whole() -> BrokerSnapshot {
    let global = |of: [&str; 3], names: &[&'static str]| GlobalSample {
        node: "rabbit@a".into(),
        protocol: of[0].into(),
        queue_type: of[1].into(),
        dead_letter_strategy: of[2].into(),
        counts: names.iter().map(|&name| (name, 6)).collect(),
    };
    let of_channels = [
        "confirmed",
        "received",
        "routed",
        "unroutable_dropped",
        "unroutable_returned",
    ];
    let of_queues = ["acked", "delivered", "get_empty", "redelivered"];
    let of_the_dead = [
        "dead_lettered_confirmed",
        "dead_lettered_delivery_limit",
        "dead_lettered_expired",
        "dead_lettered_maxlen",
        "dead_lettered_rejected",
    ];
    let mut snapshot = snapshot(vec![full(0)]);
    snapshot.exchanges = vec![exchange()];
    snapshot.nodes = vec![node()];
    snapshot.globals = vec![
        global(["amqp091", "", ""], &of_channels),
        global(["amqp091", "classic", ""], &of_queues),
        global(["", "classic", "at_most_once"], &of_the_dead),
    ];
    snapshot.overview = OverviewSample {
        connections: Some(1),
        channels: Some(2),
        consumers: Some(3),
        exchanges: Some(4),
        queues: Some(5),
        ..OverviewSample::default()
    };
    snapshot.poll.peers = vec![PeerSample {
        source: Source::Totals,
        node: "rabbit:15672".into(),
        up: false,
        duration: None,
        bytes: 0,
        rows: 0,
        bad_rows: 0,
        skipped: 0,
        http_status: Some(401),
        error: Some("login"),
    }];
    snapshot
}

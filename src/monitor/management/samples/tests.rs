use super::{exchanges, nodes, overview, queues};
use crate::model::QueueSample;

#[test]
fn a_queue_as_4_0_lists_it() {
    let body = r#"[{"consumers":0,"memory":76164,"message_bytes":15,
        "message_stats":{"ack":0,"deliver_get":3,"publish":4,"redeliver":1},
        "messages":3,"messages_ready":3,"messages_unacknowledged":0,"name":"orders",
        "node":"rabbit@localhost","state":"running","type":"quorum","vhost":"v \"x\"\\"}]"#;
    let expect = QueueSample {
        vhost: r#"v "x"\"#.into(),
        queue: "orders".into(),
        queue_type: Some("quorum".into()),
        node: Some("rabbit@localhost".into()),
        state: Some("running".into()),
        messages: Some(3),
        messages_ready: Some(3),
        messages_unack: Some(0),
        consumers: Some(0),
        messages_publish: Some(4),
        messages_deliver_get: Some(3),
        messages_ack: Some(0),
        messages_redeliver: Some(1),
        memory: Some(76_164),
        message_bytes: Some(15),
        ..QueueSample::default()
    };
    assert_eq!(queues(body).unwrap().queues, [expect]);
}

#[test]
fn what_the_broker_leaves_out_is_absent_and_never_zero() {
    // The metrics collector is off; the queue is down; a proplist that is empty; odd types.
    for row in [
        r#"{"name":"q","vhost":"/"}"#,
        r#"{"name":"q","vhost":"/","message_stats":[],"messages":"","memory":null}"#,
        r#"{"name":"q","vhost":"/","message_stats":{"publish":"x"},"consumers":-1}"#,
        r#"{"name":"q","vhost":"/","head_message_timestamp":0,"backing_queue_status":{"a":[1]}}"#,
    ] {
        let list = queues(&format!("[{row}]")).unwrap();
        let expect = QueueSample {
            vhost: "/".into(),
            queue: "q".into(),
            ..QueueSample::default()
        };
        assert_eq!(list.queues, [expect], "{row}");
    }
}

#[test]
fn a_row_without_a_name_costs_only_itself() {
    let list = queues(r#"[{"vhost":"/"},{},{"name":"q","vhost":"/"}]"#).unwrap();
    assert_eq!((list.queues.len(), list.bad_rows), (1, 2));
    let list = exchanges(r#"[{"name":"","vhost":"/","type":"direct"},{"name":1}]"#).unwrap();
    assert_eq!((list.exchanges.len(), list.bad_rows), (1, 1));
    assert_eq!(&*list.exchanges[0].exchange, "");
}

#[test]
fn nodes_with_words_for_numbers() {
    let body = r#"[{"name":"a@h","running":true,"mem_limit":"memory_monitoring_disabled",
        "fd_used":51,"uptime":8256,"mem_alarm":false,
        "applications":[{"name":"accept","version":"0.3.5"},{"name":"rabbit","version":"4.0.5"}]},
        {"name":"b@h","running":false}]"#;
    let nodes = nodes(body).unwrap();
    assert_eq!((nodes[0].mem_limit, nodes[0].fd_used), (None, Some(51)));
    assert_eq!(nodes[0].version.as_deref(), Some("4.0.5"));
    assert_eq!(nodes[0].uptime.unwrap().as_millis(), 8256);
    assert_eq!((nodes[1].running, nodes[1].fd_used), (Some(false), None));
}

#[test]
fn totals_with_and_without_statistics() {
    let body = r#"{"rabbitmq_version":"4.0.5","cluster_name":"c","message_stats":{"publish":10,
        "deliver_get":3},"queue_totals":{"messages":9},"object_totals":{"queues":4}}"#;
    let cluster = overview(body).unwrap();
    assert_eq!(cluster.name.as_deref(), Some("c"));
    assert_eq!(cluster.overview.messages_published, Some(10));
    assert_eq!(
        (cluster.overview.messages, cluster.overview.messages_acked),
        (Some(9), None)
    );
    let bare = overview(r#"{"rabbitmq_version":"4.0.5","queue_totals":{}}"#).unwrap();
    assert_eq!(bare.overview.messages, None);
}

#[test]
fn another_body_is_an_error() {
    for body in ["", "<html>", "{}", "{\"error\":\"not_authorized\"}", "3"] {
        assert!(queues(body).is_err(), "{body}");
        assert!(overview(body).is_err(), "{body}");
    }
}

use super::{DetailedScrape, ScrapedQueue};
use crate::model::NodeSample;
use crate::monitor::small::Small;
use std::time::Duration;

const V3_10: &str = include_str!("../../fixtures/detailed-3.10.8.txt");
const V4_0: &str = include_str!("../../fixtures/detailed-4.0.5.txt");

fn names(scrape: &DetailedScrape) -> Vec<String> {
    let mut names: Vec<String> = scrape
        .queues
        .iter()
        .map(|(vhost, queue, _)| format!("{vhost} | {queue}"))
        .collect();
    names.sort();
    names
}

#[test]
fn counters_of_4_0_with_escaped_names() {
    let scrape = DetailedScrape::parse(V4_0).unwrap();
    assert_eq!(
        names(&scrape),
        [
            r#"v "x"\ | c:\temp\"#,
            r#"v "x"\ | he said "hi""#,
            r#"v "x"\ | idle"#,
            r#"v "x"\ | orders"#
        ]
    );
    assert!(scrape.has_counters);
    assert_eq!(scrape.bad_rows, 0);
    assert_eq!(scrape.version.as_deref(), Some("4.0.5"));
    assert_eq!(scrape.node.as_deref(), Some("rabbit@localhost"));
    assert_eq!(
        scrape.queues.get(r#"v "x"\"#, "orders"),
        Some(&ScrapedQueue {
            ready: Small::new(Some(3)),
            unack: Small::new(Some(0)),
            messages: Small::new(Some(3)),
            consumers: Small::new(Some(0)),
            publish: Small::new(Some(4)),
            deliver_get: Small::new(Some(3)),
            ack: Small::new(Some(0)),
            redeliver: Small::new(Some(1)),
            get_empty: Small::new(Some(0)),
            deliver_no_ack: Small::new(Some(1)),
            queue_type: None,
        })
    );
    let idle = scrape.queues.get(r#"v "x"\"#, "idle").unwrap();
    assert_eq!(
        (idle.messages.count(), idle.publish.count()),
        (Some(0), None),
        "absent is not zero"
    );
}

/// The families of a node, as 3.10.8 tells them; from 4.0 on there are no sockets.
#[test]
fn a_node_as_the_broker_writes_it() {
    const NODE: &str = include_str!("../../fixtures/node-3.10.8.txt");
    let scrape = |text: &str| {
        let depth = "# TYPE rabbitmq_detailed_queue_messages gauge\n";
        DetailedScrape::parse(&format!("{depth}{text}")).unwrap()
    };
    let node = scrape(NODE).own().unwrap();
    let expect = NodeSample {
        node: "rabbit@localhost".into(),
        running: Some(true),
        mem_used: Some(150_585_344),
        mem_limit: Some(6_000_000_000),
        disk_free: Some(61_639_983_104),
        disk_free_limit: Some(50_000_000),
        fd_used: Some(41),
        fd_total: Some(20_000),
        sockets_used: Some(1),
        sockets_total: Some(17_910),
        proc_used: Some(424),
        proc_total: Some(1_048_576),
        run_queue: Some(1),
        uptime: Some(Duration::from_millis(11_008)),
        connections_opened: Some(1),
        connections_closed: Some(0),
        channels_opened: Some(11),
        channels_closed: Some(6),
        queues_declared: Some(5),
        queues_created: Some(5),
        queues_deleted: Some(0),
        version: Some("3.10.8".into()),
        ..NodeSample::default()
    };
    assert_eq!(node, expect);
    assert!(!scrape(NODE).is_short());
    assert_eq!(scrape(NODE).churn(), 18);
    for (enough, short) in [
        (
            "memory_limit_bytes 6000000000",
            "memory_limit_bytes 150585344",
        ),
        ("available_bytes 61639983104", "available_bytes 5.0e7"),
    ] {
        assert!(NODE.contains(enough));
        assert!(scrape(&NODE.replace(enough, short)).is_short(), "{short}");
    }
}

#[test]
fn a_node_tells_of_itself_and_no_name_of_a_queue_tells_otherwise() {
    let text = concat!(
        "# TYPE rabbitmq_detailed_connections_opened_total counter\n",
        "rabbitmq_detailed_connections_opened_total 7\n",
        "rabbitmq_detailed_process_resident_memory_bytes 1.25e8\n",
        "rabbitmq_detailed_disk_space_available_limit_bytes NaN\n",
        "# TYPE rabbitmq_detailed_queue_messages gauge\n",
        // A virtual host may have a line break in its name, and 3.10 writes it as it is.
        "rabbitmq_detailed_queue_messages{vhost=\"v\n",
        "rabbitmq_detailed_connections_opened_total 99\n",
        "rabbitmq_detailed_alarms_memory_used_watermark 1\n",
        "rabbitmq_detailed_queue_messages{vhost=\"v\",queue=\"q\"} 3\n",
        "rabbitmq_build_info{rabbitmq_version=\"3.10.8\"} 1\n",
        "rabbitmq_identity_info{rabbitmq_node=\"rabbit@a\"} 1\n",
    );
    let own = DetailedScrape::parse(text).unwrap().own().unwrap();
    assert_eq!(&*own.node, "rabbit@a");
    assert_eq!(own.version.as_deref(), Some("3.10.8"));
    assert_eq!((own.connections_opened, own.mem_alarm), (Some(7), None));
    assert_eq!(own.mem_used, Some(125_000_000));
    assert_eq!((own.disk_free, own.disk_free_limit), (None, None));
    let nobody = DetailedScrape::parse("# TYPE rabbitmq_detailed_queue_messages gauge\n").unwrap();
    assert_eq!(nobody.own(), None);
}

#[test]
fn names_of_3_10_are_not_escaped_and_cost_at_most_their_row() {
    let scrape = DetailedScrape::parse(V3_10).unwrap();
    let vhost = r#"odd v, "x"=\/é"#;
    let expect = [
        r#""} 5"#,
        "a b",
        "a,b",
        r"c:\temp\",
        r#"he said "hi""#,
        "plain",
    ];
    assert_eq!(
        names(&scrape),
        expect.map(|queue| format!("{vhost} | {queue}"))
    );
    assert!(!scrape.has_counters);
    assert_eq!(
        scrape.bad_rows, 4,
        "`\",queue=\"evil` in each of four metrics"
    );
    assert_eq!(scrape.cluster.as_deref(), Some("rabbit@vm"));
}

#[test]
fn names_of_3_13_are_escaped_and_all_of_them_are_read() {
    // Synthetic: that of 3.10.8, written as the source of 3.13 writes it, the same families, escaped.
    let scrape =
        DetailedScrape::parse(include_str!("../../fixtures/detailed-3.13-synthetic.txt")).unwrap();
    assert_eq!((names(&scrape).len(), scrape.bad_rows), (7, 0));
    let evil = scrape.queues.get(r#"odd v, "x"=\/é"#, "\",queue=\"evil");
    assert_eq!(evil.unwrap().messages.count(), Some(3));
    assert!(!scrape.has_counters);
}

#[test]
fn what_looks_escaped_is_a_name_before_3_13_and_an_escape_after() {
    let check = |version, expect: &str| {
        let text = format!(
            "# TYPE rabbitmq_detailed_queue_messages gauge\n\
             rabbitmq_detailed_queue_messages{{vhost=\"/\",queue=\"c:\\new\\\\x\"}} 1\n\
             rabbitmq_build_info{{rabbitmq_version=\"{version}\"}} 1\n"
        );
        let scrape = DetailedScrape::parse(&text).unwrap();
        assert_eq!(names(&scrape), [format!("/ | {expect}")], "{version}");
    };
    check("3.10.8", r"c:\new\\x");
    check("3.12.14", r"c:\new\\x");
    check("3.13.0", "c:\new\\x");
    check("4.0.5", "c:\new\\x");
}

#[test]
fn a_line_that_a_name_broke_is_counted_and_the_rest_stays() {
    let broken = V3_10.replace("\"plain\"} 3", "\"pl\nain\"} 3");
    let scrape = DetailedScrape::parse(&broken).unwrap();
    assert_eq!(scrape.bad_rows, 4 + 4, "two metrics with two halves each");
    assert_eq!(
        scrape
            .queues
            .get(r#"odd v, "x"=\/é"#, "a b")
            .unwrap()
            .messages
            .count(),
        Some(3)
    );
}

#[test]
fn a_queue_of_which_only_counters_are_left_does_not_exist() {
    let gone = V4_0
        .split('\n')
        .filter(|line| {
            !(line.contains("\"orders\"")
                && line.contains("_messages_")
                && !line.contains("_total"))
        })
        .filter(|line| {
            !line
                .starts_with(r#"rabbitmq_detailed_queue_messages{vhost="v \"x\"\\",queue="orders""#)
        })
        .collect::<Vec<_>>()
        .join("\n");
    let scrape = DetailedScrape::parse(&gone).unwrap();
    let ghost = scrape.queues.get(r#"v "x"\"#, "orders").unwrap();
    assert_eq!(ghost.publish.count(), Some(4));
    assert!(!ghost.exists());
}

#[test]
fn the_leader_of_a_queue_says_its_type() {
    let text = concat!(
        "# TYPE rabbitmq_detailed_queue_messages gauge\n",
        "rabbitmq_detailed_queue_messages{vhost=\"/\",queue=\"a\"} 1\n",
        "rabbitmq_detailed_queue_info{vhost=\"/\",queue=\"a\",",
        "queue_type=\"rabbit_quorum_queue\",membership=\"leader\"} 1\n",
        "rabbitmq_detailed_queue_info{vhost=\"/\",queue=\"b\",",
        "queue_type=\"rabbit_quorum_queue\",membership=\"follower\"} 1\n"
    );
    let scrape = DetailedScrape::parse(text).unwrap();
    assert_eq!(
        scrape.queues.get("/", "a").unwrap().queue_type,
        Some("quorum")
    );
    assert_eq!((scrape.queues.get("/", "b"), scrape.bad_rows), (None, 0));
}

#[test]
fn another_text_is_refused() {
    for text in ["", "<html>", "up 1\n", "{\"error\":\"x\"}"] {
        assert!(DetailedScrape::parse(text).is_none(), "{text}");
    }
}

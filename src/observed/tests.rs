use std::sync::Arc;
use std::time::Duration;

use super::Observed;
use crate::model::{Checkpoint, Direction, EdgeKind, FlowWindow, Point};

const SECOND: i64 = 1_000_000_000;

fn queue(name: &str, ready: u64) -> Point {
    Point::new("rabbitmq_queue", 0)
        .tag("vhost", "/")
        .tag("queue", name)
        .int("messages_ready", Some(ready))
}

fn window(direction: Direction, kind: EdgeKind, seconds: &[f64]) -> FlowWindow {
    let checkpoint = Checkpoint {
        hash: 1,
        kind,
        service: "s".into(),
        direction,
        destination: "q".into(),
        sampled: false,
    };
    let mut window = FlowWindow::new(checkpoint, 0, Duration::from_secs(10));
    for value in seconds {
        window.count += 1;
        window.total.record(*value);
    }
    window
}

fn lines(text: &str, name: &str) -> Vec<String> {
    let of = |line: &&str| line.starts_with(name);
    text.lines().filter(of).map(str::to_owned).collect()
}

#[test]
fn the_newest_value_shows_until_it_is_old_and_what_is_absent_has_no_line() {
    let observed = Observed::default();
    let point = queue("a \"b\" \\ c", 3).float("head_age_s", Some(1.5));
    observed.take_points(&[point], 0);
    let text = observed.encode(SECOND);
    assert_eq!(
        lines(&text, "rabtrace_queue"),
        [
            r#"rabtrace_queue_messages{vhost="/",queue="a \"b\" \\ c",state="ready"} 3"#,
            r#"rabtrace_queue_head_age_seconds{vhost="/",queue="a \"b\" \\ c"} 1.5"#,
        ]
    );
    observed.take_points(&[queue("a \"b\" \\ c", 4)], SECOND);
    let text = observed.encode(SECOND);
    assert!(text.contains("state=\"ready\"} 4"), "{text}");
    assert!(
        !text.contains("head_age"),
        "it is not known any more: {text}"
    );
    assert_eq!(observed.encode(62 * SECOND), "", "a queue that is gone");
}

#[test]
fn of_many_queues_the_deepest_show() {
    let observed = Observed::default();
    let points: Vec<Point> = (0..1_200).map(|n| queue(&format!("q{n}"), n)).collect();
    observed.take_points(&points, 0);
    let text = observed.encode(1);
    let shown = lines(&text, "rabtrace_queue_messages{");
    assert_eq!(shown.len(), 1_000);
    assert!(text.contains("\"q1199\"") && !text.contains("\"q199\""));
}

#[test]
fn counts_of_windows_add_up_and_outlive_their_gauges() {
    let observed = Observed::default();
    let point = |name: &str, requests| {
        Point::new("service_metrics", 0)
            .tag("service_name", name)
            .int("requests", Some(requests))
            .float("memory_usage_mb", Some(12.5))
    };
    observed.take_points(&[point("planner", 2)], 0);
    observed.take_points(&[point("planner", 3)], SECOND);
    let text = observed.encode(2 * SECOND);
    assert!(text.contains("rabtrace_service_requests_total{service=\"planner\"} 5"));
    assert!(text.contains("rabtrace_service_memory_bytes{service=\"planner\"} 12500000"));
    let text = observed.encode(300 * SECOND);
    assert!(text.contains("requests_total{service=\"planner\"} 5") && !text.contains("memory"));
    let many: Vec<Point> = (0..1_100).map(|n| point(&format!("s{n}"), 1)).collect();
    observed.take_points(&many, SECOND);
    let text = observed.encode(2 * SECOND);
    assert_eq!(
        lines(&text, "rabtrace_service_requests_total{").len(),
        1_001
    );
    assert!(text.contains("rabtrace_service_requests_total{service=\"_other\"} 101"));
}

#[test]
fn a_poll_and_its_peers_are_told_apart() {
    let observed = Observed::default();
    let poll = Point::new("rabbitmq_poll", 0)
        .tag("source", "prometheus")
        .int("up", Some(1));
    let peer = Point::new("rabbitmq_poll", 0)
        .tag("source", "prometheus")
        .tag("node", "rabbit@a")
        .int("up", Some(0));
    observed.take_points(&[poll, peer], 0);
    let text = observed.encode(1);
    assert_eq!(lines(&text, "rabtrace_broker_up"), ["rabtrace_broker_up 1"]);
    let peer = r#"rabtrace_broker_peer_up{node="rabbit@a",source="prometheus"} 0"#;
    assert_eq!(lines(&text, "rabtrace_broker_peer_up{"), [peer]);
}

#[test]
fn paths_count_arrivals_and_time_those_that_came_first() {
    let observed = Observed::default();
    let path: Arc<str> = "a > q > b".into();
    let first = window(Direction::In, EdgeKind::Forward, &[0.01, 0.2, 400.0]);
    observed.take_window(&path, &first);
    let again = window(Direction::In, EdgeKind::Redelivery, &[9.0]);
    observed.take_window(&path, &again);
    let published = window(Direction::Out, EdgeKind::Forward, &[1.0]);
    observed.take_window(&path, &published);
    let text = observed.encode(0);
    for line in [
        "rabtrace_path_messages_total{path=\"a > q > b\"} 4",
        "rabtrace_path_duration_seconds_bucket{path=\"a > q > b\",le=\"0.005\"} 0",
        "rabtrace_path_duration_seconds_bucket{path=\"a > q > b\",le=\"0.025\"} 1",
        "rabtrace_path_duration_seconds_bucket{path=\"a > q > b\",le=\"300\"} 2",
        "rabtrace_path_duration_seconds_bucket{path=\"a > q > b\",le=\"+Inf\"} 3",
        "rabtrace_path_duration_seconds_count{path=\"a > q > b\"} 3",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

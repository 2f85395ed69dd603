//! A snapshot as points. Field names as Telegraf's `inputs.rabbitmq` where it has one; the node
//! is a field, so that a leader that moves does not begin a new series.

use std::sync::Arc;

use crate::model::{BrokerSnapshot, ExchangeSample, NodeSample, Point, QueueSample};

/// The name that the default exchange has in tags: an empty tag would be no tag.
const DEFAULT_EXCHANGE: &str = "amq.default";

/// Every queue, exchange and node, the totals and the poll itself. What is absent stays absent; a
/// sample without any value gives no point.
#[must_use]
pub fn points(snapshot: &BrokerSnapshot) -> Vec<Point> {
    let queues = snapshot
        .queues
        .iter()
        .map(|queue| queue_point(snapshot, queue));
    let exchanges = snapshot
        .exchanges
        .iter()
        .map(|exchange| exchange_point(snapshot, exchange));
    let nodes = snapshot.nodes.iter().map(|node| node_point(snapshot, node));
    queues
        .chain(exchanges)
        .chain(nodes)
        .chain([overview_point(snapshot), poll_point(snapshot)])
        .filter(|point| !point.fields.is_empty())
        .collect()
}

fn new(snapshot: &BrokerSnapshot, measurement: &'static str) -> Point {
    Point::new(measurement, snapshot.time_unix_nano).tag("cluster", snapshot.cluster.clone())
}

fn kind(kind: Option<&Arc<str>>) -> Arc<str> {
    kind.cloned().unwrap_or_default()
}

fn queue_point(snapshot: &BrokerSnapshot, queue: &QueueSample) -> Point {
    new(snapshot, "rabbitmq_queue")
        .tag("vhost", queue.vhost.clone())
        .tag("queue", queue.queue.clone())
        .tag("type", kind(queue.queue_type.as_ref()))
        .int("messages", queue.messages)
        .int("messages_ready", queue.messages_ready)
        .int("messages_unack", queue.messages_unack)
        .int("consumers", queue.consumers)
        .int("messages_publish", queue.messages_publish)
        .float("messages_publish_rate", queue.messages_publish_rate)
        .int("messages_deliver_get", queue.messages_deliver_get)
        .float("messages_deliver_get_rate", queue.messages_deliver_get_rate)
        .int("messages_ack", queue.messages_ack)
        .float("messages_ack_rate", queue.messages_ack_rate)
        .int("messages_redeliver", queue.messages_redeliver)
        .float("messages_redeliver_rate", queue.messages_redeliver_rate)
        .int("memory", queue.memory)
        .int("message_bytes", queue.message_bytes)
        .text("state", queue.state.clone())
        .text("node", queue.node.clone())
        .float("head_age_s", head_age(snapshot.time_unix_nano, queue))
        .float("staleness_s", Some(snapshot.poll.staleness.as_secs_f64()))
}

/// Seconds since the oldest message said it was made; a clock that is ahead makes it no younger
/// than new.
fn head_age(time_unix_nano: i64, queue: &QueueSample) -> Option<f64> {
    let head = i64::try_from(queue.head_message_timestamp?)
        .ok()?
        .checked_mul(1_000_000_000)?;
    #[expect(clippy::cast_precision_loss, reason = "an age in seconds")]
    let age = time_unix_nano.saturating_sub(head).max(0) as f64 / 1e9;
    Some(age)
}

fn exchange_point(snapshot: &BrokerSnapshot, exchange: &ExchangeSample) -> Point {
    let name = match &*exchange.exchange {
        "" => Arc::from(DEFAULT_EXCHANGE),
        _ => exchange.exchange.clone(),
    };
    new(snapshot, "rabbitmq_exchange")
        .tag("vhost", exchange.vhost.clone())
        .tag("exchange", name)
        .tag("type", kind(exchange.exchange_type.as_ref()))
        .int("messages_publish_in", exchange.messages_publish_in)
        .float(
            "messages_publish_in_rate",
            exchange.messages_publish_in_rate,
        )
        .int("messages_publish_out", exchange.messages_publish_out)
        .float(
            "messages_publish_out_rate",
            exchange.messages_publish_out_rate,
        )
}

fn node_point(snapshot: &BrokerSnapshot, node: &NodeSample) -> Point {
    let uptime = node
        .uptime
        .map(|uptime| u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX));
    new(snapshot, "rabbitmq_node")
        .tag("node", node.node.clone())
        .int("running", node.running.map(u64::from))
        .int("mem_used", node.mem_used)
        .int("mem_limit", node.mem_limit)
        .int("mem_alarm", node.mem_alarm.map(u64::from))
        .int("disk_free", node.disk_free)
        .int("disk_free_limit", node.disk_free_limit)
        .int("disk_free_alarm", node.disk_free_alarm.map(u64::from))
        .int("fd_used", node.fd_used)
        .int("fd_total", node.fd_total)
        .int("sockets_used", node.sockets_used)
        .int("sockets_total", node.sockets_total)
        .int("proc_used", node.proc_used)
        .int("proc_total", node.proc_total)
        .int("run_queue", node.run_queue)
        .int("uptime", uptime)
        .text("version", node.version.clone())
}

fn overview_point(snapshot: &BrokerSnapshot) -> Point {
    let overview = &snapshot.overview;
    new(snapshot, "rabbitmq_overview")
        .int("connections", overview.connections)
        .int("channels", overview.channels)
        .int("consumers", overview.consumers)
        .int("exchanges", overview.exchanges)
        .int("queues", overview.queues)
        .int("messages", overview.messages)
        .int("messages_ready", overview.messages_ready)
        .int("messages_unacked", overview.messages_unack)
        .int("messages_published", overview.messages_published)
        .int("messages_delivered_get", overview.messages_delivered)
        .int("messages_acked", overview.messages_acked)
        .text("version", overview.version.clone())
}

fn poll_point(snapshot: &BrokerSnapshot) -> Point {
    let poll = &snapshot.poll;
    new(snapshot, "rabbitmq_poll")
        .tag("source", poll.source.as_str())
        .int("up", Some(1))
        .float("duration_ms", Some(poll.duration.as_secs_f64() * 1e3))
        .int("bytes", Some(poll.bytes))
        .int("rows", Some(poll.rows))
        .int("bad_rows", Some(poll.bad_rows))
        .int("queues", Some(snapshot.queues.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::points;
    use crate::model::{
        BrokerSnapshot, ExchangeSample, FieldValue, OverviewSample, Point, PollSample, QueueSample,
        Source,
    };
    use std::time::Duration;

    fn snapshot(queue: QueueSample) -> BrokerSnapshot {
        BrokerSnapshot {
            cluster: "c".into(),
            time_unix_nano: 1_700_000_010_500_000_000,
            queues: vec![queue],
            exchanges: vec![
                ExchangeSample {
                    messages_publish_in: Some(1),
                    ..ExchangeSample::default()
                },
                ExchangeSample {
                    exchange: "unused".into(),
                    ..ExchangeSample::default()
                },
            ],
            nodes: Vec::new(),
            overview: OverviewSample::default(),
            poll: PollSample {
                source: Source::Prometheus,
                duration: Duration::from_millis(3),
                bytes: 4,
                rows: 5,
                bad_rows: 6,
                staleness: Duration::from_secs(5),
            },
        }
    }

    fn names(point: &Point) -> Vec<&str> {
        point.fields.iter().map(|(name, _)| *name).collect()
    }

    #[test]
    fn absent_stays_absent_and_empty_points_are_left_out() {
        let points = points(&snapshot(QueueSample {
            vhost: "/".into(),
            queue: "q".into(),
            messages: Some(0),
            ..QueueSample::default()
        }));
        let measurements: Vec<&str> = points.iter().map(|point| point.measurement).collect();
        assert_eq!(
            measurements,
            ["rabbitmq_queue", "rabbitmq_exchange", "rabbitmq_poll"]
        );
        assert_eq!(names(&points[0]), ["messages", "staleness_s"]);
        assert!(points[1].tags.contains(&("exchange", "amq.default".into())));
    }

    #[test]
    fn the_age_of_the_oldest_message() {
        for (head, expect) in [(1_700_000_000, 10.5), (1_800_000_000, 0.0)] {
            let points = points(&snapshot(QueueSample {
                head_message_timestamp: Some(head),
                ..QueueSample::default()
            }));
            let age = ("head_age_s", FieldValue::Float(expect));
            assert!(points[0].fields.contains(&age), "{:?}", points[0]);
        }
    }
}

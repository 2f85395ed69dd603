//! A snapshot as points. Field names as Telegraf's `inputs.rabbitmq` where it has one; the node
//! is a field, so that a leader that moves does not begin a new series.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    BindingSample, BrokerSnapshot, ExchangeSample, GlobalSample, NodeSample, PeerSample, Point,
    QueueSample, QueueStatus, Source,
};

/// The name that the default exchange has in tags: an empty tag would be no tag.
const DEFAULT_EXCHANGE: &str = "amq.default";

/// Most fields that a queue has.
const QUEUE_FIELDS: usize = 27;

/// Every queue, exchange and node, the totals and the poll itself, one after the other: of ten
/// thousand queues all points at once are more than all that is kept of them. What is absent stays
/// absent; a sample without any value gives no point.
pub fn points(snapshot: &BrokerSnapshot) -> impl Iterator<Item = Point> + Send + '_ {
    let mut words = Words::default();
    let queues = snapshot.queues.iter();
    let queues = queues.map(move |queue| queue_point(snapshot, queue, &mut words));
    let exchanges = snapshot.exchanges.iter();
    let bindings = snapshot.bindings.iter();
    let nodes = snapshot.nodes.iter();
    let globals = snapshot.globals.iter();
    let peers = snapshot.poll.peers.iter();
    queues
        .chain(exchanges.map(|exchange| exchange_point(snapshot, exchange)))
        .chain(bindings.map(|binding| binding_point(snapshot, binding)))
        .chain(nodes.map(|node| node_point(snapshot, node)))
        .chain(globals.map(|global| global_point(snapshot, global)))
        .chain(peers.map(|peer| peer_point(snapshot, peer)))
        .chain([overview_point(snapshot), poll_point(snapshot)])
        .filter(|point| !point.fields.is_empty())
}

fn new(snapshot: &BrokerSnapshot, measurement: &'static str) -> Point {
    Point::new(measurement, snapshot.time_unix_nano).tag("cluster", snapshot.cluster.clone())
}

fn kind(kind: Option<&Arc<str>>) -> Arc<str> {
    kind.cloned().unwrap_or_default()
}

/// The words that many points share.
#[derive(Debug, Default)]
struct Words(Vec<Arc<str>>);

impl Words {
    fn of(&mut self, word: &str) -> Arc<str> {
        let known = self.0.iter().find(|known| &***known == word).cloned();
        known.unwrap_or_else(|| {
            let new: Arc<str> = Arc::from(word);
            self.0.push(new.clone());
            new
        })
    }
}

fn queue_point(snapshot: &BrokerSnapshot, queue: &QueueSample, words: &mut Words) -> Point {
    let age = queue.head_age;
    let method = age.map(|age| words.of(age.method.as_str()));
    let status = queue.status.map(|status| words.of(status.as_str()));
    let mut point = new(snapshot, "rabbitmq_queue");
    point.tags.reserve_exact(3);
    point.fields.reserve_exact(QUEUE_FIELDS);
    point
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
        .int("messages_get_empty", queue.messages_get_empty)
        .float("messages_get_empty_rate", queue.messages_get_empty_rate)
        .int("messages_deliver_no_ack", queue.messages_deliver_no_ack)
        .int("memory", queue.memory)
        .int("message_bytes", queue.message_bytes)
        .text("state", queue.state.clone())
        .text("node", queue.node.clone())
        .float("head_age_s", age.map(|age| seconds(age.age)))
        .text("head_age_method", method)
        .float(
            "head_age_error_s",
            age.and_then(|age| age.error).map(seconds),
        )
        .float("eta_drain_s", queue.drain_time.map(seconds))
        .text("status", status)
        .int("status_code", queue.status.map(QueueStatus::code))
        .int("folded", queue.folded)
        .float("staleness_s", Some(seconds(snapshot.poll.staleness)))
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
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
        .int("messages_confirmed", exchange.messages_confirmed)
        .int("messages_returned", exchange.messages_returned)
        .int("messages_dropped", exchange.messages_dropped)
        .int("folded", exchange.folded)
}

/// What an exchange gives to a queue or an exchange: 1 while it is there, 0 when it is gone.
fn binding_point(snapshot: &BrokerSnapshot, binding: &BindingSample) -> Point {
    new(snapshot, "rabbitmq_binding")
        .tag("vhost", binding.vhost.clone())
        .tag("source", binding.source.clone())
        .tag("destination", binding.destination.clone())
        .tag("destination_type", binding.destination_type.clone())
        .tag("routing_key", binding.routing_key.clone())
        .int("present", Some(u64::from(binding.present)))
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
        .int("connections_opened", node.connections_opened)
        .int("connections_closed", node.connections_closed)
        .int("channels_opened", node.channels_opened)
        .int("channels_closed", node.channels_closed)
        .int("queues_declared", node.queues_declared)
        .int("queues_created", node.queues_created)
        .int("queues_deleted", node.queues_deleted)
        .int("unreachable_peers", node.unreachable_peers)
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

fn global_point(snapshot: &BrokerSnapshot, global: &GlobalSample) -> Point {
    let point = new(snapshot, "rabbitmq_global")
        .tag("node", global.node.clone())
        .tag("protocol", global.protocol.clone())
        .tag("queue_type", global.queue_type.clone())
        .tag("dead_letter_strategy", global.dead_letter_strategy.clone());
    let counts = global.counts.iter();
    counts.fold(point, |point, (name, count)| point.int(name, Some(*count)))
}

/// The poll as a whole; its peers have points of their own, with the tag `node`.
fn poll_point(snapshot: &BrokerSnapshot) -> Point {
    let poll = &snapshot.poll;
    new(snapshot, "rabbitmq_poll")
        .tag("source", poll.source.as_str())
        .int("up", Some(u64::from(poll.up)))
        .float("duration_ms", Some(poll.duration.as_secs_f64() * 1e3))
        .int("bytes", Some(poll.bytes))
        .int("rows", Some(poll.rows))
        .int("bad_rows", Some(poll.bad_rows))
        .int("queues", Some(poll.queues))
        .int("series_cut", Some(poll.series_cut))
        .int("exchanges_cut", Some(poll.exchanges_cut))
        .text("counters", poll.counters.map(Source::as_str))
}

fn peer_point(snapshot: &BrokerSnapshot, peer: &PeerSample) -> Point {
    let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
    new(snapshot, "rabbitmq_poll")
        .tag("source", peer.source.as_str())
        .tag("node", peer.node.clone())
        .int("up", Some(u64::from(peer.up)))
        .float("duration_ms", peer.duration.map(millis))
        .int("bytes", Some(peer.bytes))
        .int("rows", Some(peer.rows))
        .int("bad_rows", Some(peer.bad_rows))
        .int("skipped", Some(peer.skipped))
        .int("http_status", peer.http_status.map(u64::from))
        .int("login_refused", Some(u64::from(peer.refuses_login())))
        .text("error", peer.error)
}

#[cfg(test)]
mod tests {
    use super::points;
    use crate::model::{
        AgeMethod, BindingSample, BrokerSnapshot, ExchangeSample, FieldValue, HeadAge,
        OverviewSample, Point, PollSample, QueueSample, QueueStatus, Source,
    };
    use std::time::Duration;

    fn snapshot(queue: QueueSample) -> BrokerSnapshot {
        BrokerSnapshot {
            cluster: "c".into(),
            time_unix_nano: 1_700_000_010_500_000_000,
            queues: vec![queue],
            bindings: vec![BindingSample {
                source: "events".into(),
                destination: "orders".into(),
                destination_type: "queue".into(),
                present: true,
                ..BindingSample::default()
            }],
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
            globals: Vec::new(),
            poll: PollSample {
                source: Source::Prometheus,
                counters: None,
                of_watched: false,
                up: true,
                duration: Duration::from_millis(3),
                bytes: 4,
                rows: 5,
                bad_rows: 6,
                queues: 1,
                series_cut: 0,
                exchanges_cut: 0,
                staleness: Duration::from_secs(5),
                peers: Vec::new(),
            },
        }
    }

    fn all(queue: QueueSample) -> Vec<Point> {
        points(&snapshot(queue)).collect()
    }

    fn names(point: &Point) -> Vec<&str> {
        point.fields.iter().map(|(name, _)| *name).collect()
    }

    #[test]
    fn absent_stays_absent_and_empty_points_are_left_out() {
        let points = all(QueueSample {
            vhost: "/".into(),
            queue: "q".into(),
            messages: Some(0),
            ..QueueSample::default()
        });
        let measurements: Vec<&str> = points.iter().map(|point| point.measurement).collect();
        assert_eq!(
            measurements,
            [
                "rabbitmq_queue",
                "rabbitmq_exchange",
                "rabbitmq_binding",
                "rabbitmq_poll"
            ]
        );
        assert_eq!(names(&points[0]), ["messages", "staleness_s"]);
        assert!(points[1].tags.contains(&("exchange", "amq.default".into())));
    }

    #[test]
    fn age_and_status_say_how_they_are_known() {
        let points = all(QueueSample {
            head_age: Some(HeadAge {
                age: Duration::from_millis(10_500),
                method: AgeMethod::AtLeast,
                error: None,
            }),
            status: Some(QueueStatus::Stalled),
            ..QueueSample::default()
        });
        let fields = [
            ("head_age_s", FieldValue::Float(10.5)),
            ("head_age_method", FieldValue::Text("at_least".into())),
            ("status", FieldValue::Text("stalled".into())),
            ("status_code", FieldValue::Int(5)),
        ];
        for field in fields {
            assert!(points[0].fields.contains(&field), "{:?}", points[0]);
        }
    }
}

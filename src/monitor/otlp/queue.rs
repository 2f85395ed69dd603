//! A queue.

use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;

use super::encode::{Resourced, Times, count_point, text};
use super::metrics as of;
use crate::model::{QueueSample, QueueStatus};

/// One queue; none if nothing is known of it.
pub(super) fn queue(cluster: &str, queue: &QueueSample, times: Times) -> Option<ResourceMetrics> {
    // Several queues together were never first seen: they count since the agent began.
    let seen = match queue.first_seen_unix_nano {
        None => times,
        first => times.since(first),
    };
    let counted = times.since(queue.counted_since_unix_nano);
    let mut metrics = Resourced::new(cluster)
        .attribute("rabbitmq.vhost.name", Some(&queue.vhost))
        .name("rabbitmq.queue.name", &queue.queue)
        .attribute("rabbitmq.queue.type", queue.queue_type.as_deref());
    metrics.count(&of::CONSUMERS, seen, queue.consumers);
    let states = [
        ("ready", queue.messages_ready),
        ("unacknowledged", queue.messages_unack),
    ];
    let current = |(state, count): (&str, Option<u64>)| {
        Some(count_point(seen, count?, vec![text("state", state)]))
    };
    metrics.points(&of::CURRENT, states.into_iter().filter_map(current));
    for (metric, count) in [
        (&of::PUBLISHED, queue.messages_publish),
        (&of::DELIVERED, queue.messages_deliver_get),
        (&of::DELIVERED_NO_ACK, queue.messages_deliver_no_ack),
        (&of::ACKNOWLEDGED, queue.messages_ack),
        (&of::REDELIVERED, queue.messages_redeliver),
        (&of::GET_EMPTY, queue.messages_get_empty),
    ] {
        metrics.count(metric, counted, count);
    }
    let age = queue.head_age;
    metrics.seconds(&of::HEAD_AGE, seen, age.map(|age| age.age));
    metrics.seconds(&of::HEAD_AGE_ERROR, seen, age.and_then(|age| age.error));
    metrics.seconds(&of::DRAIN_TIME, seen, queue.drain_time);
    metrics.count(&of::STATUS, seen, queue.status.map(QueueStatus::code));
    metrics.count(&of::MEMORY, seen, queue.memory);
    metrics.count(&of::MESSAGE_BYTES, seen, queue.message_bytes);
    metrics.count(&of::FOLDED, seen, queue.folded);
    metrics.done()
}

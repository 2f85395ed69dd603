//! A snapshot as OTLP metrics, named as the Collector's `rabbitmqreceiver` names them.
//!
//! Each queue is a resource of its own, as there. `rabbitmq.message.delivered` counts every
//! delivery, by consume or get; the receiver leaves out those without acknowledgement.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::model::{BrokerSnapshot, QueueSample};

/// Queues in one request: 1.6 MB, where a receiver of gRPC takes 4 MiB by default.
const MOST: usize = 2_000;

/// The queues of a snapshot, 2,000 in a request at most; counters are cumulative since
/// `started_unix_nano`, at which the monitor began. What is absent gives no data point.
pub fn otlp_metrics(
    snapshot: &BrokerSnapshot,
    started_unix_nano: u64,
) -> impl Iterator<Item = ExportMetricsServiceRequest> + '_ {
    let times = Times {
        start: started_unix_nano,
        now: u64::try_from(snapshot.time_unix_nano).unwrap_or_default(),
    };
    let request = move |queues: &[QueueSample]| {
        let queues = queues.iter();
        let metrics = queues.filter_map(|queue| queue_metrics(&snapshot.cluster, queue, &times));
        ExportMetricsServiceRequest {
            resource_metrics: metrics.collect(),
        }
    };
    let requests = snapshot.queues.chunks(MOST).map(request);
    requests.filter(|request| !request.resource_metrics.is_empty())
}

/// Data points of a request of [`otlp_metrics`].
#[must_use]
pub fn data_points(request: &ExportMetricsServiceRequest) -> u32 {
    let resources = request.resource_metrics.iter();
    let scopes = resources.flat_map(|resource| &resource.scope_metrics);
    let numbers = scopes
        .flat_map(|scope| &scope.metrics)
        .map(|metric| match &metric.data {
            Some(Data::Sum(sum)) => sum.data_points.len(),
            _ => 0,
        });
    u32::try_from(numbers.sum::<usize>()).unwrap_or(u32::MAX)
}

struct Times {
    start: u64,
    now: u64,
}

fn queue_metrics(cluster: &str, queue: &QueueSample, times: &Times) -> Option<ResourceMetrics> {
    let metrics = metrics(queue, times);
    (!metrics.is_empty()).then(|| ResourceMetrics {
        resource: Some(resource(cluster, queue)),
        scope_metrics: vec![ScopeMetrics {
            scope: Some(InstrumentationScope {
                name: "rabtrace.monitor".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            }),
            metrics,
            schema_url: String::new(),
        }],
        schema_url: String::new(),
    })
}

fn metrics(queue: &QueueSample, times: &Times) -> Vec<Metric> {
    let states = [
        ("ready", queue.messages_ready),
        ("unacknowledged", queue.messages_unack),
    ];
    let current = states
        .into_iter()
        .filter_map(|(state, count)| Some(point(times, count?, vec![text("state", state)])));
    let mut metrics = vec![
        gauge(
            "rabbitmq.consumer.count",
            "{consumers}",
            one(queue.consumers, times),
        ),
        gauge("rabbitmq.message.current", "{messages}", current.collect()),
    ];
    let counters = [
        ("rabbitmq.message.published", queue.messages_publish),
        ("rabbitmq.message.delivered", queue.messages_deliver_get),
        ("rabbitmq.message.acknowledged", queue.messages_ack),
        ("rabbitmq.message.redelivered", queue.messages_redeliver),
    ];
    metrics.extend(counters.map(|(name, count)| counter(name, one(count, times))));
    metrics.into_iter().flatten().collect()
}

fn one(count: Option<u64>, times: &Times) -> Vec<NumberDataPoint> {
    let point = |count| point(times, count, Vec::new());
    count.map(point).into_iter().collect()
}

/// What may fall: a sum that is not monotonic, as the receiver has it.
fn gauge(name: &str, unit: &str, points: Vec<NumberDataPoint>) -> Option<Metric> {
    sum(name, unit, (points, false))
}

/// A total of messages.
fn counter(name: &str, points: Vec<NumberDataPoint>) -> Option<Metric> {
    sum(name, "{messages}", (points, true))
}

fn sum(
    name: &str,
    unit: &str,
    (data_points, is_monotonic): (Vec<NumberDataPoint>, bool),
) -> Option<Metric> {
    (!data_points.is_empty()).then(|| Metric {
        name: name.to_owned(),
        unit: unit.to_owned(),
        data: Some(Data::Sum(Sum {
            data_points,
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic,
        })),
        ..Metric::default()
    })
}

fn resource(cluster: &str, queue: &QueueSample) -> Resource {
    let mut attributes = vec![
        text("rabbitmq.cluster.name", cluster),
        text("rabbitmq.vhost.name", &queue.vhost),
        text("rabbitmq.queue.name", &queue.queue),
    ];
    attributes.extend(
        queue
            .node
            .as_deref()
            .map(|node| text("rabbitmq.node.name", node)),
    );
    Resource {
        attributes,
        ..Resource::default()
    }
}

fn point(times: &Times, count: u64, attributes: Vec<KeyValue>) -> NumberDataPoint {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    NumberDataPoint {
        attributes,
        start_time_unix_nano: times.start,
        time_unix_nano: times.now,
        value: Some(Number::AsInt(count)),
        ..NumberDataPoint::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

#[cfg(test)]
mod tests {
    use super::otlp_metrics;
    use crate::model::{BrokerSnapshot, OverviewSample, PollSample, QueueSample, Source};
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use prost::Message;
    use std::time::Duration;

    fn snapshot(queues: Vec<QueueSample>) -> BrokerSnapshot {
        BrokerSnapshot {
            cluster: "c".into(),
            time_unix_nano: 20,
            queues,
            exchanges: Vec::new(),
            bindings: Vec::new(),
            nodes: Vec::new(),
            overview: OverviewSample::default(),
            globals: Vec::new(),
            poll: PollSample {
                source: Source::Prometheus,
                counters: None,
                up: true,
                duration: Duration::ZERO,
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

    #[test]
    fn names_kinds_and_absence() {
        let full = QueueSample {
            vhost: "/".into(),
            queue: "a \"b\"".into(),
            messages_ready: Some(2),
            messages_unack: Some(1),
            consumers: Some(0),
            messages_publish: Some(9),
            ..QueueSample::default()
        };
        let snapshot = snapshot(vec![full, QueueSample::default()]);
        let requests: Vec<_> = otlp_metrics(&snapshot, 10).collect();
        let [request] = &requests[..] else {
            panic!("one request, not {}", requests.len());
        };
        assert_eq!(
            request.resource_metrics.len(),
            1,
            "a queue of which nothing is known is left out"
        );
        let of_queue = &request.resource_metrics[0];
        let seen: Vec<(&str, bool, usize)> = of_queue.scope_metrics[0]
            .metrics
            .iter()
            .map(|metric| match metric.data.as_ref().unwrap() {
                Data::Sum(sum) => (&*metric.name, sum.is_monotonic, sum.data_points.len()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("rabbitmq.consumer.count", false, 1),
                ("rabbitmq.message.current", false, 2),
                ("rabbitmq.message.published", true, 1),
            ]
        );
        let attributes = &of_queue.resource.as_ref().unwrap().attributes;
        assert_eq!(attributes.len(), 3);
        assert_eq!(attributes[2].key, "rabbitmq.queue.name");
    }

    #[test]
    fn ten_thousand_queues_are_several_requests_that_a_receiver_takes() {
        let queue = |index: u32| QueueSample {
            vhost: "production".into(),
            queue: format!("a.rather.long.name.of.a.queue.{index:05}").into(),
            node: Some("rabbit@a-long-name-of-a-host.example.com".into()),
            messages_ready: Some(u64::MAX >> 2),
            messages_unack: Some(1 << 40),
            consumers: Some(100),
            messages_publish: Some(1 << 50),
            messages_deliver_get: Some(1 << 50),
            messages_ack: Some(1 << 50),
            messages_redeliver: Some(1 << 50),
            ..QueueSample::default()
        };
        let snapshot = snapshot((0..10_000).map(queue).collect());
        let sizes: Vec<(usize, usize)> = otlp_metrics(&snapshot, 10)
            .map(|request| (request.resource_metrics.len(), request.encoded_len()))
            .collect();
        assert_eq!(
            sizes.iter().map(|(queues, _)| queues).sum::<usize>(),
            10_000
        );
        assert!(sizes.iter().all(|(_, bytes)| *bytes < 2 << 20), "{sizes:?}");
    }
}

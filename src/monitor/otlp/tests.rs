//! Snapshots and what of them reaches a receiver.

mod samples;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, metric::Data};
use prost::Message;

use super::{OTLP_METRICS, OtlpKind, OtlpMetrics, data_points};
use crate::model::{BrokerSnapshot, QueueSample};
use samples::{NOW, exchange, full, snapshot, whole};

fn told(snapshot: &BrokerSnapshot) -> Vec<ExportMetricsServiceRequest> {
    OtlpMetrics::new(10).requests(snapshot).collect()
}

fn attributes(list: &[KeyValue]) -> BTreeMap<&str, &str> {
    let pair = |pair: &'_ KeyValue| match pair.value.as_ref()?.value.as_ref()? {
        Value::StringValue(_) => Some(()),
        _ => None,
    };
    assert!(list.iter().all(|all| pair(all).is_some()), "{list:?}");
    list.iter()
        .map(|pair| match &pair.value.as_ref().unwrap().value {
            Some(Value::StringValue(text)) => (&*pair.key, &**text),
            other => panic!("{other:?}"),
        })
        .collect()
}

/// The metrics of each resource, with its attributes.
fn resources(
    requests: &[ExportMetricsServiceRequest],
) -> Vec<(BTreeMap<&str, &str>, &Vec<Metric>)> {
    let all = requests
        .iter()
        .flat_map(|request| &request.resource_metrics);
    all.map(|of| {
        let resource = of.resource.as_ref().unwrap();
        (
            attributes(&resource.attributes),
            &of.scope_metrics[0].metrics,
        )
    })
    .collect()
}

fn numbers(metric: &Metric) -> &[NumberDataPoint] {
    match metric.data.as_ref().unwrap() {
        Data::Sum(sum) => &sum.data_points,
        Data::Gauge(gauge) => &gauge.data_points,
        _ => &[],
    }
}

/// Start of each metric of a resource that has one of this name.
fn start(requests: &[ExportMetricsServiceRequest], name: &str) -> u64 {
    let resources = resources(requests);
    let mut metrics = resources.iter().flat_map(|(_, metrics)| metrics.iter());
    let metric = metrics.find(|metric| metric.name == name).unwrap();
    numbers(metric)[0].start_time_unix_nano
}

fn kind(metric: &Metric) -> OtlpKind {
    match metric.data.as_ref().unwrap() {
        Data::Sum(sum) if sum.is_monotonic => OtlpKind::Counter,
        Data::Sum(_) => OtlpKind::UpDownCounter,
        Data::Gauge(_) => OtlpKind::Gauge,
        Data::Histogram(_) => OtlpKind::Histogram,
        other => panic!("{other:?}"),
    }
}

/// Keys of the attributes that a metric's points have, those of all of them.
fn keys(metric: &Metric) -> BTreeSet<String> {
    let lists: Vec<&[KeyValue]> = match metric.data.as_ref().unwrap() {
        Data::Histogram(histogram) => {
            let points = histogram.data_points.iter();
            points.map(|point| &*point.attributes).collect()
        }
        _ => numbers(metric)
            .iter()
            .map(|point| &*point.attributes)
            .collect(),
    };
    let keys = lists.into_iter().flat_map(attributes);
    keys.map(|(key, _)| key.to_owned()).collect()
}

#[test]
fn every_metric_of_the_table_is_told_as_the_table_says_and_no_other() {
    let requests = told(&whole());
    let mut seen = BTreeSet::new();
    for (resource, metrics) in resources(&requests) {
        let of = ["queue", "exchange", "node"]
            .into_iter()
            .find(|of| resource.contains_key(&*format!("rabbitmq.{of}.name")))
            .unwrap_or("cluster");
        for metric in metrics {
            let mut all = OTLP_METRICS.iter();
            let known = all
                .find(|known| known.name == metric.name)
                .unwrap_or_else(|| panic!("{} is not in the table", metric.name));
            let listed = known.attributes.split(", ").filter(|key| !key.is_empty());
            let listed: BTreeSet<String> = listed.map(str::to_owned).collect();
            assert_eq!(
                (known.of, known.unit, known.kind),
                (of, &*metric.unit, kind(metric)),
                "{}",
                metric.name
            );
            assert!(keys(metric).is_subset(&listed), "{}", metric.name);
            seen.insert(known.name);
        }
    }
    let missing: Vec<&str> = OTLP_METRICS
        .iter()
        .map(|metric| metric.name)
        .filter(|name| !seen.contains(name))
        .collect();
    assert_eq!(missing, [""; 0], "never told");
}

#[test]
fn what_is_absent_gives_no_point_and_a_queue_of_which_nothing_is_known_none_at_all() {
    let sparse = QueueSample {
        vhost: "/".into(),
        queue: "a \"b\"".into(),
        messages_ready: Some(2),
        messages_publish: Some(9),
        ..QueueSample::default()
    };
    let requests = told(&snapshot(vec![sparse, QueueSample::default()]));
    let resources = resources(&requests);
    assert_eq!(resources.len(), 2, "one queue and the cluster");
    let (resource, metrics) = &resources[0];
    let expect = [
        ("messaging.system", "rabbitmq"),
        ("rabbitmq.cluster.name", "c"),
        ("rabbitmq.queue.name", "a \"b\""),
        ("rabbitmq.vhost.name", "/"),
    ];
    assert_eq!(*resource, BTreeMap::from(expect));
    let names: Vec<(&str, usize)> = metrics
        .iter()
        .map(|metric| (&*metric.name, numbers(metric).len()))
        .collect();
    assert_eq!(
        names,
        [
            ("rabbitmq.message.current", 1),
            ("rabbitmq.message.published", 1)
        ]
    );
}

#[test]
fn a_leader_that_moves_changes_no_attribute() {
    let at = |node: &str| QueueSample {
        node: Some(node.into()),
        ..full(0)
    };
    let (here, there) = (
        told(&snapshot(vec![at("a")])),
        told(&snapshot(vec![at("b")])),
    );
    assert_eq!(here, there);
}

#[test]
fn sums_count_since_what_counts_them_began() {
    let requests = told(&whole());
    for (name, expect) in [
        ("rabbitmq.message.current", 500),
        ("rabbitmq.message.published", 600),
        ("rabbitmq.exchange.messages.published_in", 700),
        ("rabbitmq.message.dropped", 700),
        ("rabbitmq.node.connection_created", 100),
        ("rabbitmq.global.messages.received", 100),
        ("rabbitmq.poll.errors", 10),
    ] {
        assert_eq!(start(&requests, name), expect, "{name}");
    }
    // A clock that was set back, and a beginning that is not known.
    let later = QueueSample {
        counted_since_unix_nano: Some(NOW + 1),
        ..full(0)
    };
    let requests = told(&snapshot(vec![later]));
    assert_eq!(
        start(&requests, "rabbitmq.message.published"),
        NOW.unsigned_abs()
    );
    let unknown = QueueSample {
        counted_since_unix_nano: None,
        ..full(0)
    };
    let requests = told(&snapshot(vec![unknown]));
    assert_eq!(start(&requests, "rabbitmq.message.published"), 0);
}

#[test]
fn polls_are_counted_over_all_snapshots() {
    let mut otlp = OtlpMetrics::new(10);
    let mut slow = whole();
    slow.poll.duration = Duration::from_secs(60);
    let _ = otlp.requests(&slow).count();
    let mut watched = whole();
    watched.poll.of_watched = true;
    let requests: Vec<_> = otlp.requests(&watched).collect();
    let resources = resources(&requests);
    let (_, cluster) = resources.last().unwrap();
    let names: Vec<&str> = cluster.iter().map(|metric| &*metric.name).collect();
    let of_polls = [
        "rabbitmq.poll.duration",
        "rabbitmq.poll.errors",
        "rabbitmq.poll.bad_rows",
    ];
    assert_eq!(names, of_polls, "a look at some queues says nothing of all");
    let Some(Data::Histogram(histogram)) = &cluster[0].data else {
        panic!("{:?}", cluster[0]);
    };
    let [point] = &histogram.data_points[..] else {
        panic!("{histogram:?}");
    };
    let filled: Vec<(usize, u64)> = point
        .bucket_counts
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, count)| *count > 0)
        .collect();
    assert_eq!(filled, [(3, 1), (14, 1)], "up to 0.05 s, and above 10 s");
    assert_eq!((point.count, point.sum), (2, Some(60.03)));
    assert_eq!(
        point.bucket_counts.len(),
        point.explicit_bounds.len() + 1,
        "as the format wants it"
    );
    let [errors] = numbers(&cluster[1]) else {
        panic!("{:?}", cluster[1]);
    };
    assert_eq!(
        attributes(&errors.attributes),
        BTreeMap::from([("error.type", "login"), ("source", "totals")])
    );
}

#[test]
fn ten_thousand_queues_are_several_requests_that_a_receiver_takes() {
    let mut snapshot = snapshot((0..10_000).map(full).collect());
    snapshot.exchanges = vec![exchange(); 5_001];
    let requests = told(&snapshot);
    let sizes: Vec<(usize, usize)> = requests
        .iter()
        .map(|request| (request.resource_metrics.len(), request.encoded_len()))
        .collect();
    let expect = [2_000, 2_000, 2_000, 2_000, 2_000, 2_000, 2_000, 1_001, 1];
    let resources: Vec<usize> = sizes.iter().map(|(resources, _)| *resources).collect();
    assert_eq!(resources, expect);
    // What gRPC takes by default is 4 MiB.
    assert!(sizes.iter().all(|(_, bytes)| *bytes < 7 << 19), "{sizes:?}");
    assert_eq!(data_points(&requests[0]), 2_000 * 16);
}

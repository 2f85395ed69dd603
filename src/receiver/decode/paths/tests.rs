use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint,
    Histogram as OtlpHistogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, exponential_histogram_data_point::Buckets, metric::Data,
    number_data_point::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::super::{Numbers, numbers};
use crate::model::{Direction, EdgeKind, PathMeasure, PathValue};

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

fn step() -> Vec<KeyValue> {
    vec![
        text("rabtrace.path.hash", "00000000000000ff"),
        text("rabtrace.path.parent", "000000000000000a"),
        text("rabtrace.direction", "in"),
        text("messaging.destination.name", "jobs"),
        text("rabtrace.edge.kind", "dead_letter"),
        text("rabtrace.path.via", "work"),
    ]
}

fn read(metrics: Vec<(&str, Data)>) -> Numbers {
    let metrics = metrics.into_iter().map(|(name, data)| Metric {
        name: name.to_owned(),
        data: Some(data),
        ..Metric::default()
    });
    let scope = ScopeMetrics {
        metrics: metrics.collect(),
        ..ScopeMetrics::default()
    };
    numbers(ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: vec![
                    text("service.name", "worker"),
                    text("service.instance.id", "one"),
                ],
                ..Resource::default()
            }),
            scope_metrics: vec![scope],
            ..ResourceMetrics::default()
        }],
    })
}

fn sum(attributes: Vec<KeyValue>, value: Value) -> Data {
    Data::Sum(Sum {
        data_points: vec![NumberDataPoint {
            attributes,
            start_time_unix_nano: 5,
            time_unix_nano: 9,
            value: Some(value),
            ..NumberDataPoint::default()
        }],
        aggregation_temporality: AggregationTemporality::Cumulative as i32,
        is_monotonic: true,
    })
}

fn exponential(scale: i32, offset: i32) -> Data {
    Data::ExponentialHistogram(ExponentialHistogram {
        data_points: vec![ExponentialHistogramDataPoint {
            attributes: step(),
            count: 4,
            sum: Some(6.0),
            scale,
            zero_count: 1,
            positive: Some(Buckets {
                offset,
                bucket_counts: vec![2, 1],
            }),
            ..ExponentialHistogramDataPoint::default()
        }],
        aggregation_temporality: AggregationTemporality::Delta as i32,
    })
}

fn explicit(bounds: Vec<f64>, counts: Vec<u64>) -> Data {
    Data::Histogram(OtlpHistogram {
        data_points: vec![HistogramDataPoint {
            attributes: step(),
            explicit_bounds: bounds,
            bucket_counts: counts,
            ..HistogramDataPoint::default()
        }],
        aggregation_temporality: AggregationTemporality::Delta as i32,
    })
}

#[test]
fn every_kind_of_point_becomes_a_record_and_no_number() {
    let read = read(vec![
        ("rabtrace.path.messages", sum(step(), Value::AsInt(7))),
        ("rabtrace.path.duration", exponential(0, 0)),
        (
            "rabtrace.path.edge.duration",
            explicit(vec![1.0], vec![2, 3]),
        ),
        ("requests", sum(step(), Value::AsInt(1))),
        ("latency", exponential(0, 0)),
    ]);
    assert_eq!(read.points.len(), 1, "others stay as they are");
    assert_eq!(read.paths.unreadable, 0);
    let [messages, total, edge] = &read.paths.records[..] else {
        panic!("{:?}", read.paths);
    };
    assert_eq!(
        (messages.hash, messages.parent, messages.direction),
        (255, Some(10), Direction::In)
    );
    assert_eq!(
        (messages.kind, messages.via.as_deref(), &*messages.instance),
        (EdgeKind::DeadLetter, Some("work"), "one")
    );
    assert_eq!(
        (
            messages.start_unix_nano,
            messages.end_unix_nano,
            messages.cumulative
        ),
        (5, 9, true)
    );
    assert_eq!(messages.value, PathValue::Count(7));
    assert_eq!(
        (total.measure, total.cumulative),
        (PathMeasure::Total, false)
    );
    let PathValue::Exponential(histogram) = &total.value else {
        panic!("{total:?}");
    };
    assert_eq!((histogram.count(), histogram.sum()), (4, 6.0));
    assert!(matches!(&edge.value, PathValue::Explicit(explicit) if explicit.counts == [2, 3]));
}

#[test]
fn what_cannot_be_read_is_counted_and_the_rest_is_taken() {
    let without = |name: &str| {
        let mut step = step();
        step.retain(|attribute| attribute.key != name);
        sum(step, Value::AsInt(1))
    };
    let messages = "rabtrace.path.messages";
    let mut metrics = vec![
        (messages, sum(step(), Value::AsInt(-1))),
        (messages, sum(step(), Value::AsDouble(0.5))),
        ("rabtrace.path.duration", sum(step(), Value::AsInt(1))),
        ("rabtrace.path.duration", exponential(20, i32::MAX)),
        ("rabtrace.path.duration", exponential(99, 0)),
        (
            "rabtrace.path.duration",
            explicit(vec![2.0, 1.0], vec![1, 1, 1]),
        ),
        (
            "rabtrace.path.duration",
            explicit(vec![1.0; 300], vec![1; 301]),
        ),
    ];
    for name in [
        "rabtrace.path.hash",
        "rabtrace.direction",
        "messaging.destination.name",
    ] {
        metrics.push((messages, without(name)));
    }
    let unreadable = metrics.len() as u64;
    metrics.push((messages, without("rabtrace.edge.kind")));
    let read = read(metrics);
    assert_eq!(read.paths.unreadable, unreadable);
    assert_eq!(read.paths.records.len(), 1);
    assert_eq!(read.paths.records[0].kind, EdgeKind::Forward);
}

#[test]
fn a_process_without_an_id_is_known_by_its_resource() {
    let one = vec![("a".into(), crate::model::AttributeValue::Int(1))];
    let other = vec![("a".into(), crate::model::AttributeValue::Int(2))];
    assert_eq!(super::instance(&one), super::instance(&one));
    assert_ne!(super::instance(&one), super::instance(&other));
}

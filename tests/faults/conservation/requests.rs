//! What is sent: good and bad of each kind.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point::Value,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

use crate::harness::text;

/// Ten spans, every other of them invalid.
pub(super) fn half_invalid(first: u64) -> Vec<u8> {
    let span = |id: u64| Span {
        trace_id: if id.is_multiple_of(2) {
            vec![0; 16]
        } else {
            vec![7; 16]
        },
        span_id: id.to_be_bytes().to_vec(),
        name: format!("GET /{first}"),
        ..Span::default()
    };
    let scope = ScopeSpans {
        spans: (first..first + 10).map(span).collect(),
        ..ScopeSpans::default()
    };
    let resource_spans = vec![ResourceSpans {
        scope_spans: vec![scope],
        ..ResourceSpans::default()
    }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn number(value: Option<Value>, times: (u64, u64), hash: u64) -> NumberDataPoint {
    NumberDataPoint {
        start_time_unix_nano: times.0,
        time_unix_nano: times.1,
        value,
        attributes: vec![
            text("rabtrace.path.hash", &format!("{hash:016x}")),
            text("rabtrace.direction", "in"),
            text("messaging.destination.name", "jobs"),
        ],
        ..NumberDataPoint::default()
    }
}

fn sum(name: &str, data_points: Vec<NumberDataPoint>) -> Metric {
    Metric {
        name: name.to_owned(),
        data: Some(Data::Sum(Sum {
            data_points,
            aggregation_temporality: AggregationTemporality::Cumulative as i32,
            is_monotonic: true,
        })),
        ..Metric::default()
    }
}

fn request(metrics: Vec<Metric>) -> Vec<u8> {
    let scope = ScopeMetrics {
        metrics,
        ..ScopeMetrics::default()
    };
    let resource_metrics = vec![ResourceMetrics {
        scope_metrics: vec![scope],
        ..ResourceMetrics::default()
    }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

/// Numbers, histograms, measurements of paths that count, that came before, that cannot be read.
pub(super) fn mixed(round: u64) -> Vec<u8> {
    let now = 4_000_000_000_000_000_000 + round;
    let counted = |hash| number(Some(Value::AsInt(3)), (now - 9, now), hash);
    let old = number(Some(Value::AsInt(3)), (1, now), 99);
    let unreadable = number(Some(Value::AsInt(-3)), (now - 9, now), 98);
    let gauge = |value| Gauge {
        data_points: vec![number(value, (0, now), 1)],
    };
    let histogram = Histogram {
        data_points: vec![HistogramDataPoint::default(); 2],
        aggregation_temporality: AggregationTemporality::Delta as i32,
    };
    let metric = |name: &str, data| Metric {
        name: name.to_owned(),
        data: Some(data),
        ..Metric::default()
    };
    let paths = [1, 2, 3, 3].map(counted).into_iter();
    let paths = paths.chain([old, unreadable.clone(), unreadable]).collect();
    request(vec![
        sum("rabtrace.path.messages", paths),
        metric(
            "process.memory.usage",
            Data::Gauge(gauge(Some(Value::AsInt(7)))),
        ),
        metric("process.cpu.utilization", Data::Gauge(gauge(None))),
        metric("http.server.request.duration", Data::Histogram(histogram)),
    ])
}

/// So many series of path metrics, each with one point.
pub(super) fn series(first: u64, number_of: u64) -> Vec<u8> {
    let now = 4_000_000_000_000_000_000;
    let point = |hash| number(Some(Value::AsInt(1)), (now - 9, now), hash);
    let points = (first..first + number_of).map(point).collect();
    request(vec![sum("rabtrace.path.messages", points)])
}

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
    Sum, metric::Data, number_data_point::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{self as otlp, ResourceSpans, ScopeSpans, Status};

use super::{numbers, reject_invalid_spans, spans};
use crate::model::{AttributeValue, Span, SpanKind, SpanStatus};

fn text(key: &str, value: &str) -> KeyValue {
    let value = any_value::Value::StringValue(value.to_owned());
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn service(name: &str) -> Option<Resource> {
    Some(Resource {
        attributes: vec![text("service.name", name), text("host.name", "h")],
        ..Resource::default()
    })
}

fn valid() -> otlp::Span {
    otlp::Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: "publish orders".to_owned(),
        start_time_unix_nano: 10,
        end_time_unix_nano: 30,
        ..otlp::Span::default()
    }
}

fn request(resource: Option<Resource>, spans: Vec<otlp::Span>) -> ExportTraceServiceRequest {
    let scope = ScopeSpans {
        spans,
        ..ScopeSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource,
            scope_spans: vec![scope],
            ..ResourceSpans::default()
        }],
    }
}

fn one(span: otlp::Span) -> Span {
    let mut decoded = spans(request(service("gateway"), vec![span]));
    assert_eq!(decoded.len(), 1);
    decoded.remove(0)
}

#[test]
fn a_span_keeps_everything() {
    let link = otlp::span::Link {
        trace_id: vec![3; 16],
        span_id: vec![4; 8],
        attributes: vec![text("l", "1")],
        ..otlp::span::Link::default()
    };
    let nowhere = otlp::span::Link {
        trace_id: vec![0; 16],
        ..link.clone()
    };
    let span = one(otlp::Span {
        parent_span_id: vec![5; 8],
        kind: otlp::span::SpanKind::Consumer as i32,
        status: Some(Status {
            code: otlp::status::StatusCode::Error as i32,
            message: "boom".to_owned(),
        }),
        attributes: vec![text("messaging.system", "rabbitmq")],
        events: vec![otlp::span::Event {
            name: "exception".to_owned(),
            time_unix_nano: 20,
            attributes: vec![text("e", "2")],
            ..otlp::span::Event::default()
        }],
        links: vec![link, nowhere],
        ..valid()
    });
    assert_eq!(span.trace_id.as_bytes(), &[1; 16]);
    assert_eq!(span.span_id.as_bytes(), &[2; 8]);
    assert_eq!(span.parent_span_id.unwrap().as_bytes(), &[5; 8]);
    assert_eq!((&*span.service, &*span.name), ("gateway", "publish orders"));
    assert_eq!(
        (span.kind, span.status),
        (SpanKind::Consumer, SpanStatus::Error)
    );
    assert_eq!(span.status_message, "boom");
    assert_eq!((span.start_unix_nano, span.end_unix_nano), (10, 30));
    assert_eq!(&**span.text("messaging.system").unwrap(), "rabbitmq");
    assert_eq!(span.resource.len(), 2);
    assert_eq!(
        (&*span.events[0].name, span.events[0].time_unix_nano),
        ("exception", 20)
    );
    assert_eq!(span.links.len(), 1, "a link to an invalid id is none");
    let expected: Arc<str> = "1".into();
    assert_eq!(
        span.links[0].attributes[0].1,
        AttributeValue::Text(expected)
    );
}

#[test]
fn what_is_missing_or_odd_gets_its_default() {
    let span = one(otlp::Span {
        kind: 77,
        parent_span_id: vec![0; 8],
        end_time_unix_nano: 3,
        ..valid()
    });
    assert_eq!(span.kind, SpanKind::Internal);
    assert_eq!(span.parent_span_id, None);
    assert_eq!(
        span.end_unix_nano, 10,
        "an end before the start is the start"
    );
    for resource in [None, service(""), Some(Resource::default())] {
        let decoded = spans(request(resource, vec![valid()]));
        assert_eq!(&*decoded[0].service, "unknown_service");
    }
}

#[test]
fn spans_of_one_resource_share_it() {
    let decoded = spans(request(service("gateway"), vec![valid(), valid()]));
    assert!(Arc::ptr_eq(&decoded[0].resource, &decoded[1].resource));
    assert!(Arc::ptr_eq(&decoded[0].name, &decoded[1].name));
}

#[test]
fn spans_with_invalid_ids_are_rejected_alone() {
    let broken = [
        otlp::Span {
            trace_id: vec![1; 15],
            ..valid()
        },
        otlp::Span {
            trace_id: vec![0; 16],
            ..valid()
        },
        otlp::Span {
            span_id: Vec::new(),
            ..valid()
        },
        otlp::Span {
            span_id: vec![0; 8],
            ..valid()
        },
        otlp::Span {
            parent_span_id: vec![1; 7],
            ..valid()
        },
    ];
    let mut all = broken.to_vec();
    all.insert(2, valid());
    let mut request = request(service("gateway"), all);
    assert_eq!(reject_invalid_spans(&mut request), 5);
    assert_eq!(spans(request).len(), 1);
}

#[test]
fn gauges_and_sums_become_numbers_and_histograms_do_not() {
    let number = |value, flags| NumberDataPoint {
        value,
        flags,
        time_unix_nano: 9,
        attributes: vec![text("k", "v")],
        ..NumberDataPoint::default()
    };
    let metric = |name: &str, data| Metric {
        name: name.to_owned(),
        data: Some(data),
        ..Metric::default()
    };
    let gauge = Gauge {
        data_points: vec![
            number(Some(Value::AsDouble(0.5)), 0),
            number(None, 0),
            number(Some(Value::AsInt(1)), 1),
        ],
    };
    let sum = Sum {
        data_points: vec![number(Some(Value::AsInt(7)), 0)],
        ..Sum::default()
    };
    let histogram = Histogram {
        data_points: vec![HistogramDataPoint::default()],
        ..Histogram::default()
    };
    let scope = ScopeMetrics {
        metrics: vec![
            metric("cpu", Data::Gauge(gauge)),
            metric("requests", Data::Sum(sum)),
            metric("latency", Data::Histogram(histogram)),
        ],
        ..ScopeMetrics::default()
    };
    let points = numbers(ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: service("planner"),
            scope_metrics: vec![scope],
            ..ResourceMetrics::default()
        }],
    })
    .points;
    let seen: Vec<_> = points
        .iter()
        .map(|point| {
            (
                &*point.service,
                &*point.name,
                point.value,
                point.time_unix_nano,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [("planner", "cpu", 0.5, 9), ("planner", "requests", 7.0, 9)]
    );
    assert_eq!(&*points[0].attributes[0].0, "k");
}

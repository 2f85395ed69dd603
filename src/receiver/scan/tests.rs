use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
    metric::Data,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use proptest::prelude::*;
use prost::Message as _;

use super::{Counts, ScanError, scan, scan_beginning};
use crate::model::Signal;

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn text(key: &str) -> KeyValue {
    attribute(key, Value::StringValue(key.repeat(3)))
}

fn check(signal: Signal, request: &[u8], expected: (u64, u64, u64, u64)) {
    let counts = scan(signal, request, u64::MAX).unwrap();
    let Counts {
        resources,
        scopes,
        items,
        attributes,
        ..
    } = counts;
    assert_eq!((resources, scopes, items, attributes), expected);
}

/// `number` spans of two bytes each.
fn bomb(number: usize) -> Vec<u8> {
    let spans = [0x12, 0].repeat(number);
    let wrap = |tag: u8, inner: Vec<u8>| {
        let mut outer = vec![tag];
        prost::encoding::encode_varint(inner.len() as u64, &mut outer);
        outer.extend(inner);
        outer
    };
    wrap(0x0a, wrap(0x12, spans))
}

#[test]
fn resources_scopes_items_and_attributes_are_counted() {
    let span = Span {
        name: "publish".to_owned(),
        attributes: vec![text("a"), text("b")],
        ..Span::default()
    };
    let scope = ScopeSpans {
        spans: vec![span; 3],
        ..ScopeSpans::default()
    };
    let resource = ResourceSpans {
        resource: Some(Resource {
            attributes: vec![text("service.name")],
            ..Resource::default()
        }),
        scope_spans: vec![scope; 2],
        ..ResourceSpans::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![resource; 2],
    };
    check(Signal::Traces, &request.encode_to_vec(), (2, 4, 12, 26));
}

#[test]
fn data_points_of_all_kinds_are_counted() {
    let gauge = Data::Gauge(Gauge {
        data_points: vec![NumberDataPoint::default(); 2],
    });
    let histogram = Data::Histogram(Histogram {
        data_points: vec![
            HistogramDataPoint {
                attributes: vec![text("path")],
                bucket_counts: vec![1; 20],
                ..HistogramDataPoint::default()
            };
            3
        ],
        ..Histogram::default()
    });
    let metric = |data| Metric {
        data: Some(data),
        ..Metric::default()
    };
    let scope = ScopeMetrics {
        metrics: vec![metric(gauge), metric(histogram)],
        ..ScopeMetrics::default()
    };
    let resource = ResourceMetrics {
        scope_metrics: vec![scope],
        ..ResourceMetrics::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![resource],
    };
    check(Signal::Metrics, &request.encode_to_vec(), (1, 1, 5, 3));
}

#[test]
fn a_span_bomb_is_refused_before_it_is_decoded() {
    let bomb = bomb(2 << 20);
    let outcome = scan(Signal::Traces, &bomb, 256 << 20);
    assert_eq!(
        outcome,
        Err(ScanError::TooManyElements { budget: 256 << 20 })
    );
    let beginning = scan_beginning(Signal::Traces, &bomb[..5 << 18], 256 << 20);
    assert_eq!(beginning, outcome, "not all of it has to come");
    // The measure is right: all of it would have been far over half a gigabyte.
    let counts = scan(Signal::Traces, &bomb, u64::MAX).unwrap();
    assert_eq!(counts.items, 2 << 20);
    assert!(counts.decoded_bytes > 530 << 20, "{counts:?}");
}

#[test]
fn an_ordinary_large_body_is_taken() {
    // The densest that real exporters send: short names, few and short attributes.
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![1; 8],
        name: "ack".to_owned(),
        start_time_unix_nano: 1,
        end_time_unix_nano: 2,
        attributes: vec![attribute(
            "messaging.system",
            Value::StringValue("rabbitmq".to_owned()),
        )],
        ..Span::default()
    };
    let number = (3 << 20) / (span.encoded_len() + 2);
    let scope = ScopeSpans {
        spans: vec![span; number],
        ..ScopeSpans::default()
    };
    let resource = ResourceSpans {
        scope_spans: vec![scope],
        ..ResourceSpans::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![resource],
    };
    // What one request may take of the default budget.
    let (request, most) = (request.encode_to_vec(), 48 << 20);
    let counts = scan(Signal::Traces, &request, most - request.len() as u64).unwrap();
    assert_eq!(counts.items, number as u64);
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        ".{0,12}".prop_map(Value::StringValue),
        any::<bool>().prop_map(Value::BoolValue),
        any::<i64>().prop_map(Value::IntValue),
        any::<f64>().prop_map(Value::DoubleValue),
        prop::collection::vec(any::<u8>(), 0..12).prop_map(Value::BytesValue),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        let any = inner.prop_map(|value| AnyValue { value: Some(value) });
        prop::collection::vec(any, 0..4).prop_map(|values| Value::ArrayValue(ArrayValue { values }))
    })
}

fn span() -> impl Strategy<Value = Span> {
    let attributes = prop::collection::vec((".{0,8}", any_value()), 0..4);
    (attributes, any::<u64>(), ".{0,20}").prop_map(|(attributes, time, name)| Span {
        name,
        start_time_unix_nano: time,
        attributes: attributes
            .into_iter()
            .map(|(key, value)| attribute(&key, value))
            .collect(),
        ..Span::default()
    })
}

/// Bytes that look like OTLP, some of them spoilt.
fn nearly_valid() -> impl Strategy<Value = Vec<u8>> {
    let spoil = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (prop::collection::vec(span(), 0..6), spoil).prop_map(|(spans, spoil)| {
        let mut bytes = request(spans).encode_to_vec();
        for (index, byte) in spoil {
            if !bytes.is_empty() {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
        }
        bytes
    })
}

fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope = ScopeSpans {
        spans,
        ..ScopeSpans::default()
    };
    let resource = ResourceSpans {
        scope_spans: vec![scope],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![resource],
    }
}

fn spans_of(request: &ExportTraceServiceRequest) -> u64 {
    let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
    scopes.map(|scope| scope.spans.len() as u64).sum()
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let traces = scan(Signal::Traces, &bytes, 1 << 20);
        let _ = scan(Signal::Metrics, &bytes, 1 << 20);
        // What prost takes, the scan takes.
        if let Ok(request) = ExportTraceServiceRequest::decode(bytes.as_slice()) {
            prop_assert_eq!(traces.map(|counts| counts.items), Ok(spans_of(&request)));
        }
    }

    /// Nothing is refused at its beginning that would be taken when all of it is there.
    #[test]
    fn a_beginning_is_refused_only_if_the_whole_is(bytes in nearly_valid(), end in any::<prop::sample::Index>()) {
        let begun = &bytes[..end.index(bytes.len() + 1)];
        match (scan(Signal::Traces, &bytes, u64::MAX), scan_beginning(Signal::Traces, begun, u64::MAX)) {
            (Ok(whole), Ok(begun)) => {
                prop_assert!(begun.items <= whole.items && begun.decoded_bytes <= whole.decoded_bytes);
            }
            (Ok(_), Err(refused)) => prop_assert!(false, "{:?}", refused),
            (Err(_), _) => {}
        }
    }

    #[test]
    fn spans_are_counted_as_prost_decodes_them(bytes in nearly_valid()) {
        if let Ok(request) = ExportTraceServiceRequest::decode(bytes.as_slice()) {
            let counts = scan(Signal::Traces, &bytes, u64::MAX).unwrap();
            prop_assert_eq!(counts.items, spans_of(&request));
        }
    }
}

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{self as otlp, ResourceSpans, ScopeSpans};
use prost::Message;

use super::spans;
use crate::model::Signal;
use crate::receiver::scan;

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn span(number: u64, name: &str, attributes: Vec<KeyValue>) -> otlp::Span {
    otlp::Span {
        trace_id: vec![7; 16],
        span_id: (number + 1).to_be_bytes().to_vec(),
        name: name.to_owned(),
        kind: 5,
        start_time_unix_nano: 10 + number,
        end_time_unix_nano: 20,
        attributes,
        ..otlp::Span::default()
    }
}

fn request(scope: Option<InstrumentationScope>, spans: Vec<otlp::Span>) -> Vec<u8> {
    let resource = Resource {
        attributes: vec![text("service.name", "gateway")],
        ..Resource::default()
    };
    let scope = ScopeSpans {
        scope,
        spans,
        schema_url: "https://opentelemetry.io/schemas/1.30.0".to_owned(),
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![scope],
            ..ResourceSpans::default()
        }],
    }
    .encode_to_vec()
}

/// What `prost` makes of it is made here too.
#[track_caller]
fn check(bytes: &[u8]) {
    let (read, used) = spans(bytes, u64::MAX).expect("it is another's to read");
    let message = ExportTraceServiceRequest::decode(bytes).unwrap();
    assert_eq!(read, super::super::spans(message));
    let scanned = scan::scan(Signal::Traces, bytes, u64::MAX).unwrap();
    assert_eq!(used, scanned.decoded_bytes);
}

/// It is left to `prost`.
#[track_caller]
fn check_left(bytes: &[u8]) {
    assert!(spans(bytes, u64::MAX).is_none());
}

/// A field of wire type 2 before the others of a message.
fn with(tag: u8, field: &[u8], message: &[u8]) -> Vec<u8> {
    let length = u8::try_from(field.len()).unwrap();
    [&[tag, length], field, message].concat()
}

#[test]
fn spans_that_are_alike_and_spans_that_are_not() {
    let names = ["publish a", "process a", "publish a", "publish b", "", ""];
    let spans = names.iter().zip(0..).map(|(name, number)| {
        let mut attributes = vec![
            text("messaging.system", "rabbitmq"),
            text("messaging.message.id", &number.to_string()),
            attribute("retry", Value::BoolValue(number % 2 == 0)),
            attribute("share", Value::DoubleValue(0.5)),
            attribute("size", Value::IntValue(-1 - i64::try_from(number).unwrap())),
        ];
        attributes.rotate_left(usize::from(number == 3));
        attributes.truncate(usize::try_from(number + 2).unwrap());
        span(number, name, attributes)
    });
    check(&request(None, spans.collect()));
    check(&[]);
    check(&request(None, Vec::new()));
}

#[test]
fn what_few_spans_have() {
    let list = Value::KvlistValue(KeyValueList {
        values: vec![text("a", "b")],
    });
    let array = Value::ArrayValue(ArrayValue {
        values: vec![AnyValue { value: Some(list) }, AnyValue::default()],
    });
    let attributes = vec![
        attribute("array", array),
        attribute("bytes", Value::BytesValue(vec![1, 255])),
        KeyValue {
            key: "empty".to_owned(),
            value: Some(AnyValue::default()),
            ..KeyValue::default()
        },
        KeyValue::default(),
    ];
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
    let whole = otlp::Span {
        parent_span_id: vec![5; 8],
        trace_state: "rabtrace=1".to_owned(),
        status: Some(otlp::Status {
            code: 2,
            message: "no".to_owned(),
        }),
        events: vec![otlp::span::Event {
            name: "exception".to_owned(),
            time_unix_nano: 3,
            attributes: vec![text("e", "x")],
            ..otlp::span::Event::default()
        }],
        links: vec![link, nowhere],
        flags: 1,
        dropped_events_count: 300,
        ..span(1, "whole", attributes)
    };
    let scope = InstrumentationScope {
        name: "rabtrace-lapin".to_owned(),
        attributes: vec![text("rabtrace.paths", "measured")],
        ..InstrumentationScope::default()
    };
    let bytes = request(Some(scope), vec![whole]);
    check(&bytes);
    assert!(spans(&bytes, u64::MAX).unwrap().0[0].paths_measured);
}

#[test]
fn what_is_not_as_it_should_be_is_left() {
    let invalid = otlp::Span {
        trace_id: vec![0; 16],
        ..span(1, "a", Vec::new())
    };
    check_left(&request(None, vec![invalid]));
    let parent = otlp::Span {
        parent_span_id: vec![1; 3],
        ..span(1, "a", Vec::new())
    };
    check_left(&request(None, vec![parent]));
    let one = span(1, "a", Vec::new()).encode_to_vec();
    let wrap = |span: &[u8]| with(0x0a, &with(0x12, &with(0x12, span, &[]), &[]), &[]);
    check(&wrap(&one));
    // Two names, a text that is not UTF-8, a name that is a number.
    check_left(&wrap(&with(0x2a, b"b", &one)));
    check_left(&wrap(&with(0x1a, &[0xff], &one)));
    check_left(&wrap(&[&[0x28, 1][..], &one].concat()));
    // An unknown field is passed over.
    check(&wrap(&[&[0x9a, 1, 0][..], &one].concat()));
    // The resource behind its spans.
    let scope = with(0x12, &one, &[]);
    check_left(&with(
        0x0a,
        &[with(0x12, &scope, &[]), vec![0x0a, 0]].concat(),
        &[],
    ));
    // Two values of one attribute.
    let twice = [0x4a, 9, 0x0a, 1, b'k', 0x12, 4, 0x10, 1, 0x18, 1];
    check_left(&wrap(&[&one[..], &twice].concat()));
}

#[test]
fn the_budget_is_the_scans() {
    let spans_of = (0..4).map(|number| span(number, "a", vec![text("key", "value")]));
    let bytes = request(None, spans_of.collect());
    let most = scan(Signal::Traces, &bytes, u64::MAX)
        .unwrap()
        .decoded_bytes;
    assert!(spans(&bytes, most).is_some());
    assert!(spans(&bytes, most - 1).is_none());
}

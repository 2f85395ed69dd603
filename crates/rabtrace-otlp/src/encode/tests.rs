//! The encoder against the SDK's own way, `opentelemetry-proto` and `prost`: the same bytes.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Sent;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;

use super::Encoder;

/// What the SDK's exporter sends.
fn by_the_sdk(batch: &[SpanData], resource: &Resource) -> Vec<u8> {
    let resource_spans = group_spans_by_resource_and_scope(batch.to_vec(), &resource.into());
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// Bytes first; if they differ, the messages say where.
fn assert_same(batch: &[SpanData], resource: &Resource) {
    let expected = by_the_sdk(batch, resource);
    let mut encoder = Encoder::new(resource);
    let found = encoder.encode(batch);
    if found != expected {
        let decode = |bytes: &[u8]| ExportTraceServiceRequest::decode(bytes).unwrap();
        assert_eq!(decode(found), decode(&expected));
        assert_eq!(found, expected);
    }
}

fn resource() -> Resource {
    Resource::builder_empty()
        .with_schema_url(
            [
                KeyValue::new("service.name", "planner"),
                KeyValue::new("process.pid", 7),
                KeyValue::new("host.ip", Value::Array(vec![1.5, -0.0].into())),
            ],
            "https://opentelemetry.io/schemas/1.44.0",
        )
        .build()
}

fn plain() -> SpanData {
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(7),
            SpanId::from(8),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: Cow::Borrowed(""),
        start_time: UNIX_EPOCH,
        end_time: UNIX_EPOCH,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::default(),
    }
}

fn with(change: impl FnOnce(&mut SpanData)) -> SpanData {
    let mut span = plain();
    change(&mut span);
    span
}

fn check(change: impl FnOnce(&mut SpanData)) {
    assert_same(&[with(change)], &resource());
}

/// That the value arrives as the kind that it is, whatever the SDK does.
fn check_value(value: impl Into<Value>, expected: &Sent) {
    let span = with(|span| span.attributes = vec![KeyValue::new("key", value)]);
    assert_same(std::slice::from_ref(&span), &resource());
    let mut encoder = Encoder::new(&resource());
    let request = ExportTraceServiceRequest::decode(encoder.encode(&[span])).unwrap();
    let attribute = &request.resource_spans[0].scope_spans[0].spans[0].attributes[0];
    assert_eq!(attribute.key, "key");
    let value = attribute.value.clone().unwrap().value.unwrap();
    assert_eq!(&value, expected);
}

fn check_array(array: impl Into<Array>, expected: Vec<Sent>) {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue};
    let values = expected
        .into_iter()
        .map(|value| AnyValue { value: Some(value) })
        .collect();
    let expected = Sent::ArrayValue(ArrayValue { values });
    check_value(Value::Array(array.into()), &expected);
}

#[test]
fn truths() {
    check_value(true, &Sent::BoolValue(true));
    check_value(false, &Sent::BoolValue(false));
    check_array(Vec::<bool>::new(), vec![]);
    let both = vec![Sent::BoolValue(true), Sent::BoolValue(false)];
    check_array(vec![true, false], both);
}

#[test]
fn integers() {
    for number in [0, 1, -1, 127, 128, 16_384, i64::MAX, i64::MIN] {
        check_value(number, &Sent::IntValue(number));
    }
    check_array(Vec::<i64>::new(), vec![]);
    check_array(
        vec![0, -1, i64::MIN],
        [0, -1, i64::MIN].map(Sent::IntValue).to_vec(),
    );
}

#[test]
fn doubles() {
    for number in [0.0, -0.0, 1.5, f64::MIN, f64::INFINITY, f64::MIN_POSITIVE] {
        check_value(number, &Sent::DoubleValue(number));
    }
    check(|span| span.attributes = vec![KeyValue::new("nan", f64::NAN)]);
    check_array(Vec::<f64>::new(), vec![]);
    check_array(vec![0.0, 2.5], [0.0, 2.5].map(Sent::DoubleValue).to_vec());
}

#[test]
fn texts() {
    let huge = "ü".repeat(100_000);
    for text in ["", "a", "\u{0}", "Grüße, 世界 🐇", &"x".repeat(127), &huge] {
        check_value(text.to_owned(), &Sent::StringValue(text.to_owned()));
        check_value(Arc::<str>::from(text), &Sent::StringValue(text.to_owned()));
    }
    check_value("static", &Sent::StringValue("static".into()));
    check_array(Vec::<StringValue>::new(), vec![]);
    check_array(
        vec![
            StringValue::from(""),
            "b".into(),
            Arc::<str>::from("c").into(),
        ],
        ["", "b", "c"]
            .map(|text| Sent::StringValue(text.into()))
            .to_vec(),
    );
}

#[test]
fn lengths_around_a_byte() {
    for length in (0..140).chain([16_370, 16_384, 16_390, 2_097_152]) {
        check(|span| {
            span.attributes = vec![KeyValue::new("k".repeat(length), "v".repeat(length))];
            span.name = "n".repeat(length).into();
        });
    }
}

#[test]
fn kinds_and_statuses() {
    use SpanKind::{Client, Consumer, Internal, Producer, Server};
    for kind in [Client, Consumer, Internal, Producer, Server] {
        check(|span| span.span_kind = kind);
    }
    let error = |text: &'static str| Status::Error {
        description: text.into(),
    };
    for status in [Status::Unset, Status::Ok, error(""), error("no route")] {
        check(|span| span.status = status);
    }
}

#[test]
fn times() {
    for time in [
        UNIX_EPOCH - Duration::from_nanos(1),
        UNIX_EPOCH,
        UNIX_EPOCH + Duration::from_nanos(1),
        UNIX_EPOCH + Duration::from_nanos(u64::MAX),
        UNIX_EPOCH + Duration::from_secs(u64::MAX / 1_000),
    ] {
        check(|span| (span.start_time, span.end_time) = (time, time));
        check(|span| {
            span.events.events = vec![Event::new("at", time, vec![], 0)];
        });
    }
}

#[test]
fn contexts() {
    let state = |text: &str| text.parse::<TraceState>().unwrap();
    for text in ["", "rabtrace=1-2-3", "a=1,b=,c=x y", "k0=0,k1=1,k2=2,k3=3"] {
        for (flags, remote) in [(0, false), (1, true), (255, true)] {
            let flags = TraceFlags::new(flags);
            let context = SpanContext::new(u128::MAX.into(), 1.into(), flags, remote, state(text));
            check(|span| span.links.links = vec![Link::new(context.clone(), vec![], 3)]);
            check(|span| span.span_context = context);
        }
    }
    check(|span| (span.parent_span_id, span.parent_span_is_remote) = (9.into(), true));
}

#[test]
fn scopes_stay_in_order_and_apart() {
    let scope = |name: &'static str, attributes: Vec<KeyValue>| {
        InstrumentationScope::builder(name)
            .with_version("1")
            .with_schema_url("https://example.org")
            .with_attributes(attributes)
            .build()
    };
    let (a, b) = (KeyValue::new("a", 1), KeyValue::new("b", "two"));
    let double = |number: f64| vec![KeyValue::new("double", number)];
    let scopes = [
        scope("one", vec![]),
        scope("two", vec![a.clone(), b.clone()]),
        scope("one", vec![]),
        scope("one", vec![a.clone()]),
        scope("two", vec![b, a]),
        InstrumentationScope::builder("one").build(),
        scope("nan", double(f64::NAN)),
        scope("nan", double(f64::NAN)),
        scope("positive", double(1.5)),
        scope("positive", double(1.5)),
        InstrumentationScope::default(),
        scope("one", vec![]),
    ];
    let batch = scopes.map(|scope| with(|span| span.instrumentation_scope = scope));
    assert_same(&batch, &resource());
}

#[test]
fn resources() {
    let none = Resource::builder_empty().build();
    assert_same(&[], &none);
    assert_same(&[plain()], &none);
    assert_same(&[plain()], &Resource::builder().build());
    let large = KeyValue::new("large", "x".repeat(10_000));
    let large = Resource::builder_empty().with_attribute(large).build();
    assert_same(&[plain()], &large);
}

#[test]
fn a_buffer_is_used_again() {
    let resource = resource();
    let mut encoder = Encoder::new(&resource);
    let large = with(|span| span.name = "x".repeat(9 << 20).into());
    for batch in [
        vec![plain()],
        vec![large, plain()],
        vec![],
        vec![plain(); 9],
    ] {
        assert_eq!(encoder.encode(&batch), by_the_sdk(&batch, &resource));
    }
}

fn text() -> BoxedStrategy<String> {
    prop_oneof![
        8 => ".{0,20}",
        1 => Just(String::new()),
        1 => (100usize..40_000).prop_map(|length| "x".repeat(length)),
    ]
    .boxed()
}

fn value() -> BoxedStrategy<Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-300i64..300).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
        text().prop_map(|text| Value::from(Arc::<str>::from(text))),
        vec(any::<bool>(), 0..4).prop_map(|all| Value::Array(all.into())),
        vec(any::<i64>(), 0..4).prop_map(|all| Value::Array(all.into())),
        vec(any::<f64>(), 0..4).prop_map(|all| Value::Array(all.into())),
        vec(text().prop_map(StringValue::from), 0..4).prop_map(|all| Value::Array(all.into())),
    ]
    .boxed()
}

fn attributes() -> BoxedStrategy<Vec<KeyValue>> {
    vec(
        (text(), value()).prop_map(|(key, value)| KeyValue::new(key, value)),
        0..6,
    )
    .boxed()
}

fn count() -> BoxedStrategy<u32> {
    prop_oneof![Just(0), any::<u32>(), 0u32..3].boxed()
}

fn time() -> BoxedStrategy<std::time::SystemTime> {
    any::<u64>()
        .prop_map(|nanoseconds| UNIX_EPOCH + Duration::from_nanos(nanoseconds))
        .boxed()
}

fn context() -> BoxedStrategy<SpanContext> {
    let member = ("[a-z][a-z0-9_]{0,8}", "[a-zA-Z0-9:;-]{0,12}");
    let ids = (any::<u128>(), any::<u64>(), any::<u8>(), any::<bool>());
    (ids, vec(member, 0..5))
        .prop_map(|((trace, span, flags, remote), state)| {
            let state = TraceState::from_key_value(state).unwrap();
            let flags = TraceFlags::new(flags);
            SpanContext::new(trace.into(), span.into(), flags, remote, state)
        })
        .boxed()
}

fn scope() -> BoxedStrategy<InstrumentationScope> {
    let scope = ("[ab]?", option::of("[12]?"), option::of("[u]?"));
    (scope, prop_oneof![Just(Vec::new()), attributes()])
        .prop_map(|((name, version, schema_url), attributes)| {
            let mut scope = InstrumentationScope::builder(name).with_attributes(attributes);
            if let Some(version) = version {
                scope = scope.with_version(version);
            }
            if let Some(schema_url) = schema_url {
                scope = scope.with_schema_url(schema_url);
            }
            scope.build()
        })
        .boxed()
}

fn span() -> BoxedStrategy<SpanData> {
    let events = vec((text(), time(), attributes(), count()), 0..3);
    let links = vec((context(), attributes(), count()), 0..3);
    let status = prop_oneof![
        Just(Status::Unset),
        Just(Status::Ok),
        text().prop_map(Status::error),
    ];
    let kind = prop_oneof![
        Just(SpanKind::Client),
        Just(SpanKind::Consumer),
        Just(SpanKind::Internal),
        Just(SpanKind::Producer),
        Just(SpanKind::Server),
    ];
    let own = (
        context(),
        any::<u64>(),
        any::<bool>(),
        text(),
        time(),
        time(),
    );
    let lists = (attributes(), events, links, [count(), count(), count()]);
    (own, lists, status, kind, scope())
        .prop_map(|(own, lists, status, kind, scope)| {
            with(|span| {
                span.span_context = own.0;
                span.parent_span_id = own.1.into();
                span.parent_span_is_remote = own.2;
                span.name = own.3.into();
                (span.start_time, span.end_time) = (own.4, own.5);
                span.attributes = lists.0;
                let event = |(name, at, all, dropped)| Event::new::<String>(name, at, all, dropped);
                span.events.events = lists.1.into_iter().map(event).collect();
                let link = |(context, all, dropped)| Link::new(context, all, dropped);
                span.links.links = lists.2.into_iter().map(link).collect();
                let dropped = lists.3;
                span.dropped_attributes_count = dropped[0];
                (span.events.dropped_count, span.links.dropped_count) = (dropped[1], dropped[2]);
                span.status = status;
                span.span_kind = kind;
                span.instrumentation_scope = scope;
            })
        })
        .boxed()
}

proptest! {
    #[test]
    fn any_batch_is_the_same(batch in vec(span(), 0..8), all in attributes()) {
        let resource = Resource::builder_empty().with_attributes(all).build();
        assert_same(&batch, &resource);
    }
}

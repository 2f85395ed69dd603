//! An encoder that has seen a batch allocates nothing for the next one of its size.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::time::UNIX_EPOCH;

use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState,
};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use rabtrace_otlp::Encoder;

/// A span with everything that a span can have, of one of three scopes.
fn span(index: u64) -> SpanData {
    let state: TraceState = "rabtrace=1-2-3,other=x".parse().unwrap();
    let context = SpanContext::new(7.into(), index.into(), TraceFlags::SAMPLED, true, state);
    let attributes = vec![
        KeyValue::new("text", "a text"),
        KeyValue::new("long", "x".repeat(1_000)),
        KeyValue::new("integer", -1),
        KeyValue::new("double", 0.5),
        KeyValue::new("truth", true),
        KeyValue::new("truths", Value::Array(Array::Bool(vec![true, false]))),
        KeyValue::new("integers", Value::Array(Array::I64(vec![1, i64::MAX]))),
        KeyValue::new("doubles", Value::Array(Array::F64(vec![1.0, 2.0]))),
        KeyValue::new("texts", Value::Array(vec![StringValue::from("a")].into())),
    ];
    let mut events = SpanEvents::default();
    events.events = vec![Event::new("event", UNIX_EPOCH, attributes.clone(), 1)];
    let mut links = SpanLinks::default();
    links.links = vec![Link::new(context.clone(), attributes.clone(), 1)];
    SpanData {
        span_context: context,
        parent_span_id: SpanId::from(1),
        parent_span_is_remote: true,
        span_kind: SpanKind::Consumer,
        name: "process planner_queue".into(),
        start_time: UNIX_EPOCH,
        end_time: UNIX_EPOCH,
        attributes: attributes.clone(),
        dropped_attributes_count: 1,
        events,
        links,
        status: Status::error("no"),
        instrumentation_scope: InstrumentationScope::builder(format!("scope {}", index % 3))
            .with_version("1")
            .with_attributes(attributes)
            .build(),
    }
}

#[test]
fn nothing_is_allocated_for_a_span() {
    let batch: Vec<SpanData> = (1..=512).map(span).collect();
    let mut encoder = Encoder::new(&Resource::builder().build());
    let first = allocation_counter::measure(|| {
        assert!(encoder.encode(&batch).len() > 512 * 1_000);
    });
    assert!(first.count_total > 0, "is this test still counting?");
    let second = allocation_counter::measure(|| {
        assert!(encoder.encode(&batch).len() > 512 * 1_000);
    });
    assert_eq!(second.count_total, 0);
}

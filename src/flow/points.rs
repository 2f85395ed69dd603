//! Hops and windows as points of InfluxDB.

use std::sync::{Arc, LazyLock};

use crate::model::{
    Attributes, FieldValue, FlowWindow, Histogram, Hop, Point, Span, SpanKind, SpanStatus,
    attributes_json,
};

/// Bytes that the attributes of a span may take in a field.
const MAX_ATTRIBUTES: usize = 8 * 1024;

/// Names of kinds and statuses, each allocated once.
static KINDS: LazyLock<[Arc<str>; 5]> = LazyLock::new(|| {
    use SpanKind::{Client, Consumer, Internal, Producer, Server};
    [Internal, Server, Client, Producer, Consumer].map(|kind| kind.as_str().into())
});
static STATUSES: LazyLock<[Arc<str>; 3]> = LazyLock::new(|| {
    let all = [SpanStatus::Unset, SpanStatus::Ok, SpanStatus::Error];
    all.map(|status| status.as_str().into())
});

/// A span as a point of `spans`; tags in the order in which a line has them.
pub(super) fn span(hop: &Hop) -> Point {
    let span = &hop.span;
    let mut point = Point {
        tags: Vec::with_capacity(5),
        fields: Vec::with_capacity(9),
        ..Point::new("spans", hop.point_unix_nano)
    };
    if let Some(destination) = &hop.destination {
        point = point.tag("destination", Arc::clone(destination));
    }
    point
        .tag("kind", Arc::clone(&KINDS[span.kind as usize]))
        .tag("service_name", Arc::clone(&span.service))
        .tag("span_name", Arc::clone(&span.name))
        .tag("status", Arc::clone(&STATUSES[span.status as usize]))
        .text("trace_id", Some(span.trace_id))
        .text("span_id", Some(span.span_id))
        .text("parent_span_id", span.parent_span_id)
        .int("start_ns", Some(span.start_unix_nano))
        .float("duration_ms", Some(span.duration().as_secs_f64() * 1e3))
        .float(
            "queue_ms",
            hop.queue_wait.map(|wait| wait.as_secs_f64() * 1e3),
        )
        .text("path", hop.path.clone())
        .text("error_type", error_type(span))
        .text("attributes", attributes(&span.attributes))
}

/// What failed, of spans that failed: nobody looks it up in the others.
fn error_type(span: &Span) -> Option<Arc<str>> {
    if span.status != SpanStatus::Error {
        return None;
    }
    span.text("error.type").cloned()
}

/// The start of the span, its nanoseconds below a microsecond replaced by digits of its id: two
/// spans with equal tags would overwrite each other.
pub(super) fn time(span: &Span) -> i64 {
    let digits = span.span_id.as_bytes().iter().fold(0_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let start = span.start_unix_nano;
    i64::try_from((start - start % 1000).saturating_add(digits % 1000)).unwrap_or(i64::MAX)
}

fn attributes(attributes: &Attributes) -> Option<String> {
    attributes_json(attributes).filter(|text| text.len() <= MAX_ATTRIBUTES)
}

/// A window as a point of `message_flow`; durations are since the origin of the path, in ms.
pub(super) fn message_flow(window: &FlowWindow, path: Arc<str>, instance: &Arc<str>) -> Point {
    let mut point = Point::new("message_flow", window.start_unix_nano)
        .tag("path", path)
        .tag("service", Arc::clone(&window.service))
        .tag("destination", Arc::clone(&window.destination))
        .tag("direction", window.direction.as_str())
        .tag("kind", window.kind.as_str())
        .tag("instance", Arc::clone(instance))
        .int("count", Some(window.count))
        .int("errors", Some(window.errors))
        .int("redelivered", Some(window.redelivered))
        .int("skewed", Some(window.skewed));
    let names = [
        "duration_p50",
        "duration_p95",
        "duration_p99",
        "duration_max",
        "duration_sum",
    ];
    point = durations(point, names, &window.total);
    let names = ["edge_p50", "edge_p95", "edge_p99", "edge_max", "edge_sum"];
    point = durations(point, names, &window.edge);
    let names = [
        "process_p50",
        "process_p95",
        "process_p99",
        "process_max",
        "process_sum",
    ];
    point = durations(point, names, &window.process);
    if window.total.count() > 0 {
        point
            .fields
            .push(("histogram", FieldValue::Bytes(window.total.encode())));
    }
    point
}

fn durations(point: Point, names: [&'static str; 5], histogram: &Histogram) -> Point {
    if histogram.count() == 0 {
        return point;
    }
    let ms = |seconds: f64| Some(seconds * 1e3);
    let quantile = |quantile| histogram.quantile(quantile).and_then(ms);
    let [p50, p95, p99, max, sum] = names;
    point
        .float(p50, quantile(0.5))
        .float(p95, quantile(0.95))
        .float(p99, quantile(0.99))
        .float(max, ms(histogram.max()))
        .float(sum, ms(histogram.sum()))
}

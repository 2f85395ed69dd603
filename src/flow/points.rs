//! Hops and windows as points of InfluxDB.

use std::sync::Arc;

use crate::model::{AttributeValue, Attributes, FieldValue, FlowWindow, Histogram, Hop, Point};

/// Bytes that the attributes of a span may take in a field.
const MAX_ATTRIBUTES: usize = 8 * 1024;

/// A span as a point of `spans`.
pub(super) fn span(hop: &Hop) -> Point {
    let span = &hop.span;
    let mut point = Point::new("spans", time(hop))
        .tag("service_name", Arc::clone(&span.service))
        .tag("span_name", Arc::clone(&span.name))
        .tag("kind", span.kind.as_str())
        .tag("status", span.status.as_str())
        .text("trace_id", Some(span.trace_id.to_string()))
        .text("span_id", Some(span.span_id.to_string()))
        .text(
            "parent_span_id",
            span.parent_span_id.map(|id| id.to_string()),
        )
        .int("start_ns", Some(span.start_unix_nano))
        .float("duration_ms", Some(span.duration().as_secs_f64() * 1e3))
        .float(
            "queue_ms",
            hop.queue_wait.map(|wait| wait.as_secs_f64() * 1e3),
        )
        .text("path", hop.path.clone())
        .text("attributes", attributes(&span.attributes));
    if let Some(destination) = &hop.destination {
        point = point.tag("destination", Arc::clone(destination));
    }
    point
}

/// The start of the span, its nanoseconds below a microsecond replaced by digits of its id: two
/// spans with equal tags would overwrite each other.
pub(super) fn time(hop: &Hop) -> i64 {
    let digits = hop
        .span
        .span_id
        .as_bytes()
        .iter()
        .fold(0_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let start = hop.span.start_unix_nano;
    i64::try_from((start - start % 1000).saturating_add(digits % 1000)).unwrap_or(i64::MAX)
}

fn attributes(attributes: &Attributes) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let map: serde_json::Map<String, serde_json::Value> = attributes
        .iter()
        .map(|(name, value)| (String::from(&**name), json(value)))
        .collect();
    let text = serde_json::Value::Object(map).to_string();
    (text.len() <= MAX_ATTRIBUTES).then_some(text)
}

fn json(value: &AttributeValue) -> serde_json::Value {
    match value {
        AttributeValue::Text(text) => serde_json::Value::from(&**text),
        AttributeValue::Bool(value) => (*value).into(),
        AttributeValue::Int(value) => (*value).into(),
        AttributeValue::Double(value) => (*value).into(),
        AttributeValue::Json(value) => value.clone(),
    }
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

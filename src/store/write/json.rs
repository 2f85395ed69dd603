//! Events and links as JSON texts.

use crate::model::{AttributesJson, SpanEvent, SpanLink};

#[derive(serde::Serialize)]
struct Event<'a> {
    name: &'a str,
    time_unix_nano: u64,
    attributes: AttributesJson<'a>,
}

/// An array of `{name, time_unix_nano, attributes}`; none when empty.
pub(super) fn events(events: &[SpanEvent]) -> Option<String> {
    if events.is_empty() {
        return None;
    }
    let events = events.iter().map(|event| Event {
        name: &event.name,
        time_unix_nano: event.time_unix_nano,
        attributes: AttributesJson(&event.attributes),
    });
    serde_json::to_string(&events.collect::<Vec<_>>()).ok()
}

#[derive(serde::Serialize)]
struct Link<'a> {
    trace_id: String,
    span_id: String,
    attributes: AttributesJson<'a>,
}

/// An array of `{trace_id, span_id, attributes}`; none when empty.
pub(super) fn links(links: &[SpanLink]) -> Option<String> {
    if links.is_empty() {
        return None;
    }
    let links = links.iter().map(|link| Link {
        trace_id: link.trace_id.to_string(),
        span_id: link.span_id.to_string(),
        attributes: AttributesJson(&link.attributes),
    });
    serde_json::to_string(&links.collect::<Vec<_>>()).ok()
}

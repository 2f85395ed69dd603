//! Attributes, events and links as JSON texts.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::model::{AttributeValue, Attributes, SpanEvent, SpanLink};

struct AttributesJson<'a>(&'a Attributes);
struct ValueJson<'a>(&'a AttributeValue);

impl Serialize for AttributesJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(&**name, &ValueJson(value))?;
        }
        map.end()
    }
}

impl Serialize for ValueJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            AttributeValue::Text(text) => serializer.serialize_str(text),
            AttributeValue::Bool(value) => serializer.serialize_bool(*value),
            AttributeValue::Int(value) => serializer.serialize_i64(*value),
            AttributeValue::Double(value) => serializer.serialize_f64(*value),
            AttributeValue::Json(value) => value.serialize(serializer),
        }
    }
}

/// An object; none when empty.
pub(super) fn attributes(attributes: &Attributes) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    serde_json::to_string(&AttributesJson(attributes)).ok()
}

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

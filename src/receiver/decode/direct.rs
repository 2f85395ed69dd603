//! Requests of traces from the wire into the model, without the messages between.
//!
//! Input: protobuf bytes. Output: the spans that `prost` and [`super::spans`] make of them, with
//! the budget of [`scan`](super::super::scan::scan) kept on the way; or nothing, where a request is
//! not as SDKs write it: an invalid id, a message in two pieces, a resource behind its spans, what
//! is malformed or too large. What is to be made of that, scan and `prost` say.
//!
//! Spans of one request are alike. One that has the name of another begins from it: keys and texts
//! that stand in the same place are compared, and shared instead of allocated.

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{self as otlp};

use super::super::attribute::{Interner, attribute_value};
use super::super::scan::{Message, Walk};
use super::super::wire::{Fields, Value};
use super::{decode_event, decode_kind, decode_link, decode_status, paths_are_measured, resource};
use crate::model::{
    AttributeValue, Attributes, Span, SpanEvent, SpanId, SpanKind, SpanLink, SpanStatus, TraceId,
};

/// The spans of `request`, and the bytes of memory that they take, as
/// [`scan`](super::super::scan::scan) counts them; none if it is left to `prost`, or takes more than
/// `budget` bytes.
#[must_use]
pub fn spans(request: &[u8], budget: u64) -> Option<(Vec<Span>, u64)> {
    let mut reader = Reader {
        parts: Parts {
            walk: Walk::new(budget),
            interner: Interner::default(),
        },
        names: HashMap::new(),
        spans: Vec::new(),
    };
    let mut fields = Fields::new(request, 0);
    while let Some(field) = fields.next().ok()? {
        match field {
            (1, Value::Bytes(bytes)) => reader.resource_spans(bytes)?,
            (1, _) => return None,
            _ => {}
        }
    }
    Some((reader.spans, reader.parts.walk.decoded_bytes()))
}

/// Service and attributes of a resource.
type Origin = (Arc<str>, Arc<Attributes>);

/// Attributes for which a span gets room before they are there.
const MAX_EXPECTED: usize = 16;

/// What few spans have.
#[derive(Default)]
struct Rest {
    status: Option<otlp::Status>,
    events: Vec<SpanEvent>,
    links: Vec<SpanLink>,
}

struct Reader {
    parts: Parts,
    /// Names, and the first span that has each.
    names: HashMap<Arc<str>, usize>,
    spans: Vec<Span>,
}

impl Reader {
    fn resource_spans(&mut self, bytes: &[u8]) -> Option<()> {
        self.parts.walk.count(Message::ResourceSpans).ok()?;
        let mut origin: Option<Origin> = None;
        let mut fields = Fields::new(bytes, 1);
        while let Some(field) = fields.next().ok()? {
            match field {
                (1, Value::Bytes(bytes)) if origin.is_none() => {
                    let message: Resource = self.parts.message(Message::Resource, bytes, 2)?;
                    origin = Some(resource(Some(message), &mut self.parts.interner));
                }
                (2, Value::Bytes(bytes)) => {
                    let origin =
                        origin.get_or_insert_with(|| resource(None, &mut self.parts.interner));
                    self.scope_spans(bytes, origin)?;
                }
                (3, Value::Bytes(text)) => self.parts.check(text)?,
                (1..=3, _) => return None,
                _ => {}
            }
        }
        Some(())
    }

    fn scope_spans(&mut self, bytes: &[u8], origin: &Origin) -> Option<()> {
        self.parts.walk.count(Message::ScopeSpans).ok()?;
        let mut measured = None;
        let mut fields = Fields::new(bytes, 2);
        while let Some(field) = fields.next().ok()? {
            match field {
                (1, Value::Bytes(bytes)) if measured.is_none() => {
                    let scope: InstrumentationScope =
                        self.parts.message(Message::Scope, bytes, 3)?;
                    measured = Some(paths_are_measured(Some(&scope)));
                }
                (2, Value::Bytes(bytes)) => {
                    let paths_measured = *measured.get_or_insert(false);
                    let span = self.span(bytes, origin)?;
                    self.spans.push(Span {
                        paths_measured,
                        ..span
                    });
                }
                (3, Value::Bytes(text)) => self.parts.check(text)?,
                (1..=3, _) => return None,
                _ => {}
            }
        }
        Some(())
    }

    fn span(&mut self, bytes: &[u8], (service, resource): &Origin) -> Option<Span> {
        self.parts.walk.count(Message::Span).ok()?;
        let (mut trace_id, mut span_id, mut parent_span_id) = (None, None, None);
        let (mut name, mut kind, mut start, mut end) = (None, SpanKind::Internal, 0, 0);
        let (mut attributes, mut rest) = (Attributes::new(), Rest::default());
        // The span that this one may be like.
        let mut like = self.spans.len().wrapping_sub(1);
        let mut fields = Fields::new(bytes, 3);
        while let Some(field) = fields.next().ok()? {
            match field {
                (1, Value::Bytes(id)) => trace_id = TraceId::from_bytes(self.parts.bytes(id)?),
                (2, Value::Bytes(id)) => span_id = SpanId::from_bytes(self.parts.bytes(id)?),
                (4, Value::Bytes(id)) if matches!(id.len(), 0 | 8) => {
                    parent_span_id = SpanId::from_bytes(self.parts.bytes(id)?);
                }
                (5, Value::Bytes(text)) if name.is_none() => {
                    let found = self.name(text, like)?;
                    (name, like) = (Some(found.0), found.1);
                }
                #[expect(clippy::cast_possible_truncation, reason = "as protobuf has it")]
                (6, Value::Varint(number)) => kind = decode_kind(number as i32),
                (7, Value::Fixed64(time)) => start = time,
                (8, Value::Fixed64(time)) => end = time,
                (9, Value::Bytes(bytes)) => {
                    let like = self.spans.get(like).map(|span| &span.attributes);
                    if attributes.is_empty() {
                        let number = like.map_or(0, Vec::len);
                        attributes.reserve_exact(number.clamp(1, MAX_EXPECTED));
                    }
                    let like = like.and_then(|like| like.get(attributes.len()));
                    attributes.push(self.parts.attribute(bytes, like)?);
                }
                field => self.parts.rest(field, &mut rest)?,
            }
        }
        let status = rest
            .status
            .map(|status| (decode_status(status.code), status.message));
        let (status, status_message) = status.unwrap_or((SpanStatus::Unset, String::new()));
        Some(Span {
            trace_id: trace_id?,
            span_id: span_id?,
            parent_span_id,
            service: Arc::clone(service),
            name: name.unwrap_or_default(),
            kind,
            status,
            status_message,
            start_unix_nano: start,
            end_unix_nano: end.max(start),
            attributes,
            resource: Arc::clone(resource),
            events: rest.events,
            links: rest.links,
            paths_measured: false,
        })
    }

    /// The name, and the span that has it too: the one at `last`, or the first of them.
    fn name(&mut self, text: &[u8], last: usize) -> Option<(Arc<str>, usize)> {
        self.parts.walk.text(text.len()).ok()?;
        if let Some(span) = self.spans.get(last)
            && span.name.as_bytes() == text
        {
            return Some((Arc::clone(&span.name), last));
        }
        let text = std::str::from_utf8(text).ok()?;
        if let Some((name, first)) = self.names.get_key_value(text) {
            return Some((Arc::clone(name), *first));
        }
        let name: Arc<str> = text.into();
        self.names.insert(Arc::clone(&name), self.spans.len());
        Some((name, last))
    }
}

/// What is counted and shared of one request.
struct Parts {
    walk: Walk,
    interner: Interner,
}

impl Parts {
    /// A message of which few come, or which are seldom simple, as `prost` reads it.
    fn message<M: prost::Message + Default>(
        &mut self,
        message: Message,
        bytes: &[u8],
        depth: u32,
    ) -> Option<M> {
        self.walk.count(message).ok()?;
        self.walk.message(message, bytes, depth).ok()?;
        M::decode(bytes).ok()
    }

    fn bytes<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        self.walk.text(bytes.len()).ok()?;
        Some(bytes)
    }

    /// A text that is not kept.
    fn check(&mut self, text: &[u8]) -> Option<()> {
        std::str::from_utf8(self.bytes(text)?).ok().map(|_| ())
    }

    fn rest(&mut self, field: (u32, Value<'_>), rest: &mut Rest) -> Option<()> {
        match field {
            (3, Value::Bytes(text)) => self.check(text)?,
            (11, Value::Bytes(bytes)) => {
                let event = self.message(Message::Event, bytes, 4)?;
                rest.events.push(decode_event(event, &mut self.interner));
            }
            (13, Value::Bytes(bytes)) => {
                let link = self.message(Message::Link, bytes, 4)?;
                rest.links.extend(decode_link(link, &mut self.interner));
            }
            (15, Value::Bytes(bytes)) if rest.status.is_none() => {
                rest.status = Some(self.message(Message::Status, bytes, 4)?);
            }
            (10 | 12 | 14, Value::Varint(_)) | (16, Value::Fixed32(_)) | (17.., _) => {}
            _ => return None,
        }
        Some(())
    }

    /// A `KeyValue` that may be like `like`.
    fn attribute(
        &mut self,
        bytes: &[u8],
        like: Option<&(Arc<str>, AttributeValue)>,
    ) -> Option<(Arc<str>, AttributeValue)> {
        self.walk.count(Message::KeyValue).ok()?;
        let (mut key, mut value) = (None, None);
        let mut fields = Fields::new(bytes, 4);
        while let Some(field) = fields.next().ok()? {
            match field {
                (1, Value::Bytes(text)) if key.is_none() => key = Some(self.bytes(text)?),
                (2, Value::Bytes(any)) if value.is_none() => value = Some(any),
                (3, Value::Varint(_)) | (4.., _) => {}
                _ => return None,
            }
        }
        let key = key.unwrap_or_default();
        let key = match like {
            Some((like, _)) if like.as_bytes() == key => Arc::clone(like),
            _ => self.interner.intern(std::str::from_utf8(key).ok()?),
        };
        let value = match value {
            Some(bytes) => self.value(bytes, like.map(|(_, value)| value))?,
            None => attribute_value(None),
        };
        Some((key, value))
    }

    /// An `AnyValue` that may be like `like`.
    fn value(&mut self, bytes: &[u8], like: Option<&AttributeValue>) -> Option<AttributeValue> {
        let mut fields = Fields::new(bytes, 5);
        let value = match fields.next().ok()? {
            Some((1, Value::Bytes(text))) => {
                self.walk.text(text.len()).ok()?;
                AttributeValue::Text(match like {
                    Some(AttributeValue::Text(like)) if like.as_bytes() == text => Arc::clone(like),
                    _ => std::str::from_utf8(text).ok()?.into(),
                })
            }
            Some((2, Value::Varint(value))) => AttributeValue::Bool(value != 0),
            Some((3, Value::Varint(number))) => AttributeValue::Int(number.cast_signed()),
            Some((4, Value::Fixed64(bits))) => AttributeValue::Double(f64::from_bits(bits)),
            _ => {
                let any: AnyValue = self.message(Message::AnyValue, bytes, 5)?;
                return Some(attribute_value(Some(any)));
            }
        };
        self.walk.count(Message::AnyValue).ok()?;
        // Of several the last one counts.
        fields.next().ok()?.is_none().then_some(value)
    }
}

#[cfg(test)]
mod tests;

//! OTLP's messages as JSON has them: which field holds what, and what it costs decoded.
//!
//! Names: `opentelemetry-proto` v1 in lowerCamelCase, as protobuf's JSON mapping says.

use std::mem::size_of;

use opentelemetry_proto::tonic::{
    common::v1 as common, metrics::v1 as metrics, trace::v1 as trace,
};

use crate::model;
use crate::receiver::scan::Message;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// A message.
    One(Message),
    /// A list of messages.
    Many(Message),
    /// An element of such a list.
    Item(Message),
    Text(Text),
    /// A list of texts.
    Texts,
    ItemText,
    /// A list of numbers, and how many times the model has it.
    Numbers(u8),
    ItemNumber(u8),
    /// A number, a boolean, a time.
    Scalar,
    /// Nothing that is kept.
    Unknown,
}

/// What becomes of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// Half as many bytes.
    Hex,
    /// It moves into the model.
    Kept,
    /// The model has one copy of all that are the same.
    Shared,
    /// An attribute's: the model has its own.
    Value,
    Base64,
}

/// Bytes of one element of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Costs {
    /// As a message.
    pub(super) message: u64,
    /// In the model, beside the message.
    pub(super) model: u64,
    /// As long as the list that it is in becomes another, beside both.
    pub(super) becoming: u64,
}

/// An attribute in the model.
const ATTRIBUTE: usize = size_of::<(std::sync::Arc<str>, model::AttributeValue)>();
/// An entry of a map while it is sorted, twice, and in the node of a tree that is full.
const MAP_ENTRY: usize = 3 * size_of::<(String, serde_json::Value)>() + 16;
/// Service, attributes and instance of a resource.
const RESOURCE: usize = 160;

impl Message {
    /// Bytes of a number in the model.
    pub(super) const NUMBER: u64 = size_of::<model::MetricPoint>() as u64;
    /// Bytes of a data point of a path metric in the model, which may be a number.
    pub(super) const RECORD: u64 = {
        let record = size_of::<model::PathRecord>() as u64;
        assert!(record >= Self::NUMBER);
        record
    };
    /// Bytes of one between message and model.
    pub(super) const BARE: u64 =
        (3 * size_of::<u64>() + size_of::<Vec<()>>() + size_of::<model::PathValue>()) as u64;

    /// Whether serde buffers entries of such an object before it knows what they are.
    pub(super) const fn is_flat(self) -> bool {
        matches!(
            self,
            Self::AnyValue | Self::Metric | Self::NumberDataPoint | Self::Exemplar
        )
    }

    /// Whether serde buffers the value of this field of it.
    pub(super) const fn captures(self, field: Field) -> bool {
        match self {
            Self::AnyValue => true,
            Self::Metric => !matches!(field, Field::Text(_) | Field::Many(_)),
            Self::NumberDataPoint | Self::Exemplar => matches!(field, Field::Unknown),
            _ => false,
        }
    }

    /// What one costs in a list.
    pub(super) const fn costs(self) -> Costs {
        let (message, model, becoming) = match self {
            Self::ResourceSpans => (size_of::<trace::ResourceSpans>(), RESOURCE, 0),
            Self::ResourceMetrics => (size_of::<metrics::ResourceMetrics>(), RESOURCE, 0),
            Self::ScopeSpans => (size_of::<trace::ScopeSpans>(), 0, 0),
            Self::ScopeMetrics => (size_of::<metrics::ScopeMetrics>(), 0, 0),
            Self::Span => (size_of::<trace::Span>(), size_of::<model::Span>(), 0),
            Self::Event => {
                let event = size_of::<trace::span::Event>();
                (event, size_of::<model::SpanEvent>(), 0)
            }
            Self::Link => (
                size_of::<trace::span::Link>(),
                size_of::<model::SpanLink>(),
                0,
            ),
            Self::KeyValue => {
                let message = size_of::<common::KeyValue>();
                let more = ATTRIBUTE.saturating_sub(message);
                (message, more, message + ATTRIBUTE)
            }
            Self::MapEntry => (size_of::<common::KeyValue>(), MAP_ENTRY, 0),
            Self::AnyValue => {
                let json = size_of::<serde_json::Value>();
                (size_of::<common::AnyValue>(), json, 0)
            }
            Self::EntityRef => (size_of::<common::EntityRef>(), 0, 0),
            Self::Metric => (size_of::<metrics::Metric>(), 0, 0),
            Self::NumberDataPoint => (size_of::<metrics::NumberDataPoint>(), 0, 0),
            Self::HistogramDataPoint => (size_of::<metrics::HistogramDataPoint>(), 16, 0),
            Self::ExponentialHistogramDataPoint => {
                let message = size_of::<metrics::ExponentialHistogramDataPoint>();
                (message, 0, 0)
            }
            Self::SummaryDataPoint => (size_of::<metrics::SummaryDataPoint>(), 0, 0),
            Self::ValueAtQuantile => (
                size_of::<metrics::summary_data_point::ValueAtQuantile>(),
                0,
                0,
            ),
            Self::Exemplar => (size_of::<metrics::Exemplar>(), 0, 0),
            _ => (0, 0, 0),
        };
        Costs {
            message: message as u64,
            model: model as u64,
            becoming: becoming as u64,
        }
    }

    /// What the field of that name holds; `key` is as it stands between quotes.
    pub(super) fn json_field(self, key: &[u8]) -> Field {
        let mut plain = [0; 24];
        self.field_named(unescaped(key, &mut plain))
    }

    fn field_named(self, name: &[u8]) -> Field {
        use Field::{Many, Numbers, One, Scalar, Texts};
        use Message as M;
        match (self, name) {
            (M::TracesRequest, b"resourceSpans") => Many(M::ResourceSpans),
            (M::TracesRequest, b"resourceMetrics") => Many(M::ResourceMetrics),
            (M::ResourceSpans | M::ResourceMetrics, b"resource") => One(M::Resource),
            (M::ResourceSpans, b"scopeSpans") => Many(M::ScopeSpans),
            (M::ResourceMetrics, b"scopeMetrics") => Many(M::ScopeMetrics),
            (M::ScopeSpans | M::ScopeMetrics, b"scope") => One(M::Scope),
            (M::ScopeSpans, b"spans") => Many(M::Span),
            (M::ScopeMetrics, b"metrics") => Many(M::Metric),
            (M::Span, b"events") => Many(M::Event),
            (M::Span, b"links") => Many(M::Link),
            (M::Span, b"status") => One(M::Status),
            (M::Resource, b"entityRefs") => Many(M::EntityRef),
            (M::EntityRef, b"idKeys" | b"descriptionKeys") => Texts,
            (M::KeyValue | M::MapEntry, b"value") => One(M::AnyValue),
            (M::AnyValue, b"arrayValue") => One(M::Array),
            (M::AnyValue, b"kvlistValue") => One(M::Map),
            (M::Array, b"values") => Many(M::AnyValue),
            (M::Map, b"values") => Many(M::MapEntry),
            (M::Metric, b"metadata") | (M::Exemplar, b"filteredAttributes") => Many(M::KeyValue),
            (M::Metric, b"gauge" | b"sum") => One(M::Numbers),
            (M::Metric, b"histogram") => One(M::Histogram),
            (M::Metric, b"exponentialHistogram") => One(M::ExponentialHistogram),
            (M::Metric, b"summary") => One(M::Summary),
            (M::Numbers, b"dataPoints") => Many(M::NumberDataPoint),
            (M::Histogram, b"dataPoints") => Many(M::HistogramDataPoint),
            (M::ExponentialHistogram, b"dataPoints") => Many(M::ExponentialHistogramDataPoint),
            (M::Summary, b"dataPoints") => Many(M::SummaryDataPoint),
            (M::SummaryDataPoint, b"quantileValues") => Many(M::ValueAtQuantile),
            (M::ExponentialHistogramDataPoint, b"positive" | b"negative") => One(M::Buckets),
            (M::HistogramDataPoint, b"bucketCounts" | b"explicitBounds") => Numbers(0),
            (M::Buckets, b"bucketCounts") => Numbers(1),
            (M::Array | M::Map | M::Numbers | M::Histogram, _) => Field::Unknown,
            (_, b"exemplars") => Many(M::Exemplar),
            (_, b"attributes") => Many(M::KeyValue),
            (_, b"startTimeUnixNano" | b"timeUnixNano" | b"flags") => Scalar,
            _ => self.text_named(name),
        }
    }

    const fn text_named(self, name: &[u8]) -> Field {
        use Message as M;
        let text = match (self, name) {
            (_, b"traceId" | b"spanId" | b"parentSpanId") => Text::Hex,
            (M::KeyValue, b"key") | (M::Span | M::Metric, b"name") => Text::Shared,
            (M::AnyValue, b"stringValue") => Text::Value,
            (M::AnyValue, b"bytesValue") => Text::Base64,
            (
                _,
                b"key" | b"name" | b"traceState" | b"schemaUrl" | b"message" | b"version" | b"type"
                | b"description" | b"unit",
            ) => Text::Kept,
            _ => return Field::Unknown,
        };
        Field::Text(text)
    }
}

/// What `key` means: the names of fields are letters, which may be written as escapes. What is no
/// such name, or longer, comes back as anything that is no name.
fn unescaped<'a>(key: &'a [u8], plain: &'a mut [u8; 24]) -> &'a [u8] {
    if !key.contains(&b'\\') {
        return key;
    }
    let (mut rest, mut length) = (key, 0);
    while let Some((first, more)) = rest.split_first() {
        let (letter, more) = match (first, more) {
            (b'\\', [b'u', a, b, c, d, more @ ..]) => {
                let digits = [*a, *b, *c, *d];
                let code = std::str::from_utf8(&digits)
                    .ok()
                    .and_then(|digits| u32::from_str_radix(digits, 16).ok());
                (code.and_then(|code| u8::try_from(code).ok()), more)
            }
            (b'\\', _) => (None, more),
            (letter, more) => (Some(*letter), more),
        };
        let (Some(letter), Some(place)) = (letter, plain.get_mut(length)) else {
            return &[];
        };
        *place = letter;
        length += 1;
        rest = more;
    }
    &plain[..length]
}

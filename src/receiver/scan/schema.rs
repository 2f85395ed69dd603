//! OTLP's messages, as far as memory goes: which field holds what, and what it costs decoded.
//!
//! Field numbers: `opentelemetry-proto` v1, `trace.proto`, `metrics.proto`, `common.proto`,
//! `resource.proto` and the two collector services. Unknown fields cost nothing: they are
//! skipped when decoding.

use std::mem::size_of;

use opentelemetry_proto::tonic::{
    common::v1 as common, metrics::v1 as metrics, trace::v1 as trace,
};

use crate::model;

/// A type of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::receiver) enum Message {
    TracesRequest,
    ResourceSpans,
    ScopeSpans,
    Span,
    Event,
    Link,
    Status,
    MetricsRequest,
    ResourceMetrics,
    ScopeMetrics,
    Metric,
    /// `Gauge` and `Sum`: both hold number data points in field 1.
    Numbers,
    NumberDataPoint,
    Histogram,
    HistogramDataPoint,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Buckets,
    Summary,
    SummaryDataPoint,
    ValueAtQuantile,
    Exemplar,
    Resource,
    EntityRef,
    Scope,
    KeyValue,
    AnyValue,
    Array,
    Map,
    /// A `KeyValue` in a `KeyValueList`: it becomes an entry of a JSON object.
    MapEntry,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A message, repeated or not.
    Message(Message),
    /// One text or bytes.
    Text,
    /// Texts, each with its own allocation.
    Texts,
    /// Counts of varying length, each eight bytes in memory, and in the model once more.
    Varints,
    /// Numbers that are as long in memory as on the wire.
    Fixed,
    /// Nothing that is kept, or a part of its message that costs nothing more.
    Other,
}

impl Shape {
    /// Bytes in memory of a field with `length` bytes on the wire.
    pub(super) const fn cost(self, length: u64) -> u64 {
        match self {
            // A text may stand in memory twice: decoded, and in the model.
            Self::Text => length * 2,
            Self::Texts => size_of::<String>() as u64 + length * 2,
            Self::Varints => length * 16,
            Self::Fixed => length,
            Self::Message(_) | Self::Other => 0,
        }
    }
}

/// Keys and values of an attribute are allocations of their own, in the model once more.
const ATTRIBUTE: usize = size_of::<common::KeyValue>() + size_of::<model::AttributeValue>() + 64;
/// A small `BTreeMap` of JSON values takes one leaf of eleven entries.
const JSON_OBJECT: usize = 704;

impl Message {
    /// Bytes in memory of one such message without what its fields cost.
    pub(in crate::receiver) const fn cost(self) -> u64 {
        let bytes = match self {
            Self::Span => size_of::<trace::Span>() + size_of::<model::Span>(),
            Self::Event => size_of::<trace::span::Event>() + size_of::<model::SpanEvent>(),
            Self::Link => size_of::<trace::span::Link>() + size_of::<model::SpanLink>(),
            Self::ResourceSpans | Self::ResourceMetrics => size_of::<trace::ResourceSpans>(),
            Self::ScopeSpans | Self::ScopeMetrics => size_of::<trace::ScopeSpans>(),
            Self::Metric => size_of::<metrics::Metric>(),
            Self::NumberDataPoint => {
                size_of::<metrics::NumberDataPoint>() + size_of::<model::PathRecord>()
            }
            Self::HistogramDataPoint => {
                size_of::<metrics::HistogramDataPoint>() + size_of::<model::PathRecord>()
            }
            Self::ExponentialHistogramDataPoint => {
                size_of::<metrics::ExponentialHistogramDataPoint>() + size_of::<model::PathRecord>()
            }
            Self::SummaryDataPoint => size_of::<metrics::SummaryDataPoint>(),
            Self::ValueAtQuantile => size_of::<metrics::summary_data_point::ValueAtQuantile>(),
            Self::Exemplar => size_of::<metrics::Exemplar>(),
            Self::EntityRef => size_of::<common::EntityRef>(),
            Self::KeyValue => ATTRIBUTE,
            Self::MapEntry => ATTRIBUTE + JSON_OBJECT / 5,
            Self::AnyValue => size_of::<common::AnyValue>() + size_of::<serde_json::Value>(),
            Self::Map => JSON_OBJECT,
            _ => 0,
        };
        bytes as u64
    }

    /// Whether it is what a request consists of: a span or a data point.
    pub(in crate::receiver) const fn is_item(self) -> bool {
        matches!(
            self,
            Self::Span
                | Self::NumberDataPoint
                | Self::HistogramDataPoint
                | Self::ExponentialHistogramDataPoint
                | Self::SummaryDataPoint
        )
    }

    /// What the field `number` holds.
    pub(super) const fn field(self, number: u32) -> Shape {
        use Message as M;
        let message = match (self, number) {
            (M::Resource, 1) | (M::Event | M::Scope, 3) | (M::Link, 4) | (M::Span, 9) => {
                M::KeyValue
            }
            (M::Resource, 3) => M::EntityRef,
            (M::KeyValue | M::MapEntry, 2) | (M::Array, 1) => M::AnyValue,
            (M::AnyValue, 5) => M::Array,
            (M::AnyValue, 6) => M::Map,
            (M::Map, 1) => M::MapEntry,
            (M::TracesRequest, 1) => M::ResourceSpans,
            (M::ResourceSpans | M::ResourceMetrics, 1) => M::Resource,
            (M::ResourceSpans, 2) => M::ScopeSpans,
            (M::ScopeSpans | M::ScopeMetrics, 1) => M::Scope,
            (M::ScopeSpans, 2) => M::Span,
            (M::Span, 11) => M::Event,
            (M::Span, 13) => M::Link,
            (M::Span, 15) => M::Status,
            _ => return self.metric_field(number),
        };
        Shape::Message(message)
    }

    const fn metric_field(self, number: u32) -> Shape {
        use Message as M;
        let message = match (self, number) {
            (M::MetricsRequest, 1) => M::ResourceMetrics,
            (M::ResourceMetrics, 2) => M::ScopeMetrics,
            (M::ScopeMetrics, 2) => M::Metric,
            (M::Metric, 5 | 7) => M::Numbers,
            (M::Metric, 9) => M::Histogram,
            (M::Metric, 10) => M::ExponentialHistogram,
            (M::Metric, 11) => M::Summary,
            (M::Metric, 12) => M::KeyValue,
            (M::Numbers, 1) => M::NumberDataPoint,
            (M::Histogram, 1) => M::HistogramDataPoint,
            (M::ExponentialHistogram, 1) => M::ExponentialHistogramDataPoint,
            (M::Summary, 1) => M::SummaryDataPoint,
            (M::NumberDataPoint | M::SummaryDataPoint | M::Exemplar, 7) => M::KeyValue,
            (M::HistogramDataPoint, 9) | (M::ExponentialHistogramDataPoint, 1) => M::KeyValue,
            (M::NumberDataPoint, 5) | (M::HistogramDataPoint, 8) => M::Exemplar,
            (M::ExponentialHistogramDataPoint, 11) => M::Exemplar,
            (M::ExponentialHistogramDataPoint, 8 | 9) => M::Buckets,
            (M::SummaryDataPoint, 6) => M::ValueAtQuantile,
            _ => return self.leaf(number),
        };
        Shape::Message(message)
    }

    const fn leaf(self, number: u32) -> Shape {
        use Message as M;
        match (self, number) {
            (M::Buckets, 2) => Shape::Varints,
            (M::HistogramDataPoint, 6 | 7) => Shape::Fixed,
            (M::EntityRef, 3 | 4) => Shape::Texts,
            (M::EntityRef | M::Scope | M::Metric | M::Link, 1..=3)
            | (M::Span, 1..=5)
            | (M::Event | M::Status, 2)
            | (M::KeyValue | M::MapEntry, 1)
            | (M::AnyValue, 1 | 7)
            | (M::Exemplar, 4 | 5)
            | (M::ResourceSpans | M::ScopeSpans | M::ResourceMetrics | M::ScopeMetrics, 3) => {
                Shape::Text
            }
            _ => Shape::Other,
        }
    }
}

//! OTLP requests as the model has them: spans, the numbers of gauges and sums, and path metrics.
//!
//! Input: decoded protobuf messages. Output: [`Span`]s, [`MetricPoint`]s and [`PathRecords`].
//! Pure. Other histograms and summaries become nothing: they are counted as received and go on to
//! the upstream with the rest of the payload. Source: `opentelemetry-proto` v1.

mod direct;
mod paths;

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    DataPointFlags, Metric, NumberDataPoint, metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{self as otlp, span::SpanKind as OtlpKind};

pub use direct::spans as spans_of_bytes;
pub use paths::PathRecords;

use super::attribute::Interner;
use crate::model::{
    AttributeValue, Attributes, MetricPoint, PathMeasure, Span, SpanEvent, SpanId, SpanKind,
    SpanLink, SpanStatus, TraceId,
};

/// The service of a resource without `service.name`.
const UNKNOWN_SERVICE: &str = "unknown_service";

/// Takes out the spans whose ids are invalid (wrong length, all zero), and says how many.
///
/// A parent id may be empty or all zero: then the span is a root.
pub fn reject_invalid_spans(request: &mut ExportTraceServiceRequest) -> u64 {
    let mut rejected = 0;
    let scopes = request
        .resource_spans
        .iter_mut()
        .flat_map(|resource| resource.scope_spans.iter_mut());
    for scope in scopes {
        let before = scope.spans.len();
        scope.spans.retain(has_valid_ids);
        rejected += (before - scope.spans.len()) as u64;
    }
    rejected
}

fn has_valid_ids(span: &otlp::Span) -> bool {
    TraceId::from_bytes(&span.trace_id).is_some()
        && SpanId::from_bytes(&span.span_id).is_some()
        && matches!(span.parent_span_id.len(), 0 | 8)
}

/// The spans of a request; those with invalid ids are left out.
#[must_use]
pub fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut interner = Interner::default();
    let number = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
    let mut spans = Vec::with_capacity(number.map(|scope| scope.spans.len()).sum());
    for resource_spans in request.resource_spans {
        let (service, resource) = resource(resource_spans.resource, &mut interner);
        for scope_spans in resource_spans.scope_spans {
            let measured = paths_are_measured(scope_spans.scope.as_ref());
            for span in scope_spans.spans {
                let span = decode_span(span, (&service, &resource), &mut interner);
                spans.extend(span.map(|span| Span {
                    paths_measured: measured,
                    ..span
                }));
            }
        }
    }
    spans
}

/// Whether the tracer says that its service measures the path of every message.
fn paths_are_measured(scope: Option<&InstrumentationScope>) -> bool {
    let attributes = scope.into_iter().flat_map(|scope| &scope.attributes);
    let mut of_paths = attributes.filter(|attribute| attribute.key == "rabtrace.paths");
    of_paths.any(|attribute| {
        let value = attribute.value.as_ref().and_then(|any| any.value.as_ref());
        matches!(value, Some(any_value::Value::StringValue(text)) if text == "measured")
    })
}

/// Service and attributes of a resource, both shared by all that it sent.
fn resource(resource: Option<Resource>, interner: &mut Interner) -> (Arc<str>, Arc<Attributes>) {
    let attributes = interner.attributes(resource.unwrap_or_default().attributes);
    let named = attributes
        .iter()
        .find(|(key, _)| &**key == "service.name")
        .and_then(|(_, value)| match value {
            AttributeValue::Text(text) if !text.is_empty() => Some(Arc::clone(text)),
            _ => None,
        });
    let service = named.unwrap_or_else(|| interner.intern(UNKNOWN_SERVICE));
    (service, Arc::new(attributes))
}

fn decode_span(
    span: otlp::Span,
    (service, resource): (&Arc<str>, &Arc<Attributes>),
    interner: &mut Interner,
) -> Option<Span> {
    let (status, status_message) = span
        .status
        .map(|status| (decode_status(status.code), status.message))
        .unwrap_or((SpanStatus::Unset, String::new()));
    Some(Span {
        trace_id: TraceId::from_bytes(&span.trace_id)?,
        span_id: SpanId::from_bytes(&span.span_id)?,
        parent_span_id: SpanId::from_bytes(&span.parent_span_id),
        service: Arc::clone(service),
        name: interner.intern(&span.name),
        kind: decode_kind(span.kind),
        status,
        status_message,
        start_unix_nano: span.start_time_unix_nano,
        end_unix_nano: span.end_time_unix_nano.max(span.start_time_unix_nano),
        attributes: interner.attributes(span.attributes),
        resource: Arc::clone(resource),
        events: span
            .events
            .into_iter()
            .map(|event| decode_event(event, interner))
            .collect(),
        links: span
            .links
            .into_iter()
            .filter_map(|link| decode_link(link, interner))
            .collect(),
        paths_measured: false,
    })
}

fn decode_event(event: otlp::span::Event, interner: &mut Interner) -> SpanEvent {
    SpanEvent {
        name: event.name,
        time_unix_nano: event.time_unix_nano,
        attributes: interner.attributes(event.attributes),
    }
}

/// A link to an invalid id links to nothing.
fn decode_link(link: otlp::span::Link, interner: &mut Interner) -> Option<SpanLink> {
    Some(SpanLink {
        trace_id: TraceId::from_bytes(&link.trace_id)?,
        span_id: SpanId::from_bytes(&link.span_id)?,
        attributes: interner.attributes(link.attributes),
    })
}

/// Unspecified and unknown kinds count as internal, as `trace.proto` says.
fn decode_kind(kind: i32) -> SpanKind {
    match OtlpKind::try_from(kind) {
        Ok(OtlpKind::Server) => SpanKind::Server,
        Ok(OtlpKind::Client) => SpanKind::Client,
        Ok(OtlpKind::Producer) => SpanKind::Producer,
        Ok(OtlpKind::Consumer) => SpanKind::Consumer,
        Ok(OtlpKind::Internal | OtlpKind::Unspecified) | Err(_) => SpanKind::Internal,
    }
}

fn decode_status(code: i32) -> SpanStatus {
    match otlp::status::StatusCode::try_from(code) {
        Ok(otlp::status::StatusCode::Ok) => SpanStatus::Ok,
        Ok(otlp::status::StatusCode::Error) => SpanStatus::Error,
        Ok(otlp::status::StatusCode::Unset) | Err(_) => SpanStatus::Unset,
    }
}

/// What the agent takes from a request of metrics.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// Numbers of gauges and sums.
    pub points: Vec<MetricPoint>,
    /// Path metrics.
    pub paths: PathRecords,
    /// Data points of which nothing is made: histograms, summaries, points without a value.
    pub unused: u64,
}

/// The numbers and the path metrics of a request; points without a recorded value are left out.
#[must_use]
pub fn numbers(request: ExportMetricsServiceRequest) -> Numbers {
    let mut interner = Interner::default();
    let mut read = Numbers::default();
    for resource_metrics in request.resource_metrics {
        let (service, attributes) = resource(resource_metrics.resource, &mut interner);
        let instance = paths::instance(&attributes);
        let metrics = resource_metrics.scope_metrics.into_iter();
        for metric in metrics.flat_map(|scope| scope.metrics) {
            if let Some(measure) = PathMeasure::named(&metric.name) {
                let source = paths::Source {
                    service: &service,
                    instance: &instance,
                    measure,
                };
                let without_value = read.paths.read(metric, &source, &mut interner);
                read.unused += without_value;
                continue;
            }
            let name = interner.intern(&metric.name);
            let before = read.points.len() as u64;
            let all = data_points(&metric);
            let numbers = number_points(metric).into_iter();
            let decode = |point| decode_number(point, (&service, &name), &mut interner);
            read.points.extend(numbers.filter_map(decode));
            read.unused += all - (read.points.len() as u64 - before);
        }
    }
    read
}

/// How many data points a metric has, of whatever kind.
fn data_points(metric: &Metric) -> u64 {
    let number = match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(Data::Summary(summary)) => summary.data_points.len(),
        None => 0,
    };
    number as u64
}

fn number_points(metric: Metric) -> Vec<NumberDataPoint> {
    match metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points,
        Some(Data::Sum(sum)) => sum.data_points,
        Some(Data::Histogram(_) | Data::ExponentialHistogram(_) | Data::Summary(_)) | None => {
            Vec::new()
        }
    }
}

fn decode_number(
    point: NumberDataPoint,
    (service, name): (&Arc<str>, &Arc<str>),
    interner: &mut Interner,
) -> Option<MetricPoint> {
    if point.flags & DataPointFlags::NoRecordedValueMask as u32 != 0 {
        return None;
    }
    let value = match point.value? {
        number_data_point::Value::AsDouble(value) => value,
        #[expect(clippy::cast_precision_loss, reason = "the model has floats only")]
        number_data_point::Value::AsInt(value) => value as f64,
    };
    Some(MetricPoint {
        service: Arc::clone(service),
        name: Arc::clone(name),
        value,
        attributes: interner.attributes(point.attributes),
        time_unix_nano: point.time_unix_nano,
    })
}

#[cfg(test)]
mod tests;

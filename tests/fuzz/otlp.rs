//! OTLP requests, whole and broken: the scan takes what the decoder takes, and bounds what the
//! decoder builds.

use allocation_counter::measure;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary,
    SummaryDataPoint, metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use rabtrace::metrics::Metrics;
use rabtrace::model::Signal;
use rabtrace::receiver::{
    Counts, Encoding, Intake, ScanError, numbers, reject_invalid_spans, scan, scan_beginning,
    spans, spans_of_bytes,
};

use crate::cases::{Cases, fuzz};

const KEYS: [&str; 8] = [
    "service.name",
    "messaging.destination.name",
    "messaging.operation.type",
    "rabtrace.path.hash",
    "rabtrace.path.parent",
    "rabtrace.direction",
    "rabtrace.path.kind",
    "",
];
const NAMES: [&str; 5] = [
    "rabtrace.path.messages",
    "rabtrace.path.duration",
    "rabtrace.path.edge.duration",
    "rabtrace.path.errors",
    "other",
];
const VALUES: [&str; 6] = ["in", "out", "00000000000000ab", "process", "worker", ""];

fn value(cases: &mut Cases, depth: usize) -> AnyValue {
    let value = match cases.below(if depth == 0 { 5 } else { 7 }) {
        0 => Value::StringValue(cases.choice(&VALUES).to_owned()),
        1 => Value::StringValue(cases.text(20)),
        2 => Value::IntValue(cases.number().cast_signed()),
        3 => Value::DoubleValue(f64::from_bits(cases.number())),
        4 => Value::BytesValue(cases.bytes(20)),
        5 => {
            let number = cases.below(4);
            let values = (0..number).map(|_| value(cases, depth - 1));
            Value::ArrayValue(ArrayValue {
                values: values.collect(),
            })
        }
        _ => Value::KvlistValue(KeyValueList {
            values: attributes(cases, depth - 1),
        }),
    };
    AnyValue {
        value: (!cases.one_in(20)).then_some(value),
    }
}

fn attributes(cases: &mut Cases, depth: usize) -> Vec<KeyValue> {
    let number = cases.below(6);
    let attribute = |_| KeyValue {
        key: match cases.one_in(4) {
            true => cases.text(10),
            false => cases.choice(&KEYS).to_owned(),
        },
        value: Some(value(cases, depth)),
        ..KeyValue::default()
    };
    (0..number).map(attribute).collect()
}

fn id(cases: &mut Cases, length: usize) -> Vec<u8> {
    match cases.below(8) {
        0 => cases.bytes(20),
        1 => vec![0; length],
        _ => (0..length)
            .map(|_| cases.number().to_le_bytes()[0] | 1)
            .collect(),
    }
}

fn span(cases: &mut Cases) -> Span {
    let event = |cases: &mut Cases| Event {
        name: cases.text(10),
        time_unix_nano: cases.number(),
        attributes: attributes(cases, 1),
        ..Event::default()
    };
    let link = |cases: &mut Cases| Link {
        trace_id: id(cases, 16),
        span_id: id(cases, 8),
        trace_state: cases.text(20),
        attributes: attributes(cases, 1),
        ..Link::default()
    };
    Span {
        trace_id: id(cases, 16),
        span_id: id(cases, 8),
        parent_span_id: match cases.one_in(2) {
            true => Vec::new(),
            false => id(cases, 8),
        },
        name: cases.text(20),
        kind: i32::try_from(cases.below(8)).unwrap(),
        start_time_unix_nano: cases.number(),
        end_time_unix_nano: cases.number(),
        trace_state: cases.text(30),
        attributes: attributes(cases, 3),
        events: (0..cases.below(3)).map(|_| event(cases)).collect(),
        links: (0..cases.below(3)).map(|_| link(cases)).collect(),
        status: cases.one_in(2).then(|| Status {
            message: cases.text(10),
            code: i32::try_from(cases.below(4)).unwrap(),
        }),
        ..Span::default()
    }
}

fn resource(cases: &mut Cases) -> Option<Resource> {
    (!cases.one_in(5)).then(|| Resource {
        attributes: attributes(cases, 2),
        ..Resource::default()
    })
}

pub(crate) fn traces(cases: &mut Cases) -> ExportTraceServiceRequest {
    let scope = |cases: &mut Cases| ScopeSpans {
        scope: cases.one_in(2).then(|| InstrumentationScope {
            name: cases.text(10),
            attributes: attributes(cases, 1),
            ..InstrumentationScope::default()
        }),
        spans: (0..cases.below(6)).map(|_| span(cases)).collect(),
        ..ScopeSpans::default()
    };
    let resource = |cases: &mut Cases| ResourceSpans {
        resource: resource(cases),
        scope_spans: (0..cases.below(3)).map(|_| scope(cases)).collect(),
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: (0..cases.below(3)).map(|_| resource(cases)).collect(),
    }
}

fn number_point(cases: &mut Cases) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(cases, 1),
        time_unix_nano: cases.number(),
        start_time_unix_nano: cases.number(),
        value: Some(match cases.one_in(2) {
            true => number_data_point::Value::AsInt(cases.number().cast_signed()),
            false => number_data_point::Value::AsDouble(f64::from_bits(cases.number())),
        }),
        exemplars: vec![Exemplar::default(); cases.below(2)],
        ..NumberDataPoint::default()
    }
}

fn histogram_point(cases: &mut Cases) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes: attributes(cases, 1),
        time_unix_nano: cases.number(),
        count: cases.number(),
        sum: Some(f64::from_bits(cases.number())),
        bucket_counts: (0..cases.below(6)).map(|_| cases.number()).collect(),
        explicit_bounds: (0..cases.below(6))
            .map(|_| f64::from_bits(cases.number()))
            .collect(),
        ..HistogramDataPoint::default()
    }
}

fn number32(cases: &mut Cases) -> i32 {
    let [a, b, c, d, ..] = cases.number().to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

fn exponential_point(cases: &mut Cases) -> ExponentialHistogramDataPoint {
    let buckets = |cases: &mut Cases| Buckets {
        offset: number32(cases),
        bucket_counts: (0..cases.below(200)).map(|_| cases.number()).collect(),
    };
    ExponentialHistogramDataPoint {
        attributes: attributes(cases, 1),
        time_unix_nano: cases.number(),
        count: cases.number(),
        sum: Some(f64::from_bits(cases.number())),
        scale: number32(cases),
        zero_count: cases.number(),
        positive: Some(buckets(cases)),
        negative: cases.one_in(4).then(|| buckets(cases)),
        max: Some(f64::from_bits(cases.number())),
        ..ExponentialHistogramDataPoint::default()
    }
}

fn metric(cases: &mut Cases) -> Metric {
    let temporality = i32::try_from(cases.below(4)).unwrap();
    let points = cases.below(4);
    let data = match cases.below(5) {
        0 => Data::Gauge(Gauge {
            data_points: (0..points).map(|_| number_point(cases)).collect(),
        }),
        1 => Data::Sum(Sum {
            data_points: (0..points).map(|_| number_point(cases)).collect(),
            aggregation_temporality: temporality,
            is_monotonic: true,
        }),
        2 => Data::Histogram(Histogram {
            data_points: (0..points).map(|_| histogram_point(cases)).collect(),
            aggregation_temporality: temporality,
        }),
        3 => Data::ExponentialHistogram(ExponentialHistogram {
            data_points: (0..points).map(|_| exponential_point(cases)).collect(),
            aggregation_temporality: temporality,
        }),
        _ => Data::Summary(Summary {
            data_points: vec![SummaryDataPoint::default(); points],
        }),
    };
    Metric {
        name: cases.choice(&NAMES).to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

pub(crate) fn metrics(cases: &mut Cases) -> ExportMetricsServiceRequest {
    let scope = |cases: &mut Cases| ScopeMetrics {
        metrics: (0..cases.below(5)).map(|_| metric(cases)).collect(),
        ..ScopeMetrics::default()
    };
    let resource = |cases: &mut Cases| ResourceMetrics {
        resource: resource(cases),
        scope_metrics: (0..cases.below(3)).map(|_| scope(cases)).collect(),
        ..ResourceMetrics::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: (0..cases.below(3)).map(|_| resource(cases)).collect(),
    }
}

/// What has begun to arrive is not refused unless all of it would be.
fn begin(cases: &mut Cases, signal: Signal, bytes: &[u8], whole: Result<Counts, ScanError>) {
    let begun = &bytes[..cases.below(bytes.len() + 1)];
    if let (Ok(whole), begun) = (whole, scan_beginning(signal, begun, u64::MAX)) {
        let begun = begun.unwrap();
        let is_part = begun.items <= whole.items && begun.decoded_bytes <= whole.decoded_bytes;
        assert!(is_part, "{begun:?} of {whole:?}");
    }
}

/// Holds the scan against the decoder: `built` decodes, gives the items, and is measured.
fn compare(
    scanned: Result<Counts, ScanError>,
    length: usize,
    built: impl FnOnce() -> Option<u64>,
) -> bool {
    let mut items = None;
    let memory = measure(|| items = built()).bytes_max;
    match (scanned, items) {
        (Ok(counts), Some(items)) => {
            assert!(items <= counts.items, "{items} items, {counts:?}");
            // A vector that grows has up to twice its room, and for a moment its old self beside it.
            let most = 3 * counts.decoded_bytes + 3 * length as u64 + 4_096;
            assert!(memory <= most, "{memory} bytes, of {length}, {counts:?}");
            true
        }
        (Err(error), Some(_)) => panic!("the decoder takes what the scan refuses: {error}"),
        // Malformed to the decoder alone: a wrong type, a text that is not UTF-8.
        (Ok(counts), None) => {
            let most = 3 * counts.decoded_bytes + 3 * length as u64 + 4_096;
            assert!(memory <= most, "{memory} bytes, of {length}, {counts:?}");
            false
        }
        (Err(_), None) => false,
    }
}

#[test]
fn requests_of_traces() {
    fuzz("traces", 20, |cases| {
        let mut bytes = traces(cases).encode_to_vec();
        if !cases.one_in(4) {
            cases.breaks(&mut bytes);
        }
        let scanned = scan(Signal::Traces, &bytes, u64::MAX);
        begin(cases, Signal::Traces, &bytes, scanned);
        compare(scanned, bytes.len(), || {
            let mut request = ExportTraceServiceRequest::decode(bytes.as_slice()).ok()?;
            let rejected = reject_invalid_spans(&mut request);
            Some(spans(request).len() as u64 + rejected)
        })
    });
}

/// What is read without `prost` is what `prost` reads, and no more than the scan lets through.
#[test]
fn requests_of_traces_without_messages() {
    fuzz("traces without messages", 20, |cases| {
        let mut request = traces(cases);
        let scopes = request.resource_spans.iter_mut();
        for span in scopes
            .flat_map(|resource| &mut resource.scope_spans)
            .flat_map(|scope| &mut scope.spans)
        {
            // An invalid id leaves a whole request to `prost`, and spans share what has one name.
            span.trace_id = vec![cases.number().to_le_bytes()[0] | 1; 16];
            span.span_id = vec![1; 8];
            span.parent_span_id.clear();
            span.name = cases.choice(&VALUES).to_owned();
        }
        let mut bytes = request.encode_to_vec();
        if cases.one_in(2) {
            cases.breaks(&mut bytes);
        }
        let counts = scan(Signal::Traces, &bytes, u64::MAX);
        let budget = match (cases.one_in(4), &counts) {
            (true, Ok(counts)) => counts.decoded_bytes.saturating_sub(cases.number()),
            _ => u64::MAX,
        };
        let Some((read, used)) = spans_of_bytes(&bytes, budget) else {
            return false;
        };
        let counts = scan(Signal::Traces, &bytes, budget).unwrap();
        let mut request = ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap();
        assert_eq!(reject_invalid_spans(&mut request), 0);
        assert_eq!(
            (read.len() as u64, used),
            (counts.items, counts.decoded_bytes)
        );
        // Texts, since a NaN is not itself.
        assert_eq!(format!("{read:?}"), format!("{:?}", spans(request)));
        true
    });
}

#[test]
fn requests_of_metrics() {
    fuzz("metrics", 20, |cases| {
        let mut bytes = metrics(cases).encode_to_vec();
        if !cases.one_in(4) {
            cases.breaks(&mut bytes);
        }
        let scanned = scan(Signal::Metrics, &bytes, u64::MAX);
        begin(cases, Signal::Metrics, &bytes, scanned);
        compare(scanned, bytes.len(), || {
            let request = ExportMetricsServiceRequest::decode(bytes.as_slice()).ok()?;
            let numbers = numbers(request);
            Some((numbers.points.len() as u64).max(numbers.paths.records.len() as u64))
        })
    });
}

/// Both encodings through the intake, as the front ends call it, into a flow.
#[test]
fn requests_through_the_intake() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    fuzz("intake", 20, |cases| {
        let is_traces = cases.one_in(2);
        let (signal, protobuf, json) = match is_traces {
            true => {
                let request = traces(cases);
                let json = serde_json::to_vec(&request).unwrap();
                (Signal::Traces, request.encode_to_vec(), json)
            }
            false => {
                let request = metrics(cases);
                let json = serde_json::to_vec(&request).unwrap();
                (Signal::Metrics, request.encode_to_vec(), json)
            }
        };
        let (encoding, mut body) = match cases.one_in(2) {
            true => (Encoding::Protobuf, protobuf),
            false => (Encoding::Json, json),
        };
        if !cases.one_in(4) {
            cases.breaks(&mut body);
        }
        let (sender, mut batches) = tokio::sync::mpsc::channel(1);
        let intake = Intake::new(sender, 1 << 20, Metrics::new().unwrap());
        runtime.block_on(async {
            let accepted = tokio::select! {
                accepted = intake.accept(signal, encoding, body.into()) => accepted,
                // What waits for the store gets no answer here.
                Some(_) = batches.recv() => return true,
            };
            accepted.is_ok()
        })
    });
}

//! A request that the upstream refuses for good, as a line that a person reads.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde_json::{Map, Value, json};

use crate::model::{Signal, base64};
use crate::spool::{Letter, Record};

/// A larger request is kept as it is: its JSON is several times as large.
const READABLE_BYTES: usize = 1 << 20;

/// The request of `record`: `path` and `request` as OTLP over HTTP takes them, in JSON; or else
/// the protobuf itself, in base64.
pub(super) fn letter(url: &str, why: &str, record: &Record) -> Letter {
    let (kind, payload) = (record.kind, record.payload.clone());
    Letter {
        url: url.to_owned(),
        reason: why.to_owned(),
        size: payload.len(),
        content: Box::new(move || content(Signal::of_code(kind), &payload)),
    }
}

fn content(signal: Option<Signal>, payload: &Bytes) -> Map<String, Value> {
    let mut content = Map::new();
    let path = match signal {
        Some(Signal::Traces) => Some("/v1/traces"),
        Some(Signal::Metrics) => Some("/v1/metrics"),
        None => None,
    };
    content.insert("path".to_owned(), json!(path));
    let request = signal.filter(|_| payload.len() <= READABLE_BYTES);
    match request.and_then(|signal| readable(signal, payload)) {
        Some(request) => content.insert("request".to_owned(), request),
        None => {
            let letters: String = base64(payload).map(char::from).collect();
            content.insert("protobuf_base64".to_owned(), json!(letters))
        }
    };
    content
}

fn readable(signal: Signal, payload: &Bytes) -> Option<Value> {
    let payload = payload.clone();
    match signal {
        Signal::Traces => {
            serde_json::to_value(ExportTraceServiceRequest::decode(payload).ok()?).ok()
        }
        Signal::Metrics => {
            serde_json::to_value(ExportMetricsServiceRequest::decode(payload).ok()?).ok()
        }
    }
}

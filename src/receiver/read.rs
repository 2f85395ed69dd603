//! A body as a batch, in the room that this takes.
//!
//! Input: the decompressed bytes of an OTLP request, and their room in the process's [`Budget`].
//! Output: [`Decoded`], with room for the body and for what became of it. Nothing is decoded that
//! has no room: a scan says first how much that is. Traces, which are nearly all that comes, are
//! read without one: within room that is guessed, and given back where they need less.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

use super::accepted::Encoding;
use super::decode;
use super::json;
use super::refusal::Refusal;
use super::scan::scan;
use crate::model::{Batch, Budget, Held, Signal, Span};

/// So many times its body a request of traces takes at most, if it is as SDKs write it.
const TIMES: u64 = 12;

/// A request that is decoded and not handed over yet.
pub(super) struct Decoded {
    pub(super) batch: Batch,
    /// Spans or data points in the payload.
    pub(super) items: u64,
    pub(super) rejected: u64,
    /// Data points of path metrics that could not be read.
    pub(super) unreadable: u64,
    /// Data points of which the agent makes nothing.
    pub(super) unused: u64,
}

/// Reads `body`, for which there is room in `held`, and takes the room for what becomes of it.
///
/// # Errors
/// If it is not what it should be, or there is no room for it.
pub(super) fn read(
    signal: Signal,
    encoding: Encoding,
    body: Bytes,
    (budget, held): (&Budget, &mut Held),
) -> Result<Decoded, Refusal> {
    let mut tried = 0;
    if let (Signal::Traces, Encoding::Protobuf) = (signal, encoding) {
        match read_at_once(&body, held) {
            Ok(spans) => return Ok(traces(body, spans, 0)),
            Err(room) => tried = room,
        }
    }
    let (decoded_bytes, items) = find_room(signal, encoding, &body, (budget, held))?;
    match signal {
        // There was room enough: it is not as SDKs write it, and left to `prost`.
        Signal::Traces if decoded_bytes <= tried => decode_traces(encoding, body),
        Signal::Traces => read_traces(encoding, body),
        Signal::Metrics => decode_metrics(encoding, body, items),
    }
}

/// The spans of a request that is as most are: as SDKs write it, and not larger than is guessed. Else
/// the room with which that was tried.
fn read_at_once(body: &[u8], held: &mut Held) -> Result<Vec<Span>, u64> {
    let body_bytes = body.len() as u64;
    let room = body_bytes * TIMES;
    if held.grow_to(body_bytes + room).is_err() {
        return Err(0);
    }
    let read = decode::spans_of_bytes(body, room);
    let used = read.as_ref().map_or(0, |(_, used)| *used);
    held.shrink_to(body_bytes + used);
    read.map(|(spans, _)| spans).ok_or(room)
}

/// Takes room for what the body becomes, and says how much; gives its spans or data points, where the
/// scan counts them.
fn find_room(
    signal: Signal,
    encoding: Encoding,
    body: &[u8],
    (budget, held): (&Budget, &mut Held),
) -> Result<(u64, Option<u64>), Refusal> {
    let body_bytes = body.len() as u64;
    let left = budget.max_request_bytes().saturating_sub(body_bytes);
    let (decoded_bytes, items) = match encoding {
        Encoding::Protobuf => {
            let counts = scan(signal, body, left)?;
            (counts.decoded_bytes, Some(counts.items))
        }
        Encoding::Json => (json::scan(body, left)?, None),
    };
    held.grow_to(body_bytes.saturating_add(decoded_bytes))?;
    Ok((decoded_bytes, items))
}

/// Traces that have their room and were not read yet.
fn read_traces(encoding: Encoding, body: Bytes) -> Result<Decoded, Refusal> {
    if encoding == Encoding::Protobuf
        && let Some((spans, _)) = decode::spans_of_bytes(&body, u64::MAX)
    {
        return Ok(traces(body, spans, 0));
    }
    decode_traces(encoding, body)
}

fn decode_traces(encoding: Encoding, body: Bytes) -> Result<Decoded, Refusal> {
    let mut request: ExportTraceServiceRequest = match encoding {
        Encoding::Protobuf => ExportTraceServiceRequest::decode(body.clone())?,
        Encoding::Json => json::decode(&body)?,
    };
    let rejected = decode::reject_invalid_spans(&mut request);
    // Without the rejected spans it is another payload; so the upstream gets what was accepted.
    let payload = match (encoding, rejected) {
        (Encoding::Protobuf, 0) => body,
        _ => request.encode_to_vec().into(),
    };
    Ok(traces(payload, decode::spans(request), rejected))
}

fn traces(payload: Bytes, spans: Vec<Span>, rejected: u64) -> Decoded {
    Decoded {
        items: spans.len() as u64,
        rejected,
        unreadable: 0,
        unused: 0,
        batch: Batch {
            spans,
            ..Batch::new(Signal::Traces, payload)
        },
    }
}

fn decode_metrics(encoding: Encoding, body: Bytes, items: Option<u64>) -> Result<Decoded, Refusal> {
    let (request, payload) = match encoding {
        Encoding::Protobuf => (ExportMetricsServiceRequest::decode(body.clone())?, body),
        Encoding::Json => {
            let request: ExportMetricsServiceRequest = json::decode(&body)?;
            let payload = Bytes::from(request.encode_to_vec());
            (request, payload)
        }
    };
    let items = match items {
        Some(items) => items,
        None => scan(Signal::Metrics, &payload, u64::MAX)?.items,
    };
    let numbers = decode::numbers(request);
    Ok(Decoded {
        items,
        rejected: 0,
        unreadable: numbers.paths.unreadable,
        unused: numbers.unused,
        batch: Batch {
            metrics: numbers.points,
            paths: numbers.paths.records,
            ..Batch::new(Signal::Metrics, payload)
        },
    })
}

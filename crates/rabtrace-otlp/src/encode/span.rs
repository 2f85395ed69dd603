//! A span with its events and links: `Span`, `Event`, `Link` and `Status` of OTLP.
//!
//! Source: `opentelemetry/proto/trace/v1/trace.proto`, v1. Fields are written from the highest number
//! to the lowest, so that they stand on the wire from the lowest to the highest.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::SpanId;
use opentelemetry::trace::{Event, Link, SpanKind, Status, TraceState};
use opentelemetry_sdk::trace::SpanData;

use super::backward::Backward;
use super::value::attributes;

/// The flags say whether the parent, or the linked span, is in another process.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// `data` as one element of the repeated `field`.
pub(crate) fn span<'a>(mut out: Backward<'a>, field: u32, data: &SpanData) -> Backward<'a> {
    let whole = out.free();
    let context = &data.span_context;
    let trace_flags = context.trace_flags().to_u8();
    out = out.fixed32(16, flags(data.parent_span_is_remote, trace_flags));
    out = status(out, &data.status);
    out = out.number(14, data.links.dropped_count.into());
    for one in data.links.links.iter().rev() {
        out = link(out, one);
    }
    out = out.number(12, data.events.dropped_count.into());
    for one in data.events.events.iter().rev() {
        out = event(out, one);
    }
    out = out.number(10, data.dropped_attributes_count.into());
    out = attributes(out, 9, &data.attributes);
    out = out.fixed64(8, nanoseconds(data.end_time));
    out = out.fixed64(7, nanoseconds(data.start_time));
    out = out.number(6, kind(&data.span_kind));
    out = out.text(5, &data.name);
    if data.parent_span_id != SpanId::INVALID {
        out = out.identifier(4, data.parent_span_id.to_bytes());
    }
    out = trace_state(out, context.trace_state());
    out = out.identifier(2, context.span_id().to_bytes());
    out = out.identifier(1, context.trace_id().to_bytes());
    out.close(field, whole)
}

#[inline(never)]
fn event<'a>(mut out: Backward<'a>, event: &Event) -> Backward<'a> {
    let whole = out.free();
    out = out.number(4, event.dropped_attributes_count.into());
    out = attributes(out, 3, &event.attributes);
    out = out.text(2, &event.name);
    out = out.fixed64(1, nanoseconds(event.timestamp));
    out.close(11, whole)
}

#[inline(never)]
fn link<'a>(mut out: Backward<'a>, link: &Link) -> Backward<'a> {
    let whole = out.free();
    let context = &link.span_context;
    let trace_flags = context.trace_flags().to_u8();
    out = out.fixed32(6, flags(context.is_remote(), trace_flags));
    out = out.number(5, link.dropped_attributes_count.into());
    out = attributes(out, 4, &link.attributes);
    out = trace_state(out, context.trace_state());
    out = out.identifier(2, context.span_id().to_bytes());
    out = out.identifier(1, context.trace_id().to_bytes());
    out.close(13, whole)
}

/// Written even when it is unset and so empty: the SDK's exporter does so.
#[inline(always)]
fn status<'a>(mut out: Backward<'a>, status: &Status) -> Backward<'a> {
    let whole = out.free();
    match status {
        Status::Unset => {}
        Status::Ok => out = out.number(3, 1),
        Status::Error { description } => {
            out = out.number(3, 2);
            out = out.text(2, description);
        }
    }
    out.close(15, whole)
}

/// In the form of the header `tracestate`.
#[inline(always)]
fn trace_state<'a>(mut out: Backward<'a>, state: &TraceState) -> Backward<'a> {
    if state.into_iter().len() != 0 {
        out = written_trace_state(out, state);
    }
    out
}

/// Members come from first to last only. There are at most 32, so that finding the one before costs
/// less than to collect them.
#[inline(never)]
fn written_trace_state<'a>(mut out: Backward<'a>, state: &TraceState) -> Backward<'a> {
    let whole = out.free();
    for index in (0..state.into_iter().len()).rev() {
        let Some((key, value)) = state.into_iter().nth(index) else {
            continue;
        };
        out = out.bytes(value.as_bytes());
        out = out.bytes(b"=");
        out = out.bytes(key.as_bytes());
        if index != 0 {
            out = out.bytes(b",");
        }
    }
    out.close(3, whole)
}

#[inline(always)]
fn flags(is_remote: bool, trace_flags: u8) -> u32 {
    let remote = if is_remote { IS_REMOTE } else { 0 };
    u32::from(trace_flags) | HAS_IS_REMOTE | remote
}

#[inline(always)]
fn kind(kind: &SpanKind) -> u64 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

/// Nanoseconds since 1970; zero before it. Wraps in the year 2554, as the SDK's exporter does.
#[inline(always)]
fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since
        .as_secs()
        .wrapping_mul(1_000_000_000)
        .wrapping_add(since.subsec_nanos().into())
}

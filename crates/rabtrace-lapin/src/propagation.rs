//! Trace context and baggage between OpenTelemetry and the headers of an AMQP message.
//!
//! Input: a header table of any content, or a span context and baggage. Output: what could be
//! read, or the properties with `traceparent`, `tracestate` and `baggage` as long strings. Pure.
//! Nothing in a header is ever an error: what cannot be read counts as absent, and what does not
//! fit into the frame is left out (baggage first, `traceparent` last).
//!
//! Source: <https://www.w3.org/TR/trace-context/>, <https://www.w3.org/TR/baggage/>. The keys are
//! lower case and the values text, as every instrumentation for AMQP 0-9-1 has them.

mod baggage;
mod size;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use opentelemetry::baggage::Baggage;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use crate::path::{PathContext, TRACESTATE_KEY};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const BAGGAGE: &str = "baggage";

/// The most that W3C asks everyone to hand on of `tracestate`.
const TRACESTATE_LENGTH: usize = 512;
const TRACESTATE_MEMBERS: usize = 32;
/// W3C: members longer than this go first when `tracestate` is too long.
const TRACESTATE_LONG_MEMBER: usize = 128;

/// What a message carried.
#[derive(Debug, Default)]
pub(crate) struct Extracted {
    /// The creation context, remote; none if there is no valid `traceparent`.
    pub(crate) creation: Option<SpanContext>,
    /// Its baggage, empty if there is none.
    pub(crate) baggage: Baggage,
}

impl Extracted {
    /// The path context that came with the creation context.
    pub(crate) fn path(&self) -> Option<PathContext> {
        path_of(self.creation.as_ref()?.trace_state())
    }
}

/// Reads the headers of a message.
pub(crate) fn extract(headers: Option<&FieldTable>) -> Extracted {
    let Some(headers) = headers else {
        return Extracted::default();
    };
    let text = |key: &str| headers.inner().get(key).and_then(text);
    Extracted {
        creation: text(TRACEPARENT)
            .and_then(|parent| span_context(parent, || text(TRACESTATE).map(trace_state))),
        baggage: text(BAGGAGE).map(baggage::decode).unwrap_or_default(),
    }
}

/// The span id and trace id in `traceparent`, to recognise a returned message.
pub(crate) fn creation_ids(headers: Option<&FieldTable>) -> Option<(TraceId, SpanId)> {
    let context = span_context(text(headers?.inner().get(TRACEPARENT)?)?, || None)?;
    Some((context.trace_id(), context.span_id()))
}

fn text(value: &AMQPValue) -> Option<&str> {
    match value {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        AMQPValue::ByteArray(bytes) => std::str::from_utf8(bytes.as_slice()).ok(),
        AMQPValue::ShortString(text) => Some(text.as_str()),
        _ => None,
    }
}

/// `{version}-{trace id}-{parent id}-{flags}` in lower-case hexadecimal; ids of zeros, version
/// `ff`, and trailing text in version `00` are invalid.
fn span_context(parent: &str, state: impl FnOnce() -> Option<TraceState>) -> Option<SpanContext> {
    let bytes = parent.as_bytes();
    let well_formed = bytes
        .iter()
        .take(55)
        .enumerate()
        .all(|(at, byte)| match at {
            2 | 35 | 52 => *byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        });
    let version = parent.get(..2)?;
    let ends_well = match parent.get(55..)? {
        "" => true,
        rest => version != "00" && rest.starts_with('-'),
    };
    if !well_formed || !ends_well || version == "ff" {
        return None;
    }
    let trace_id = TraceId::from_hex(parent.get(3..35)?).ok()?;
    let span_id = SpanId::from_hex(parent.get(36..52)?).ok()?;
    if trace_id == TraceId::INVALID || span_id == SpanId::INVALID {
        return None;
    }
    let flags = u8::from_str_radix(parent.get(53..55)?, 16).ok()?;
    let flags = TraceFlags::new(flags) & TraceFlags::SAMPLED;
    let state = state().unwrap_or_default();
    Some(SpanContext::new(trace_id, span_id, flags, true, state))
}

/// Members that are not well formed are left out, the others kept.
fn trace_state(text: &str) -> TraceState {
    let well_formed = |member: &&str| {
        let named = member
            .split_once('=')
            .is_some_and(|(key, _)| !key.trim().is_empty());
        let printable = member
            .bytes()
            .all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
        named && printable && member.parse::<TraceState>().is_ok()
    };
    let members: Vec<&str> = text.split(',').filter(well_formed).collect();
    members.join(",").parse().unwrap_or_default()
}

/// The path context in `tracestate`, if there is one of this version.
pub(crate) fn path_of(state: &TraceState) -> Option<PathContext> {
    PathContext::parse(state.get(TRACESTATE_KEY)?)
}

/// `state` with the path context in front; unchanged if it holds one of another version.
pub(crate) fn with_path(state: &TraceState, path: &PathContext) -> TraceState {
    let another_version = state.get(TRACESTATE_KEY).is_some_and(|value| {
        let version = value.split('-').next().unwrap_or_default();
        version != "1" && !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())
    });
    if another_version {
        return state.clone();
    }
    state
        .insert(TRACESTATE_KEY, path.to_string())
        .unwrap_or_else(|_| state.clone())
}

/// What goes into the headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Injection<'a> {
    /// The context of the publish.
    pub(crate) context: &'a SpanContext,
    /// Its `tracestate`, path included.
    pub(crate) state: &'a TraceState,
    /// None if baggage is switched off.
    pub(crate) baggage: Option<&'a Baggage>,
    /// The negotiated `frame_max`.
    pub(crate) frame_max: u32,
}

/// Puts the context into a copy of the headers. An invalid context leaves everything as it is.
pub(crate) fn inject(properties: BasicProperties, injection: &Injection<'_>) -> BasicProperties {
    if !injection.context.is_valid() {
        return properties;
    }
    let mut room = size::room(&properties, injection.frame_max);
    let headers = properties.headers().as_ref().map(FieldTable::inner);
    let mut headers = headers.cloned().unwrap_or_default();
    let mut put = |key, value: Option<String>| {
        value.is_some_and(|value| put(&mut headers, &mut room, (key, value)))
    };
    if !put(TRACEPARENT, Some(traceparent(injection.context))) {
        return properties;
    }
    let state_is_there = put(TRACESTATE, tracestate(injection.state));
    put(BAGGAGE, injection.baggage.and_then(baggage::encode));
    if !state_is_there {
        // One of another trace, from properties that are published again.
        headers.remove(TRACESTATE);
    }
    properties.with_headers(FieldTable::from(headers))
}

/// Whether it fits and is there now.
fn put(
    headers: &mut BTreeMap<ShortString, AMQPValue>,
    room: &mut usize,
    (key, value): (&str, String),
) -> bool {
    let value = AMQPValue::LongString(value.into_bytes().into());
    let replaced = headers.get(key).map_or(0, |old| size::entry(key, old));
    let available = *room + replaced;
    let Some(left) = available.checked_sub(size::entry(key, &value)) else {
        return false;
    };
    *room = left;
    headers.insert(ShortString::from(key), value);
    true
}

fn traceparent(context: &SpanContext) -> String {
    format!(
        "00-{:032x}-{:016x}-{:02x}",
        context.trace_id(),
        context.span_id(),
        context.trace_flags().to_u8()
    )
}

/// At most 32 members and 512 bytes; ours is in front and stays. Long members go first.
fn tracestate(state: &TraceState) -> Option<String> {
    let mut members: Vec<String> = state
        .into_iter()
        .take(TRACESTATE_MEMBERS)
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    while length(&members) > TRACESTATE_LENGTH {
        let long = members
            .iter()
            .rposition(|member| member.len() > TRACESTATE_LONG_MEMBER);
        members.remove(long.unwrap_or(members.len() - 1));
    }
    (!members.is_empty()).then(|| members.join(","))
}

fn length(members: &[String]) -> usize {
    members
        .iter()
        .map(|member| member.len() + 1)
        .sum::<usize>()
        .saturating_sub(1)
}

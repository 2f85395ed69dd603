//! Trace context and baggage between OpenTelemetry and the headers of an AMQP message.
//!
//! Input: a header table of any content, or a span context and baggage. Output: what could be
//! read, or the properties with `traceparent`, `tracestate` and `baggage` as long strings. Pure.
//! Nothing in a header is ever an error: what cannot be read counts as absent, and what does not
//! fit into the frame is left out (baggage first, `traceparent` last).
//!
//! Source: <https://www.w3.org/TR/trace-context/>, <https://www.w3.org/TR/baggage/>. The keys are
//! lower case and the values text, as every instrumentation for AMQP 0-9-1 has them. A `traceparent`
//! in W3C's binary form (<https://w3c.github.io/trace-context-binary/>) is read, never written.

mod baggage;
mod size;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use opentelemetry::baggage::Baggage;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

#[cfg(test)]
use self::state::TRACESTATE_LENGTH;
use self::state::{trace_state, tracestate};
use crate::hex;
use crate::history;
use crate::path::{PathContext, TRACESTATE_KEY};
use crate::recent::Ids;

pub(crate) const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const BAGGAGE: &str = "baggage";

/// The length of a `traceparent` in W3C's binary form; no text of that form is so short.
const BINARY_LENGTH: usize = 29;

/// The headers that are of interest, found in one pass.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found<'a> {
    parent: Option<&'a AMQPValue>,
    state: Option<&'a AMQPValue>,
    baggage: Option<&'a AMQPValue>,
    /// Whether the broker told something of the message.
    pub(crate) has_history: bool,
}

impl<'a> Found<'a> {
    pub(crate) fn new(headers: Option<&'a FieldTable>) -> Self {
        let mut found = Self::default();
        for (key, value) in headers.into_iter().flatten() {
            match key.as_str() {
                TRACEPARENT => found.parent = Some(value),
                TRACESTATE => found.state = Some(value),
                BAGGAGE => found.baggage = Some(value),
                key => found.has_history |= history::is_told_in(key),
            }
        }
        found
    }

    /// Whether there may be a context.
    pub(crate) const fn has_context(&self) -> bool {
        self.parent.is_some() || self.baggage.is_some()
    }

    /// The span id and trace id in `traceparent`.
    pub(crate) fn creation_ids(&self) -> Option<Ids> {
        let context = span_context(bytes(self.parent?)?, TraceState::default)?;
        Some((context.trace_id(), context.span_id()))
    }

    /// The creation context, remote, with the members of `tracestate` that are not the path; none
    /// if there is no valid `traceparent`. And the path that came with it, or without any
    /// `traceparent`: see [`inject_path`].
    pub(crate) fn creation(&self) -> (Option<SpanContext>, Option<PathContext>) {
        if self.parent.is_none() {
            let state = self.state.and_then(bytes);
            return (None, state.and_then(|state| trace_state(state).0));
        }
        let mut path = None;
        let creation = self.parent.and_then(bytes).and_then(|parent| {
            span_context(parent, || {
                let state = self.state.and_then(bytes);
                let (found, others) = state.map(trace_state).unwrap_or_default();
                path = found;
                others
            })
        });
        (creation, path)
    }

    /// The message's baggage, empty if there is none.
    pub(crate) fn baggage(&self) -> Baggage {
        let text = self.baggage.and_then(bytes);
        let text = text.and_then(|baggage| std::str::from_utf8(baggage).ok());
        text.map(baggage::decode).unwrap_or_default()
    }
}

/// All that a message carried, as tests ask for it.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Extracted {
    pub(crate) creation: Option<SpanContext>,
    pub(crate) path: Option<PathContext>,
    pub(crate) baggage: Baggage,
}

#[cfg(test)]
pub(crate) fn extract(headers: Option<&FieldTable>) -> Extracted {
    let found = Found::new(headers);
    let (creation, path) = found.creation();
    Extracted {
        creation,
        path,
        baggage: found.baggage(),
    }
}

/// The span id and trace id in `traceparent`, to recognise a returned message.
pub(crate) fn creation_ids(headers: Option<&FieldTable>) -> Option<Ids> {
    Found::new(headers).creation_ids()
}

/// The context that the headers hold.
pub(crate) fn creation(headers: Option<&FieldTable>) -> Option<SpanContext> {
    Found::new(headers).creation().0
}

fn bytes(value: &AMQPValue) -> Option<&[u8]> {
    match value {
        AMQPValue::LongString(text) => Some(text.as_bytes()),
        AMQPValue::ByteArray(bytes) => Some(bytes.as_slice()),
        AMQPValue::ShortString(text) => Some(text.as_str().as_bytes()),
        _ => None,
    }
}

/// `{version}-{trace id}-{parent id}-{flags}` in lower-case hexadecimal; ids of zeros, version
/// `ff`, and trailing text in version `00` are invalid.
fn span_context(parent: &[u8], state: impl FnOnce() -> TraceState) -> Option<SpanContext> {
    if parent.len() == BINARY_LENGTH {
        return binary_context(parent, state);
    }
    let (head, rest) = parent.split_at_checked(55)?;
    let version = hex::number(head.get(..2)?)?;
    let ends_well = rest.is_empty() || (version != 0 && rest.starts_with(b"-"));
    let dashes = [2, 35, 52].map(|at| head.get(at) == Some(&b'-'));
    if !ends_well || dashes != [true; 3] || version == 0xff {
        return None;
    }
    let (high, low) = (
        hex::number(head.get(3..19)?)?,
        hex::number(head.get(19..35)?)?,
    );
    let trace_id = TraceId::from((u128::from(high) << 64) | u128::from(low));
    let span_id = SpanId::from(hex::number(head.get(36..52)?)?);
    let flags = u8::try_from(hex::number(head.get(53..55)?)?).ok()?;
    remote_context((trace_id, span_id), flags, state)
}

/// W3C's binary form, version 0: each field behind its number. Producers that speak AMQP 1.0 may
/// write it, and the broker hands it on as it is.
fn binary_context(parent: &[u8], state: impl FnOnce() -> TraceState) -> Option<SpanContext> {
    let trace_id = parent.strip_prefix(&[0, 0])?;
    let (trace_id, span_id) = trace_id.split_first_chunk::<16>()?;
    let (span_id, flags) = span_id.strip_prefix(&[1])?.split_first_chunk::<8>()?;
    let &[2, flags] = flags else {
        return None;
    };
    let ids = (TraceId::from_bytes(*trace_id), SpanId::from_bytes(*span_id));
    remote_context(ids, flags, state)
}

fn remote_context(
    (trace_id, span_id): Ids,
    flags: u8,
    state: impl FnOnce() -> TraceState,
) -> Option<SpanContext> {
    if trace_id == TraceId::INVALID || span_id == SpanId::INVALID {
        return None;
    }
    let flags = TraceFlags::new(flags) & TraceFlags::SAMPLED;
    Some(SpanContext::new(trace_id, span_id, flags, true, state()))
}

/// The path context in `tracestate`, if there is one of this version.
pub(crate) fn path_of(state: &TraceState) -> Option<PathContext> {
    PathContext::parse(state.get(TRACESTATE_KEY)?)
}

/// The same context with the path in its `tracestate`, for propagators of other protocols.
pub(crate) fn with_path(context: &SpanContext, path: &PathContext) -> SpanContext {
    let state = context.trace_state();
    let state = state.insert(TRACESTATE_KEY, path.to_string());
    SpanContext::new(
        context.trace_id(),
        context.span_id(),
        context.trace_flags(),
        context.is_remote(),
        state.unwrap_or_else(|_| context.trace_state().clone()),
    )
}

/// What goes into the headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Injection<'a> {
    /// The context of the publish.
    pub(crate) context: &'a SpanContext,
    /// The path with this publish.
    pub(crate) path: &'a PathContext,
    /// None if baggage is switched off.
    pub(crate) baggage: Option<&'a Baggage>,
    /// The negotiated `frame_max`.
    pub(crate) frame_max: u32,
}

/// A copy of the headers with the context, in place of one that is there; none where everything
/// stays as it is, as it does for an invalid context. Gives what did not fit into the frame, too.
pub(crate) fn inject(
    properties: &BasicProperties,
    injection: &Injection<'_>,
) -> (Option<FieldTable>, Vec<&'static str>) {
    let mut shed = Vec::new();
    if !injection.context.is_valid() {
        return (None, shed);
    }
    let there = injection.baggage.filter(|baggage| !baggage.is_empty());
    let mut room = if there.is_none() && size::is_no_matter(properties, injection.frame_max) {
        usize::MAX / 2
    } else {
        size::room(properties, injection.frame_max)
    };
    let headers = properties.headers().as_ref().map(FieldTable::inner);
    let replaces = headers.is_some_and(|headers| headers.contains_key(TRACEPARENT));
    let mut headers = headers.cloned().unwrap_or_default();
    if !put(
        &mut headers,
        &mut room,
        (TRACEPARENT, traceparent(injection.context)),
    ) {
        shed.push(TRACEPARENT);
        return (None, shed);
    }
    let state = tracestate(injection.context.trace_state(), injection.path);
    let state_is_there =
        state.is_some_and(|state| put(&mut headers, &mut room, (TRACESTATE, state)));
    let baggage = there.and_then(baggage::encode);
    let wanted = baggage.is_some();
    // Without what matters more, it has no place either.
    let baggage = baggage.filter(|_| state_is_there);
    let baggage_is_there = baggage
        .is_some_and(|baggage| put(&mut headers, &mut room, (BAGGAGE, baggage.into_bytes())));
    shed.extend((!state_is_there).then_some(TRACESTATE));
    shed.extend((wanted && !baggage_is_there).then_some(BAGGAGE));
    // What is left of another context, from properties that are published again. Without one, a
    // header called `baggage` is the application's.
    if replaces && !state_is_there {
        headers.remove(TRACESTATE);
    }
    if replaces && !baggage_is_there && injection.baggage.is_some() {
        headers.remove(BAGGAGE);
    }
    (Some(FieldTable::from(headers)), shed)
}

/// A copy of the headers with the path alone in `tracestate`, beside the members that are there:
/// where messages are measured without a tracer. Others ignore a `tracestate` without
/// `traceparent`, as W3C says; [`Found::creation`] reads the path all the same.
///
/// # Errors
///
/// What did not fit into the frame.
pub(crate) fn inject_path(
    properties: &BasicProperties,
    path: &PathContext,
    frame_max: u32,
) -> Result<Option<FieldTable>, &'static str> {
    let mut room = size::room(properties, frame_max);
    let headers = properties.headers().as_ref().map(FieldTable::inner);
    let others = headers
        .and_then(|headers| bytes(headers.get(TRACESTATE)?))
        .map(|state| trace_state(state).1);
    let mut headers = headers.cloned().unwrap_or_default();
    let Some(state) = tracestate(&others.unwrap_or_default(), path) else {
        return Ok(None);
    };
    if !put(&mut headers, &mut room, (TRACESTATE, state)) {
        return Err(TRACESTATE);
    }
    Ok(Some(FieldTable::from(headers)))
}

/// Whether it fits and is there now.
fn put(
    headers: &mut BTreeMap<ShortString, AMQPValue>,
    room: &mut usize,
    (key, value): (&'static str, Vec<u8>),
) -> bool {
    let value = AMQPValue::LongString(value.into());
    let replaced = headers.get(key).map_or(0, |old| size::entry(key, old));
    let available = *room + replaced;
    let Some(left) = available.checked_sub(size::entry(key, &value)) else {
        return false;
    };
    *room = left;
    headers.insert(ShortString::from(key), value);
    true
}

fn traceparent(context: &SpanContext) -> Vec<u8> {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    hex::write(&mut text[3..35], &context.trace_id().to_bytes());
    hex::write(&mut text[36..52], &context.span_id().to_bytes());
    hex::write(&mut text[53..], &[context.trace_flags().to_u8()]);
    text.to_vec()
}

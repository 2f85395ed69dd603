//! The request that a trace begins with: a context of somebody else's, with `tracestate` and
//! baggage. Each language reads it from headers by its own means.

use std::collections::BTreeMap;

use opentelemetry::Context;
use opentelemetry::baggage::{BaggageExt, KeyValueMetadata};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};

use rabtrace_lapin::message::Delivery;
use rabtrace_lapin::path::PathContext;

use super::peer::Peer;

pub(super) const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
pub(super) const PARENT: &str = "00f067aa0ba902b7";

/// The member of a foreign vendor, with the signs that its value may have.
pub(super) const VENDOR: &str = "t61@vendor=p:1~x/y+z";

/// What a value of baggage may have to say.
const ODD: &str = "Grüße,;=%41+&\"\\/?#@~\u{1F980}";
const SPACED: &str = "two words";

/// The baggage as text, its odd value and its spaced one.
pub(super) fn baggage(spaced: &str) -> BTreeMap<String, String> {
    let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    [("tenant.id", ODD), ("user_name", spaced)].map(pair).into()
}

/// The baggage that comes out behind `peer`. Python's OpenTelemetry writes a space as `+`, where
/// W3C has `%20` and takes `+` for itself; who reads it by W3C gets a plus.
pub(super) fn baggage_behind(peer: Peer) -> BTreeMap<String, String> {
    match peer {
        Peer::Pika | Peer::AioPika => baggage(&SPACED.replace(' ', "+")),
        Peer::Amqplib | Peer::Plain => baggage(SPACED),
    }
}

/// The baggage as it is at the beginning.
pub(super) fn whole_baggage() -> BTreeMap<String, String> {
    baggage(SPACED)
}

/// The request in a Rust service.
pub(super) fn context() -> Context {
    let state: TraceState = VENDOR.parse().unwrap();
    let span = SpanContext::new(
        TraceId::from_hex(TRACE).unwrap(),
        SpanId::from_hex(PARENT).unwrap(),
        TraceFlags::SAMPLED,
        true,
        state,
    );
    let pairs = whole_baggage().into_iter();
    let pairs: Vec<_> = pairs
        .map(|(key, value)| KeyValueMetadata::new(key, value, ""))
        .collect();
    Context::new()
        .with_remote_span_context(span)
        .with_baggage(pairs)
}

/// The request as JSON for another program, its path as `path` says.
pub(super) fn carrier(path: &str) -> String {
    let percent = percent_encoding::NON_ALPHANUMERIC;
    let member = |(key, value): (&String, &String)| {
        format!(
            "{key}={}",
            percent_encoding::utf8_percent_encode(value, percent)
        )
    };
    let members: Vec<String> = whole_baggage().iter().map(member).collect();
    let carrier = serde_json::json!({
        "traceparent": format!("00-{TRACE}-{PARENT}-01"),
        "tracestate": format!("rabtrace={path},{VENDOR}"),
        "baggage": members.join(","),
    });
    carrier.to_string()
}

/// The path in a `tracestate` that holds it in front, and behind it the vendor's member as it was.
pub(super) fn path(state: &str) -> PathContext {
    let (path, vendor) = state.split_once(',').unwrap();
    assert_eq!(vendor, VENDOR);
    let path = path.strip_prefix("rabtrace=").and_then(PathContext::parse);
    path.expect("no path in tracestate")
}

/// The path of a delivery, whose span has the vendor's member alone.
pub(super) fn path_of(delivery: &Delivery) -> PathContext {
    let context = delivery.context();
    let state = context.span().span_context().trace_state().header();
    assert_eq!(state, VENDOR);
    delivery.path().expect("no path")
}

/// The hash of a path as the attributes have it.
pub(super) fn hash(path: &PathContext) -> Option<String> {
    Some(format!("{:016x}", path.hash()))
}

/// The baggage of a context, as text.
pub(super) fn read(context: &Context) -> BTreeMap<String, String> {
    let pairs = context.baggage().iter();
    pairs
        .map(|(key, (value, _))| (key.to_string(), value.to_string()))
        .collect()
}

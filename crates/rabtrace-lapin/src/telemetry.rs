//! Starts the spans of one channel.
//!
//! Input: what is published, delivered or settled, and the caller's context. Output: a span with
//! all attributes that a sampler may ask for, and the path's next step. Spans go to the
//! application's own OpenTelemetry SDK; nothing here waits, queues or fails.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lapin::BasicProperties;
use lapin::types::ShortString;
use opentelemetry::global::{BoxedSpan, BoxedTracer};
use opentelemetry::trace::{Link, Span, SpanContext, SpanKind, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, StringValue};

use crate::absence::Absence;
use crate::config::TraceConfig;
use crate::path::{self, Checkpoint, Direction, PathContext};
use crate::propagation;
use crate::semconv::{self, Destination};

/// One kind of span: the conventions' name, type and span kind.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    kind: SpanKind,
    operation_type: &'static str,
}

pub(crate) const PUBLISH: Operation = Operation {
    name: "publish",
    kind: SpanKind::Producer,
    operation_type: "send",
};
pub(crate) const PROCESS: Operation = Operation {
    name: "process",
    kind: SpanKind::Consumer,
    operation_type: "process",
};
pub(crate) const RECEIVE: Operation = Operation {
    name: "receive",
    kind: SpanKind::Client,
    operation_type: "receive",
};
pub(crate) const ACK: Operation = settle("ack");
pub(crate) const NACK: Operation = settle("nack");
pub(crate) const REJECT: Operation = settle("reject");

const SETTLE: &str = "settle";

const fn settle(name: &'static str) -> Operation {
    Operation {
        name,
        kind: SpanKind::Client,
        operation_type: SETTLE,
    }
}

/// A destination as text, made once per delivery and shared by its spans.
#[derive(Clone, Debug)]
pub(crate) struct DestinationText {
    name: StringValue,
    /// For span names: without generated parts.
    label: StringValue,
    anonymous: bool,
    /// Whether the label is a template.
    templated: bool,
}

impl DestinationText {
    pub(crate) fn new(destination: &Destination<'_>) -> Self {
        let name: Arc<str> = destination.name().into();
        let (template, anonymous) = (destination.template(), destination.is_anonymous());
        Self {
            templated: anonymous || template.is_some(),
            label: template.map_or_else(|| Arc::clone(&name), Arc::from).into(),
            name: name.into(),
            anonymous,
        }
    }
}

/// A span about to start.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) operation: &'a Operation,
    /// None if the destination is not known.
    pub(crate) destination: Option<&'a DestinationText>,
    pub(crate) parent: &'a Context,
    pub(crate) link: Option<SpanContext>,
    pub(crate) time: SystemTime,
    /// Attributes beyond operation, destination and server.
    pub(crate) attributes: Vec<KeyValue>,
}

/// The tracer and the settings of one channel.
#[derive(Debug)]
pub(crate) struct Telemetry {
    tracer: Arc<BoxedTracer>,
    absence: Absence,
    service_name: String,
    server_address: Option<StringValue>,
    server_port: Option<i64>,
    pub(crate) frame_max: u32,
    pub(crate) baggage: bool,
    pub(crate) settle_spans: bool,
}

impl Telemetry {
    pub(crate) fn new(config: &TraceConfig) -> Self {
        let address = config.server_address.as_deref();
        Self {
            tracer: config.tracer(),
            absence: Absence::default(),
            service_name: config.service_name.clone(),
            server_address: address.map(|address| StringValue::from(Arc::<str>::from(address))),
            server_port: config.server_port.map(i64::from),
            frame_max: config.frame_max,
            baggage: config.baggage,
            settle_spans: config.settle_spans,
        }
    }

    /// Whether a span under `parent` would come to nothing: there is no tracer, and no context to
    /// hand on.
    pub(crate) fn is_idle(&self, parent: &Context) -> bool {
        !has_ids(parent) && self.absence.leaves_out()
    }

    /// Starts a span.
    pub(crate) fn start(&self, start: Start<'_>) -> BoxedSpan {
        let operation = start.operation;
        let mut attributes = start.attributes;
        attributes.extend([
            KeyValue::new(semconv::MESSAGING_SYSTEM, semconv::RABBITMQ),
            KeyValue::new(semconv::MESSAGING_OPERATION_NAME, operation.name),
            KeyValue::new(semconv::MESSAGING_OPERATION_TYPE, operation.operation_type),
        ]);
        if let Some(destination) = start.destination {
            add_destination(&mut attributes, destination, operation);
        }
        if let Some(address) = &self.server_address {
            attributes.push(KeyValue::new(semconv::SERVER_ADDRESS, address.clone()));
        }
        if let Some(port) = self.server_port {
            attributes.push(KeyValue::new(semconv::SERVER_PORT, port));
        }
        let name: Cow<'static, str> = match start.destination {
            Some(destination) => format!("{} {}", operation.name, destination.label).into(),
            None => operation.name.into(),
        };
        let builder = self
            .tracer
            .span_builder(name)
            .with_kind(operation.kind.clone())
            .with_start_time(start.time)
            .with_links(start.link.into_iter().map(link).collect())
            .with_attributes(attributes);
        let span = self.tracer.build_with_context(builder, start.parent);
        if !has_ids(start.parent) && !start.parent.is_telemetry_suppressed() {
            self.absence.learn(span.span_context().is_valid());
        }
        span
    }

    /// The next step of a path.
    pub(crate) fn checkpoint(
        &self,
        parent: Option<&PathContext>,
        step: (Direction, &str),
        now: SystemTime,
    ) -> Checkpoint {
        path::checkpoint(parent, &self.service_name, step, microseconds(now))
    }
}

fn add_destination(
    attributes: &mut Vec<KeyValue>,
    destination: &DestinationText,
    operation: &Operation,
) {
    let name = destination.name.clone();
    attributes.push(KeyValue::new(semconv::MESSAGING_DESTINATION_NAME, name));
    if destination.templated {
        let label = destination.label.clone();
        attributes.push(KeyValue::new(
            semconv::MESSAGING_DESTINATION_TEMPLATE,
            label,
        ));
    }
    if !destination.anonymous || operation.operation_type == SETTLE {
        return;
    }
    attributes.push(KeyValue::new(
        semconv::MESSAGING_DESTINATION_ANONYMOUS,
        true,
    ));
    attributes.push(KeyValue::new(
        semconv::MESSAGING_DESTINATION_TEMPORARY,
        true,
    ));
}

fn has_ids(context: &Context) -> bool {
    context.span().span_context().is_valid()
}

fn link(context: SpanContext) -> Link {
    Link::with_context(context)
}

/// The attributes that a message has by itself, whoever handles it.
pub(crate) fn message_attributes(
    routing_key: &ShortString,
    properties: &BasicProperties,
) -> Vec<KeyValue> {
    // Room for what `Telemetry::start` and the path add.
    let mut attributes = Vec::with_capacity(18);
    let mut add = |key, value: Option<&ShortString>| {
        if let Some(value) = value
            .map(ShortString::as_str)
            .filter(|text| !text.is_empty())
        {
            attributes.push(KeyValue::new(key, value.to_owned()));
        }
    };
    add(
        semconv::MESSAGING_RABBITMQ_DESTINATION_ROUTING_KEY,
        Some(routing_key),
    );
    add(
        semconv::MESSAGING_MESSAGE_ID,
        properties.message_id().as_ref(),
    );
    add(
        semconv::MESSAGING_MESSAGE_CONVERSATION_ID,
        properties.correlation_id().as_ref(),
    );
    attributes
}

/// The attributes of a step.
pub(crate) fn path_attributes(
    step: &Checkpoint,
    (direction, destination): (Direction, &str),
) -> impl Iterator<Item = KeyValue> {
    let hash = |hash: u64| format!("{hash:016x}");
    let seconds = |key, duration: Option<Duration>| {
        duration.map(|duration| KeyValue::new(key, duration.as_secs_f64()))
    };
    [
        Some(KeyValue::new(
            semconv::RABTRACE_PATH_HASH,
            hash(step.context.hash),
        )),
        step.parent_hash
            .map(|parent| KeyValue::new(semconv::RABTRACE_PATH_PARENT, hash(parent))),
        Some(KeyValue::new(
            semconv::RABTRACE_DIRECTION,
            direction.as_str(),
        )),
        Some(KeyValue::new(
            semconv::RABTRACE_DESTINATION,
            destination.to_owned(),
        )),
        seconds(semconv::RABTRACE_PATH_EDGE_DURATION, step.edge),
        seconds(semconv::RABTRACE_PATH_DURATION, step.total),
    ]
    .into_iter()
    .flatten()
}

/// The path that the context continues: its span's, else the one that a delivery without any
/// trace context began.
pub(crate) fn path_of(context: &Context) -> Option<PathContext> {
    propagation::path_of(context.span().span_context().trace_state())
        .or_else(|| context.get::<PathContext>().copied())
}

/// Records a failure on a span.
pub(crate) fn fail(span: &mut BoxedSpan, error_type: impl Into<StringValue>, message: String) {
    span.set_attribute(KeyValue::new(semconv::ERROR_TYPE, error_type.into()));
    span.set_status(opentelemetry::trace::Status::error(message));
}

fn microseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}

//! Starts the spans of one channel.
//!
//! Input: an operation, its destination and the context that it happens in. Output: a span with
//! all attributes that a sampler may ask for. Spans and measurements go to the application's own
//! OpenTelemetry SDK; nothing here waits, queues or fails.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lapin::BasicProperties;
use lapin::types::ShortString;
use opentelemetry::global::{BoxedSpan, BoxedTracer};
use opentelemetry::trace::{Link, Span, SpanContext, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, StringValue};

use crate::absence::Absence;
use crate::body::BodyCapture;
use crate::config::TraceConfig;
use crate::current;
use crate::destination::{Destinations, Known, Settings};
use crate::fixed::Fixed;
use crate::hooks::TraceHooks;
use crate::metrics::Metrics;
use crate::operation::Operation;
use crate::path::PathContext;
use crate::paths::Paths;
use crate::propagation;
use crate::recent::Ids;
use crate::semconv;
use crate::switch::TraceSwitch;

/// A span about to start.
pub(crate) struct Start<'a> {
    pub(crate) operation: Operation,
    pub(crate) known: &'a Known,
    pub(crate) parent: &'a Context,
    /// None for the operation's own.
    pub(crate) kind: Option<SpanKind>,
    pub(crate) links: [Option<&'a SpanContext>; 2],
    pub(crate) time: SystemTime,
}

/// The tracer, the instruments and the settings of one channel.
pub(crate) struct Telemetry {
    tracer: Arc<BoxedTracer>,
    absence: Absence,
    switch: TraceSwitch,
    /// Whether there is something to measure where there is no tracer.
    always_measured: bool,
    pub(crate) metrics: Option<Arc<Metrics>>,
    pub(crate) paths: Arc<Paths>,
    pub(crate) destinations: Destinations,
    pub(crate) hooks: Option<Arc<dyn TraceHooks>>,
    bodies: Option<BodyCapture>,
    body_size: bool,
    pub(crate) frame_max: u32,
    pub(crate) baggage: bool,
    pub(crate) settle_spans: bool,
    pub(crate) task_parent: bool,
    pub(crate) fast_settle: bool,
    late_attributes: bool,
    pub(crate) path_in_spans: bool,
}

impl Telemetry {
    pub(crate) fn new(config: &TraceConfig) -> Self {
        let address = config.server_address.as_deref();
        let (metrics, always_measured) = config.metrics();
        Self {
            tracer: config.tracer(),
            paths: config.paths(metrics.as_ref()),
            absence: Absence::default(),
            switch: config.switch.clone(),
            always_measured,
            metrics,
            destinations: Destinations::new(Settings {
                service_name: config.service_name.clone(),
                server_address: address.map(|address| Arc::<str>::from(address).into()),
                server_port: config.server_port.map(i64::from),
                rules: config.rules.clone(),
                templates: config.templates.clone(),
                limit: config.destinations,
            }),
            hooks: config.hooks.clone(),
            bodies: config.bodies.clone(),
            body_size: config.body_size,
            frame_max: config.frame_max,
            baggage: config.baggage,
            settle_spans: config.settle_spans,
            task_parent: config.task_parent,
            fast_settle: config.fast_settle,
            late_attributes: config.late_attributes,
            path_in_spans: config.path_in_spans,
        }
    }

    /// Whether messages are left alone altogether.
    pub(crate) fn is_off(&self) -> bool {
        !self.switch.is_on()
    }

    /// Whether a span under `parent` would come to nothing: there is no tracer, no context to hand
    /// on, and nothing to measure.
    pub(crate) fn is_idle(&self, parent: &Context) -> bool {
        !has_ids(parent) && !self.always_measured && self.absence.leaves_out()
    }

    /// Whether what begins here and now would certainly come to nothing: the cheapest question, asked
    /// first, since most programs have no tracer.
    pub(crate) fn leaves_out(&self) -> bool {
        let is_idle = |ambient: &Context| self.is_idle(ambient);
        self.is_off() || (!current::is_any() && Context::map_current(is_idle))
    }

    /// Whether messages carry their path where there is no tracer and no context to hand on.
    pub(crate) fn sends_path_alone(&self, parent: &Context) -> bool {
        self.always_measured && !parent.is_telemetry_suppressed()
    }

    /// Starts a span. Under a parent that is not sampled the attributes come after the decision of
    /// the sampler, which has no use for them then: most often they are not made at all.
    pub(crate) fn start(
        &self,
        start: Start<'_>,
        add: impl FnOnce(&mut Vec<KeyValue>),
    ) -> BoxedSpan {
        let prepared = start.known.prepared(start.operation);
        let name = prepared.map(|prepared| prepared.name.clone());
        let own = prepared.map_or(&[][..], |prepared| &prepared.attributes);
        let attributes = || {
            // Room for what is added now and when the span ends, most often. More than a kilobyte
            // is dear: allocators keep no pieces of that size at hand.
            let more = if start.operation.is_settlement() {
                2
            } else {
                8
            };
            let mut attributes = Vec::with_capacity(own.len() + more);
            attributes.extend(own.iter().map(Fixed::attribute));
            add(&mut attributes);
            attributes
        };
        let [first, second] = start.links;
        let mut builder = self.tracer.span_builder(name.unwrap_or_default());
        builder.span_kind = Some(start.kind.unwrap_or_else(|| start.operation.kind()));
        builder.start_time = Some(start.time);
        let span = if self.late_attributes || is_unsampled(start.parent) {
            let mut span = self.tracer.build_with_context(builder, start.parent);
            if span.is_recording() {
                span.set_attributes(attributes());
                for link in first.into_iter().chain(second) {
                    span.add_link(link.clone(), Vec::new());
                }
            }
            span
        } else {
            builder.attributes = Some(attributes());
            let count = usize::from(first.is_some()) + usize::from(second.is_some());
            if count > 0 {
                let link = |context: &SpanContext| Link::with_context(context.clone());
                let mut links = Vec::with_capacity(count);
                links.extend(first.map(link));
                links.extend(second.map(link));
                builder.links = Some(links);
            }
            self.tracer.build_with_context(builder, start.parent)
        };
        if !has_ids(start.parent) && !start.parent.is_telemetry_suppressed() {
            self.absence.learn(span.span_context().is_valid());
        }
        span
    }

    /// Ends the span of an operation that began at `begun`, and measures it.
    pub(crate) fn finish(
        &self,
        mut span: BoxedSpan,
        (operation, known, begun): (Operation, &Known, SystemTime),
        error: Option<&lapin::Error>,
    ) {
        if let Some(error) = error {
            fail(&mut span, semconv::error_type(error), error.to_string());
        }
        let now = SystemTime::now();
        span.end_with_timestamp(now);
        if let Some(metrics) = &self.metrics {
            let seconds = between(begun, now).as_secs_f64();
            let how = (operation, error.map(semconv::error_type));
            known.series.operated(metrics, how, seconds);
        }
    }

    /// Adds what a message is by itself, whoever handles it.
    pub(crate) fn add_message(
        &self,
        attributes: &mut Vec<KeyValue>,
        properties: &BasicProperties,
        data: &[u8],
    ) {
        let mut add = |key, value: &Option<ShortString>| {
            let value = value.as_ref().map(ShortString::as_str);
            if let Some(value) = value.filter(|text| !text.is_empty()) {
                attributes.push(KeyValue::new(key, value.to_owned()));
            }
        };
        add(semconv::MESSAGING_MESSAGE_ID, properties.message_id());
        add(
            semconv::MESSAGING_MESSAGE_CONVERSATION_ID,
            properties.correlation_id(),
        );
        if self.body_size {
            let size = i64::try_from(data.len()).unwrap_or(i64::MAX);
            attributes.push(KeyValue::new(semconv::MESSAGING_MESSAGE_BODY_SIZE, size));
        }
    }

    /// The attribute with the body, if it may be shown.
    pub(crate) fn body(&self, properties: &BasicProperties, data: &[u8]) -> Option<KeyValue> {
        self.bodies.as_ref()?.attribute(properties, data)
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Telemetry")
            .field("settings", &self.destinations.settings)
            .finish_non_exhaustive()
    }
}

fn is_unsampled(parent: &Context) -> bool {
    let span = parent.span();
    let context = span.span_context();
    context.is_valid() && !context.is_sampled()
}

pub(crate) fn has_ids(context: &Context) -> bool {
    context.has_active_span() && context.span().span_context().is_valid()
}

/// What a context that belongs to a delivery knows of it.
#[derive(Clone, Debug)]
pub(crate) struct Handled {
    pub(crate) path: PathContext,
    /// The publish of the message.
    pub(crate) creation: Option<Ids>,
    /// What stands for the queue that waits for an answer.
    pub(crate) reply_to: Option<u64>,
    /// All deliveries, where it is several.
    pub(crate) merged: Option<Arc<Several>>,
}

/// Deliveries that go into one message.
#[derive(Debug)]
pub(crate) struct Several {
    pub(crate) paths: Vec<PathContext>,
    /// Their publishes, as far as they are linked to.
    pub(crate) creations: Vec<SpanContext>,
}

/// The path that the context continues: its delivery's, else the one that its span's `tracestate`
/// brought.
pub(crate) fn path_of(context: &Context) -> Option<PathContext> {
    if let Some(handled) = context.get::<Handled>() {
        return Some(handled.path);
    }
    propagation::path_of(context.span().span_context().trace_state())
}

/// Records a failure on a span.
pub(crate) fn fail(span: &mut BoxedSpan, error_type: impl Into<StringValue>, message: String) {
    span.set_attribute(KeyValue::new(semconv::ERROR_TYPE, error_type.into()));
    span.set_status(Status::error(message));
}

/// Since the Unix epoch.
pub(crate) fn microseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}

/// Between two readings of a clock that may have been set back meanwhile.
pub(crate) fn between(from: SystemTime, to: SystemTime) -> Duration {
    to.duration_since(from).unwrap_or_default()
}

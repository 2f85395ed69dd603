//! The span of a publish, from the call to its outcome.
//!
//! Input: a message, and the context that is active when it is published. Output: properties with
//! the trace context, and a span that somebody has to end with an outcome; dropped, it ends as
//! `dropped`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lapin::BasicProperties;
use lapin::message::BasicReturnMessage;
use lapin::types::{FieldTable, ShortString};
use opentelemetry::baggage::BaggageExt;
use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::{Span, SpanKind};
use opentelemetry::{Context, KeyValue};

use crate::cause::Cause;
use crate::destination::Known;
use crate::hooks::{self, HookMessage, HookSpan};
use crate::operation::Operation;
use crate::outcome::PublishOutcome;
use crate::path::PathContext;
use crate::paths::Passed;
use crate::propagation::{self, Injection};
use crate::recent::Ids;
use crate::semconv::{self, Destination};
use crate::telemetry::{Start, Telemetry, between, fail};

/// A message about to be published.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) exchange: &'a ShortString,
    pub(crate) routing_key: &'a ShortString,
    pub(crate) data: &'a [u8],
    pub(crate) mandatory: bool,
}

/// The span of one publish; nothing where it is not traced.
#[derive(Default)]
pub(crate) struct Publish(Option<Box<Started>>);

/// A span that did not end yet.
struct Started {
    /// None if it is not recorded: all that there is of it is in the message.
    span: Option<BoxedSpan>,
    telemetry: Arc<Telemetry>,
    known: Arc<Known>,
    passed: Passed,
    begun: SystemTime,
    is_written: bool,
    /// How long it took until the message was on the socket, where the span is recorded.
    written: Option<Duration>,
    /// What the message's `traceparent` says; none if it has none.
    sent: Option<Ids>,
    mandatory: bool,
    error: Option<&'static str>,
}

impl Publish {
    /// Starts the span and puts its context into the properties.
    #[cfg(test)]
    pub(crate) fn start(
        telemetry: &Arc<Telemetry>,
        message: Outgoing<'_>,
        properties: &mut BasicProperties,
        ambient: &Context,
    ) -> Self {
        let (publish, headers) = Self::begin(telemetry, message, properties, ambient);
        if let Some(headers) = headers {
            *properties = std::mem::take(properties).with_headers(headers);
        }
        publish
    }

    /// Starts the span, and gives the headers with its context; none where they stay as they are.
    pub(crate) fn begin(
        telemetry: &Arc<Telemetry>,
        message: Outgoing<'_>,
        properties: &BasicProperties,
        ambient: &Context,
    ) -> (Self, Option<FieldTable>) {
        if telemetry.is_off() {
            return (Self(None), None);
        }
        let cause = Cause::find(telemetry, ambient);
        if telemetry.is_idle(cause.parent()) {
            return (Self(None), None);
        }
        let destination = Destination {
            exchange: message.exchange.as_str(),
            routing_key: message.routing_key.as_str(),
            queue: None,
        };
        let known = telemetry.destinations.find(&destination);
        if known.handling.untraced {
            return (Self(None), None);
        }
        let (started, headers) = begin(telemetry, (&message, known), &cause, properties);
        (Self(started), headers)
    }

    /// The message is on the socket.
    pub(crate) fn written(&mut self) {
        if let Some(started) = &mut self.0 {
            started.is_written = true;
            if started.span.is_some() {
                started.written = Some(between(started.begun, SystemTime::now()));
            }
            if let Some(metrics) = &started.telemetry.metrics {
                started.known.series.sent(metrics, None);
            }
            started.telemetry.paths.record(&started.passed);
        }
    }

    /// By what the message is recognised if it comes back; none if it cannot come back.
    pub(crate) fn expects_return(&self) -> Option<Ids> {
        let started = self.0.as_ref()?;
        started.sent.filter(|_| started.mandatory)
    }

    /// It could not be told from another one if it came back.
    pub(crate) fn expect_no_return(&mut self) {
        if let Some(started) = &mut self.0 {
            started.mandatory = false;
        }
    }

    /// Whether those are the ids that it was sent with.
    pub(crate) fn is_sent_as(&self, ids: Option<Ids>) -> bool {
        let sent = self.0.as_ref().and_then(|started| started.sent);
        ids.is_some() && ids == sent
    }

    pub(crate) fn is_traced(&self) -> bool {
        self.0.is_some()
    }

    /// Records why it failed; it still has to be ended.
    pub(crate) fn set_error(&mut self, error_type: &'static str, message: String) {
        if let Some(started) = &mut self.0 {
            started.error = Some(error_type);
            if let Some(span) = &mut started.span {
                fail(span, error_type, message);
            }
        }
    }

    /// Ends the span, the first time only.
    pub(crate) fn end(&mut self, outcome: PublishOutcome) {
        if let Some(mut started) = self.0.take() {
            let time = started.now();
            started.end(outcome, time);
        }
    }

    /// Ends the span as of a time that has passed.
    pub(crate) fn end_at(&mut self, outcome: PublishOutcome, time: SystemTime) {
        if let Some(mut started) = self.0.take() {
            started.end(outcome, time);
        }
    }

    pub(crate) fn fail(&mut self, outcome: PublishOutcome, error: &lapin::Error) {
        if self.0.is_some() {
            self.set_error(semconv::error_type(error), error.to_string());
            self.end(outcome);
        }
    }
}

impl Drop for Publish {
    fn drop(&mut self) {
        self.end(PublishOutcome::Dropped);
    }
}

/// The message under its span; no span where nobody wants to know how it ends.
fn begin(
    telemetry: &Arc<Telemetry>,
    (message, known): (&Outgoing<'_>, Arc<Known>),
    cause: &Cause<'_>,
    properties: &BasicProperties,
) -> (Option<Box<Started>>, Option<FieldTable>) {
    let begun = SystemTime::now();
    let passed = cause.pass(telemetry, message, (&known, begun));
    let existing = cause.existing(&known, properties);
    let kind = existing.as_ref().map(|_| SpanKind::Client);
    let beside = cause.link();
    let start = Start {
        operation: Operation::Publish,
        known: &known,
        parent: cause.parent(),
        kind,
        links: [existing.as_ref(), beside.as_ref()],
        time: begun,
    };
    let mut span = telemetry.start(start, |attributes| {
        telemetry.add_message(attributes, properties, message.data);
        telemetry.paths.add_to(attributes, &passed);
    });
    let is_recorded = span.is_recording();
    if is_recorded {
        cause.link_all(&mut span);
        observe(telemetry, (message, properties), &mut span);
    }
    let path = &passed.checkpoint.context;
    let kept = existing.map(|existing| (existing.trace_id(), existing.span_id()));
    let (sent, headers) = match kept {
        Some(kept) => (Some(kept), None),
        None => inject(telemetry, (&span, path), cause, properties),
    };
    // Who keeps a context keeps the headers: the publish has to say itself that it is one of ours.
    let wanted = is_recorded || telemetry.metrics.is_some() || message.mandatory;
    let is_followed = wanted || kept.is_some();
    let started = is_followed.then(|| {
        Box::new(Started {
            span: is_recorded.then_some(span),
            telemetry: Arc::clone(telemetry),
            known,
            passed,
            begun,
            is_written: false,
            written: None,
            sent,
            mandatory: message.mandatory,
            error: None,
        })
    });
    (started, headers)
}

/// The body and the hooks of a span that is recorded.
fn observe(
    telemetry: &Telemetry,
    (message, properties): (&Outgoing<'_>, &BasicProperties),
    span: &mut BoxedSpan,
) {
    if let Some(body) = telemetry.body(properties, message.data) {
        span.set_attribute(body);
    }
    hooks::call(
        telemetry.hooks.as_ref(),
        telemetry.metrics.as_deref(),
        |hooks| {
            let message = HookMessage {
                exchange: message.exchange.as_str(),
                routing_key: message.routing_key.as_str(),
                queue: None,
                properties,
                data: message.data,
            };
            hooks.on_publish(&message, &mut HookSpan::own(span));
        },
    );
}

/// The ids that the message carries then, none if they did not fit, and its headers with them.
fn inject(
    telemetry: &Telemetry,
    (span, path): (&BoxedSpan, &PathContext),
    cause: &Cause<'_>,
    properties: &BasicProperties,
) -> (Option<Ids>, Option<FieldTable>) {
    let context = span.span_context();
    let injection = Injection {
        context,
        path,
        baggage: telemetry.baggage.then(|| cause.parent().baggage()),
        frame_max: telemetry.frame_max,
    };
    let (headers, shed) = if context.is_valid() || !telemetry.sends_path_alone(cause.parent()) {
        propagation::inject(properties, &injection)
    } else {
        let injected = propagation::inject_path(properties, path, telemetry.frame_max);
        match injected {
            Ok(headers) => (headers, Vec::new()),
            Err(shed) => (None, vec![shed]),
        }
    };
    if let Some(metrics) = &telemetry.metrics {
        shed.iter().for_each(|part| metrics.shed(part));
    }
    let written = context.is_valid() && !shed.contains(&propagation::TRACEPARENT);
    let sent = written.then(|| (context.trace_id(), context.span_id()));
    (sent, headers)
}

impl Started {
    /// When it ends. A clock is read only where somebody wants to know.
    fn now(&self) -> SystemTime {
        if self.span.is_some() || self.telemetry.metrics.is_some() {
            SystemTime::now()
        } else {
            self.begun
        }
    }

    fn end(&mut self, outcome: PublishOutcome, time: SystemTime) {
        if let Some(span) = &mut self.span {
            let value = KeyValue::new(semconv::RABTRACE_PUBLISH_OUTCOME, outcome.as_str());
            span.set_attribute(value);
            let confirmed = outcome != PublishOutcome::Unconfirmed;
            if let Some(written) = self.written.filter(|_| confirmed) {
                let key = semconv::RABTRACE_PUBLISH_WRITE_DURATION;
                let value = KeyValue::new(key, written.as_secs_f64());
                span.set_attribute(value);
            }
            let (hooks, metrics) = (&self.telemetry.hooks, &self.telemetry.metrics);
            hooks::call(hooks.as_ref(), metrics.as_deref(), |hooks| {
                hooks.on_confirm(outcome, &mut HookSpan::own(span));
            });
            span.end_with_timestamp(time);
        }
        self.measure(outcome, time);
    }

    fn measure(&self, outcome: PublishOutcome, time: SystemTime) {
        let paths = &self.telemetry.paths;
        // Given up on the way it was most likely sent: lapin hands the frames over first.
        if !self.is_written && (outcome.is_failure() || outcome == PublishOutcome::Dropped) {
            paths.record(&self.passed);
        }
        if outcome.is_failure() {
            let error = self.error.unwrap_or(semconv::ERROR_TYPE_OTHER);
            paths.failed(self.passed.place, error);
        }
        if let Some(metrics) = &self.telemetry.metrics {
            let (series, error) = (&self.known.series, self.error);
            let seconds = between(self.begun, time).as_secs_f64();
            if outcome == PublishOutcome::Failed && !self.is_written {
                series.sent(metrics, error);
            }
            series.operated(metrics, (Operation::Publish, error), seconds);
            series.published(metrics, outcome);
            if let (PublishOutcome::Returned, Some(reason)) = (outcome, error) {
                series.returned(metrics, reason);
            }
        }
    }
}

/// The ids in the headers of a message that came back.
pub(crate) fn ids_of(message: &BasicReturnMessage) -> Option<Ids> {
    propagation::creation_ids(message.properties.headers().as_ref())
}

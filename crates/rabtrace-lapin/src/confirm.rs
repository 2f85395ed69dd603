//! The outcome of a publish.
//!
//! A publish's span stays open until the outcome is known: until the confirm resolves, until the
//! message is written when the channel has no confirms, or until nobody waits for it any more.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::{Instant, SystemTime};

use lapin::message::BasicReturnMessage;
use lapin::types::ShortString;
use lapin::{BasicProperties, Confirmation, PublisherConfirm, Result};
use opentelemetry::baggage::BaggageExt;
use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::{Span, SpanContext};
use opentelemetry::{Context, KeyValue};

use crate::path::Direction;
use crate::propagation::{self, Injection};
use crate::semconv::{self, Destination};
use crate::telemetry::{
    DestinationText, PUBLISH, Start, Telemetry, fail, message_attributes, path_attributes, path_of,
};

/// How a publish ended: the attribute `rabtrace.publish.outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PublishOutcome {
    /// The broker confirmed it.
    Acked,
    /// The broker refused it; `error.type` is `nack`.
    Nacked,
    /// No queue took it; `error.type` is `NO_ROUTE`.
    Returned,
    /// It was written, and the channel has no confirms.
    Unconfirmed,
    /// Nobody waited for the confirm, or the publish was given up.
    Dropped,
    /// lapin refused it or could not write it.
    Failed,
    /// The channel or the connection went before the confirm came.
    ChannelLost,
}

impl PublishOutcome {
    /// The value of the attribute.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acked => "acked",
            Self::Nacked => "nacked",
            Self::Returned => "returned",
            Self::Unconfirmed => "unconfirmed",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
            Self::ChannelLost => "channel_lost",
        }
    }
}

/// The span of one publish; ends as `dropped` if nothing else ended it.
pub(crate) struct PublishSpan(Option<Started>);

/// A span that did not end yet.
struct Started {
    span: BoxedSpan,
    begun: Instant,
}

impl PublishSpan {
    /// Starts the span under `parent` and puts its context into the properties. Without a tracer
    /// and a parent there is neither.
    pub(crate) fn start(
        telemetry: &Telemetry,
        (exchange, routing_key): (&ShortString, &ShortString),
        properties: BasicProperties,
        parent: &Context,
    ) -> (Self, BasicProperties) {
        if telemetry.is_idle(parent) {
            return (Self(None), properties);
        }
        let (begun, now) = (Instant::now(), SystemTime::now());
        let destination = Destination {
            exchange: exchange.as_str(),
            routing_key: routing_key.as_str(),
            queue: None,
        };
        let node = (Direction::Out, destination.node());
        let step = telemetry.checkpoint(path_of(parent).as_ref(), node, now);
        let mut attributes = message_attributes(routing_key, &properties);
        attributes.extend(path_attributes(&step, node));
        let span = telemetry.start(Start {
            operation: &PUBLISH,
            destination: Some(&DestinationText::new(&destination)),
            parent,
            link: None,
            time: now,
            attributes,
        });
        let context = span.span_context();
        let state = propagation::with_path(context.trace_state(), &step.context);
        let injection = Injection {
            context,
            state: &state,
            baggage: telemetry.baggage.then(|| parent.baggage()),
            frame_max: telemetry.frame_max,
        };
        let properties = propagation::inject(properties, &injection);
        (Self(Some(Started { span, begun })), properties)
    }

    /// The message is on the socket, and a confirm is to come.
    fn written(&mut self) {
        let Some(Started { span, begun }) = &mut self.0 else {
            return;
        };
        if span.is_recording() {
            let seconds = begun.elapsed().as_secs_f64();
            span.set_attribute(KeyValue::new(
                semconv::RABTRACE_PUBLISH_WRITE_DURATION,
                seconds,
            ));
        }
    }

    /// Ends the span, the first time only.
    fn end(&mut self, outcome: PublishOutcome) {
        if let Some(Started { mut span, .. }) = self.0.take() {
            let outcome = outcome.as_str();
            span.set_attribute(KeyValue::new(semconv::RABTRACE_PUBLISH_OUTCOME, outcome));
            span.end();
        }
    }

    pub(crate) fn fail(&mut self, outcome: PublishOutcome, error: &lapin::Error) {
        if let Some(Started { span, .. }) = &mut self.0 {
            fail(span, semconv::error_type(error), error.to_string());
        }
        self.end(outcome);
    }

    pub(crate) fn resolve(&mut self, result: &Result<Confirmation>) {
        let (outcome, message) = match result {
            Ok(Confirmation::Ack(message)) => (PublishOutcome::Acked, message.as_ref()),
            Ok(Confirmation::Nack(message)) => (PublishOutcome::Nacked, message.as_ref()),
            Ok(Confirmation::NotRequested) => return self.end(PublishOutcome::Unconfirmed),
            Err(error) => return self.fail(PublishOutcome::ChannelLost, error),
        };
        let Some(Started { span, .. }) = &mut self.0 else {
            return;
        };
        // lapin hands a returned message to whichever confirm resolves next.
        let own = |message: &&BasicReturnMessage| is_own(span.span_context(), message);
        if let Some(message) = message.filter(own) {
            let name = semconv::reply_code_name(message.reply_code);
            fail(span, name, message.reply_text.to_string());
            return self.end(PublishOutcome::Returned);
        }
        if outcome == PublishOutcome::Nacked {
            let text = "the broker did not take the message".to_owned();
            fail(span, "nack", text);
        }
        self.end(outcome);
    }
}

fn is_own(context: &SpanContext, message: &BasicReturnMessage) -> bool {
    let headers = message.properties.headers().as_ref();
    propagation::creation_ids(headers) == Some((context.trace_id(), context.span_id()))
}

impl Drop for PublishSpan {
    fn drop(&mut self) {
        self.end(PublishOutcome::Dropped);
    }
}

/// lapin's [`PublisherConfirm`]: a future of the broker's answer to a publish.
///
/// ```no_run
/// # async fn example(confirm: rabtrace_lapin::TracedConfirm) -> rabtrace_lapin::lapin::Result<()> {
/// if confirm.await?.is_nack() {
///     println!("the broker did not take it");
/// }
/// # Ok(())
/// # }
/// ```
///
/// The publish's span ends when it resolves. Dropped unresolved, it ends the span as `dropped`,
/// and lapin keeps the confirm for [`wait_for_confirms`](lapin::Channel::wait_for_confirms).
pub struct TracedConfirm {
    inner: PublisherConfirm,
    publish: PublishSpan,
}

impl TracedConfirm {
    pub(crate) fn new(
        inner: PublisherConfirm,
        mut publish: PublishSpan,
        confirms: Confirms,
    ) -> Self {
        match confirms {
            Confirms::On => publish.written(),
            Confirms::Off => publish.end(PublishOutcome::Unconfirmed),
        }
        Self { inner, publish }
    }
}

/// Whether the channel had `confirm_select`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirms {
    On,
    Off,
}

impl Future for TracedConfirm {
    type Output = Result<crate::returned::Confirmation>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut self.inner).poll(task);
        if let Poll::Ready(result) = &polled {
            self.publish.resolve(result);
        }
        polled.map_ok(Into::into)
    }
}

impl fmt::Debug for TracedConfirm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TracedConfirm")
            .finish_non_exhaustive()
    }
}

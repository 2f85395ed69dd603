//! Deliveries as lapin has them, each with the span of its processing.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use lapin::BasicProperties;
use lapin::types::{DeliveryTag, MessageCount, ShortString};
use opentelemetry::baggage::{Baggage, BaggageExt};
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry::{Context, KeyValue};

use crate::acker::{AckMode, Acker, Process};
use crate::open::Open;
use crate::path::{Direction, PathContext};
use crate::propagation::{self, Extracted};
use crate::semconv::{self, Destination};
use crate::telemetry::{
    DestinationText, PROCESS, Start, Telemetry, message_attributes, path_attributes,
};

/// What a delegate is called with: a delivery, `None` when the consumer is cancelled, or lapin's
/// error.
pub type DeliveryResult = lapin::Result<Option<Delivery>>;

/// A received message, with the fields of lapin's own.
///
/// Its span began when it was handed out. It ends when the message is settled, or when the acker
/// and all its clones are dropped.
#[derive(Debug, PartialEq)]
pub struct Delivery {
    /// The delivery tag.
    pub delivery_tag: DeliveryTag,
    /// The exchange; empty for the default one.
    pub exchange: ShortString,
    /// The routing key.
    pub routing_key: ShortString,
    /// Whether the broker delivered it before.
    pub redelivered: bool,
    /// Properties and headers.
    pub properties: BasicProperties,
    /// The payload.
    pub data: Vec<u8>,
    /// Settles it, and holds its span.
    pub acker: Acker,
}

impl Deref for Delivery {
    type Target = Acker;

    fn deref(&self) -> &Acker {
        &self.acker
    }
}

/// A message that `basic_get` fetched.
#[derive(Debug, PartialEq)]
pub struct BasicGetMessage {
    /// The message.
    pub delivery: Delivery,
    /// How many are left in the queue.
    pub message_count: MessageCount,
}

impl Deref for BasicGetMessage {
    type Target = Delivery;

    fn deref(&self) -> &Delivery {
        &self.delivery
    }
}

impl DerefMut for BasicGetMessage {
    fn deref_mut(&mut self) -> &mut Delivery {
        &mut self.delivery
    }
}

/// Where deliveries come from: what all those of one consumer share.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) open: Arc<Open>,
    pub(crate) queue: ShortString,
    pub(crate) ack_mode: AckMode,
}

impl Source {
    /// Starts the span of a delivery that is handed to the application now.
    pub(crate) fn hand_out(
        &self,
        delivery: lapin::message::Delivery,
        ambient: &Context,
    ) -> Delivery {
        let process = Arc::new(self.process(&delivery, ambient));
        if self.ack_mode == AckMode::Manual && process.is_traced() {
            self.open.insert(&process);
        }
        Delivery {
            delivery_tag: delivery.delivery_tag,
            exchange: delivery.exchange,
            routing_key: delivery.routing_key,
            redelivered: delivery.redelivered,
            properties: delivery.properties,
            data: delivery.data,
            acker: Acker::new(process),
        }
    }

    /// The destination of a delivery from here.
    pub(crate) fn destination<'a>(
        &'a self,
        delivery: &'a lapin::message::Delivery,
    ) -> Destination<'a> {
        Destination {
            exchange: delivery.exchange.as_str(),
            routing_key: delivery.routing_key.as_str(),
            queue: Some(self.queue.as_str()),
        }
    }

    fn process(&self, delivery: &lapin::message::Delivery, ambient: &Context) -> Process {
        let extracted = propagation::extract(delivery.properties.headers().as_ref());
        if extracted.creation.is_none() && self.telemetry.is_idle(ambient) {
            return self.untraced(delivery, self.with_baggage(ambient, extracted.baggage));
        }
        let now = SystemTime::now();
        let destination = self.destination(delivery);
        let node = (Direction::In, destination.node());
        let step = self
            .telemetry
            .checkpoint(extracted.path().as_ref(), node, now);
        let mut attributes = message_attributes(&delivery.routing_key, &delivery.properties);
        attributes.extend(delivery_attributes(delivery));
        attributes.extend(path_attributes(&step, node));
        let text = DestinationText::new(&destination);
        let creation = extracted.creation.clone();
        let (parent, link) = self.parent(extracted, ambient, &step.context);
        let span = self.telemetry.start(Start {
            operation: &PROCESS,
            destination: Some(&text),
            parent: &parent,
            link,
            time: now,
            attributes,
        });
        Process {
            acker: delivery.acker.clone(),
            delivery_tag: delivery.delivery_tag,
            ack_mode: self.ack_mode,
            destination: Some(text),
            context: with_path(parent.with_span(span), step.context),
            creation,
            telemetry: Arc::clone(&self.telemetry),
            open: Arc::downgrade(&self.open),
            ended: AtomicBool::new(false),
        }
    }

    /// A delivery that has no span, as nothing would record it.
    fn untraced(&self, delivery: &lapin::message::Delivery, context: Context) -> Process {
        Process {
            acker: delivery.acker.clone(),
            delivery_tag: delivery.delivery_tag,
            ack_mode: self.ack_mode,
            destination: None,
            context,
            creation: None,
            telemetry: Arc::clone(&self.telemetry),
            open: Arc::downgrade(&self.open),
            ended: AtomicBool::new(true),
        }
    }

    /// The message's baggage, unless it is switched off or the application has its own.
    fn with_baggage(&self, ambient: &Context, baggage: Baggage) -> Context {
        if self.telemetry.baggage && !baggage.is_empty() && ambient.baggage().is_empty() {
            return ambient.with_baggage(baggage);
        }
        ambient.clone()
    }

    /// The creation context is the parent unless the application has a span active: that one is
    /// the parent then, and the creation context is linked to. The path is on the parent's
    /// `tracestate`, from which the span and everything under it take theirs.
    fn parent(
        &self,
        extracted: Extracted,
        ambient: &Context,
        path: &PathContext,
    ) -> (Context, Option<SpanContext>) {
        let Extracted { creation, baggage } = extracted;
        let active = ambient.span().span_context().clone();
        let mut context = self.with_baggage(ambient, baggage);
        let (parent, link) = if active.is_valid() {
            (Some(active), creation)
        } else {
            (creation, None)
        };
        if let Some(parent) = parent {
            let state = propagation::with_path(parent.trace_state(), path);
            context = context.with_remote_span_context(SpanContext::new(
                parent.trace_id(),
                parent.span_id(),
                parent.trace_flags(),
                parent.is_remote(),
                state,
            ));
        }
        (context, link)
    }
}

/// What `receive` and `process` say about a delivery besides the message itself.
pub(crate) fn delivery_attributes(
    delivery: &lapin::message::Delivery,
) -> impl Iterator<Item = KeyValue> {
    let tag = i64::try_from(delivery.delivery_tag).unwrap_or(i64::MAX);
    let redelivered = delivery
        .redelivered
        .then(|| KeyValue::new(semconv::RABTRACE_REDELIVERED, true));
    [
        Some(KeyValue::new(
            semconv::MESSAGING_RABBITMQ_MESSAGE_DELIVERY_TAG,
            tag,
        )),
        redelivered,
    ]
    .into_iter()
    .flatten()
}

/// A span without parent, and one whose sampler dropped `tracestate`, has the path beside it.
fn with_path(context: Context, path: PathContext) -> Context {
    let carried = propagation::path_of(context.span().span_context().trace_state());
    if carried == Some(path) {
        return context;
    }
    context.with_value(path)
}

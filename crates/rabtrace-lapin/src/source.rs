//! Where deliveries come from, and their spans.
//!
//! Input: a delivery of lapin that is handed to the application now, and the context that is
//! active there. Output: the delivery with its span: parent, links, attributes, measurements.

use std::sync::{Arc, Mutex, Weak};
use std::time::SystemTime;

use lapin::types::ShortString;
use opentelemetry::baggage::{Baggage, BaggageExt};
use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::{Span, SpanContext, TraceContextExt};
use opentelemetry::{Context, KeyValue};

use crate::acker::Acker;
use crate::current::{self, Worker};
use crate::delivery::Delivery;
use crate::destination::Known;
use crate::facts::{Arrived, Facts};
use crate::hooks::{self, HookMessage, HookSpan};
use crate::open::Open;
use crate::operation::Operation;
use crate::path::{Before, PathContext, advance};
use crate::paths::Passed;
use crate::process::{AckMode, Handed, Process, State, Traced};
use crate::propagation::{self, Found};
use crate::recent::{self, Ids};
use crate::rules::Relation;
use crate::semconv::{self, Destination};
use crate::telemetry::{Handled, Start, Telemetry, has_ids, microseconds};

/// Where deliveries come from: what all those of one consumer share.
pub(crate) struct Source {
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) open: Arc<Open>,
    pub(crate) queue: ShortString,
    pub(crate) ack_mode: AckMode,
    /// To settle through; gone when the application dropped it.
    pub(crate) channel: Weak<lapin::Channel>,
}

/// Whether publishes of the task that takes a delivery belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    ByTask,
    /// By a delegate, in a task that lapin made for it.
    ByDelegate,
}

/// How a delivery is handed to the application.
#[derive(Clone, Copy)]
pub(crate) struct HandOut<'a> {
    /// What is active there.
    pub(crate) ambient: &'a Context,
    pub(crate) taken: Taken,
    /// [`Operation::Process`], or [`Operation::Receive`] when it was fetched.
    pub(crate) operation: Operation,
}

/// What a delivery's span starts from.
struct Origin {
    creation: Option<SpanContext>,
    path: Option<PathContext>,
    baggage: Option<Box<Baggage>>,
    parent: Context,
    /// Whether what the message says is looked at.
    is_heard: bool,
}

impl Origin {
    /// The span takes `tracestate` from its parent.
    fn carry(&mut self, path: &PathContext) {
        if has_ids(&self.parent) {
            let parent = propagation::with_path(self.parent.span().span_context(), path);
            self.parent = self.parent.with_remote_span_context(parent);
        }
    }

    /// Remembers what the message brought, and gives its publish.
    fn remember(&self, found: Found<'_>) -> Option<Ids> {
        let creation = self.creation.as_ref().map(ids);
        // Remembered even if it is ignored: published again, it is nobody's here.
        if let Some(received) = creation.or_else(|| found.creation_ids()) {
            recent::received(received);
        }
        creation
    }

    /// What was before the delivery.
    fn before(&self, facts: &Facts<'_>) -> Before<'_> {
        let stamp = facts.received_us.filter(|_| self.is_heard);
        match (&self.path, stamp) {
            (Some(path), _) => Before::Path(path),
            (None, Some(stamp)) => Before::Stamped(stamp),
            (None, None) => Before::Unknown,
        }
    }
}

impl Source {
    /// Starts the span of a delivery that is handed to the application now.
    #[inline(never)]
    pub(crate) fn hand_out(
        self: &Arc<Self>,
        delivery: lapin::message::Delivery,
        how: HandOut<'_>,
    ) -> Delivery {
        if delivery.redelivered {
            // What was lost with the channel before is the attempt before.
            self.open.end_lost();
        }
        let traced = self.trace(&delivery, how);
        let handed = Handed {
            acker: delivery.acker,
            delivery_tag: delivery.delivery_tag,
            source: Arc::clone(self),
            ambient: how.ambient.clone(),
        };
        let acker = match traced {
            None => Acker::untraced(handed),
            Some(traced) => Acker::traced(self.process(handed, traced, how)),
        };
        Delivery {
            delivery_tag: delivery.delivery_tag,
            exchange: delivery.exchange,
            routing_key: delivery.routing_key,
            redelivered: delivery.redelivered,
            properties: delivery.properties,
            data: delivery.data,
            acker,
        }
    }

    /// Who takes a delivery, where its publishes belong to it.
    fn worker(&self, how: HandOut<'_>) -> Option<Worker> {
        let by_task = how.taken == Taken::ByTask && self.telemetry.task_parent;
        by_task.then(current::worker).flatten()
    }

    /// A delivery that has a span, put where it is found again.
    #[inline]
    fn process(&self, handed: Handed, traced: Traced, how: HandOut<'_>) -> Arc<Process> {
        let process = Arc::new(Process::new(handed, traced, self.worker(how)));
        if let Some(worker) = process.worker {
            current::take(worker, &process);
        }
        if self.ack_mode == AckMode::Manual {
            self.open.insert(&process);
        }
        process
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

    /// Its span; none where nothing would come of it.
    #[inline]
    fn trace(&self, delivery: &lapin::message::Delivery, how: HandOut<'_>) -> Option<Traced> {
        let telemetry = &self.telemetry;
        if telemetry.is_off() {
            return None;
        }
        let found = Found::new(delivery.properties.headers().as_ref());
        if !found.has_context() && telemetry.is_idle(how.ambient) {
            return None;
        }
        let known = telemetry.destinations.find(&self.destination(delivery));
        if known.handling.untraced {
            return None;
        }
        let mut origin = self.origin(found, known.handling.relation, how.ambient);
        let begun = SystemTime::now();
        let path = origin.path;
        let arrived = Arrived {
            delivery,
            queue: self.queue.as_str(),
            found,
            creation: origin.creation.as_ref().map(ids),
            path: path.as_ref(),
        };
        let now_us = microseconds(begun);
        let facts = Facts::read(arrived, now_us);
        let passed = self.pass((&arrived, &facts), &origin, (&known, now_us));
        let path = passed.checkpoint.context;
        if telemetry.path_in_spans {
            origin.carry(&path);
        }
        let span = self.span((&arrived, &facts), &origin, (&known, &passed, begun));
        if let Some(metrics) = &telemetry.metrics {
            let waited = passed.checkpoint.edge.filter(|_| facts.is_first(delivery));
            let facts = (waited.map(|it| it.as_secs_f64()), delivery.redelivered);
            known.series.delivered(metrics, facts, how.operation);
        }
        let creation = origin.remember(found);
        Some(Traced {
            known,
            handled: Handled {
                path,
                creation,
                reply_to: reply_to(delivery),
                merged: None,
            },
            creation: origin.creation,
            attempt: facts.attempt,
            place: passed.place,
            begun,
            baggage: origin.baggage,
            state: Mutex::new(State::new(span)),
        })
    }

    /// The delivery's span, begun.
    fn span(
        &self,
        (arrived, facts): (&Arrived<'_>, &Facts<'_>),
        origin: &Origin,
        (known, passed, begun): (&Known, &Passed, SystemTime),
    ) -> BoxedSpan {
        let (telemetry, delivery) = (&self.telemetry, arrived.delivery);
        let previous = facts.previous.as_ref().map(|attempt| &attempt.span);
        let start = Start {
            operation: Operation::Process,
            known,
            parent: &origin.parent,
            kind: None,
            links: [origin.creation.as_ref(), previous],
            time: begun,
        };
        let mut span = telemetry.start(start, |attributes| {
            telemetry.add_message(attributes, &delivery.properties, &delivery.data);
            add_delivery(attributes, delivery);
            facts.add_to(attributes, &passed.checkpoint.context);
            telemetry.paths.add_to(attributes, passed);
        });
        if span.is_recording() {
            self.observe(delivery, &mut span);
        }
        span
    }

    /// The delivery's checkpoint.
    fn pass(
        &self,
        (arrived, facts): (&Arrived<'_>, &Facts<'_>),
        origin: &Origin,
        (known, now_us): (&Arc<Known>, u64),
    ) -> Passed {
        let telemetry = &self.telemetry;
        let through = facts.destination(arrived);
        let through = through.map(|through| telemetry.destinations.find(&through));
        let known = through.as_ref().unwrap_or(known);
        let checkpoint = advance(origin.before(facts), known.node(), now_us);
        let paths = &telemetry.paths;
        let passed = paths.pass(checkpoint, (known, facts.kind(arrived)));
        paths.record(&passed);
        let attempt = facts.attempt_on(&passed.checkpoint.context);
        paths.attempted(passed.place, attempt);
        passed
    }

    /// The publish is linked to, and it is the parent unless the application has a span active or
    /// the rules say otherwise.
    fn origin(&self, found: Found<'_>, relation: Relation, ambient: &Context) -> Origin {
        if relation == Relation::Ignore {
            return Origin {
                creation: None,
                path: None,
                baggage: None,
                parent: ambient.clone(),
                is_heard: false,
            };
        }
        let (creation, path) = found.creation();
        let parent = match &creation {
            Some(creation) if relation == Relation::Parent && !has_ids(ambient) => {
                ambient.with_remote_span_context(creation.clone())
            }
            _ => ambient.clone(),
        };
        // Baggage goes on to whoever is called: that of a stranger must not.
        let trusted = relation == Relation::Parent && self.telemetry.baggage;
        let wanted = trusted && ambient.baggage().is_empty();
        let baggage = wanted.then(|| found.baggage());
        Origin {
            creation,
            path,
            baggage: baggage.filter(|baggage| !baggage.is_empty()).map(Box::new),
            parent,
            is_heard: true,
        }
    }

    /// The body and the hooks of a span that is recorded.
    fn observe(&self, delivery: &lapin::message::Delivery, span: &mut BoxedSpan) {
        let telemetry = &self.telemetry;
        let properties = &delivery.properties;
        if let Some(body) = telemetry.body(properties, &delivery.data) {
            span.set_attribute(body);
        }
        let metrics = telemetry.metrics.as_deref();
        hooks::call(telemetry.hooks.as_ref(), metrics, |hooks| {
            let message = HookMessage {
                exchange: delivery.exchange.as_str(),
                routing_key: delivery.routing_key.as_str(),
                queue: Some(self.queue.as_str()),
                properties,
                data: &delivery.data,
            };
            hooks.on_deliver(&message, &mut HookSpan::own(span));
        });
    }

    /// A consumer failed or came to its end: if that was the channel's, the spans of the channel's
    /// deliveries end.
    pub(crate) fn stopped(&self, error: Option<&lapin::Error>) {
        for process in self.open.all() {
            process.end_if_lost(error);
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Source")
            .field("queue", &self.queue)
            .field("ack_mode", &self.ack_mode)
            .finish_non_exhaustive()
    }
}

/// What stands for the queue that waits for an answer.
fn reply_to(delivery: &lapin::message::Delivery) -> Option<u64> {
    let queue = delivery.properties.reply_to().as_ref()?;
    Some(recent::mark_of(queue.as_str()))
}

fn ids(context: &SpanContext) -> Ids {
    (context.trace_id(), context.span_id())
}

/// What `receive` and `process` say about a delivery besides the message itself.
pub(crate) fn add_delivery(attributes: &mut Vec<KeyValue>, delivery: &lapin::message::Delivery) {
    let tag = i64::try_from(delivery.delivery_tag).unwrap_or(i64::MAX);
    let key = semconv::MESSAGING_RABBITMQ_MESSAGE_DELIVERY_TAG;
    attributes.push(KeyValue::new(key, tag));
    if delivery.redelivered {
        attributes.push(KeyValue::new(semconv::RABTRACE_REDELIVERED, true));
    }
}

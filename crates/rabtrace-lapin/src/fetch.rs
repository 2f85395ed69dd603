//! The span of a `basic_get`, from the call to the answer.

use std::time::SystemTime;

use opentelemetry::Context;
use opentelemetry::trace::Span;

use crate::operation::Operation;
use crate::propagation;
use crate::rules::Relation;
use crate::semconv::{self, Destination};
use crate::source::{Source, add_delivery};
use crate::telemetry::{Start, between, fail};

impl Source {
    /// The span of a `basic_get` that brought a message; linked to its creation context.
    pub(crate) fn received(
        &self,
        delivery: &lapin::message::Delivery,
        ambient: &Context,
        begun: SystemTime,
    ) {
        let telemetry = &self.telemetry;
        if telemetry.is_off() || telemetry.is_idle(ambient) {
            return;
        }
        let known = telemetry.destinations.find(&self.destination(delivery));
        if known.handling.untraced {
            return;
        }
        let extracted = propagation::extract(delivery.properties.headers().as_ref());
        let creation = extracted.creation;
        let start = Start {
            operation: Operation::Receive,
            known: &known,
            parent: ambient,
            kind: None,
            links: [
                creation.filter(|_| known.handling.relation != Relation::Ignore),
                None,
            ],
            time: begun,
        };
        let mut span = telemetry.start(start, |attributes| {
            telemetry.add_message(attributes, &delivery.properties, &delivery.data);
            add_delivery(attributes, delivery);
        });
        let now = SystemTime::now();
        span.end_with_timestamp(now);
        if let Some(metrics) = &telemetry.metrics {
            let seconds = between(begun, now).as_secs_f64();
            let how = (Operation::Receive, None);
            known.series.operated(metrics, how, seconds);
        }
    }

    /// The span of a `basic_get` that failed; all that is known of its destination is the queue.
    pub(crate) fn not_received(&self, error: &lapin::Error, ambient: &Context, begun: SystemTime) {
        let telemetry = &self.telemetry;
        if telemetry.is_off() || telemetry.is_idle(ambient) {
            return;
        }
        let known = telemetry.destinations.find(&Destination {
            exchange: "",
            routing_key: "",
            queue: Some(self.queue.as_str()),
        });
        if known.handling.untraced {
            return;
        }
        let start = Start {
            operation: Operation::Receive,
            known: &known,
            parent: ambient,
            kind: None,
            links: [None, None],
            time: begun,
        };
        let mut span = telemetry.start(start, |_| {});
        let name = semconv::error_type(error);
        fail(&mut span, name, error.to_string());
        let now = SystemTime::now();
        span.end_with_timestamp(now);
        if let Some(metrics) = &telemetry.metrics {
            let seconds = between(begun, now).as_secs_f64();
            let how = (Operation::Receive, Some(name));
            known.series.operated(metrics, how, seconds);
        }
    }
}

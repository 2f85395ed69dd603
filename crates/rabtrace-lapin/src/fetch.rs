//! The span of a `basic_get`, from the call to the answer.

use std::time::SystemTime;

use opentelemetry::Context;
use opentelemetry::trace::SpanContext;

use crate::operation::Operation;
use crate::propagation;
use crate::rules::Relation;
use crate::semconv::Destination;
use crate::source::{Source, add_delivery};
use crate::telemetry::Start;

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
        let creation = propagation::creation(delivery.properties.headers().as_ref());
        let heard = |_: &&SpanContext| known.handling.relation != Relation::Ignore;
        let start = Start {
            operation: Operation::Receive,
            known: &known,
            parent: ambient,
            kind: None,
            links: [creation.as_ref().filter(heard), None],
            time: begun,
        };
        let span = telemetry.start(start, |attributes| {
            telemetry.add_message(attributes, &delivery.properties, &delivery.data);
            add_delivery(attributes, delivery);
        });
        telemetry.finish(span, (Operation::Receive, &known, begun), None);
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
        let span = telemetry.start(start, |_| {});
        telemetry.finish(span, (Operation::Receive, &known, begun), Some(error));
    }
}

//! The span of a settlement, and what it means for the deliveries that it settles.

use std::sync::Arc;
use std::time::SystemTime;

use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use lapin::types::DeliveryTag;
use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::Span;
use opentelemetry::{Context, KeyValue};

use crate::acker::{Process, Settlement};
use crate::semconv;
use crate::telemetry::{ACK, NACK, Operation, REJECT, Start, Telemetry, fail};

/// One settlement.
#[derive(Clone, Debug)]
pub(crate) struct Settle {
    operation: Operation,
    settlement: Settlement,
    multiple: bool,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Answer<'a> {
    /// It went to the broker.
    Sent,
    /// Somebody else had settled it.
    NotSent,
    /// It could not be sent.
    Failed(&'a lapin::Error),
}

impl Settle {
    pub(crate) fn ack(options: BasicAckOptions) -> Self {
        Self {
            operation: ACK,
            settlement: Settlement::Ack,
            multiple: options.multiple,
        }
    }

    pub(crate) fn nack(options: BasicNackOptions) -> Self {
        let requeue = options.requeue;
        Self {
            operation: NACK,
            settlement: if requeue {
                Settlement::NackRequeue
            } else {
                Settlement::NackDiscard
            },
            multiple: options.multiple,
        }
    }

    pub(crate) fn reject(options: BasicRejectOptions) -> Self {
        Self {
            operation: REJECT,
            settlement: if options.requeue {
                Settlement::RejectRequeue
            } else {
                Settlement::RejectDiscard
            },
            multiple: false,
        }
    }

    pub(crate) fn is_multiple(&self) -> bool {
        self.multiple
    }

    /// Starts the span, unless they are switched off. The last of `targets` is the delivery that
    /// was named: it is the parent. The creation contexts of all of them are linked to.
    fn start(
        &self,
        telemetry: &Telemetry,
        delivery_tag: DeliveryTag,
        targets: &[Arc<Process>],
    ) -> Option<BoxedSpan> {
        let ambient = Context::current();
        let named = targets.last();
        let parent = named.map_or(&ambient, |process| &process.context);
        if !telemetry.settle_spans || telemetry.is_idle(parent) {
            return None;
        }
        let mut attributes = Vec::with_capacity(9);
        let tag = i64::try_from(delivery_tag).unwrap_or(i64::MAX);
        attributes.push(KeyValue::new(
            semconv::MESSAGING_RABBITMQ_MESSAGE_DELIVERY_TAG,
            tag,
        ));
        if self.multiple {
            let count = i64::try_from(targets.len()).unwrap_or(i64::MAX);
            attributes.push(KeyValue::new(semconv::MESSAGING_BATCH_MESSAGE_COUNT, count));
        }
        let mut span = telemetry.start(Start {
            operation: &self.operation,
            destination: named.and_then(|process| process.destination.as_ref()),
            parent,
            link: named.and_then(|process| process.creation.clone()),
            time: SystemTime::now(),
            attributes,
        });
        if span.is_recording() {
            let others = targets.iter().rev().skip(1);
            for creation in others.filter_map(|target| target.creation.as_ref()) {
                span.add_link(creation.clone(), Vec::new());
            }
        }
        Some(span)
    }

    /// Starts the span of a settlement of `targets` that is about to be sent.
    pub(crate) fn begin(
        &self,
        telemetry: &Telemetry,
        delivery_tag: DeliveryTag,
        targets: Vec<Arc<Process>>,
    ) -> Settling {
        Settling {
            settlement: self.settlement,
            span: self.start(telemetry, delivery_tag, &targets),
            targets,
        }
    }
}

/// A settlement under way. lapin hands it to the connection when its future is first polled: given
/// up after that, it is sent all the same.
pub(crate) struct Settling {
    settlement: Settlement,
    span: Option<BoxedSpan>,
    targets: Vec<Arc<Process>>,
}

impl Settling {
    /// Ends the span and those of the deliveries that are settled now.
    pub(crate) fn finish(mut self, answer: &Answer<'_>) {
        self.end(answer);
    }

    fn end(&mut self, answer: &Answer<'_>) {
        if let Some(mut span) = self.span.take() {
            if let Answer::Failed(error) = answer {
                fail(&mut span, semconv::error_type(error), error.to_string());
            }
            span.end();
        }
        for target in self.targets.drain(..) {
            match answer {
                Answer::Sent => target.end(self.settlement),
                Answer::NotSent => {}
                Answer::Failed(error) => target.lost(error),
            }
        }
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.end(&Answer::Sent);
    }
}

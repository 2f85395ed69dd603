//! The span of a settlement, and what it means for the deliveries that it settles.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use lapin::types::DeliveryTag;
use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::Span;
use opentelemetry::{Context, KeyValue};

use crate::destination::Known;
use crate::operation::Operation;
use crate::outcome::Settlement;
use crate::process::Process;
use crate::semconv;
use crate::telemetry::{Start, Telemetry, between, fail};

/// One settlement.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Settle {
    Ack(BasicAckOptions),
    Nack(BasicNackOptions),
    Reject(BasicRejectOptions),
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

/// The deliveries that it settles.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    /// The one whose tag it says.
    pub(crate) named: Option<Arc<Process>>,
    /// Those before it.
    pub(crate) others: Vec<Arc<Process>>,
    /// Whether the one whose tag it says has no span, and so none for its settlement.
    pub(crate) is_untraced: bool,
}

impl Settle {
    pub(crate) const fn is_multiple(&self) -> bool {
        match self {
            Self::Ack(options) => options.multiple,
            Self::Nack(options) => options.multiple,
            Self::Reject(_) => false,
        }
    }

    const fn operation(&self) -> Operation {
        match self {
            Self::Ack(_) => Operation::Ack,
            Self::Nack(_) => Operation::Nack,
            Self::Reject(_) => Operation::Reject,
        }
    }

    const fn settlement(&self) -> Settlement {
        match self {
            Self::Ack(_) => Settlement::Ack,
            Self::Nack(options) if options.requeue => Settlement::NackRequeue,
            Self::Nack(_) => Settlement::NackDiscard,
            Self::Reject(options) if options.requeue => Settlement::RejectRequeue,
            Self::Reject(_) => Settlement::RejectDiscard,
        }
    }

    /// Sends it through the channel.
    pub(crate) async fn send(self, channel: &Channel, tag: DeliveryTag) -> lapin::Result<()> {
        match self {
            Self::Ack(options) => channel.basic_ack(tag, options).await,
            Self::Nack(options) => channel.basic_nack(tag, options).await,
            Self::Reject(options) => channel.basic_reject(tag, options).await,
        }
    }

    /// Starts the span of a settlement that is about to be sent.
    pub(crate) fn begin(
        &self,
        telemetry: &Arc<Telemetry>,
        tag: DeliveryTag,
        targets: Targets,
    ) -> Settling {
        for target in targets.all() {
            target.settling.fetch_add(1, Ordering::AcqRel);
        }
        let batch = self.is_multiple();
        let begun = SystemTime::now();
        let named = targets.named.as_deref();
        let off = telemetry.is_off();
        let known = targets.known(telemetry);
        // Under a span that is not recorded nothing would be.
        let wanted = telemetry.settle_spans && !off && !targets.is_untraced;
        let parent = wanted.then(|| match named {
            Some(named) => named.recorded_parent(),
            None => Some(Context::current()),
        });
        let parent = parent.flatten().filter(|parent| !telemetry.is_idle(parent));
        let span = parent.map(|parent| {
            let creation = named.and_then(|process| process.traced.creation.as_ref());
            let start = Start {
                operation: self.operation(),
                known: &known,
                parent: &parent,
                kind: None,
                links: [creation, None],
                time: begun,
            };
            let mut span = telemetry.start(start, |attributes| {
                let key = semconv::MESSAGING_RABBITMQ_MESSAGE_DELIVERY_TAG;
                attributes.push(KeyValue::new(key, i64::try_from(tag).unwrap_or(i64::MAX)));
                // Of messages whose acker is gone nothing is known: none is no number of them.
                if batch && targets.count() > 0 {
                    let count = i64::try_from(targets.count()).unwrap_or(i64::MAX);
                    let key = semconv::MESSAGING_BATCH_MESSAGE_COUNT;
                    attributes.push(KeyValue::new(key, count));
                }
            });
            if span.is_recording() {
                targets.link_others(&mut span, &known);
            }
            span
        });
        Settling {
            telemetry: Arc::clone(telemetry),
            settle: *self,
            known,
            begun,
            is_measured: !off,
            span,
            targets,
        }
    }
}

impl Targets {
    fn all(&self) -> impl Iterator<Item = &Arc<Process>> {
        self.named.iter().chain(&self.others)
    }

    fn count(&self) -> usize {
        self.others.len() + usize::from(self.named.is_some() || self.is_untraced)
    }

    /// The destination, where it is the same for all of them.
    fn known(&self, telemetry: &Telemetry) -> Arc<Known> {
        if let ([], Some(named)) = (self.others.as_slice(), &self.named) {
            return Arc::clone(&named.traced.known);
        }
        let mut known = self.all().map(|process| &process.traced.known);
        match known.next() {
            Some(first) if known.all(|known| Arc::ptr_eq(first, known)) => Arc::clone(first),
            _ => Arc::clone(&telemetry.destinations.nowhere),
        }
    }

    /// Links to the publishes of the other deliveries, each with what differs among them.
    fn link_others(&self, span: &mut BoxedSpan, known: &Arc<Known>) {
        for traced in self.others.iter().map(|other| &other.traced) {
            let Some(creation) = &traced.creation else {
                continue;
            };
            let name = traced
                .known
                .name()
                .filter(|_| !Arc::ptr_eq(known, &traced.known));
            let key = semconv::MESSAGING_DESTINATION_NAME;
            let name = name.map(|name| KeyValue::new(key, name));
            span.add_link(creation.clone(), name.into_iter().collect());
        }
    }
}

/// A settlement under way. lapin hands it to the connection when its future is first polled: given
/// up after that, it is sent all the same.
pub(crate) struct Settling {
    telemetry: Arc<Telemetry>,
    settle: Settle,
    known: Arc<Known>,
    begun: SystemTime,
    is_measured: bool,
    span: Option<BoxedSpan>,
    targets: Targets,
}

impl Settling {
    /// Ends the span and those of the deliveries that are settled now.
    pub(crate) fn finish(mut self, answer: &Answer<'_>) {
        self.end(answer);
    }

    fn end(&mut self, answer: &Answer<'_>) {
        let targets = std::mem::take(&mut self.targets);
        let span = self.span.take();
        if span.is_none() && targets.count() == 0 {
            return;
        }
        let error = match answer {
            Answer::Failed(error) => Some(*error),
            Answer::Sent | Answer::NotSent => None,
        };
        let now = SystemTime::now();
        if let Some(mut span) = span {
            if let Some(error) = error {
                fail(&mut span, semconv::error_type(error), error.to_string());
            }
            span.end_with_timestamp(now);
        }
        if let Some(metrics) = self.telemetry.metrics.as_ref().filter(|_| self.is_measured) {
            let seconds = between(self.begun, now).as_secs_f64();
            let how = (self.settle.operation(), error.map(semconv::error_type));
            self.known.series.operated(metrics, how, seconds);
        }
        for target in targets.all() {
            if matches!(answer, Answer::Sent) {
                target.end(self.settle.settlement());
            }
            target.settling.fetch_sub(1, Ordering::AcqRel);
            target.end_if_lost(error);
        }
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.end(&Answer::Sent);
    }
}

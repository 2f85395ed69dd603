//! One delivery: its span, and what settling it needs.
//!
//! The span begins when the delivery is handed to the application and ends, once, when it is
//! settled, when the last acker is dropped, or when the channel is lost. It is kept by value;
//! a context is made of it when somebody asks for one.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use lapin::types::DeliveryTag;
use opentelemetry::baggage::{Baggage, BaggageExt, KeyValueMetadata};
use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::{Span, SpanContext, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue};

use crate::current::{self, Worker};
use crate::destination::Known;
use crate::hooks::{self, HookSpan};
use crate::outcome::Settlement;
use crate::paths::SeriesPlace;
use crate::recent::{self, Attempt};
use crate::semconv;
use crate::source::Source;
use crate::telemetry::{Handled, between};

/// Whether the broker waits for a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckMode {
    Manual,
    NoAck,
}

/// What settling a delivery needs, with a span or without.
#[derive(Clone)]
pub(crate) struct Handed {
    pub(crate) acker: lapin::Acker,
    pub(crate) delivery_tag: DeliveryTag,
    pub(crate) source: Arc<Source>,
    /// What was active when it was handed out, with its baggage.
    pub(crate) ambient: Context,
}

/// A traced delivery that was handed out.
pub(crate) struct Process {
    pub(crate) handed: Handed,
    pub(crate) traced: Traced,
    /// Who took it.
    pub(crate) worker: Option<Worker>,
    /// Whether the application stated what its work is.
    pub(crate) stated: AtomicBool,
    /// Whether somebody settles it or has settled it.
    pub(crate) claimed: AtomicBool,
    pub(crate) ended: AtomicBool,
    /// Settlements under way: their answers tell how it ends, not the loss of the channel.
    pub(crate) settling: AtomicUsize,
}

/// The span of a delivery.
pub(crate) struct Traced {
    pub(crate) known: Arc<Known>,
    /// Where the message was published.
    pub(crate) creation: Option<SpanContext>,
    pub(crate) handled: Handled,
    /// Where its path is measured.
    pub(crate) place: SeriesPlace,
    /// 1 for the first.
    pub(crate) attempt: u64,
    pub(crate) begun: SystemTime,
    /// The message's own, where the application had none.
    pub(crate) baggage: Option<Box<Baggage>>,
    pub(crate) state: Mutex<State>,
}

/// The span and how it went so far.
pub(crate) struct State {
    pub(crate) span: SpanState,
    pub(crate) error: Option<&'static str>,
}

impl State {
    /// Of a span that is not recorded, there is nothing to keep but its context.
    pub(crate) fn new(span: BoxedSpan) -> Self {
        let span = if span.is_recording() {
            SpanState::Own(span)
        } else {
            SpanState::Left(span.span_context().clone())
        };
        Self { span, error: None }
    }
}

/// The span by value, until somebody asks for a context.
pub(crate) enum SpanState {
    Own(BoxedSpan),
    Shared(Context),
    /// What is left of one that ended by value, or that is not recorded.
    Left(SpanContext),
}

impl Process {
    /// A delivery that nobody settled yet.
    #[inline]
    pub(crate) fn new(handed: Handed, traced: Traced, worker: Option<Worker>) -> Self {
        Self {
            handed,
            traced,
            worker,
            stated: AtomicBool::new(false),
            claimed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            settling: AtomicUsize::new(0),
        }
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether the answer to a settlement is still to come.
    pub(crate) fn is_settling(&self) -> bool {
        self.settling.load(Ordering::Acquire) > 0
    }

    /// The application says what its work is: see [`current`].
    pub(crate) fn state_work(&self) {
        if let Some(worker) = self.worker
            && !self.stated.swap(true, Ordering::AcqRel)
        {
            current::state(worker);
        }
    }

    /// The work that was stated begins here: in the task that took it, that task holds it still.
    pub(crate) fn begin_work(self: &Arc<Self>) {
        let here = self
            .worker
            .filter(|taker| current::worker() == Some(*taker));
        if let Some(worker) = here
            && self.stated.swap(false, Ordering::AcqRel)
        {
            current::hold(worker, self);
        }
    }

    /// What a publish that belongs to it goes by.
    pub(crate) fn handled(&self) -> Handled {
        self.traced.handled.clone()
    }

    /// The context of its span.
    pub(crate) fn span_context(&self) -> SpanContext {
        self.traced.lock().span.context()
    }

    /// The context with its span.
    pub(crate) fn context(&self) -> Context {
        let traced = &self.traced;
        let mut state = traced.lock();
        if let SpanState::Shared(context) = &state.span {
            return context.clone();
        }
        let mut context = self.handed.ambient.with_value(traced.handled.clone());
        if let Some(baggage) = &traced.baggage {
            let entries = baggage.iter().map(|(key, (value, metadata))| {
                KeyValueMetadata::new(key.clone(), value.clone(), metadata.clone())
            });
            context = context.with_baggage(entries);
        }
        let empty = SpanState::Shared(Context::new());
        context = match std::mem::replace(&mut state.span, empty) {
            SpanState::Own(span) => context.with_span(span),
            SpanState::Left(span) => context.with_remote_span_context(span),
            SpanState::Shared(context) => context,
        };
        state.span = SpanState::Shared(context.clone());
        context
    }

    /// A context to start a child of its span in, cheaper than [`Process::context`]; none where
    /// nothing of its span is kept.
    pub(crate) fn recorded_parent(&self) -> Option<Context> {
        match &self.traced.lock().span {
            SpanState::Own(span) if span.is_recording() => {
                let context = span.span_context().clone();
                Some(self.handed.ambient.with_remote_span_context(context))
            }
            SpanState::Shared(context) if context.span().is_recording() => Some(context.clone()),
            _ => None,
        }
    }

    /// Records that handling it failed.
    pub(crate) fn fail(&self, error_type: &'static str, message: String) {
        let mut state = self.traced.lock();
        state.error = Some(error_type);
        let attribute = KeyValue::new(semconv::ERROR_TYPE, error_type);
        match &mut state.span {
            SpanState::Own(span) => {
                span.set_attribute(attribute);
                span.set_status(Status::error(message));
            }
            SpanState::Shared(context) => {
                let span = context.span();
                span.set_attribute(attribute);
                span.set_status(Status::error(message));
            }
            SpanState::Left(_) => {}
        }
    }

    /// Ends the span, the first time only.
    pub(crate) fn end(&self, settlement: Settlement) {
        self.end_with(settlement, None);
    }

    /// Ends the span, the first time only; only then the error is recorded.
    fn end_with(&self, settlement: Settlement, error: Option<&lapin::Error>) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(error) = error {
            self.fail(semconv::error_type(error), error.to_string());
        }
        self.end_span(settlement);
        let source = &self.handed.source;
        if source.ack_mode == AckMode::Manual {
            source.open.remove(self);
        }
    }

    fn end_span(&self, settlement: Settlement) {
        let (telemetry, traced) = (&self.handed.source.telemetry, &self.traced);
        let value = || KeyValue::new(semconv::RABTRACE_SETTLEMENT, settlement.as_str());
        if telemetry.hooks.is_some() {
            // A hook is the application's: it may ask for this delivery, so it runs unlocked.
            self.context();
        }
        // Span processors are the application's as well.
        let (span, error) = traced.take();
        // A clock is read only where somebody wants to know.
        let now = if telemetry.metrics.is_some() || span.is_recording() {
            SystemTime::now()
        } else {
            traced.begun
        };
        match span {
            SpanState::Own(mut span) => {
                if span.is_recording() {
                    span.set_attribute(value());
                }
                span.end_with_timestamp(now);
            }
            SpanState::Shared(context) => {
                let span = context.span();
                if span.is_recording() {
                    span.set_attribute(value());
                    let metrics = telemetry.metrics.as_deref();
                    hooks::call(telemetry.hooks.as_ref(), metrics, |hooks| {
                        hooks.on_settle(settlement, &mut HookSpan::shared(context.span()));
                    });
                }
                span.end_with_timestamp(now);
            }
            SpanState::Left(_) => {}
        }
        if settlement.is_failure() {
            self.remember(settlement);
        }
        if let Some(metrics) = &telemetry.metrics {
            let took = between(traced.begun, now);
            let series = &traced.known.series;
            series.processed(metrics, (settlement, error), took.as_secs_f64());
            telemetry.paths.processed(traced.place, took);
        }
        let refused = settlement.is_refusal().then(|| settlement.as_str());
        if let Some(error_type) = error.or(refused) {
            telemetry.paths.failed(traced.place, error_type);
        }
    }

    /// The next attempt at the message links to this one.
    fn remember(&self, settlement: Settlement) {
        if let Some(creation) = self.traced.handled.creation {
            recent::failed(Attempt {
                creation,
                queue: recent::mark_of(self.handed.source.queue.as_str()),
                span: self.span_context(),
                number: self.traced.attempt,
                settlement,
            });
        }
    }

    /// Ends the span if the channel is gone, with lapin's error where that is known.
    pub(crate) fn end_if_lost(&self, error: Option<&lapin::Error>) {
        if self.handed.acker.poisoned() && !self.is_settling() {
            self.end_with(Settlement::ChannelLost, error);
        }
    }
}

impl Traced {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The span to be ended, and the error of the handler.
    fn take(&self) -> (SpanState, Option<&'static str>) {
        let mut state = self.lock();
        let left = match &state.span {
            SpanState::Own(span) => SpanState::Left(span.span_context().clone()),
            SpanState::Shared(context) => SpanState::Shared(context.clone()),
            SpanState::Left(context) => SpanState::Left(context.clone()),
        };
        (std::mem::replace(&mut state.span, left), state.error)
    }
}

impl SpanState {
    /// Whether anything of it is kept.
    fn is_recording(&self) -> bool {
        match self {
            Self::Own(span) => span.is_recording(),
            Self::Shared(context) => context.span().is_recording(),
            Self::Left(_) => false,
        }
    }

    /// Trace id, span id and flags.
    pub(crate) fn context(&self) -> SpanContext {
        match self {
            Self::Own(span) => span.span_context().clone(),
            Self::Shared(context) => context.span().span_context().clone(),
            Self::Left(context) => context.clone(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(worker) = self.worker {
            current::release(worker, *self.stated.get_mut());
        }
        if self.is_ended() {
            return;
        }
        if std::thread::panicking() {
            self.fail("panic", "the handler panicked".to_owned());
        }
        self.end(match self.handed.source.ack_mode {
            AckMode::NoAck => Settlement::NoAck,
            AckMode::Manual if self.handed.acker.poisoned() => Settlement::ChannelLost,
            AckMode::Manual => Settlement::DroppedUnsettled,
        });
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Process")
            .field("delivery_tag", &self.handed.delivery_tag)
            .field("span", &self.span_context())
            .finish_non_exhaustive()
    }
}

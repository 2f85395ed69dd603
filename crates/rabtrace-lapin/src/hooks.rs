//! Code of the application that runs at a publish, its confirm, a delivery and its settlement.
//!
//! Hooks are called for messages whose span is recorded. They see the message and may add to its
//! span. One that panics breaks neither the message nor the span: the panic is caught and counted
//! in `rabtrace.hook.panics`.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lapin::BasicProperties;
use opentelemetry::KeyValue;
use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::{Span, SpanContext, SpanRef};

use crate::metrics::Metrics;
use crate::outcome::PublishOutcome;
use crate::outcome::Settlement;

/// A message as a hook sees it.
#[derive(Clone, Copy, Debug)]
pub struct HookMessage<'a> {
    /// The exchange; empty for the default one.
    pub exchange: &'a str,
    /// The routing key.
    pub routing_key: &'a str,
    /// The queue; none when publishing.
    pub queue: Option<&'a str>,
    /// Properties and headers: when publishing those of the application, without trace context.
    pub properties: &'a BasicProperties,
    /// The payload.
    pub data: &'a [u8],
}

/// The span of a message, to add to it.
#[derive(Debug)]
pub struct HookSpan<'a>(Inner<'a>);

#[derive(Debug)]
enum Inner<'a> {
    Own(&'a mut BoxedSpan),
    Shared(SpanRef<'a>),
}

impl<'a> HookSpan<'a> {
    pub(crate) fn own(span: &'a mut BoxedSpan) -> Self {
        Self(Inner::Own(span))
    }

    pub(crate) fn shared(span: SpanRef<'a>) -> Self {
        Self(Inner::Shared(span))
    }

    /// Sets an attribute.
    pub fn set_attribute(&mut self, attribute: KeyValue) {
        match &mut self.0 {
            Inner::Own(span) => span.set_attribute(attribute),
            Inner::Shared(span) => span.set_attribute(attribute),
        }
    }

    /// Adds an event.
    pub fn add_event(&mut self, name: impl Into<Cow<'static, str>>, attributes: Vec<KeyValue>) {
        match &mut self.0 {
            Inner::Own(span) => span.add_event(name, attributes),
            Inner::Shared(span) => span.add_event(name, attributes),
        }
    }

    /// Trace id, span id and flags.
    #[must_use]
    pub fn span_context(&self) -> &SpanContext {
        match &self.0 {
            Inner::Own(span) => span.span_context(),
            Inner::Shared(span) => span.span_context(),
        }
    }
}

/// What an application adds to the spans of its messages. Each method does nothing by default.
///
/// ```
/// use opentelemetry::KeyValue;
/// use rabtrace_lapin::{HookMessage, HookSpan, TraceConfig, TraceHooks};
///
/// struct Tenant;
///
/// impl TraceHooks for Tenant {
///     fn on_deliver(&self, message: &HookMessage<'_>, span: &mut HookSpan<'_>) {
///         if let Some(app) = message.properties.app_id() {
///             span.set_attribute(KeyValue::new("app.id", app.to_string()));
///         }
///     }
/// }
///
/// let config = TraceConfig::new().with_hooks(Tenant);
/// # use rabtrace_lapin::opentelemetry;
/// ```
pub trait TraceHooks: Send + Sync {
    /// A message is about to be published; its span has begun.
    fn on_publish(&self, message: &HookMessage<'_>, span: &mut HookSpan<'_>) {
        let _ = (message, span);
    }

    /// The outcome of a publish is known; its span is about to end.
    fn on_confirm(&self, outcome: PublishOutcome, span: &mut HookSpan<'_>) {
        let _ = (outcome, span);
    }

    /// A message is about to be handed to the application; its span has begun.
    fn on_deliver(&self, message: &HookMessage<'_>, span: &mut HookSpan<'_>) {
        let _ = (message, span);
    }

    /// A delivery is settled; its span is about to end.
    fn on_settle(&self, settlement: Settlement, span: &mut HookSpan<'_>) {
        let _ = (settlement, span);
    }
}

/// Calls a hook; a panic in it goes no further.
pub(crate) fn call(
    hooks: Option<&Arc<dyn TraceHooks>>,
    metrics: Option<&Metrics>,
    hook: impl FnOnce(&dyn TraceHooks),
) {
    let Some(hooks) = hooks else {
        return;
    };
    let caught = catch_unwind(AssertUnwindSafe(|| hook(hooks.as_ref())));
    if let (Err(_), Some(metrics)) = (caught, metrics) {
        metrics.hook_panicked();
    }
}

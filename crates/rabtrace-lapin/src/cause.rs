//! What a publish belongs to: a context, a delivery or several, or nothing.
//!
//! Input: the context that is active, and the delivery that the task works on. Output: the parent
//! and the links of the publish's span, and the checkpoint of its message.

use std::sync::Arc;
use std::time::SystemTime;

use lapin::BasicProperties;
use opentelemetry::Context;
use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::{Span, SpanContext, TraceContextExt};

use crate::current;
use crate::destination::Known;
use crate::path::{Before, EdgeKind, advance, merge};
use crate::paths::Passed;
use crate::process::Process;
use crate::propagation;
use crate::publish::Outgoing;
use crate::recent;
use crate::rules::ExistingContext;
use crate::telemetry::{Handled, Telemetry, has_ids, microseconds, path_of};

/// What a publish belongs to.
pub(crate) struct Cause<'a> {
    ambient: &'a Context,
    /// The delivery's context, where nothing is active.
    delivered: Option<Context>,
    /// The delivery that the task works on, if the parent does not come from it.
    beside: Option<Arc<Process>>,
    handled: Option<Handled>,
}

impl<'a> Cause<'a> {
    /// The application's span if one is active, else the delivery that the task works on.
    pub(crate) fn find(telemetry: &Telemetry, ambient: &'a Context) -> Self {
        let handled = ambient.get::<Handled>().cloned();
        let told = handled.is_some() || ambient.is_telemetry_suppressed();
        let mut cause = Self {
            ambient,
            delivered: None,
            beside: None,
            handled,
        };
        // Where the application suppresses telemetry, the delivery must not bring it back.
        if told || !telemetry.task_parent {
            return cause;
        }
        if let Some(delivery) = current::delivery() {
            cause.handled = Some(delivery.handled());
            if has_ids(ambient) {
                cause.beside = Some(delivery);
            } else {
                cause.delivered = Some(delivery.context());
            }
        }
        cause
    }

    pub(crate) fn parent(&self) -> &Context {
        self.delivered.as_ref().unwrap_or(self.ambient)
    }

    /// The message's checkpoint; it is recorded when the message is on its way.
    pub(crate) fn pass(
        &self,
        telemetry: &Telemetry,
        message: &Outgoing<'_>,
        (known, begun): (&Known, SystemTime),
    ) -> Passed {
        let (node, now_us) = (known.node(), microseconds(begun));
        let to = (known, self.kind(message, known));
        let several = self
            .handled
            .as_ref()
            .and_then(|handled| handled.merged.as_ref());
        if let Some(merge) = several.and_then(|several| merge(&several.paths, node, now_us)) {
            return telemetry.paths.pass_merged(merge, to);
        }
        let path = self.handled.as_ref().map(|handled| handled.path);
        let path = path.or_else(|| path_of(self.parent()));
        let before = path.as_ref().map_or(Before::Nothing, Before::Path);
        telemetry.paths.pass(advance(before, node, now_us), to)
    }

    /// Whether it answers a request: through the default exchange, to a queue that was made up for
    /// that or that the delivery names.
    fn kind(&self, message: &Outgoing<'_>, known: &Known) -> EdgeKind {
        let asked = self.handled.as_ref().and_then(|handled| handled.reply_to);
        let is_asked_for = message.exchange.as_str().is_empty()
            && asked.is_some_and(|mark| mark == recent::mark_of(message.routing_key.as_str()));
        if is_asked_for || known.is_for_replies() {
            EdgeKind::Reply
        } else {
            EdgeKind::Forward
        }
    }

    /// The publishes of all deliveries that went into the message.
    pub(crate) fn link_all(&self, span: &mut BoxedSpan) {
        let several = self
            .handled
            .as_ref()
            .and_then(|handled| handled.merged.as_ref());
        for creation in several.iter().flat_map(|several| &several.creations) {
            span.add_link(creation.clone(), Vec::new());
        }
    }

    /// The delivery's span where the parent is of another trace.
    pub(crate) fn link(&self) -> Option<SpanContext> {
        let beside = self.beside.as_ref()?.span_context();
        let trace_id = self.parent().span().span_context().trace_id();
        (beside.is_valid() && beside.trace_id() != trace_id).then_some(beside)
    }

    /// A context in the headers, if the application put it there: one that came with a delivery is
    /// stale.
    pub(crate) fn existing(
        &self,
        known: &Known,
        properties: &BasicProperties,
    ) -> Option<SpanContext> {
        if known.handling.existing == ExistingContext::Replace {
            return None;
        }
        let headers = properties.headers().as_ref()?;
        let existing = propagation::creation(Some(headers))?;
        let ids = (existing.trace_id(), existing.span_id());
        let own = self.handled.as_ref().and_then(|handled| handled.creation) == Some(ids);
        (!own && !recent::was_received(ids)).then_some(existing)
    }
}

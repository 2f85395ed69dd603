//! What the clones of a channel share, and the spans of what concerns the channel as a whole.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use lapin::message::BasicReturnMessage;
use lapin::{ConnectionStatus, Result};
use opentelemetry::Context;
use opentelemetry::trace::{Span, TraceContextExt};

use crate::open::Open;
use crate::operation::Operation;
use crate::outcome::Settlement;
use crate::process::Process;
use crate::propagation;
use crate::returns::Publishes;
use crate::semconv::{self, Destination};
use crate::telemetry::{Start, Telemetry, fail};

/// What the clones of a channel share.
pub(crate) struct Shared {
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) open: Arc<Open>,
    pub(crate) publishes: Arc<Publishes>,
    /// Whether it had `tx_select`.
    pub(crate) transactional: AtomicBool,
    /// The connection's, where it is known.
    pub(crate) status: Option<ConnectionStatus>,
}

impl Shared {
    /// Runs a call that concerns the whole channel under a span of its own.
    pub(crate) async fn operate(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        let telemetry = &self.telemetry;
        let ambient = Context::current();
        if telemetry.is_off() || telemetry.is_idle(&ambient) {
            return call.await;
        }
        let begun = SystemTime::now();
        let known = &telemetry.destinations.nowhere;
        let start = Start {
            operation,
            known,
            parent: &ambient,
            kind: None,
            links: [None, None],
            time: begun,
        };
        let span = telemetry.start(start, |_| {});
        let result = call.await;
        telemetry.finish(span, (operation, known, begun), result.as_ref().err());
        result
    }

    /// A message came back whose publish ended before: it has a span of its own, a child of the
    /// publish.
    pub(crate) fn came_back(&self, message: &BasicReturnMessage) {
        let telemetry = &self.telemetry;
        let creation = propagation::creation(message.properties.headers().as_ref());
        let parent = match creation {
            Some(creation) => Context::new().with_remote_span_context(creation),
            None => Context::new(),
        };
        if telemetry.is_off() || telemetry.is_idle(&parent) {
            return;
        }
        let known = telemetry.destinations.find(&Destination {
            exchange: message.exchange.as_str(),
            routing_key: message.routing_key.as_str(),
            queue: None,
        });
        if known.handling.untraced {
            return;
        }
        let start = Start {
            operation: Operation::Return,
            known: &known,
            parent: &parent,
            kind: None,
            links: [None, None],
            time: SystemTime::now(),
        };
        let mut span = telemetry.start(start, |attributes| {
            telemetry.add_message(attributes, &message.properties, &message.data);
        });
        let reason = semconv::reply_code_name(message.reply_code);
        fail(&mut span, reason, message.reply_text.to_string());
        span.end();
        if let Some(metrics) = &telemetry.metrics {
            known.series.returned(metrics, reason);
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Shared")
            .field("telemetry", &self.telemetry)
            .field("open", &self.open)
            .field("publishes", &self.publishes)
            .finish_non_exhaustive()
    }
}

/// The broker has the deliveries back.
pub(crate) fn recovered(open: &[Arc<Process>], error: Option<&lapin::Error>) {
    for process in open {
        process.end_if_lost(error);
        if error.is_none() {
            process.end(Settlement::Recovered);
        }
    }
}

//! The exporter with servers that answer by a script.
//!
//! That the agent's receiver takes what it sends stands in the root's `tests/real/otlp/exporter.rs`.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod batch;
mod failure;
mod server;

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, UNIX_EPOCH};

use opentelemetry::InstrumentationScope;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter, SpanLinks};
use rabtrace_otlp::{Exporter, ExporterBuilder};

fn span(name: &str) -> SpanData {
    SpanData {
        span_context: SpanContext::NONE,
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Client,
        name: name.to_owned().into(),
        start_time: UNIX_EPOCH + Duration::from_secs(1),
        end_time: UNIX_EPOCH + Duration::from_secs(2),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::default(),
    }
}

/// An export blocks and is done when it was polled once: no runtime is needed.
fn export(exporter: &Exporter, batch: Vec<SpanData>) -> OTelSdkResult {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(exporter.export(batch)).poll(&mut context) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("an export waits for a runtime"),
    }
}

fn builder_to(server: &server::Server) -> ExporterBuilder {
    Exporter::builder().with_endpoint(server.url())
}

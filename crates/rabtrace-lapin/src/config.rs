//! How a channel is traced: which tracer, under which service name, with which extras.
//!
//! The configuration belongs to a channel or a connection; nothing is global. The environment is
//! read once, when a configuration is made.

use std::fmt;
use std::sync::Arc;

use opentelemetry::InstrumentationScope;
use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::trace::{Tracer, TracerProvider};
use percent_encoding::percent_decode_str;

use crate::semconv::SCHEMA_URL;

/// What lapin and RabbitMQ agree on if nobody asks for something else.
const DEFAULT_FRAME_MAX: u32 = 131_072;

/// The configuration of a [`TracedChannel`](crate::TracedChannel).
///
/// ```
/// use opentelemetry_sdk::trace::SdkTracerProvider;
/// use rabtrace_lapin::TraceConfig;
///
/// let provider = SdkTracerProvider::default();
/// let config = TraceConfig::new()
///     .with_tracer_provider(&provider)
///     .with_service_name("planner")
///     .without_settle_spans();
/// assert_eq!(config.service_name(), "planner");
/// ```
#[derive(Clone)]
pub struct TraceConfig {
    tracer: Option<Arc<BoxedTracer>>,
    pub(crate) service_name: String,
    pub(crate) server_address: Option<String>,
    pub(crate) server_port: Option<u16>,
    pub(crate) frame_max: u32,
    pub(crate) baggage: bool,
    pub(crate) settle_spans: bool,
}

impl TraceConfig {
    /// The global tracer provider of the time when a channel is made; the service's name from
    /// `OTEL_SERVICE_NAME`, else from `service.name` in `OTEL_RESOURCE_ATTRIBUTES`, else
    /// `unknown_service`; baggage and settle spans on.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tracer: None,
            service_name: service_name(|name| std::env::var(name).ok()),
            server_address: None,
            server_port: None,
            frame_max: DEFAULT_FRAME_MAX,
            baggage: true,
            settle_spans: true,
        }
    }

    /// Spans go to this provider, not to the global one.
    #[must_use]
    pub fn with_tracer_provider<P>(mut self, provider: &P) -> Self
    where
        P: TracerProvider,
        P::Tracer: Tracer<Span: Send + Sync + 'static> + Send + Sync + 'static,
    {
        let tracer = provider.tracer_with_scope(scope());
        self.tracer = Some(Arc::new(BoxedTracer::new(Box::new(tracer))));
        self
    }

    /// The service's name in the paths of messages. It should be the resource's `service.name`,
    /// which the OpenTelemetry API does not let others read.
    #[must_use]
    pub fn with_service_name(mut self, name: impl Into<String>) -> Self {
        self.service_name = name.into();
        self
    }

    /// Host and port of the broker, for `server.address` and `server.port`. A
    /// [`TracedConnection`](crate::TracedConnection) knows them by itself.
    #[must_use]
    pub fn with_server(mut self, address: impl Into<String>, port: u16) -> Self {
        self.server_address = Some(address.into());
        self.server_port = Some(port);
        self
    }

    /// The negotiated `frame_max` in bytes, 131,072 by default; a
    /// [`TracedConnection`](crate::TracedConnection) knows it by itself. Trace context that would
    /// not fit into the frame of a message's headers is left out.
    #[must_use]
    pub fn with_frame_max(mut self, bytes: u32) -> Self {
        self.frame_max = bytes;
        self
    }

    /// Baggage is neither sent nor read.
    #[must_use]
    pub fn without_baggage(mut self) -> Self {
        self.baggage = false;
        self
    }

    /// No span of their own for `ack`, `nack` and `reject`; the span of the delivery still has
    /// its settlement as an attribute.
    #[must_use]
    pub fn without_settle_spans(mut self) -> Self {
        self.settle_spans = false;
        self
    }

    /// The service's name in the paths of messages.
    #[must_use]
    pub fn service_name(&self) -> &str {
        &self.service_name
    }

    /// As [`TraceConfig::with_server`], unless the application stated another one.
    pub(crate) fn or_server(self, address: &str, port: u16) -> Self {
        if self.server_address.is_some() {
            return self;
        }
        self.with_server(address, port)
    }

    pub(crate) fn tracer(&self) -> Arc<BoxedTracer> {
        let global = || Arc::new(global::tracer_with_scope(scope()));
        self.tracer.clone().unwrap_or_else(global)
    }
}

impl Default for TraceConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TraceConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TraceConfig")
            .field("service_name", &self.service_name)
            .field("server_address", &self.server_address)
            .field("server_port", &self.server_port)
            .field("frame_max", &self.frame_max)
            .field("baggage", &self.baggage)
            .field("settle_spans", &self.settle_spans)
            .finish_non_exhaustive()
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(SCHEMA_URL)
        .build()
}

fn service_name(variable: impl Fn(&str) -> Option<String>) -> String {
    let stated = variable("OTEL_SERVICE_NAME").filter(|name| !name.is_empty());
    let resource = || {
        let attributes = variable("OTEL_RESOURCE_ATTRIBUTES")?;
        let mut pairs = attributes
            .split(',')
            .filter_map(|pair| pair.split_once('='));
        let (_, name) = pairs.find(|(key, _)| key.trim() == "service.name")?;
        let name = percent_decode_str(name.trim()).decode_utf8().ok()?;
        (!name.is_empty()).then(|| name.into_owned())
    };
    stated
        .or_else(resource)
        .unwrap_or_else(|| "unknown_service".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)], expect: &str) {
        let name = service_name(|wanted| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| (*value).to_owned())
        });
        assert_eq!(name, expect, "{variables:?}");
    }

    #[test]
    fn the_service_name_comes_from_the_environment() {
        check(&[], "unknown_service");
        check(&[("OTEL_SERVICE_NAME", "")], "unknown_service");
        check(
            &[
                ("OTEL_SERVICE_NAME", "planner"),
                ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other"),
            ],
            "planner",
        );
        check(
            &[(
                "OTEL_RESOURCE_ATTRIBUTES",
                "a=b, service.name=my%20planner,c",
            )],
            "my planner",
        );
    }
}

//! How a channel is traced: which tracer, under which service name, with which extras.
//!
//! The configuration belongs to a channel or a connection; nothing is global. The environment is
//! read once, when a configuration is made.

mod providers;

use std::fmt;
use std::sync::{Arc, OnceLock};

use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{Tracer, TracerProvider};

pub(crate) use self::providers::Meters;
use self::providers::{Tracers, scope};
use crate::body::BodyCapture;
use crate::hooks::TraceHooks;
use crate::metrics::Metrics;
use crate::paths::Paths;
use crate::rules::Rule;
use crate::service_name::service_name;
use crate::switch::TraceSwitch;

/// What lapin and RabbitMQ agree on if nobody asks for something else.
const DEFAULT_FRAME_MAX: u32 = 131_072;
/// Destinations that spans, metrics and paths tell apart, unless the application says otherwise.
const DEFAULT_DESTINATIONS: usize = 1_024;

/// Edges of paths that are told apart, unless the application says otherwise.
const DEFAULT_PATHS: usize = 1_024;

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
    tracer: Option<Tracers>,
    pub(crate) meters: Meters,
    /// The table of paths that the channels share.
    paths: Arc<OnceLock<Arc<Paths>>>,
    path_limit: usize,
    pub(crate) switch: TraceSwitch,
    pub(crate) hooks: Option<Arc<dyn TraceHooks>>,
    pub(crate) bodies: Option<BodyCapture>,
    pub(crate) body_size: bool,
    pub(crate) rules: Vec<Rule>,
    pub(crate) templates: Vec<String>,
    pub(crate) destinations: usize,
    pub(crate) task_parent: bool,
    pub(crate) fast_settle: bool,
    pub(crate) late_attributes: bool,
    pub(crate) path_in_spans: bool,
    pub(crate) service_name: String,
    pub(crate) server_address: Option<String>,
    pub(crate) server_port: Option<u16>,
    pub(crate) frame_max: u32,
    pub(crate) baggage: bool,
    pub(crate) settle_spans: bool,
}

impl TraceConfig {
    /// The global tracer and meter providers of the time when a channel is made; the service's name
    /// from `OTEL_SERVICE_NAME`, else from `service.name` in `OTEL_RESOURCE_ATTRIBUTES`, else
    /// `unknown_service:` and the executable's name, as the SDK has it; baggage and settle spans
    /// on, bodies off.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tracer: None,
            meters: Meters::Global,
            paths: Arc::default(),
            path_limit: DEFAULT_PATHS,
            switch: TraceSwitch::default(),
            hooks: None,
            bodies: None,
            body_size: false,
            rules: Vec::new(),
            templates: Vec::new(),
            destinations: DEFAULT_DESTINATIONS,
            task_parent: true,
            fast_settle: false,
            late_attributes: false,
            path_in_spans: false,
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
        self.tracer = Some(Tracers::of(provider));
        self
    }

    /// Measurements go to this provider, not to the global one, and are made also where there is no
    /// tracer.
    ///
    /// Without a tracer a message has no `traceparent`, and its path travels in `tracestate` alone.
    /// The next service with this crate reads it there. Services with another instrumentation drop
    /// it, as W3C tells them to: a path ends at them.
    #[must_use]
    pub fn with_meter_provider(mut self, provider: &dyn MeterProvider) -> Self {
        let meter = provider.meter_with_scope(scope());
        self.meters = Meters::Own(Arc::new(Metrics::new(&meter)));
        self.paths = Arc::default();
        self
    }

    /// Nothing is measured; spans alone.
    #[must_use]
    pub fn without_metrics(mut self) -> Self {
        self.meters = Meters::None;
        self.paths = Arc::default();
        self
    }

    /// Tracing can be turned off and on while the channel is in use.
    #[must_use]
    pub fn with_switch(mut self, switch: &TraceSwitch) -> Self {
        self.switch = switch.clone();
        self
    }

    /// Code of the application that runs at publish, confirm, delivery and settlement.
    #[must_use]
    pub fn with_hooks(mut self, hooks: impl TraceHooks + 'static) -> Self {
        self.hooks = Some(Arc::new(hooks));
        self
    }

    /// Bodies go onto recorded spans as `rabtrace.message.body`.
    #[must_use]
    pub fn with_body_capture(mut self, bodies: BodyCapture) -> Self {
        self.bodies = Some(bodies);
        self
    }

    /// The size of bodies goes onto recorded spans as `messaging.message.body.size`.
    #[must_use]
    pub fn with_body_size(mut self) -> Self {
        self.body_size = true;
        self
    }

    /// How some destinations are handled; the first rule that matches counts.
    #[must_use]
    pub fn with_rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Routing keys of this form have one name in span names, metrics and paths: with
    /// `order.{id}`, `order.42` is `order.{id}`. A part in braces stands for one word between
    /// dots, or for what is left of it.
    ///
    /// ```
    /// use rabtrace_lapin::TraceConfig;
    ///
    /// let config = TraceConfig::new().with_template("order.{id}").with_template("user-{id}.*");
    /// ```
    #[must_use]
    pub fn with_template(mut self, template: impl Into<String>) -> Self {
        self.templates.push(template.into());
        self
    }

    /// How many destinations spans, metrics and paths tell apart, 1,024 by default; those of one
    /// template count as one. While so many are in use, further ones are called `_other` there.
    /// Destinations that are not used any more make room in span names and paths, but not in
    /// metrics, as SDKs keep every series. The attribute `messaging.destination.name` of spans
    /// stays exact.
    #[must_use]
    pub fn with_destination_limit(mut self, destinations: usize) -> Self {
        self.destinations = destinations;
        self
    }

    /// How many edges of paths are told apart, 1,024 by default; further ones add up as the other
    /// paths ([`OTHER_PATHS`](crate::path::OTHER_PATHS)). Each kind of edge counts by itself. They
    /// stay as long as the configuration and its channels: an SDK keeps every series as well.
    ///
    /// The limit is that of all channels of one configuration and its clones; with the global meter
    /// provider that of each connection, or of each channel that is made without one.
    ///
    /// ```
    /// use rabtrace_lapin::TraceConfig;
    ///
    /// let config = TraceConfig::new().with_path_limit(256);
    /// ```
    #[must_use]
    pub fn with_path_limit(mut self, paths: usize) -> Self {
        self.path_limit = paths;
        self.paths = Arc::default();
        self
    }

    /// A publish belongs to a delivery only where the application says so, by
    /// [`instrument`](crate::Acker::instrument) or [`context`](crate::Acker::context): not by the
    /// task that it runs in.
    #[must_use]
    pub fn without_task_parent(mut self) -> Self {
        self.task_parent = false;
        self
    }

    /// Deliveries are settled through their channel: the same frame on the wire for less than lapin's
    /// acker costs (`docs/performance.md`, acknowledged by the delivery and through the channel).
    ///
    /// Not for connections with
    /// [`enable_auto_recover`](lapin::ConnectionProperties::enable_auto_recover): lapin's acker
    /// makes sure on the connection's thread that its channel was not opened anew meanwhile, the
    /// channel cannot. Without recovery a channel is never opened anew, and both are alike.
    #[must_use]
    pub fn with_fast_settle(mut self) -> Self {
        self.fast_settle = true;
        self
    }

    /// Attributes are given to a span after the sampler decided, and only if it is recorded. For
    /// samplers that do not look at attributes (`AlwaysOff`, `TraceIdRatioBased`), where few
    /// messages are sampled: a publish that is not makes no attributes then.
    ///
    /// Without this, a sampler sees all attributes of a span without parent, as the conventions
    /// ask for. Under a parent that is not sampled they always come after the decision.
    #[must_use]
    pub fn with_late_attributes(mut self) -> Self {
        self.late_attributes = true;
        self
    }

    /// The span of a delivery has the path in its own `tracestate`, so that other propagators hand
    /// it on: a message that is handled by calls over HTTP keeps its path then. Costs each
    /// delivery a `tracestate` of its own; messages carry their path in any case.
    #[must_use]
    pub fn with_path_in_spans(mut self) -> Self {
        self.path_in_spans = true;
        self
    }

    /// The service's name in the paths of messages. It has to be the resource's `service.name`,
    /// which the OpenTelemetry API does not let others read: say it here too where the resource has
    /// it from `with_service_name`, or set `OTEL_SERVICE_NAME`, which both read. Services of one
    /// name have their paths counted as one.
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
            .field("rules", &self.rules)
            .field("templates", &self.templates)
            .field("destinations", &self.destinations)
            .field("bodies", &self.bodies)
            .finish_non_exhaustive()
    }
}

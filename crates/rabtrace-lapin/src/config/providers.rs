//! The tracer, the instruments and the table of paths that a configuration leads to.
//!
//! Input: providers that the application named, or the global ones. Output: what a channel works
//! with. Global providers are those of the time when it is made.

use std::sync::Arc;

use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry::{InstrumentationScope, InstrumentationScopeBuilder, KeyValue};

use super::TraceConfig;
use crate::metrics::Metrics;
use crate::paths::Paths;
use crate::semconv;

/// The tracers of one provider.
#[derive(Clone)]
pub(super) struct Tracers {
    alone: Arc<BoxedTracer>,
    /// Where paths are measured as well.
    measured: Arc<BoxedTracer>,
}

impl Tracers {
    pub(super) fn of<P>(provider: &P) -> Self
    where
        P: TracerProvider,
        P::Tracer: Tracer<Span: Send + Sync + 'static> + Send + Sync + 'static,
    {
        let tracer = |is_measured| {
            let tracer = provider.tracer_with_scope(tracer_scope(is_measured));
            Arc::new(BoxedTracer::new(Box::new(tracer)))
        };
        Self {
            alone: tracer(false),
            measured: tracer(true),
        }
    }
}

/// Where measurements go.
#[derive(Clone)]
pub(crate) enum Meters {
    /// To the global meter provider of the time when a channel is made.
    Global,
    /// To one that the application named; also where there is no tracer.
    Own(Arc<Metrics>),
    /// Nowhere.
    None,
}

impl TraceConfig {
    /// The instruments, and whether they count without a tracer.
    pub(crate) fn metrics(&self) -> (Option<Arc<Metrics>>, bool) {
        match &self.meters {
            Meters::None => (None, false),
            Meters::Own(metrics) => (Some(Arc::clone(metrics)), true),
            // Nobody would ever see what is measured.
            Meters::Global if !has_global_meters() => (None, false),
            Meters::Global => {
                let meter = global::meter_with_scope(scope());
                (Some(Arc::new(Metrics::new(&meter))), true)
            }
        }
    }

    /// The table of paths. Instruments of a global meter provider are those of the time when they
    /// are made, and so is a table of their series.
    pub(crate) fn paths(&self, metrics: Option<&Arc<Metrics>>) -> Arc<Paths> {
        let make = || Arc::new(Paths::new(self.path_limit, metrics.cloned()));
        match &self.meters {
            Meters::Global => make(),
            Meters::Own(_) | Meters::None => Arc::clone(self.paths.get_or_init(make)),
        }
    }

    pub(crate) fn tracer(&self) -> Arc<BoxedTracer> {
        let is_measured = match &self.meters {
            Meters::None => false,
            Meters::Own(_) => true,
            Meters::Global => has_global_meters(),
        };
        match &self.tracer {
            Some(tracers) if is_measured => Arc::clone(&tracers.measured),
            Some(tracers) => Arc::clone(&tracers.alone),
            None => Arc::new(global::tracer_with_scope(tracer_scope(is_measured))),
        }
    }
}

/// Whether an application installed a meter provider: the one that stands there before holds
/// nothing.
fn has_global_meters() -> bool {
    size_of_val(&*global::meter_provider()) > 0
}

/// Of spans; who counts messages by spans has to know whether they are counted already.
fn tracer_scope(is_measured: bool) -> InstrumentationScope {
    let measured = KeyValue::new(semconv::RABTRACE_PATHS, "measured");
    let attributes = is_measured.then_some(measured);
    builder().with_attributes(attributes).build()
}

pub(super) fn scope() -> InstrumentationScope {
    builder().build()
}

fn builder() -> InstrumentationScopeBuilder {
    InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(semconv::SCHEMA_URL)
}

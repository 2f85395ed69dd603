//! The SDK's batch processor with settings that keep up, and with drops that show.
//!
//! The SDK's default queue of 2,048 spans is full after 41 ms of 50,000 spans a second: a server that
//! pauses for longer costs spans, and the SDK tells it once. Here the queue holds more than a second
//! of that rate, a full batch is sent at once, and every span that ends is counted.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfig, BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanProcessor,
};

use crate::{Exporter, Statistics};

/// Spans that may wait. At 50,000 spans a second that is 1.3 s of a server that does not answer. The
/// SDK makes room for all of them at once: about 24 MB.
const QUEUE: usize = 65_536;

/// Spans in a request: about 1.2 MB, well below what receivers take at most (20 MB and more).
const BATCH: usize = 2_048;

/// How long a span waits when few come: a trace is seen a second after it happened.
const DELAY: Duration = Duration::from_secs(1);

/// Settings for a batch processor that loses no span below 50,000 a second: a queue of 65,536 spans,
/// batches of 2,048, a delay of 1 s. `OTEL_BSP_MAX_QUEUE_SIZE`, `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` and
/// `OTEL_BSP_SCHEDULE_DELAY` count more where they are set.
///
/// ```
/// use opentelemetry_sdk::trace::BatchSpanProcessor;
/// use rabtrace_otlp::{Exporter, recommended_batch_config};
///
/// # fn main() -> Result<(), rabtrace_otlp::BuildError> {
/// let processor = BatchSpanProcessor::builder(Exporter::builder().build()?)
///     .with_batch_config(recommended_batch_config())
///     .build();
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn recommended_batch_config() -> BatchConfig {
    let unset = |name: &str| std::env::var_os(name).is_none();
    let mut config = BatchConfigBuilder::default();
    if unset("OTEL_BSP_MAX_QUEUE_SIZE") {
        config = config.with_max_queue_size(QUEUE);
    }
    if unset("OTEL_BSP_MAX_EXPORT_BATCH_SIZE") {
        config = config.with_max_export_batch_size(BATCH);
    }
    if unset("OTEL_BSP_SCHEDULE_DELAY") {
        config = config.with_scheduled_delay(DELAY);
    }
    config.build()
}

/// The SDK's batch processor around an [`Exporter`], which counts the spans that end.
///
/// What the SDK's own processor drops when its queue is full shows in
/// [`Statistics::outstanding`]. The SDK counts it as well, as `otel.sdk.processor.span.processed`
/// with `error.type` `queue_full`, but only with its feature `experimental_metrics_bound_instruments`
/// and a global meter provider that was installed before.
///
/// ```
/// use opentelemetry::trace::{Tracer, TracerProvider};
/// use opentelemetry_sdk::trace::SdkTracerProvider;
/// use rabtrace_otlp::{BatchProcessor, Exporter, RetryPolicy};
///
/// # fn main() -> Result<(), rabtrace_otlp::BuildError> {
/// let exporter = Exporter::builder()
///     .with_endpoint("http://127.0.0.1:1/v1/traces")
///     .with_retry_policy(RetryPolicy::disabled())
///     .build()?;
/// let statistics = exporter.statistics();
/// let provider = SdkTracerProvider::builder()
///     .with_span_processor(BatchProcessor::new(exporter))
///     .build();
/// provider.tracer("example").in_span("work", |_| {});
/// let _ = provider.force_flush();
/// assert_eq!(statistics.ended(), 1);
/// assert_eq!(statistics.failed(), 1, "nobody listens there");
/// assert_eq!(statistics.outstanding(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct BatchProcessor {
    inner: BatchSpanProcessor,
    statistics: Statistics,
}

impl BatchProcessor {
    /// With the settings of [`recommended_batch_config`].
    #[must_use]
    pub fn new(exporter: Exporter) -> Self {
        Self::with_config(exporter, recommended_batch_config())
    }

    /// With settings of one's own.
    #[must_use]
    pub fn with_config(exporter: Exporter, config: BatchConfig) -> Self {
        let statistics = exporter.statistics();
        let inner = BatchSpanProcessor::builder(exporter)
            .with_batch_config(config)
            .build();
        Self { inner, statistics }
    }
}

impl SpanProcessor for BatchProcessor {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        self.statistics.count_ended();
        self.inner.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

//! The OpenTelemetry SDK of each service of the pipeline, as any user would set it up.

use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider;
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};

/// How long a finished span waits for its request to fill.
const EXPORT_DELAY: Duration = Duration::from_millis(500);
/// Short, as everything in the demo: nobody waits a minute to see the first path.
const METRICS_INTERVAL: Duration = Duration::from_secs(1);

/// The providers of one service.
#[derive(Clone)]
pub(super) struct Telemetry {
    pub(super) tracer_provider: SdkTracerProvider,
    pub(super) meter_provider: SdkMeterProvider,
}

impl Telemetry {
    /// Providers for the service `name` that export by OTLP over gRPC to `endpoint`.
    pub(super) fn new(name: &'static str, endpoint: &str) -> Result<Self, ExporterBuildError> {
        let resource = Resource::builder().with_service_name(name).build();
        let spans = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .build()?;
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(16_384)
            .with_scheduled_delay(EXPORT_DELAY)
            .build();
        let processor = BatchSpanProcessor::builder(spans)
            .with_batch_config(config)
            .build();
        let tracer_provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_resource(resource.clone())
            .build();
        let metrics = MetricExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_temporality(Temporality::Delta)
            .build()?;
        let reader = PeriodicReader::builder(metrics)
            .with_interval(METRICS_INTERVAL)
            .build();
        let meter_provider = SdkMeterProvider::builder()
            .with_reader(reader)
            .with_view(rabtrace_otlp::path_view)
            .with_resource(resource)
            .build();
        observe_process(&meter_provider);
        Ok(Self {
            tracer_provider,
            meter_provider,
        })
    }

    /// Sends what is left. It blocks: the exporters have threads of their own.
    pub(super) fn shut_down(&self) {
        for error in [
            self.tracer_provider.shutdown().err(),
            self.meter_provider.shutdown().err(),
        ]
        .into_iter()
        .flatten()
        {
            tracing::warn!(%error, "telemetry of the pipeline could not be sent to the end");
        }
    }
}

/// The instruments `process.uptime` and `process.memory.usage` of the semantic conventions.
fn observe_process(provider: &SdkMeterProvider) {
    let meter = provider.meter("rabtrace.demo");
    let begun = Instant::now();
    meter
        .f64_observable_gauge("process.uptime")
        .with_unit("s")
        .with_callback(move |gauge| gauge.observe(begun.elapsed().as_secs_f64(), &[]))
        .build();
    meter
        .i64_observable_up_down_counter("process.memory.usage")
        .with_unit("By")
        .with_callback(|counter| {
            if let Some(bytes) = resident_bytes() {
                counter.observe(bytes, &[KeyValue::new("process.memory.kind", "resident")]);
            }
        })
        .build();
}

/// Resident memory by `/proc/self/statm`; none where there is no such file.
fn resident_bytes() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = text.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(i64::try_from(rustix::param::page_size()).ok()?)
}

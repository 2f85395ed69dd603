//! The ways to send and take a message that are compared with each other.
//!
//! A mode is raw lapin, lapin with hand-made headers (the floor), or the traced channel with one
//! configuration. Deliveries from the scripted server carry what a publish of the same mode would
//! have put there.

use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter,
};
use rabtrace_lapin::TraceConfig;
use rabtrace_lapin::opentelemetry::trace::noop::NoopTracerProvider;

use crate::floor::{Headers, Sampled};

/// Spans that may wait for the exporter: more than a run makes while one batch is sent.
const QUEUE: usize = 65_536;
/// Spans of one export: the default of the SDK.
const BATCH: usize = 512;

/// What happens to spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracing {
    /// No SDK installed.
    None,
    /// The SDK drops every span.
    Unsampled,
    /// The same; attributes come after the sampler's decision.
    UnsampledLate,
    /// One trace in ten.
    Tenth,
    /// Every span goes through the batch processor and is thrown away.
    Recorded,
    /// The same without spans of settlements.
    RecordedWithoutSettle,
    /// Every span is recorded as before, and every message measured.
    Measured,
    /// Every span goes to an OTLP server on this machine.
    Exported,
}

/// One row of the comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    pub(crate) name: &'static str,
    /// Hand-made ones of raw lapin; of a traced channel, what its deliveries carry.
    pub(crate) headers: Headers,
    /// None is raw lapin.
    pub(crate) tracing: Option<Tracing>,
}

const fn raw(name: &'static str, headers: Headers) -> Mode {
    Mode {
        name,
        headers,
        tracing: None,
    }
}

const fn traced(name: &'static str, headers: Headers, tracing: Tracing) -> Mode {
    Mode {
        name,
        headers,
        tracing: Some(tracing),
    }
}

/// Every mode; the first is what the others are compared with.
pub(crate) const MODES: &[Mode] = &[
    raw("raw", Headers::None),
    raw("raw_again", Headers::None),
    raw("parent", Headers::Parent),
    raw("parent_and_path", Headers::Path(Sampled::All)),
    traced("no_tracer", Headers::None, Tracing::None),
    traced(
        "unsampled",
        Headers::Path(Sampled::None),
        Tracing::Unsampled,
    ),
    traced(
        "unsampled_late",
        Headers::Path(Sampled::None),
        Tracing::UnsampledLate,
    ),
    traced("tenth", Headers::Path(Sampled::Tenth), Tracing::Tenth),
    traced("recorded", Headers::Path(Sampled::All), Tracing::Recorded),
    traced("metrics", Headers::Path(Sampled::All), Tracing::Measured),
    traced(
        "recorded_without_settle",
        Headers::Path(Sampled::All),
        Tracing::RecordedWithoutSettle,
    ),
    traced("exported", Headers::Path(Sampled::All), Tracing::Exported),
];

/// The mode of that name.
pub(crate) fn named(name: &str) -> Option<Mode> {
    MODES.iter().copied().find(|mode| mode.name == name)
}

/// Spans end here.
#[derive(Debug)]
pub(crate) struct Nowhere;

impl SpanExporter for Nowhere {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

/// The SDK with the settings of all modes.
pub(crate) fn provider(
    sampler: Sampler,
    exporter: impl SpanExporter + 'static,
) -> SdkTracerProvider {
    let limits = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_max_export_batch_size(BATCH)
        .build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(limits);
    SdkTracerProvider::builder()
        .with_span_processor(processor.build())
        .with_sampler(sampler)
        .build()
}

/// A traced channel's configuration, and the SDK behind it, if there is one.
///
/// # Panics
///
/// If the exporter cannot be built. `sink` is the address of an OTLP server (gRPC); an exporter
/// needs the Tokio runtime that the caller has entered.
pub(crate) fn config(tracing: Tracing, sink: &str) -> (TraceConfig, Option<SdkTracerProvider>) {
    let config = TraceConfig::new()
        .with_service_name("bench")
        .with_server("localhost", 5672);
    let provider = match tracing {
        Tracing::None => {
            return (
                config.with_tracer_provider(&NoopTracerProvider::new()),
                None,
            );
        }
        Tracing::Unsampled | Tracing::UnsampledLate => provider(Sampler::AlwaysOff, Nowhere),
        Tracing::Tenth => {
            let ratio = Sampler::TraceIdRatioBased(0.1);
            provider(Sampler::ParentBased(Box::new(ratio)), Nowhere)
        }
        Tracing::Recorded | Tracing::RecordedWithoutSettle | Tracing::Measured => {
            provider(Sampler::AlwaysOn, Nowhere)
        }
        Tracing::Exported => provider(Sampler::AlwaysOn, crate::sink::exporter(sink)),
    };
    let config = config.with_tracer_provider(&provider);
    let config = match tracing {
        Tracing::RecordedWithoutSettle => config.without_settle_spans(),
        Tracing::UnsampledLate => config.with_late_attributes(),
        Tracing::Measured => {
            let reader = PeriodicReader::builder(InMemoryMetricExporter::default());
            let meters = SdkMeterProvider::builder().with_reader(reader.build());
            // It has to outlive the run, as it does in an application.
            config.with_meter_provider(Box::leak(Box::new(meters.build())))
        }
        _ => config,
    };
    (config, Some(provider))
}

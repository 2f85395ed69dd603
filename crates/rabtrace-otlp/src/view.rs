//! The view that keeps path latencies as exponential histograms.
//!
//! Input: an instrument of the application's meter provider. Output: a stream with exponential
//! aggregation for the histograms of paths, none for every other instrument.

use opentelemetry_sdk::metrics::{Aggregation, Instrument, InstrumentKind, Stream};

/// Buckets at most. Values between 1 ms and 1 s fill them at a width of 2.2 %, values between
/// 10 µs and 100 s at 9 %; a quantile is off by half of that at most.
const MAX_BUCKETS: u32 = 320;
/// Series of one instrument, of all channels of a process; beyond it the SDK adds up without
/// their paths. The SDK's own limit is 2,000.
const MAX_SERIES: usize = 8_192;
/// The finest scale that the data model has; the SDK lowers it as values spread.
const MAX_SCALE: i8 = 20;

/// For [`with_view`]: the histograms `rabtrace.path.*` in seconds are kept as exponential
/// histograms of 320 buckets, so that p95 is exact to a percent or a few, whatever its size, and
/// merges without loss. Without it the SDK keeps them in buckets of fixed width, and quantiles are
/// as coarse as these. And all instruments `rabtrace.path.*` may have 8,192 series, where the SDK's
/// default is 2,000.
///
/// Source: metrics data model, "Exponential Histogram".
///
/// ```
/// use opentelemetry_sdk::metrics::SdkMeterProvider;
///
/// let provider = SdkMeterProvider::builder()
///     .with_view(rabtrace_otlp::path_view)
///     .build();
/// opentelemetry::global::set_meter_provider(provider);
/// ```
///
/// [`with_view`]: opentelemetry_sdk::metrics::MeterProviderBuilder::with_view
#[must_use]
pub fn path_view(instrument: &Instrument) -> Option<Stream> {
    if !instrument.name().starts_with("rabtrace.path.") {
        return None;
    }
    let mut stream = Stream::builder().with_cardinality_limit(MAX_SERIES);
    if instrument.kind() == InstrumentKind::Histogram && instrument.unit() == "s" {
        stream = stream.with_aggregation(Aggregation::Base2ExponentialHistogram {
            max_size: MAX_BUCKETS,
            max_scale: MAX_SCALE,
            record_min_max: true,
        });
    }
    stream.build().ok()
}

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::MeterProvider;
    use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
    use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

    /// Which instruments became exponential histograms.
    fn exponential(metrics: &[ResourceMetrics]) -> Vec<String> {
        let scopes = metrics.iter().flat_map(ResourceMetrics::scope_metrics);
        let is_exponential = |data: &AggregatedMetrics| {
            matches!(
                data,
                AggregatedMetrics::F64(MetricData::ExponentialHistogram(_))
            )
        };
        scopes
            .flat_map(|scope| scope.metrics())
            .filter(|metric| is_exponential(metric.data()))
            .map(|metric| metric.name().to_owned())
            .collect()
    }

    #[test]
    fn durations_of_paths_alone_become_exponential() {
        let exporter = InMemoryMetricExporter::default();
        let provider = SdkMeterProvider::builder()
            .with_reader(PeriodicReader::builder(exporter.clone()).build())
            .with_view(super::path_view)
            .build();
        let meter = provider.meter("rabtrace-lapin");
        for (name, unit) in [
            ("rabtrace.path.duration", "s"),
            ("rabtrace.path.attempts", "{attempt}"),
            ("messaging.process.duration", "s"),
        ] {
            meter
                .f64_histogram(name)
                .with_unit(unit)
                .build()
                .record(0.25, &[]);
        }
        provider.force_flush().unwrap();
        let metrics = exporter.get_finished_metrics().unwrap();
        assert_eq!(exponential(&metrics), ["rabtrace.path.duration"]);
    }
}

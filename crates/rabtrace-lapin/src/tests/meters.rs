//! What a channel measured, as text.

use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

/// A meter provider that exports into memory.
pub(super) struct Meters {
    pub(super) provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

/// One series.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) metric: String,
    /// Sorted, as `key=value`.
    pub(super) attributes: Vec<String>,
    /// The value of a counter, the count of a histogram.
    pub(super) value: i64,
    /// Of a histogram.
    pub(super) sum: f64,
}

/// What is the same for all series of an instrument.
#[derive(Debug)]
pub(super) struct Instrument {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) unit: String,
    pub(super) description: String,
    pub(super) bounds: Vec<f64>,
    series: Vec<Series>,
}

impl Meters {
    pub(super) fn new() -> Self {
        let exporter = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(exporter.clone()).build();
        Self {
            provider: SdkMeterProvider::builder().with_reader(reader).build(),
            exporter,
        }
    }

    /// All instruments that measured something so far, by name.
    pub(super) fn instruments(&self) -> Vec<Instrument> {
        self.exporter.reset();
        self.provider.force_flush().unwrap();
        let exported = self.exporter.get_finished_metrics().unwrap();
        let scopes = exported.iter().flat_map(|all| all.scope_metrics());
        let mut instruments: Vec<Instrument> = Vec::new();
        for scope in scopes {
            assert_eq!(scope.scope().name(), "rabtrace-lapin");
            assert_eq!(
                scope.scope().schema_url(),
                Some("https://opentelemetry.io/schemas/1.44.0")
            );
            instruments.extend(scope.metrics().map(instrument));
        }
        instruments.sort_by(|one, other| one.name.cmp(&other.name));
        instruments
    }

    pub(super) fn series(&self) -> Vec<Series> {
        let instruments = self.instruments().into_iter();
        instruments
            .flat_map(|instrument| instrument.series)
            .collect()
    }

    /// Every series but those of paths as `name key=value.. | value`; those of zero are left out.
    pub(super) fn shown(&self) -> String {
        let mut lines: Vec<String> = self
            .series()
            .into_iter()
            .filter(|series| series.value != 0 && !series.metric.starts_with("rabtrace.path."))
            .map(|series| {
                let words = [&[series.metric][..], &series.attributes].concat();
                format!("{} | {}", words.join(" "), series.value)
            })
            .collect();
        lines.sort();
        lines.join("\n")
    }

    /// The sum over all series of a metric that have all of those attributes.
    pub(super) fn total(&self, metric: &str, attributes: &[&str]) -> i64 {
        let has = |series: &Series, wanted: &str| {
            let mut attributes = series.attributes.iter();
            attributes.any(|attribute| attribute == wanted)
        };
        self.series()
            .iter()
            .filter(|series| series.metric == metric)
            .filter(|series| attributes.iter().all(|wanted| has(series, wanted)))
            .map(|series| series.value)
            .sum()
    }
}

fn instrument(metric: &Metric) -> Instrument {
    let (kind, bounds, series) = match metric.data() {
        AggregatedMetrics::U64(MetricData::Sum(sum)) => {
            let points = sum.data_points();
            let series = points.map(|point| {
                let value = i64::try_from(point.value()).unwrap();
                series(metric, point.attributes(), (value, 0.0))
            });
            let kind = if sum.is_monotonic() { "counter" } else { "?" };
            (kind, Vec::new(), series.collect())
        }
        AggregatedMetrics::I64(MetricData::Sum(sum)) => {
            let points = sum.data_points();
            let series =
                points.map(|point| series(metric, point.attributes(), (point.value(), 0.0)));
            let kind = if sum.is_monotonic() {
                "?"
            } else {
                "updowncounter"
            };
            (kind, Vec::new(), series.collect())
        }
        AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
            let points: Vec<_> = histogram.data_points().collect();
            let bounds = points.first().map(|point| point.bounds().collect());
            let series = points.iter().map(|point| {
                let value = i64::try_from(point.count()).unwrap();
                series(metric, point.attributes(), (value, point.sum()))
            });
            ("histogram", bounds.unwrap_or_default(), series.collect())
        }
        AggregatedMetrics::U64(MetricData::Histogram(histogram)) => {
            let points: Vec<_> = histogram.data_points().collect();
            let bounds = points.first().map(|point| point.bounds().collect());
            let series = points.iter().map(|point| {
                let value = i64::try_from(point.count()).unwrap();
                let sum = f64::from(u32::try_from(point.sum()).unwrap());
                series(metric, point.attributes(), (value, sum))
            });
            ("histogram", bounds.unwrap_or_default(), series.collect())
        }
        other => panic!("{}: {other:?}", metric.name()),
    };
    Instrument {
        name: metric.name().to_owned(),
        kind,
        unit: metric.unit().to_owned(),
        description: metric.description().to_owned(),
        bounds,
        series,
    }
}

fn series<'a>(
    metric: &Metric,
    attributes: impl Iterator<Item = &'a opentelemetry::KeyValue>,
    (value, sum): (i64, f64),
) -> Series {
    let mut attributes: Vec<String> = attributes
        .map(|attribute| format!("{}={}", attribute.key, attribute.value))
        .collect();
    attributes.sort();
    Series {
        metric: metric.name().to_owned(),
        attributes,
        value,
        sum,
    }
}

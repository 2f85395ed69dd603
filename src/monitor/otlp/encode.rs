//! Numbers into OTLP's messages.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::metrics::{OtlpKind, OtlpMetric};

/// Data points of a request of [`super::OtlpMetrics`].
#[must_use]
pub fn data_points(request: &ExportMetricsServiceRequest) -> u32 {
    let resources = request.resource_metrics.iter();
    let scopes = resources.flat_map(|resource| &resource.scope_metrics);
    let numbers = scopes
        .flat_map(|scope| &scope.metrics)
        .map(|metric| match &metric.data {
            Some(Data::Sum(sum)) => sum.data_points.len(),
            Some(Data::Gauge(gauge)) => gauge.data_points.len(),
            Some(Data::Histogram(histogram)) => histogram.data_points.len(),
            _ => 0,
        });
    u32::try_from(numbers.sum::<usize>()).unwrap_or(u32::MAX)
}

/// When a point is, and since when it counts; zero is not known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) start: u64,
    pub(super) now: u64,
}

impl Times {
    /// The same moment, counted since another one; never since a later one, which a clock that was
    /// set back would make of it.
    pub(super) fn since(self, unix_nano: Option<i64>) -> Self {
        let start = unix_nano.map_or(0, |start| u64::try_from(start).unwrap_or_default());
        Self {
            start: start.min(self.now),
            ..self
        }
    }
}

/// The metrics of one resource.
#[derive(Debug, Default)]
pub(super) struct Resourced {
    attributes: Vec<KeyValue>,
    metrics: Vec<Metric>,
}

impl Resourced {
    /// A resource of the broker `cluster`, without metrics.
    pub(super) fn new(cluster: &str) -> Self {
        Self {
            attributes: vec![
                text("messaging.system", "rabbitmq"),
                text("rabbitmq.cluster.name", cluster),
            ],
            metrics: Vec::new(),
        }
    }

    /// With an attribute, if it is known.
    pub(super) fn attribute(mut self, key: &str, value: Option<&str>) -> Self {
        let known = value.filter(|value| !value.is_empty());
        self.attributes.extend(known.map(|value| text(key, value)));
        self
    }

    /// With an attribute whose value may be empty.
    pub(super) fn name(mut self, key: &str, value: &str) -> Self {
        self.attributes.push(text(key, value));
        self
    }

    /// Adds a count, if it is known.
    pub(super) fn count(&mut self, metric: &OtlpMetric, times: Times, count: Option<u64>) {
        let point = |count| count_point(times, count, Vec::new());
        self.points(metric, count.map(point));
    }

    /// Adds a number that is no count, if it is known.
    pub(super) fn number(&mut self, metric: &OtlpMetric, times: Times, number: Option<f64>) {
        let point = |number| point(times, Number::AsDouble(number), Vec::new());
        self.points(metric, number.map(point));
    }

    /// Adds seconds, if they are known.
    pub(super) fn seconds(&mut self, metric: &OtlpMetric, times: Times, time: Option<Duration>) {
        self.number(metric, times, time.map(|time| time.as_secs_f64()));
    }

    /// Adds the points that there are.
    pub(super) fn points(
        &mut self,
        metric: &OtlpMetric,
        points: impl IntoIterator<Item = NumberDataPoint>,
    ) {
        let data_points: Vec<NumberDataPoint> = points.into_iter().collect();
        if data_points.is_empty() {
            return;
        }
        let sum = |data_points, is_monotonic| {
            Data::Sum(Sum {
                data_points,
                aggregation_temporality: AggregationTemporality::Cumulative.into(),
                is_monotonic,
            })
        };
        self.push(
            metric,
            match metric.kind {
                OtlpKind::Counter => sum(data_points, true),
                OtlpKind::UpDownCounter => sum(data_points, false),
                OtlpKind::Gauge | OtlpKind::Histogram => Data::Gauge(Gauge { data_points }),
            },
        );
    }

    pub(super) fn push(&mut self, metric: &OtlpMetric, data: Data) {
        self.metrics.push(Metric {
            name: metric.name.to_owned(),
            unit: metric.unit.to_owned(),
            data: Some(data),
            ..Metric::default()
        });
    }

    /// As OTLP; none without any metric.
    pub(super) fn done(self) -> Option<ResourceMetrics> {
        (!self.metrics.is_empty()).then(|| ResourceMetrics {
            resource: Some(Resource {
                attributes: self.attributes,
                ..Resource::default()
            }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(InstrumentationScope {
                    name: "rabtrace.monitor".to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    ..InstrumentationScope::default()
                }),
                metrics: self.metrics,
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        })
    }
}

/// A point of a count.
pub(super) fn count_point(times: Times, count: u64, attributes: Vec<KeyValue>) -> NumberDataPoint {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    point(times, Number::AsInt(count), attributes)
}

fn point(times: Times, value: Number, attributes: Vec<KeyValue>) -> NumberDataPoint {
    NumberDataPoint {
        attributes,
        start_time_unix_nano: times.start,
        time_unix_nano: times.now,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

/// An attribute.
pub(super) fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

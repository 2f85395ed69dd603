//! Path metrics: data points of the instruments `rabtrace.path.*` as [`PathRecord`]s.
//!
//! Input: a metric of any kind and temporality. Output: its records, and how many data points
//! could not be read (no hash, no direction, no destination, absurd buckets): those are counted
//! and left out, and the request is taken all the same.

use std::fmt::{self, Write};
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, DataPointFlags, ExponentialHistogramDataPoint, HistogramDataPoint,
    Metric, NumberDataPoint, metric::Data, number_data_point,
};

use super::super::attribute::Interner;
use crate::model::{
    AttributeValue, Attributes, Direction, EdgeKind, ExplicitHistogram, Histogram, PathMeasure,
    PathRecord, PathValue, Told,
};

/// Bounds that a histogram may have.
const MAX_BOUNDS: usize = 256;
/// Bytes that a name may have: no exchange or queue has a longer one (AMQP 0-9-1, short strings).
const MAX_NAME: usize = 255;
/// Counts up to here add up without loss.
const MAX_COUNT: u64 = 1 << 53;
/// No message takes longer, in seconds.
const MAX_SECONDS: f64 = 1e9;

/// What all points of one metric share.
pub(super) struct Source<'a> {
    pub(super) service: &'a Arc<str>,
    pub(super) instance: &'a Arc<str>,
    pub(super) measure: PathMeasure,
}

/// What was read of a request's path metrics.
#[derive(Clone, Debug, Default)]
pub struct PathRecords {
    /// The records.
    pub records: Vec<PathRecord>,
    /// Data points that could not be read.
    pub unreadable: u64,
}

/// A data point without what differs between the kinds.
struct Bare {
    attributes: Vec<KeyValue>,
    times: (u64, u64),
    flags: u32,
    value: Option<PathValue>,
}

impl PathRecords {
    /// Reads the points of a metric, and says how many have no value.
    pub(super) fn read(
        &mut self,
        metric: Metric,
        source: &Source<'_>,
        interner: &mut Interner,
    ) -> u64 {
        let all = super::data_points(&metric);
        let mut without_value = 0;
        let (temporality, points): (i32, Vec<Bare>) = match metric.data {
            Some(Data::Sum(sum)) => (
                sum.aggregation_temporality,
                sum.data_points.into_iter().map(number).collect(),
            ),
            Some(Data::ExponentialHistogram(histogram)) => (
                histogram.aggregation_temporality,
                histogram.data_points.into_iter().map(exponential).collect(),
            ),
            Some(Data::Histogram(histogram)) => (
                histogram.aggregation_temporality,
                histogram.data_points.into_iter().map(explicit).collect(),
            ),
            _ => {
                self.unreadable += all;
                return 0;
            }
        };
        let cumulative = temporality == AggregationTemporality::Cumulative as i32;
        for point in points {
            if point.flags & DataPointFlags::NoRecordedValueMask as u32 != 0 {
                without_value += 1;
                continue;
            }
            match record(point, source, interner) {
                Some(record) => self.records.push(PathRecord {
                    cumulative,
                    ..record
                }),
                None => self.unreadable += 1,
            }
        }
        without_value
    }
}

fn record(point: Bare, source: &Source<'_>, interner: &mut Interner) -> Option<PathRecord> {
    let value = point.value?;
    let fits = matches!(value, PathValue::Count(_))
        == matches!(source.measure, PathMeasure::Messages | PathMeasure::Errors);
    if !fits || source.service.len() > MAX_NAME || !is_plausible(&value) {
        return None;
    }
    let is_long = |name: &str| text(&point.attributes, name).is_some_and(|it| it.len() > MAX_NAME);
    if [
        "messaging.destination.name",
        "rabtrace.path.via",
        "error.type",
    ]
    .into_iter()
    .any(is_long)
    {
        return None;
    }
    let text = |name: &str| text(&point.attributes, name);
    let hash = |name: &str| text(name).and_then(|text| u64::from_str_radix(text, 16).ok());
    let direction = match text("rabtrace.direction")? {
        "out" => Direction::Out,
        "in" => Direction::In,
        _ => return None,
    };
    let kind = match text("rabtrace.edge.kind") {
        Some(name) => EdgeKind::named(name)?,
        None => EdgeKind::Forward,
    };
    Some(PathRecord {
        service: Arc::clone(source.service),
        instance: Arc::clone(source.instance),
        // No step has hash 0: there it means that there is none.
        hash: hash("rabtrace.path.hash").filter(|hash| *hash != 0)?,
        parent: hash("rabtrace.path.parent").filter(|hash| *hash != 0),
        direction,
        destination: interner.intern(text("messaging.destination.name")?),
        kind,
        via: text("rabtrace.path.via").map(|via| interner.intern(via)),
        error_type: text("error.type").map(|name| interner.intern(name)),
        measure: source.measure,
        cumulative: false,
        start_unix_nano: point.times.0,
        end_unix_nano: point.times.1,
        value,
    })
}

fn is_plausible(value: &PathValue) -> bool {
    match value {
        PathValue::Count(number) => *number <= MAX_COUNT,
        PathValue::Exponential(histogram) => histogram.max() <= MAX_SECONDS,
        PathValue::Explicit(explicit) => {
            Histogram::of_explicit(explicit).is_some_and(|of| of.max() <= MAX_SECONDS)
        }
    }
}

fn text<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a str> {
    let value = attributes.iter().find(|attribute| attribute.key == name)?;
    match &value.value {
        Some(AnyValue {
            value: Some(Value::StringValue(text)),
        }) => Some(text),
        _ => None,
    }
}

fn number(point: NumberDataPoint) -> Bare {
    let count = match point.value {
        Some(number_data_point::Value::AsInt(number)) => u64::try_from(number).ok(),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number in the range of a count"
        )]
        Some(number_data_point::Value::AsDouble(number)) => {
            ((0.0..9e15).contains(&number) && number.fract() == 0.0).then_some(number as u64)
        }
        None => None,
    };
    Bare {
        attributes: point.attributes,
        times: (point.start_time_unix_nano, point.time_unix_nano),
        flags: point.flags,
        value: count.map(PathValue::Count),
    }
}

fn exponential(point: ExponentialHistogramDataPoint) -> Bare {
    let told = Told {
        sum: point.sum,
        min: point.min,
        max: point.max,
    };
    let positive = point.positive.unwrap_or_default();
    // Durations are never negative: buckets that say so are not read.
    let value = Histogram::of_exponential(
        (point.scale, positive.offset),
        &positive.bucket_counts,
        point.zero_count,
        told,
    );
    Bare {
        attributes: point.attributes,
        times: (point.start_time_unix_nano, point.time_unix_nano),
        flags: point.flags,
        value: value.map(PathValue::Exponential),
    }
}

fn explicit(point: HistogramDataPoint) -> Bare {
    let told = Told {
        sum: point.sum,
        min: point.min,
        max: point.max,
    };
    // A view without bounds has one bucket, which may be left out.
    let counts = match point.bucket_counts.is_empty() && point.explicit_bounds.is_empty() {
        true => vec![point.count],
        false => point.bucket_counts,
    };
    let value = ExplicitHistogram {
        bounds: point.explicit_bounds,
        counts,
        told,
    };
    let readable = value.bounds.len() <= MAX_BOUNDS;
    Bare {
        attributes: point.attributes,
        times: (point.start_time_unix_nano, point.time_unix_nano),
        flags: point.flags,
        value: readable.then_some(PathValue::Explicit(value)),
    }
}

/// What tells one process of a service from another: `service.instance.id`, or else a hash of all
/// that the resource says.
pub(super) fn instance(resource: &Attributes) -> Arc<str> {
    let named = resource
        .iter()
        .find(|(key, _)| &**key == "service.instance.id");
    if let Some((_, AttributeValue::Text(id))) = named
        && !id.is_empty()
    {
        return Arc::clone(id);
    }
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    // The text itself would take many times what the resource does.
    let _ = write!(hash, "{resource:?}");
    format!("{:016x}", hash.0).into()
}

/// The hash FNV-1a of a text as it is written.
struct Fnv(u64);

impl Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = text.bytes().fold(self.0, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests;

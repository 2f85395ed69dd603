//! SQL functions beside SQLite's own: percentiles and buckets of time.

use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, Result};

use crate::model::Histogram;

/// Registers, on this connection:
/// - `percentile(value, p)`: the exact percentile, `p` from 0 to 100, by linear interpolation, as
///   SQLite's own extension of that name;
/// - `quantile(value, q)` and `approx_percentile_cont(value, q)`: the same with `q` from 0 to 1,
///   the second as DataFusion and InfluxDB 3 name it;
/// - `histogram_quantile(histogram, q)`: the quantile of several histograms together, those of
///   `message_flow` for instance, in ms;
/// - `time_bucket(seconds, time)`: the start of the bucket of a time in nanoseconds.
pub(super) fn register(database: &Connection) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    for (name, whole) in [
        ("percentile", 100.0),
        ("quantile", 1.0),
        ("approx_percentile_cont", 1.0),
    ] {
        database.create_aggregate_function(name, 2, flags, Percentile { name, whole })?;
    }
    database.create_aggregate_function("histogram_quantile", 2, flags, Merged)?;
    database.create_scalar_function("time_bucket", 2, flags, |context| {
        let time: Option<i64> = context.get(1)?;
        let width = number(context, 0)?
            .filter(|seconds| *seconds >= 1e-9)
            .ok_or_else(|| {
                wrong("time_bucket(seconds, time): seconds must be above zero".to_owned())
            })?;
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        let width = (width * 1e9) as i64;
        Ok(time.map(|time| time - time.rem_euclid(width.max(1))))
    })
}

struct Percentile {
    name: &'static str,
    /// What stands for all of the values: 100 or 1.
    whole: f64,
}

/// Histograms that were merged, and the quantile that is asked for.
struct Merged;

impl Aggregate<(f64, Histogram), Option<f64>> for Merged {
    fn init(&self, context: &mut Context<'_>) -> Result<(f64, Histogram)> {
        let share = number(context, 1)?.filter(|share| (0.0..=1.0).contains(share));
        let share = share.ok_or_else(|| {
            wrong("histogram_quantile(histogram, q): q must be from 0 to 1".to_owned())
        })?;
        Ok((share, Histogram::default()))
    }

    fn step(&self, context: &mut Context<'_>, merged: &mut (f64, Histogram)) -> Result<()> {
        let understood = match context.get_raw(0) {
            ValueRef::Null => true,
            ValueRef::Blob(bytes) => merged.1.merge_encoded(bytes),
            _ => false,
        };
        understood.then_some(()).ok_or_else(|| {
            wrong("histogram_quantile(histogram, q): the first is no histogram".to_owned())
        })
    }

    fn finalize(
        &self,
        _: &mut Context<'_>,
        merged: Option<(f64, Histogram)>,
    ) -> Result<Option<f64>> {
        let quantile = merged.and_then(|(share, histogram)| histogram.quantile(share));
        Ok(quantile.map(|seconds| seconds * 1e3))
    }
}

struct Values {
    share: f64,
    values: Vec<f64>,
}

impl Aggregate<Values, Option<f64>> for Percentile {
    fn init(&self, context: &mut Context<'_>) -> Result<Values> {
        let share = number(context, 1)?.filter(|share| (0.0..=self.whole).contains(share));
        let share = share.ok_or_else(|| {
            wrong(format!(
                "{}(value, share): the share must be from 0 to {}",
                self.name, self.whole
            ))
        })?;
        Ok(Values {
            share: share / self.whole,
            values: Vec::new(),
        })
    }

    fn step(&self, context: &mut Context<'_>, values: &mut Values) -> Result<()> {
        values.values.extend(number(context, 0)?);
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, values: Option<Values>) -> Result<Option<f64>> {
        Ok(values.and_then(|Values { share, values }| percentile(values, share)))
    }
}

/// An argument as a number; none for NULL and for texts.
fn number(context: &Context<'_>, place: usize) -> Result<Option<f64>> {
    #[expect(clippy::cast_precision_loss, reason = "a value to compare")]
    Ok(match context.get_raw(place) {
        ValueRef::Integer(number) => Some(number as f64),
        ValueRef::Real(number) => Some(number),
        _ => None,
    })
}

fn wrong(message: String) -> Error {
    Error::UserFunctionError(message.into())
}

/// The value at that share of the sorted values, between two by linear interpolation.
fn percentile(mut values: Vec<f64>, share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "a rank")]
    let place = share * values.len().checked_sub(1)? as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the number of values"
    )]
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    let (below, above) = (values.get(below)?, values.get(above)?);
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_exact() {
        let values = || vec![4.0, 1.0, 3.0, 2.0];
        assert_eq!(percentile(values(), 0.5), Some(2.5));
        assert_eq!(percentile(values(), 1.0), Some(4.0));
        assert_eq!(percentile(values(), 0.0), Some(1.0));
        assert_eq!(percentile(Vec::new(), 0.5), None);
    }
}

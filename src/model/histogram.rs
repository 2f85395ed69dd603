//! An exponential histogram as OpenTelemetry defines it (metrics data model, "Exponential
//! Histogram"): buckets grow by a fixed factor, the scale is lowered when the values spread too
//! far, and merging loses nothing but that. 320 buckets: over a spread of
//! 1 to 1,000 a quantile is off by ±1.1 %, over 1 to 100,000 by ±2.2 %.

mod encoded;
mod otlp;

use std::collections::VecDeque;

pub use otlp::{ExplicitHistogram, Told};

/// Buckets at most; beyond it the scale is lowered, which merges neighbours.
const MAX_BUCKETS: usize = 320;
/// No bucket of an `f64` lies farther away, at any scale of ours.
const MAX_PLACE: u32 = 1 << 20;
/// Scale to begin with: 2^(2^-7), buckets 0.54 % wide.
const FIRST_SCALE: i32 = 7;

/// Counts of non-negative values, in seconds where it holds durations.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    scale: i32,
    zeros: u64,
    /// Index of the first bucket.
    offset: i32,
    buckets: VecDeque<u64>,
    count: u64,
    sum: f64,
    max: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            scale: FIRST_SCALE,
            zeros: 0,
            offset: 0,
            buckets: VecDeque::new(),
            count: 0,
            sum: 0.0,
            max: 0.0,
        }
    }
}

impl Histogram {
    /// Adds one value; a negative one or one that is no number is left out.
    pub fn record(&mut self, value: f64) {
        if !value.is_finite() || value < 0.0 {
            return;
        }
        self.count += 1;
        self.sum += value;
        self.max = self.max.max(value);
        if value < f64::MIN_POSITIVE {
            self.zeros += 1;
        } else {
            self.add(index(value, self.scale), self.scale, 1);
        }
    }

    /// Adds all values of another histogram.
    pub fn merge(&mut self, other: &Self) {
        self.lower_to(other.scale);
        self.zeros = self.zeros.saturating_add(other.zeros);
        self.count = self.count.saturating_add(other.count);
        self.sum += other.sum;
        self.max = self.max.max(other.max);
        for (place, number) in (other.offset..).zip(&other.buckets) {
            if *number > 0 {
                self.add(place, other.scale, *number);
            }
        }
    }

    /// The value below which the share `quantile` (0 to 1) of the values lies; none when empty.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a rank needs no more than 53 bits"
        )]
        let rank = quantile.clamp(0.0, 1.0) * (self.count - 1) as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the count"
        )]
        let rank = rank.round() as u64;
        let mut seen = self.zeros;
        if rank < seen {
            return Some(0.0);
        }
        for (place, number) in (self.offset..).zip(&self.buckets) {
            seen = seen.saturating_add(*number);
            if rank < seen {
                return Some(middle(place, self.scale).min(self.max));
            }
        }
        Some(self.max)
    }

    /// Number of values that are at most `bound`; those of the bucket in which it lies count if the
    /// bucket's middle does.
    #[must_use]
    pub fn at_most(&self, bound: f64) -> u64 {
        let places = (self.offset..).zip(&self.buckets);
        let below = places.take_while(|(place, _)| middle(*place, self.scale) <= bound);
        let counts = below.map(|(_, number)| *number);
        counts.fold(self.zeros, u64::saturating_add)
    }

    /// Number of values.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Sum of the values.
    #[must_use]
    pub const fn sum(&self) -> f64 {
        self.sum
    }

    /// The greatest value; zero when empty.
    #[must_use]
    pub const fn max(&self) -> f64 {
        self.max
    }

    /// How far a quantile may be off, as a share of it: half a bucket.
    ///
    /// ```
    /// let error = rabtrace::model::Histogram::default().relative_error();
    /// assert!((error - 0.0027).abs() < 0.0001);
    /// ```
    #[must_use]
    pub fn relative_error(&self) -> f64 {
        (0.5 / f64::from(self.scale).exp2()).exp2() - 1.0
    }

    /// Adds `number` to the bucket `place` of scale `scale`, which is ours or finer.
    fn add(&mut self, place: i32, scale: i32, number: u64) {
        let mut place = place >> (scale - self.scale).max(0);
        loop {
            let first = if self.buckets.is_empty() {
                place
            } else {
                self.offset.min(place)
            };
            let last = if self.buckets.is_empty() {
                place
            } else {
                (self.offset + length(&self.buckets) - 1).max(place)
            };
            if usize::try_from(i64::from(last) - i64::from(first))
                .is_ok_and(|span| span < MAX_BUCKETS)
            {
                break;
            }
            self.lower_to(self.scale - 1);
            place >>= 1;
        }
        if self.buckets.is_empty() {
            self.offset = place;
        }
        while place < self.offset {
            self.buckets.push_front(0);
            self.offset -= 1;
        }
        while place >= self.offset + length(&self.buckets) {
            self.buckets.push_back(0);
        }
        if let Some(bucket) = usize::try_from(place - self.offset)
            .ok()
            .and_then(|at| self.buckets.get_mut(at))
        {
            *bucket = bucket.saturating_add(number);
        }
    }

    /// Merges neighbouring buckets until the scale is no more than `scale`.
    fn lower_to(&mut self, scale: i32) {
        if scale >= self.scale {
            return;
        }
        let shift = self.scale - scale;
        let old = std::mem::take(&mut self.buckets);
        let offset = self.offset;
        self.scale = scale;
        self.offset = offset >> shift;
        for (place, number) in (offset..).zip(old) {
            let at = usize::try_from((place >> shift) - self.offset).unwrap_or(0);
            if self.buckets.len() <= at {
                self.buckets.resize(at + 1, 0);
            }
            self.buckets[at] += number;
        }
    }
}

fn length(buckets: &VecDeque<u64>) -> i32 {
    i32::try_from(buckets.len()).unwrap_or(i32::MAX)
}

/// The bucket of a value: `(base^index, base^(index+1)]` with base `2^(2^-scale)`.
fn index(value: f64, scale: i32) -> i32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "log2 of a finite f64 times 2^7 fits"
    )]
    let place = (value.log2() * f64::from(scale).exp2()).ceil() as i32;
    place - 1
}

/// The middle of a bucket, on the logarithmic axis.
fn middle(place: i32, scale: i32) -> f64 {
    ((f64::from(place) + 0.5) / f64::from(scale).exp2()).exp2()
}

#[cfg(test)]
mod tests {
    use super::Histogram;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|value| histogram.record(*value));
        histogram
    }

    fn exact(values: &[f64], quantile: f64) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small rank"
        )]
        let rank = (quantile * (sorted.len() - 1) as f64).round() as usize;
        sorted[rank]
    }

    proptest! {
        #[test]
        fn quantiles_are_within_the_documented_error(values in prop::collection::vec(1e-4..10.0f64, 1..500), quantile in 0.0..1.0f64) {
            let told = of(&values).quantile(quantile).unwrap();
            let truth = exact(&values, quantile);
            prop_assert!((told - truth).abs() <= truth * 0.022, "{told} for {truth}");
        }

        #[test]
        fn merging_is_recording_both(one in prop::collection::vec(0.0..1e6f64, 0..200), other in prop::collection::vec(0.0..1e-3f64, 0..200)) {
            let mut merged = of(&one);
            merged.merge(&of(&other));
            let both = of(&[one, other].concat());
            prop_assert_eq!(merged.count(), both.count());
            for quantile in [0.0, 0.5, 0.95, 1.0] {
                let (a, b) = (merged.quantile(quantile), both.quantile(quantile));
                prop_assert!(a.zip(b).is_none_or(|(a, b)| (a - b).abs() <= b * 0.05), "{:?} {:?}", a, b);
            }
        }

        #[test]
        fn merging_bytes_is_merging_what_they_hold(one in prop::collection::vec(0.0..1e6f64, 0..200), other in prop::collection::vec(0.0..1e-3f64, 0..200)) {
            let (mut slow, mut fast) = (of(&one), of(&one));
            let other = of(&other);
            slow.merge(&other);
            prop_assert!(fast.merge_encoded(&other.encode()));
            prop_assert_eq!(fast, slow);
            prop_assert_eq!(Histogram::encoded_sum(&other.encode()), Some((other.sum(), other.count())));
        }

        #[test]
        fn bytes_go_both_ways_and_any_bytes_are_survived(values in prop::collection::vec(0.0..1e9f64, 0..100), junk in prop::collection::vec(any::<u8>(), 0..60)) {
            let histogram = of(&values);
            prop_assert_eq!(Histogram::decode(&histogram.encode()), Some(histogram));
            let _ = Histogram::decode(&junk);
            let mut kept = Histogram::default();
            prop_assert_eq!(kept.merge_encoded(&junk), Histogram::decode(&junk).is_some());
        }
    }

    #[test]
    fn what_is_no_duration_is_left_out() {
        let histogram = of(&[f64::NAN, -1.0, f64::INFINITY]);
        assert_eq!((histogram.count(), histogram.quantile(0.5)), (0, None));
    }
}

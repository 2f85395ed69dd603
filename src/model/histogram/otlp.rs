//! OTLP's histograms as ours.
//!
//! Input: the buckets of a data point, which may be hostile. Output: a [`Histogram`]; none if the
//! buckets cannot be those of `f64`s. Exponential buckets are taken over exactly, down to the
//! scale of ours; values of explicit ones are spread evenly over the logarithm of their bucket.
//! Source: OpenTelemetry metrics data model, "ExponentialHistogram" and "Histogram".

use super::{FIRST_SCALE, Histogram, MAX_BUCKETS, index, length, middle};

/// Scales of OTLP's exponential histograms.
const SCALES: std::ops::RangeInclusive<i32> = -10..=20;
/// Powers of two beyond which no `f64` lies, on both sides.
const MAX_POWER: i64 = 1_100;
/// Values of one data point at most: a number beyond is no count.
const MAX_COUNT: u64 = 1 << 53;

/// What both kinds of data points tell beside their buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Told {
    /// Sum of the values.
    pub sum: Option<f64>,
    /// The least of them.
    pub min: Option<f64>,
    /// The greatest of them.
    pub max: Option<f64>,
}

/// Values by bounds that somebody chose: bucket `i` holds those above bound `i - 1` and up to
/// bound `i`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExplicitHistogram {
    /// Upper bounds of all buckets but the last, ascending.
    pub bounds: Vec<f64>,
    /// One more than bounds.
    pub counts: Vec<u64>,
    /// Sum, least and greatest of the values.
    pub told: Told,
}

impl Histogram {
    /// A histogram of exponential buckets: `counts[i]` values lie in
    /// `(base^(offset+i), base^(offset+i+1)]` with base `2^(2^-scale)`, and `zeros` at zero.
    ///
    /// None for scales, offsets and counts that no data point of `f64`s has.
    ///
    /// ```
    /// use rabtrace::model::{Histogram, Told};
    ///
    /// let told = Told { sum: Some(3.0), ..Told::default() };
    /// let histogram = Histogram::of_exponential((0, 0), &[1], 2, told).ok_or("refused")?;
    /// assert_eq!((histogram.count(), histogram.sum()), (3, 3.0));
    /// assert!(Histogram::of_exponential((20, i32::MAX), &[1], 0, told).is_none());
    /// # Ok::<(), &str>(())
    /// ```
    #[must_use]
    pub fn of_exponential(
        (scale, offset): (i32, i32),
        counts: &[u64],
        zeros: u64,
        told: Told,
    ) -> Option<Self> {
        if !SCALES.contains(&scale) {
            return None;
        }
        let farthest = if scale >= 0 {
            MAX_POWER << scale
        } else {
            (MAX_POWER >> -scale) + 1
        };
        let mut histogram = Self {
            scale: scale.min(FIRST_SCALE),
            zeros,
            count: zeros,
            ..Self::default()
        };
        for (place, number) in (i64::from(offset)..).zip(counts) {
            if *number == 0 {
                continue;
            }
            if place.abs() > farthest {
                return None;
            }
            let place = i32::try_from(place).ok()?;
            histogram.add(place, scale, *number);
            histogram.count = histogram.count.checked_add(*number)?;
        }
        (histogram.count <= MAX_COUNT).then(|| histogram.with(told))
    }

    /// A histogram of explicit buckets. The first bucket begins at the least value or at half of
    /// its bound, the last one ends at the greatest value or where it begins.
    ///
    /// None for bounds that do not ascend, and if there is not one count more than bounds.
    ///
    /// ```
    /// use rabtrace::model::{ExplicitHistogram, Histogram, Told};
    ///
    /// let told = Told { sum: Some(2.5), min: Some(1.0), max: Some(1.5) };
    /// let explicit = ExplicitHistogram { bounds: vec![1.0, 2.0], counts: vec![1, 1, 0], told };
    /// let histogram = Histogram::of_explicit(&explicit).ok_or("refused")?;
    /// assert_eq!((histogram.count(), histogram.max()), (2, 1.5));
    /// # Ok::<(), &str>(())
    /// ```
    #[must_use]
    pub fn of_explicit(explicit: &ExplicitHistogram) -> Option<Self> {
        let ExplicitHistogram {
            bounds,
            counts,
            told,
        } = explicit;
        let ascend = bounds.is_sorted_by(|a, b| a < b) && bounds.iter().all(|b| b.is_finite());
        if !ascend || counts.len() != bounds.len() + 1 {
            return None;
        }
        let total = counts
            .iter()
            .try_fold(0_u64, |sum, number| sum.checked_add(*number))?;
        if total > MAX_COUNT {
            return None;
        }
        let mut histogram = Self {
            count: total,
            ..Self::default()
        };
        let edges = |at: usize| edges(bounds, at, *told);
        let filled = || counts.iter().enumerate().filter(|(_, number)| **number > 0);
        let positive = || {
            filled()
                .map(|(at, _)| edges(at))
                .filter(|(_, to)| *to > 0.0)
        };
        let least = positive().map(|(from, _)| from).fold(f64::MAX, f64::min);
        let greatest = positive().map(|(_, to)| to).fold(0.0, f64::max);
        if greatest > 0.0 {
            histogram.scale = fitting(least, greatest);
        }
        for (at, number) in filled() {
            match edges(at) {
                (_, to) if to <= 0.0 => histogram.zeros += number,
                edges => histogram.spread(edges, *number),
            }
        }
        let mut histogram = histogram.with(*told);
        // The greatest value may lie anywhere in the last bucket, not only where it was spread to.
        let last = filled().next_back().map(|(at, _)| edges(at));
        if let (Some((from, to)), Some(max)) = (last, told.max.filter(|max| max.is_finite())) {
            histogram.max = max.clamp(from, to.max(from));
        }
        Some(histogram)
    }

    /// What came on top of `earlier`; none if that is no earlier state of it.
    ///
    /// `told` says what is known of the whole: its sum is that on top.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        let (mut now, mut then) = (self.clone(), earlier.clone());
        now.lower_to(then.scale);
        then.lower_to(now.scale);
        let mut rest = Self {
            scale: now.scale,
            zeros: now.zeros.checked_sub(then.zeros)?,
            count: now.count.checked_sub(then.count)?,
            ..Self::default()
        };
        let outside = (then.offset..)
            .zip(&then.buckets)
            .any(|(place, number)| *number > now.at(place));
        if outside {
            return None;
        }
        for (place, number) in (now.offset..).zip(&now.buckets) {
            let left = number.checked_sub(then.at(place))?;
            if left > 0 {
                rest.add(place, rest.scale, left);
            }
        }
        let told = Told {
            sum: Some((self.sum - earlier.sum).max(0.0)),
            min: None,
            max: Some(self.max),
        };
        Some(rest.with(told))
    }

    fn at(&self, place: i32) -> u64 {
        let at = i64::from(place) - i64::from(self.offset);
        let at = usize::try_from(at).ok();
        at.and_then(|at| self.buckets.get(at).copied()).unwrap_or(0)
    }

    /// Spreads `number` values evenly over the logarithm of what lies between the edges.
    fn spread(&mut self, (from, to): (f64, f64), number: u64) {
        let last = index(to, self.scale);
        let first = (index(from, self.scale) + 1).min(last);
        let parts = u128::try_from(last - first + 1).unwrap_or(1);
        let up_to = |part: u128| (u128::from(number) * part + parts / 2) / parts;
        let mut done = 0;
        for (place, part) in (first..=last).zip(1..) {
            let share = u64::try_from(up_to(part) - done).unwrap_or(0);
            done = up_to(part);
            if share > 0 {
                self.add(place, self.scale, share);
            }
        }
    }

    /// Sum and greatest value as told, as far as the buckets allow them.
    fn with(mut self, told: Told) -> Self {
        let edge = |place: i32| (f64::from(place) / f64::from(self.scale).exp2()).exp2();
        let last = self.offset + length(&self.buckets);
        let (above, to) = match self.buckets.is_empty() {
            true => (0.0, 0.0),
            false => (edge(last - 1).min(f64::MAX), edge(last).min(f64::MAX)),
        };
        let told_max = told.max.filter(|max| max.is_finite());
        self.max = told_max.map_or(to, |max| max.clamp(above, to));
        let told_sum = told.sum.filter(|sum| sum.is_finite() && *sum >= 0.0);
        self.sum = told_sum.unwrap_or_else(|| self.estimated_sum());
        self
    }

    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn estimated_sum(&self) -> f64 {
        let buckets = (self.offset..).zip(&self.buckets);
        let sum: f64 = buckets
            .map(|(place, number)| middle(place, self.scale).min(self.max) * *number as f64)
            .sum();
        sum.min(f64::MAX)
    }
}

/// Where the values of the bucket `at` may lie.
fn edges(bounds: &[f64], at: usize, told: Told) -> (f64, f64) {
    let below = at.checked_sub(1).and_then(|at| bounds.get(at).copied());
    let min = told.min.filter(|min| *min > 0.0 && min.is_finite());
    let max = told.max.filter(|max| *max > 0.0 && max.is_finite());
    let to = match (bounds.get(at), below) {
        (Some(bound), _) => max.map_or(*bound, |max| max.min(*bound)),
        (None, Some(below)) => max.unwrap_or(below),
        (None, None) => max.or(min).unwrap_or(0.0),
    };
    let from = match below.filter(|below| *below > 0.0) {
        Some(below) => min.map_or(below, |min| min.max(below)),
        None => min.unwrap_or(to / 2.0),
    };
    // What is told may contradict the buckets: those are believed.
    let to = below.map_or(to, |below| to.max(below));
    (from.min(to).max(f64::MIN_POSITIVE), to)
}

/// The finest scale at which values between the two fit.
fn fitting(least: f64, greatest: f64) -> i32 {
    let mut scale = FIRST_SCALE;
    let most = i32::try_from(MAX_BUCKETS).unwrap_or(i32::MAX);
    while index(greatest, scale) - index(least, scale) >= most {
        scale -= 1;
    }
    scale
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ExplicitHistogram, Histogram, Told};

    fn of(values: &[f64]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|value| histogram.record(*value));
        histogram
    }

    /// The values as an SDK counts them: exponential buckets of that scale.
    fn exponential(values: &[f64], scale: i32) -> (i32, Vec<u64>) {
        let places: Vec<i32> = values
            .iter()
            .map(|value| super::index(*value, scale))
            .collect();
        let offset = places.iter().copied().min().unwrap_or(0);
        let mut counts = Vec::new();
        for place in places {
            let at = usize::try_from(place - offset).unwrap();
            counts.resize(counts.len().max(at + 1), 0);
            counts[at] += 1;
        }
        (offset, counts)
    }

    fn explicit(values: &[f64], bounds: &[f64]) -> ExplicitHistogram {
        let mut counts = vec![0; bounds.len() + 1];
        for value in values {
            counts[bounds.partition_point(|bound| bound < value)] += 1;
        }
        let told = Told {
            sum: Some(values.iter().sum()),
            min: values.iter().copied().reduce(f64::min),
            max: values.iter().copied().reduce(f64::max),
        };
        ExplicitHistogram {
            bounds: bounds.to_vec(),
            counts,
            told,
        }
    }

    proptest! {
        #[test]
        fn exponential_buckets_are_taken_over_exactly(values in prop::collection::vec(1e-4..10.0f64, 1..200), scale in 3..12) {
            let (offset, counts) = exponential(&values, scale);
            let told = Told { sum: Some(values.iter().sum()), min: None, max: values.iter().copied().reduce(f64::max) };
            let taken = Histogram::of_exponential((scale, offset), &counts, 0, told).unwrap();
            let mut ours = of(&values);
            ours.lower_to(taken.scale);
            let mut taken_lowered = taken;
            taken_lowered.lower_to(ours.scale);
            prop_assert_eq!(&taken_lowered.buckets, &ours.buckets);
            prop_assert_eq!((taken_lowered.offset, taken_lowered.count), (ours.offset, ours.count));
        }

        #[test]
        fn explicit_buckets_keep_count_sum_and_bounds(values in prop::collection::vec(1e-4..5000.0f64, 1..200)) {
            let bounds = [0.001, 0.01, 0.1, 0.5, 1.0, 10.0, 60.0, 3600.0];
            let taken = Histogram::of_explicit(&explicit(&values, &bounds)).unwrap();
            prop_assert_eq!(taken.count(), values.len() as u64);
            prop_assert!((taken.sum() - values.iter().sum::<f64>()).abs() < 1e-6);
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            for quantile in [0.0, 0.5, 0.95, 1.0] {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a small rank")]
                let truth = sorted[(quantile * (sorted.len() - 1) as f64).round() as usize];
                let bucket = |value: f64| bounds.partition_point(|bound| *bound < value);
                let told = taken.quantile(quantile).unwrap();
                // At the edge of a bucket ours may reach over it by its own width.
                prop_assert!([told * 0.9, told, told * 1.1].into_iter().any(|told| bucket(told) == bucket(truth)), "{told} for {truth}");
            }
        }

        #[test]
        fn what_came_on_top_is_found_again(before in prop::collection::vec(1e-6..1e3f64, 0..100), after in prop::collection::vec(1e-3..1e5f64, 0..100)) {
            let earlier = of(&before);
            let mut now = earlier.clone();
            now.merge(&of(&after));
            let rest = now.since(&earlier).unwrap();
            prop_assert_eq!(rest.count(), after.len() as u64);
            let mut expected = of(&after);
            expected.lower_to(rest.scale);
            let mut lowered = rest.clone();
            lowered.lower_to(expected.scale);
            prop_assert_eq!(&lowered.buckets, &expected.buckets);
            prop_assert!(rest.count() == 0 || rest.max() >= expected.max() * 0.999);
            if !after.is_empty() {
                prop_assert!(earlier.since(&now).is_none(), "less is no later state");
            }
        }

        #[test]
        fn hostile_points_are_survived(scale in any::<i32>(), offset in any::<i32>(), counts in prop::collection::vec(any::<u64>(), 0..20), bounds in prop::collection::vec(any::<f64>(), 0..20), told in any::<[Option<f64>; 3]>()) {
            let told = Told { sum: told[0], min: told[1], max: told[2] };
            for scale in [scale, scale % 21] {
                for offset in [offset, offset % 100_000] {
                    let small: Vec<u64> = counts.iter().map(|count| count % 1000).collect();
                    let _ = Histogram::of_exponential((scale, offset), &counts, counts.len() as u64, told);
                    if let Some(histogram) = Histogram::of_exponential((scale, offset), &small, 0, told) {
                        prop_assert!(histogram.buckets.len() <= super::MAX_BUCKETS);
                        prop_assert!(histogram.quantile(0.95).is_none_or(f64::is_finite));
                        prop_assert_eq!(Histogram::decode(&histogram.encode()), Some(histogram));
                    }
                }
            }
            let mut bounds: Vec<f64> = bounds.into_iter().filter(|bound| bound.is_finite()).collect();
            bounds.sort_by(f64::total_cmp);
            bounds.dedup();
            let mut counts: Vec<u64> = counts.iter().map(|count| count % 1000).collect();
            counts.resize(bounds.len() + 1, 7);
            let explicit = ExplicitHistogram { bounds, counts, told };
            if let Some(histogram) = Histogram::of_explicit(&explicit) {
                prop_assert!(histogram.buckets.len() <= super::MAX_BUCKETS);
                let in_buckets: u64 = histogram.buckets.iter().sum::<u64>() + histogram.zeros;
                prop_assert_eq!(in_buckets, histogram.count());
            }
        }
    }

    #[test]
    fn absurd_scales_offsets_and_counts_are_refused() {
        let told = Told::default();
        for place in [(21, 0), (-11, 0), (20, i32::MAX), (0, 2_000), (-10, -5)] {
            assert!(
                Histogram::of_exponential(place, &[1], 0, told).is_none(),
                "{place:?}"
            );
        }
        assert!(Histogram::of_exponential((0, 0), &[u64::MAX, 1], 0, told).is_none());
        assert!(Histogram::of_exponential((0, i32::MAX), &[0, 0, 0], 1, told).is_some());
        let explicit = |bounds: &[f64], counts: &[u64]| ExplicitHistogram {
            bounds: bounds.to_vec(),
            counts: counts.to_vec(),
            told,
        };
        for (bounds, counts) in [
            (&[2.0, 1.0][..], &[1, 1, 1][..]),
            (&[1.0], &[1]),
            (&[f64::NAN], &[1, 1]),
        ] {
            assert!(Histogram::of_explicit(&explicit(bounds, counts)).is_none());
        }
    }
}

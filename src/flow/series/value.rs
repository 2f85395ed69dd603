//! What is kept of a series as bytes: of a cumulative one its value, and what another has more; of
//! delta points when the newest ended.

use crate::model::{ExplicitHistogram, Histogram, PathValue, Told};

/// The value as bytes, by which later ones are measured: the kind, then what belongs to it.
pub(super) fn encode(value: &PathValue) -> Vec<u8> {
    match value {
        PathValue::Count(count) => [&[0], count.to_le_bytes().as_slice()].concat(),
        PathValue::Exponential(histogram) => [vec![1], histogram.encode()].concat(),
        PathValue::Explicit(explicit) => {
            let sum = explicit.told.sum.unwrap_or(f64::NAN);
            let numbers = [sum].into_iter().chain(explicit.bounds.iter().copied());
            let counts = explicit.counts.iter();
            std::iter::once(2)
                .chain(numbers.flat_map(f64::to_le_bytes))
                .chain(counts.flat_map(|count| count.to_le_bytes()))
                .collect()
        }
    }
}

/// Ends of delta points that are kept.
const RECENT: usize = 8;
/// The kind of bytes that hold ends.
const ENDS: u8 = 3;

/// The ends that bytes hold, the newest first; none of them if they hold a value.
pub(super) fn ends(bytes: &[u8]) -> impl Iterator<Item = i64> {
    let rest = bytes.strip_prefix(&[ENDS]).unwrap_or_default();
    rest.as_chunks::<8>()
        .0
        .iter()
        .copied()
        .map(i64::from_le_bytes)
}

/// The same with one more, as bytes; the oldest goes when there are too many.
pub(super) fn with_end(bytes: Option<&[u8]>, end: i64) -> Vec<u8> {
    let known = ends(bytes.unwrap_or_default()).take(RECENT - 1);
    let ends = std::iter::once(end).chain(known);
    std::iter::once(ENDS)
        .chain(ends.flat_map(i64::to_le_bytes))
        .collect()
}

/// Whether the bytes hold the value of a cumulative series.
pub(super) fn is_cumulative(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|kind| *kind != ENDS)
}

/// The value of bytes that [`encode`] made.
pub(super) fn decode(bytes: &[u8]) -> Option<PathValue> {
    let (kind, rest) = bytes.split_first()?;
    match kind {
        0 => Some(PathValue::Count(u64::from_le_bytes(rest.try_into().ok()?))),
        1 => Some(PathValue::Exponential(Histogram::decode(rest)?)),
        2 => {
            let (words, _) = rest.as_chunks::<8>();
            // A sum, the bounds, and one count more than bounds.
            let bounds = words.len().checked_sub(2)? / 2;
            let (sum, words) = words.split_first()?;
            let (bounds, counts) = words.split_at_checked(bounds)?;
            let sum = f64::from_le_bytes(*sum);
            Some(PathValue::Explicit(ExplicitHistogram {
                bounds: bounds.iter().copied().map(f64::from_le_bytes).collect(),
                counts: counts.iter().copied().map(u64::from_le_bytes).collect(),
                told: Told {
                    sum: Some(sum).filter(|sum| !sum.is_nan()),
                    ..Told::default()
                },
            }))
        }
        _ => None,
    }
}

/// What `now` has more than `before`; none if that is no earlier state of it.
pub(super) fn since(now: &PathValue, before: &PathValue) -> Option<PathValue> {
    match (now, before) {
        (PathValue::Count(now), PathValue::Count(before)) => {
            now.checked_sub(*before).map(PathValue::Count)
        }
        (PathValue::Exponential(now), PathValue::Exponential(before)) => {
            now.since(before).map(PathValue::Exponential)
        }
        (PathValue::Explicit(now), PathValue::Explicit(before)) => {
            explicit(now, before).map(PathValue::Explicit)
        }
        _ => None,
    }
}

fn explicit(now: &ExplicitHistogram, before: &ExplicitHistogram) -> Option<ExplicitHistogram> {
    if now.bounds != before.bounds {
        return None;
    }
    let pairs = now.counts.iter().zip(&before.counts);
    let counts = pairs.map(|(now, before)| now.checked_sub(*before));
    let sums = now.told.sum.zip(before.told.sum);
    Some(ExplicitHistogram {
        bounds: now.bounds.clone(),
        counts: counts.collect::<Option<Vec<u64>>>()?,
        told: Told {
            sum: sums.map(|(now, before)| (now - before).max(0.0)),
            min: None,
            // The greatest of all is where the greatest of these ends at most.
            max: now.told.max,
        },
    })
}

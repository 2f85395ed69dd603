//! How many series a measurement has: sets of tags that differ.
//!
//! Input: the tags of a point that come from outside, and the words of ours beside them. Output:
//! which of the tags are to be `_other` instead: what is beyond the cap shares the series of those,
//! so that sums stay whole and no point is missing. A tag has at most half as many values as its
//! measurement has series: one that holds an id leaves room for the others, which keep their values.
//! Where that does not help, because there are too many series all the same, all of them go.
//!
//! Bounded: of each series, and of each value of a tag, a hash is kept. A series to which nothing
//! came for an hour is forgotten and makes room. What the monitor tells is not capped here: it chooses
//! its queues itself (`broker.max_queues`).

mod moments;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use foldhash::quality::RandomState;

use moments::Moments;

use crate::model::{OTHER, Point, SpanId};

/// After this time without a point a series is forgotten.
const IDLE_NANOS: i64 = 3_600_000_000_000;
/// Tags from outside that a measurement has at most.
const MAX_TAGS: usize = 3;
/// What stands for a value that is not counted: an absent one, and `_other`.
const UNCOUNTED: u64 = 0;

/// A measurement that is made of what comes by OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capped {
    Spans,
    MessageFlow,
    ServiceMetrics,
    RequestMetrics,
    QueueMetrics,
    AgentMetrics,
    TaskMetrics,
}

/// Their names, in the order of [`Capped`].
const NAMES: [&str; 7] = [
    "spans",
    "message_flow",
    "service_metrics",
    "request_metrics",
    "queue_metrics",
    "agent_metrics",
    "task_metrics",
];

/// What became of the tags of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Folded<const N: usize> {
    /// Which of them are to be `_other`.
    pub(super) others: [bool; N],
    /// Stands for the series that the point is in.
    pub(super) series: u64,
}

impl<const N: usize> Folded<N> {
    /// Whether one of them is.
    pub(super) fn is_folded(&self) -> bool {
        self.others.contains(&true)
    }
}

/// How many series a measurement has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesCount {
    /// The measurement.
    pub measurement: &'static str,
    /// Its series of the last hour, without those of what was folded altogether.
    pub series: usize,
    /// Points that were folded since the start.
    pub folded: u64,
}

/// The series of every measurement.
pub(super) struct Caps {
    hasher: RandomState,
    limit: usize,
    now_unix_nano: i64,
    of: [Sets; NAMES.len()],
    moments: Moments,
}

#[derive(Default)]
struct Sets {
    series: HashMap<u64, Seen, Plain>,
    /// The values of each tag that the series have.
    values: [HashSet<u64, Plain>; MAX_TAGS],
    folded: u64,
}

struct Seen {
    /// When a point came last.
    at: i64,
    values: [u64; MAX_TAGS],
}

impl Caps {
    /// At most `limit` series of each measurement.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            hasher: RandomState::default(),
            limit: limit.max(1),
            now_unix_nano: 0,
            of: Default::default(),
            moments: Moments::default(),
        }
    }

    /// The same for points that come at that time.
    pub(super) const fn at(&mut self, now_unix_nano: i64) -> &mut Self {
        self.now_unix_nano = now_unix_nano;
        self
    }

    /// The series of a point, by its tags from outside and its words.
    pub(super) fn fold<const N: usize>(
        &mut self,
        of: Capped,
        (tags, words): ([&[u8]; N], impl Hash),
    ) -> Folded<N> {
        const { assert!(N <= MAX_TAGS) };
        let (hasher, now) = (&self.hasher, self.now_unix_nano);
        let series_of = |tags: [&[u8]; N]| hasher.hash_one((tags, &words));
        let sets = &mut self.of[of as usize];
        let mut series = series_of(tags);
        let mut others = [false; N];
        if sets.touch(series, now) {
            return Folded { others, series };
        }
        let mut values = [UNCOUNTED; MAX_TAGS];
        for (place, tag) in tags.iter().enumerate().filter(|(_, tag)| counts(tag)) {
            let value = hasher.hash_one(tag);
            let known = &sets.values[place];
            if N > 1 && known.len() >= self.limit / 2 && !known.contains(&value) {
                others[place] = true;
            } else {
                values[place] = value;
            }
        }
        if others.contains(&true) {
            sets.folded += 1;
            series = series_of(with_others(tags, others));
            if sets.touch(series, now) {
                return Folded { others, series };
            }
        }
        if sets.series.len() < self.limit {
            sets.add_values(values);
            sets.series.insert(series, Seen { at: now, values });
            return Folded { others, series };
        }
        let is_counted = others.contains(&true);
        let others = tags.map(counts);
        sets.folded += u64::from(!is_counted && others.contains(&true));
        let series = series_of(with_others(tags, others));
        Folded { others, series }
    }

    /// A point of a span, whose tags all come from outside: those that are to be are `_other`, and its
    /// time is its own.
    pub(super) fn fold_point<const N: usize>(
        &mut self,
        of: Capped,
        mut point: Point,
        id: SpanId,
    ) -> Point {
        let mut tags = [&[][..]; N];
        for (tag, (_, value)) in tags.iter_mut().zip(&point.tags) {
            *tag = value.as_bytes();
        }
        let folded = self.fold(of, (tags, ()));
        for ((_, value), is_other) in point.tags.iter_mut().zip(folded.others) {
            if is_other {
                *value = Arc::from(OTHER);
            }
        }
        point.time_unix_nano = self.own_time(folded, point.time_unix_nano, id);
        point
    }

    /// The time of a span's point: one of its own, if it was folded.
    pub(super) fn own_time<const N: usize>(
        &mut self,
        folded: Folded<N>,
        unix_nano: i64,
        id: SpanId,
    ) -> i64 {
        match folded.is_folded() {
            true => self.moments.free(folded.series, unix_nano, id),
            false => unix_nano,
        }
    }

    /// Whether that value of the first tag is known, or would become so; else it counts as folded.
    pub(super) fn admits(&mut self, of: Capped, first: &[u8]) -> bool {
        let sets = &mut self.of[of as usize];
        let [values, ..] = &sets.values;
        let has_room = sets.series.len() < self.limit && values.len() < self.limit / 2;
        let admits = has_room || values.contains(&self.hasher.hash_one(first));
        sets.folded += u64::from(!admits);
        admits
    }

    /// Forgets the series to which nothing came for an hour.
    pub(super) fn forget(&mut self) {
        let limit = self.now_unix_nano.saturating_sub(IDLE_NANOS);
        for sets in &mut self.of {
            let before = sets.series.len();
            sets.series.retain(|_, seen| seen.at >= limit);
            if sets.series.len() < before {
                sets.values.iter_mut().for_each(HashSet::clear);
                let left: Vec<_> = sets.series.values().map(|seen| seen.values).collect();
                left.into_iter().for_each(|values| sets.add_values(values));
            }
        }
    }

    /// How many series each measurement has.
    pub(super) fn counts(&self) -> impl Iterator<Item = SeriesCount> {
        NAMES.iter().zip(&self.of).map(|(measurement, sets)| {
            let (series, folded) = (sets.series.len(), sets.folded);
            SeriesCount {
                measurement,
                series,
                folded,
            }
        })
    }
}

impl Sets {
    /// Whether that series is known; if so a point of it came now.
    fn touch(&mut self, series: u64, now_unix_nano: i64) -> bool {
        let seen = self.series.get_mut(&series);
        seen.map(|seen| seen.at = now_unix_nano).is_some()
    }

    fn add_values(&mut self, values: [u64; MAX_TAGS]) {
        for (known, value) in self.values.iter_mut().zip(values) {
            if value != UNCOUNTED {
                known.insert(value);
            }
        }
    }
}

/// Whether a tag is one that can be folded: it is there, and is not `_other` already.
fn counts(tag: &[u8]) -> bool {
    !tag.is_empty() && tag != OTHER.as_bytes()
}

fn with_others<const N: usize>(mut tags: [&[u8]; N], others: [bool; N]) -> [&[u8]; N] {
    for (tag, is_other) in tags.iter_mut().zip(others) {
        if is_other {
            *tag = OTHER.as_bytes();
        }
    }
    tags
}

/// Takes a hash as it is.
type Plain = BuildHasherDefault<Unhashed>;

#[derive(Default)]
struct Unhashed(u64);

impl Hasher for Unhashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests;

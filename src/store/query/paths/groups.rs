//! Paths by their text: hashes of the same text are one path to a person.

use std::collections::HashMap;

use super::rows::PathEnd;
use super::steps::{Counted, Steps, is_again};
use crate::model::{Direction, EdgeKind, Histogram};

/// One path in one span.
pub(super) struct Group {
    pub(super) text: String,
    pub(super) end: PathEnd,
    /// Hashes with that text and their messages, the busiest first.
    pub(super) hashes: Vec<(u64, u64)>,
    pub(super) count: u64,
    pub(super) errors: u64,
    pub(super) redelivered: u64,
    /// From origin to end, of messages that came the first time; of all, where none did.
    pub(super) total: Histogram,
    /// The same, of those that came again.
    again: Histogram,
    pub(super) sampled: bool,
    pub(super) slowest: Option<([u8; 16], f64)>,
    pub(super) last_seen: i64,
}

impl Group {
    fn new(text: String, end: PathEnd) -> Self {
        Self {
            text,
            end,
            hashes: Vec::new(),
            count: 0,
            errors: 0,
            redelivered: 0,
            total: Histogram::default(),
            again: Histogram::default(),
            sampled: false,
            slowest: None,
            last_seen: 0,
        }
    }

    /// The busiest of its hashes.
    pub(super) fn hash(&self) -> u64 {
        self.hashes.first().map_or(0, |(hash, _)| *hash)
    }

    /// Mean time from origin to end, in milliseconds.
    pub(super) fn mean_ms(&self) -> Option<f64> {
        super::sums::Mean::of(self.total.sum(), self.total.count()).ms()
    }

    fn deliveries(&mut self, hash: u64, counted: &Counted) {
        let mut here = 0;
        for (kind, sum) in counted.messages() {
            here += sum.count;
            self.errors += sum.errors;
            self.redelivered += if is_again(kind) {
                sum.count
            } else {
                sum.redelivered
            };
            let total = if is_again(kind) {
                &mut self.again
            } else {
                &mut self.total
            };
            total.merge(&sum.total);
            if self
                .slowest
                .is_none_or(|known| sum.slowest.is_some_and(|other| other.1 > known.1))
            {
                self.slowest = sum.slowest.or(self.slowest);
            }
        }
        self.add(hash, here, counted);
    }

    fn publishes(&mut self, hash: u64, count: u64, counted: &Counted) {
        if self.end == PathEnd::NotDelivered {
            self.errors += count;
        }
        self.add(hash, count, counted);
    }

    fn add(&mut self, hash: u64, count: u64, counted: &Counted) {
        self.count += count;
        self.hashes.push((hash, count));
        for (_, sum) in counted.messages() {
            self.sampled |= sum.sampled;
            self.last_seen = self.last_seen.max(sum.last_seen);
        }
    }

    fn finish(mut self) -> Self {
        self.hashes
            .sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        if self.total.count() == 0 {
            self.total = std::mem::take(&mut self.again);
        }
        self
    }
}

/// Texts of which each must be part of a path's, in whatever case.
pub(super) struct Filter(Vec<String>);

impl Filter {
    pub(super) fn new(texts: &[String]) -> Self {
        Self(texts.iter().map(|text| text.to_lowercase()).collect())
    }

    pub(super) fn holds(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        self.0.iter().all(|part| text.contains(part.as_str()))
    }
}

/// The paths that end somewhere in the span and have a text that the filter lets through.
pub(super) fn groups(steps: &Steps<'_>, filter: &Filter) -> Vec<Group> {
    let mut found: HashMap<String, Group> = HashMap::new();
    for ((hash, direction), counted) in &steps.counted {
        for (ending, count) in ends(steps, *hash, *direction, counted) {
            let text = format!("{}{}", steps.book.text(*hash), suffix(ending));
            if !filter.holds(&text) {
                continue;
            }
            let new = || Group::new(text.clone(), ending);
            let group = found.entry(text.clone()).or_insert_with(new);
            match count {
                None => group.deliveries(*hash, counted),
                Some(count) => group.publishes(*hash, count, counted),
            }
        }
    }
    found.into_values().map(Group::finish).collect()
}

const fn suffix(end: PathEnd) -> &'static str {
    match end {
        PathEnd::Delivered => "",
        PathEnd::Unseen => " > ?",
        PathEnd::NotDelivered => " > not delivered",
    }
}

/// The paths that end at a step; for a publish with the messages that went no farther.
fn ends(
    steps: &Steps<'_>,
    hash: u64,
    direction: Direction,
    counted: &Counted,
) -> Vec<(PathEnd, Option<u64>)> {
    if direction == Direction::In {
        // A window that only brings a trace counted nothing.
        let mut kinds = counted.messages();
        let has_any = kinds.any(|(_, sum)| sum.count > 0 || sum.errors > 0);
        return has_any
            .then_some((PathEnd::Delivered, None))
            .into_iter()
            .collect();
    }
    let (count, errors) = published(counted);
    let unseen = if steps.was_received(hash) {
        0
    } else {
        count.saturating_sub(errors)
    };
    let both = [
        (PathEnd::NotDelivered, Some(errors)),
        (PathEnd::Unseen, Some(unseen)),
    ];
    let some = both.into_iter().filter(|(_, count)| *count > Some(0));
    some.collect()
}

/// Messages that were published at a step for the first time, and publishes that failed there.
fn published(counted: &Counted) -> (u64, u64) {
    let mut sums = (0, 0);
    for (kind, sum) in counted.messages() {
        sums.0 += if kind == EdgeKind::Repeat {
            0
        } else {
            sum.count
        };
        sums.1 += sum.errors;
    }
    sums
}

//! Sums by step of a path and kind of edge.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::book::Book;
use super::rows::{PathPart, SlowHop};
use super::sums::{Mean, Sum, Sums};
use crate::model::{Direction, EdgeKind};

/// What one step counted, by kind of edge.
pub(super) struct Counted {
    pub(super) service: String,
    pub(super) destination: String,
    pub(super) kinds: BTreeMap<EdgeKind, Sum>,
}

impl Counted {
    /// Every kind that counts messages. What went into a message that was made of several was
    /// counted when it came.
    pub(super) fn messages(&self) -> impl Iterator<Item = (EdgeKind, &Sum)> {
        messages(&self.kinds)
    }

    /// Where the time before the step goes: a delivery waited in its queue; before a publish, its
    /// service worked.
    pub(super) fn place(&self, direction: Direction) -> (&str, PathPart) {
        match direction {
            Direction::In => (&self.destination, PathPart::Wait),
            Direction::Out => (&self.service, PathPart::Work),
        }
    }
}

fn messages(kinds: &BTreeMap<EdgeKind, Sum>) -> impl Iterator<Item = (EdgeKind, &Sum)> {
    let kinds = kinds.iter().map(|(kind, sum)| (*kind, sum));
    kinds.filter(|(kind, _)| *kind != EdgeKind::Merge)
}

/// Mean time since the step before, in milliseconds: of messages that came the first time, or
/// where there are none, of all that came.
pub(super) fn mean_ms(kinds: &BTreeMap<EdgeKind, Sum>) -> Option<f64> {
    let (mut first, mut again) = (Mean::default(), Mean::default());
    for (kind, sum) in messages(kinds) {
        if is_again(kind) {
            again.merge(sum.edge);
        } else {
            first.merge(sum.edge);
        }
    }
    first.ms().or_else(|| again.ms())
}

/// Whether a message of that kind came again, or was given up before.
pub(super) const fn is_again(kind: EdgeKind) -> bool {
    matches!(
        kind,
        EdgeKind::Repeat | EdgeKind::Redelivery | EdgeKind::Requeue | EdgeKind::DeadLetter
    )
}

/// The steps of all paths in one span.
pub(super) struct Steps<'a> {
    pub(super) book: &'a Book,
    pub(super) counted: HashMap<(u64, Direction), Counted>,
    /// Hashes of publishes that somebody who is traced received.
    received: HashSet<u64>,
}

impl<'a> Steps<'a> {
    pub(super) fn new(book: &'a Book, sums: Sums) -> Self {
        let mut steps = Self {
            book,
            counted: HashMap::new(),
            received: HashSet::new(),
        };
        for (id, sum) in sums.by_checkpoint {
            steps.add(id, &sum);
        }
        steps
    }

    fn add(&mut self, id: i64, sum: &Sum) {
        let Some(checkpoint) = self.book.checkpoint(id) else {
            return;
        };
        let home = self.book.home(checkpoint);
        if checkpoint.direction == Direction::In && sum.count > 0 {
            self.received.insert(checkpoint.hash);
            let parents = self.book.step(home).iter().filter_map(|step| step.parent);
            self.received.extend(parents);
        }
        let counted = self
            .counted
            .entry((home, checkpoint.direction))
            .or_insert_with(|| Counted {
                service: checkpoint.service.clone(),
                destination: checkpoint.destination.clone(),
                kinds: BTreeMap::new(),
            });
        counted.kinds.entry(checkpoint.kind).or_default().merge(sum);
    }

    /// Whether somebody who is traced received what was published at `hash`, as far as can be
    /// known: a step that the dictionary does not have yet is given the benefit of the doubt.
    pub(super) fn was_received(&self, hash: u64) -> bool {
        self.received.contains(&hash) || self.book.step(hash).is_empty()
    }

    /// What the step `hash` counted: at a delivery if there is one, else at a publish.
    pub(super) fn at(&self, hash: u64) -> Option<(Direction, &Counted)> {
        let step = self.book.step(hash).first().map(|step| step.direction);
        let order = match step {
            Some(Direction::Out) => [Direction::Out, Direction::In],
            _ => [Direction::In, Direction::Out],
        };
        order
            .into_iter()
            .find_map(|direction| Some((direction, self.counted.get(&(hash, direction))?)))
    }

    /// The step up to `hash` that takes longest, by its mean, and its share of `total_ms`.
    pub(super) fn slowest(&self, hash: u64, total_ms: Option<f64>) -> Option<SlowHop> {
        let total_ms = total_ms.filter(|total| *total > 0.0)?;
        let means = self.means(hash);
        let longest = means
            .into_iter()
            .max_by(|a, b| a.mean_ms.total_cmp(&b.mean_ms))?;
        Some(SlowHop {
            step: longest.step.to_owned(),
            part: longest.part,
            mean_ms: longest.mean_ms,
            // Messages on other paths pass the same step, and may be slower there.
            share: (longest.mean_ms / total_ms).min(1.0),
        })
    }

    /// What each step up to `hash` takes, where it is known.
    pub(super) fn means(&self, hash: u64) -> Vec<StepMean<'_>> {
        let mean = |hash: u64| {
            let (direction, counted) = self.at(hash)?;
            let (step, part) = counted.place(direction);
            let mean_ms = mean_ms(&counted.kinds)?;
            Some(StepMean {
                hash,
                step,
                part,
                mean_ms,
            })
        };
        self.book
            .steps_to(hash)
            .into_iter()
            .filter_map(mean)
            .collect()
    }
}

/// What a step takes.
pub(super) struct StepMean<'a> {
    pub(super) hash: u64,
    pub(super) step: &'a str,
    pub(super) part: PathPart,
    pub(super) mean_ms: f64,
}

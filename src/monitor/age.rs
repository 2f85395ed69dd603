//! How old a queue's oldest message is, from its depth and from what was published to it and left.
//!
//! Input: published and left totals and the depth at each poll. Output: the time since the total
//! was what it must have been when the oldest message came: if so many left, it is the next. The
//! polls are kept as a table of time and total, flat runs as their two ends; when it is full the
//! older half is thinned out, so that it reaches back ever further, only less exactly. A message
//! older than the table is at least as old as the table. What came in uncounted (dead letters are
//! not counted as published) makes the estimate void until the queue is empty.

use std::time::{Duration, Instant};

use super::balance::{Balance, Shown};
use crate::model::{AgeMethod, HeadAge};

/// Polls that are kept of one queue.
const POINTS: usize = 48;

/// When a poll was, and how old its numbers may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) now: Instant,
    /// Of the totals.
    pub(super) lag: Duration,
    /// Of the depth.
    pub(super) staleness: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    /// Nanoseconds since the table began.
    nanos: u64,
    published: u64,
}

impl Point {
    fn new(at: Duration, published: u64) -> Self {
        let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        Self { nanos, published }
    }

    const fn at(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }
}

/// When how many had been published.
#[derive(Clone, Debug, Default)]
pub(super) struct AgeTable {
    began: Option<Instant>,
    points: Vec<Point>,
    balance: Balance,
    /// How many had left at the last polls: the oldest message moves on while numbers get old.
    left: Vec<(Duration, u64)>,
    is_void: bool,
}

impl AgeTable {
    /// Takes a poll, its published and left totals and its depth: what is the oldest message's age
    /// then?
    pub(super) fn observe(
        &mut self,
        times: Times,
        counts: Option<(u64, u64)>,
        depth: Option<u64>,
    ) -> Option<HeadAge> {
        let depth = depth?;
        let empty = HeadAge {
            age: Duration::ZERO,
            method: AgeMethod::Empty,
            error: Some(times.staleness),
        };
        let Some((published, left)) = counts else {
            self.is_void &= depth > 0;
            return (depth == 0).then_some(empty);
        };
        self.push(times.now, published, depth);
        let at = self.since_begin(times.now);
        let shown = self
            .balance
            .observe((at, times.staleness), (published, left), depth);
        if depth == 0 {
            self.is_void = false;
            return Some(empty);
        }
        self.is_void |= shown == Shown::Uncounted;
        let Shown::Left(least, most) = shown else {
            return None;
        };
        if self.is_void {
            return None;
        }
        let moved = self.moved((at, times.lag), left);
        // There is one, so not all of them left.
        let next =
            |left: i64| u64::try_from(left.saturating_add(1)).map_or(0, |next| next.min(published));
        let mut age = self.age(at, Some(next(least.midpoint(most))))?;
        if let Some(error) = &mut age.error {
            let of = |left| self.age(at, Some(next(left))).map_or(at, |age| age.age);
            let (oldest, newest) = (of(least), of(most.saturating_add(moved)));
            let spread = oldest
                .saturating_sub(age.age)
                .max(age.age.saturating_sub(newest));
            *error += spread + times.lag;
        }
        Some(age)
    }

    fn since_begin(&self, now: Instant) -> Duration {
        let begin = |began| now.saturating_duration_since(began);
        self.began.map_or(Duration::ZERO, begin)
    }

    /// How many left in the time by which the totals may be old, as far as the last polls show.
    fn moved(&mut self, (at, lag): (Duration, Duration), left: u64) -> i64 {
        if lag.is_zero() {
            return 0;
        }
        self.left.push((at, left));
        self.left
            .retain(|(then, _)| at.saturating_sub(*then) <= lag * 2);
        let least = self.left.iter().map(|(_, left)| *left).min();
        let moved = left.saturating_sub(least.unwrap_or(left));
        i64::try_from(moved).unwrap_or(i64::MAX)
    }

    /// Forgets all: counts begin anew.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn push(&mut self, now: Instant, published: u64, depth: u64) {
        if self
            .points
            .last()
            .is_some_and(|last| published < last.published)
        {
            self.clear();
        }
        let began = *self.began.get_or_insert(now);
        let at = now.saturating_duration_since(began);
        if depth == 0 {
            // All of it was taken: only the newest matters from here on.
            self.points.drain(..self.points.len().saturating_sub(1));
        }
        let flat = matches!(
            &self.points[..],
            [.., before, last] if before.published == published && last.published == published
        );
        if flat {
            self.points.pop();
        }
        if self.points.len() == self.points.capacity() {
            // Never more than that many: no room is taken for others.
            let room = POINTS + 1 - self.points.len();
            self.points
                .reserve_exact(room.min(self.points.len().max(2)));
        }
        self.points.push(Point::new(at, published));
        if self.points.len() > POINTS {
            self.thin_out();
        }
    }

    fn thin_out(&mut self) {
        let mut index = 0;
        self.points.retain(|_| {
            index += 1;
            // The first stays: it is how far the table reaches.
            index == 1 || index > POINTS / 2 || index % 2 == 1
        });
    }

    /// The age of the message that made the total `target`; none if that was before all counts.
    fn age(&self, now: Duration, target: Option<u64>) -> Option<HeadAge> {
        let first = self.points.first()?;
        let target = match target {
            Some(target) if target > first.published => target,
            _ => {
                return Some(HeadAge {
                    age: now.saturating_sub(first.at()),
                    method: AgeMethod::AtLeast,
                    error: None,
                });
            }
        };
        let after = self
            .points
            .partition_point(|point| point.published < target);
        let (before, after) = (
            self.points.get(after.checked_sub(1)?)?,
            self.points.get(after)?,
        );
        let width = after.at().saturating_sub(before.at());
        #[expect(clippy::cast_precision_loss, reason = "a share of a time")]
        let share =
            (target - before.published) as f64 / (after.published - before.published) as f64;
        let made = before.at() + width.mul_f64(share.clamp(0.0, 1.0));
        Some(HeadAge {
            age: now.saturating_sub(made),
            method: AgeMethod::Estimate,
            // Somewhere between the two polls.
            error: Some(width),
        })
    }
}

#[cfg(test)]
mod tests;

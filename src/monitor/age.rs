//! How old a queue's oldest message is, from its depth and from how many were published to it.
//!
//! Input: published total and depth at each poll. Output: the time since the total was what it
//! must have been when the oldest message came: in a queue of `depth` messages the oldest is the
//! `depth`-th newest. The polls are kept as a table of time and total, flat runs as their two
//! ends; when it is full the older half is thinned out, so that it reaches back ever further, only
//! less exactly. A message older than the table is at least as old as the table. What came in
//! uncounted (dead letters are not counted as published) makes the estimate void until the queue
//! is empty.

use std::time::{Duration, Instant};

use crate::model::{AgeMethod, HeadAge};

/// Polls that are kept of one queue.
const POINTS: usize = 48;

#[derive(Clone, Copy, Debug)]
struct Point {
    /// Since the table began.
    at: Duration,
    published: u64,
}

/// When how many had been published.
#[derive(Clone, Debug, Default)]
pub(super) struct AgeTable {
    began: Option<Instant>,
    points: Vec<Point>,
    /// Depth at the first point, and the largest growth between two.
    first_depth: u64,
    largest_step: u64,
    /// How many had left at the last polls: the oldest message moves on while numbers get old.
    left: Vec<(Duration, u64)>,
    is_void: bool,
}

impl AgeTable {
    /// Takes a poll: what is the oldest message's age then?
    ///
    /// `staleness` is how old the two numbers may be.
    pub(super) fn observe(
        &mut self,
        (now, staleness): (Instant, Duration),
        published: Option<u64>,
        depth: Option<u64>,
    ) -> Option<HeadAge> {
        let depth = depth?;
        if depth == 0 {
            self.is_void = false;
        }
        let empty = HeadAge {
            age: Duration::ZERO,
            method: AgeMethod::Empty,
            error: Some(staleness),
        };
        let Some(published) = published else {
            return (depth == 0).then_some(empty);
        };
        self.push(now, published, depth);
        if depth == 0 {
            return Some(empty);
        }
        if self.is_void {
            return None;
        }
        let moved = self.moved(now, staleness, published.saturating_sub(depth));
        let mut age = self.age(now, staleness, published.checked_sub(depth - 1))?;
        if let Some(error) = &mut age.error {
            let later = published.saturating_sub(depth - 1).saturating_add(moved);
            let newest = self
                .age(now, staleness, Some(later))
                .map_or(Duration::ZERO, |age| age.age);
            *error += age.age.saturating_sub(newest);
        }
        Some(age)
    }

    /// How many left in the time by which the numbers may be old, as far as the last polls show.
    fn moved(&mut self, now: Instant, staleness: Duration, left: u64) -> u64 {
        let at = self
            .began
            .map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        self.left.push((at, left));
        self.left
            .retain(|(then, _)| at.saturating_sub(*then) <= staleness * 2);
        let least = self.left.iter().map(|(_, left)| *left).min();
        left.saturating_sub(least.unwrap_or(left))
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
        if self.points.is_empty() || depth == 0 {
            self.first_depth = depth;
            self.largest_step = 0;
            self.is_void = false;
            if depth == 0 {
                // All of it was taken: only the newest matters from here on.
                self.points.drain(..self.points.len().saturating_sub(1));
            }
        }
        let flat = matches!(
            &self.points[..],
            [.., before, last] if before.published == published && last.published == published
        );
        if flat {
            self.points.pop();
        }
        if let Some(last) = self.points.last() {
            self.largest_step = self.largest_step.max(published - last.published);
        }
        self.points.push(Point { at, published });
        let came = published.saturating_sub(self.points.first().map_or(0, |first| first.published));
        // The two numbers are of different moments: as many as came between two polls may differ.
        let allowed = came.saturating_add(self.largest_step);
        self.is_void |= depth.saturating_sub(self.first_depth) > allowed;
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
    fn age(&self, now: Instant, staleness: Duration, target: Option<u64>) -> Option<HeadAge> {
        let (began, first) = (self.began?, self.points.first()?);
        let now = now.saturating_duration_since(began);
        let target = match target {
            Some(target) if target > first.published => target,
            _ => {
                return Some(HeadAge {
                    age: now.saturating_sub(first.at),
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
        let width = after.at.saturating_sub(before.at);
        #[expect(clippy::cast_precision_loss, reason = "a share of a time")]
        let share =
            (target - before.published) as f64 / (after.published - before.published) as f64;
        let made = before.at + width.mul_f64(share.clamp(0.0, 1.0));
        Some(HeadAge {
            age: now.saturating_sub(made),
            method: AgeMethod::Estimate,
            // Somewhere between the two polls; and the count and the depth may each be of a while
            // ago, one early and the other late.
            error: Some(width + staleness * 2),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{AgeTable, POINTS};
    use crate::model::AgeMethod;
    use std::time::{Duration, Instant};

    use AgeMethod::{AtLeast, Empty, Estimate};

    const STALENESS: Duration = Duration::from_secs(5);

    /// Observes time in seconds, published and depth; the last poll's age in seconds and method.
    fn check(polls: &[(u64, u64, u64)], expect: Option<(f64, AgeMethod)>) {
        let (begun, mut table, mut age) = (Instant::now(), AgeTable::default(), None);
        for (second, published, depth) in polls {
            let at = begun + Duration::from_secs(*second);
            age = table.observe((at, STALENESS), Some(*published), Some(*depth));
        }
        let seen = age.map(|age| (age.age.as_secs_f64(), age.method));
        assert_eq!(seen, expect, "{polls:?}");
    }

    #[test]
    fn the_oldest_of_a_backlog_came_when_the_total_was_less_by_the_depth() {
        // Ten a second, nothing taken but the first fifty.
        check(
            &[(0, 0, 0), (5, 50, 50), (10, 100, 50)],
            Some((4.9, Estimate)),
        );
        // The publisher paused from 5 to 15.
        let paused = [
            (0, 0, 0),
            (5, 50, 50),
            (10, 50, 50),
            (15, 50, 50),
            (20, 100, 75),
        ];
        check(&paused, Some((20.0 - 2.6, Estimate)));
        check(&[(0, 0, 0), (5, 50, 50), (10, 100, 0)], Some((0.0, Empty)));
    }

    #[test]
    fn what_was_there_before_is_at_least_as_old_as_the_table() {
        check(&[(0, 1_000, 400)], Some((0.0, AtLeast)));
        check(&[(0, 1_000, 400), (30, 1_100, 450)], Some((30.0, AtLeast)));
        // Counts began anew when the broker was started; the messages are older.
        check(&[(0, 5, 400), (10, 6, 401)], Some((10.0, AtLeast)));
    }

    #[test]
    fn what_came_in_uncounted_voids_it_until_the_queue_is_empty() {
        check(&[(0, 10, 0), (5, 11, 1), (10, 12, 500)], None);
        check(
            &[
                (0, 10, 0),
                (5, 11, 1),
                (10, 12, 500),
                (15, 12, 0),
                (20, 17, 5),
            ],
            Some((4.0, Estimate)),
        );
    }

    #[test]
    fn counts_that_fall_begin_a_new_table() {
        check(
            &[(0, 0, 0), (5, 500, 500), (10, 3, 3)],
            Some((0.0, AtLeast)),
        );
    }

    #[test]
    fn what_is_not_known_gives_no_age() {
        let (now, mut table) = (Instant::now(), AgeTable::default());
        assert_eq!(table.observe((now, STALENESS), Some(3), None), None);
        assert_eq!(table.observe((now, STALENESS), None, Some(3)), None);
        let empty = table.observe((now, STALENESS), None, Some(0)).unwrap();
        assert_eq!(empty.method, Empty);
    }

    #[test]
    fn the_table_stays_small_reaches_back_to_its_beginning_and_says_how_exact_it_is() {
        let (begun, mut table) = (Instant::now(), AgeTable::default());
        let mut age = None;
        for poll in 0..1_000 {
            let at = begun + Duration::from_secs(5 * poll);
            // One a second, none taken but the first hundred.
            let depth = (5 * poll).saturating_sub(100);
            age = table.observe((at, STALENESS), Some(5 * poll), Some(depth));
            assert!(table.points.len() <= POINTS);
        }
        let age = age.unwrap();
        let error = age.error.unwrap();
        let truth = Duration::from_secs(5 * 999 - 101);
        assert_eq!(age.method, Estimate);
        assert!(age.age.abs_diff(truth) <= error, "{age:?}, {truth:?}");
        let waiting = table.observe(
            (begun + Duration::from_secs(5_000), STALENESS),
            Some(5_000),
            Some(2),
        );
        assert!(
            waiting.unwrap().error.unwrap() <= Duration::from_secs(16),
            "{waiting:?}"
        );
    }
}

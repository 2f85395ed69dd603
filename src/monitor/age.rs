//! How old a queue's oldest message is, from its depth and from what was published to it and left.
//!
//! Input: published and left totals and the depth at each poll. Output: the time since the total
//! was what it must have been when the oldest message came: if so many left, it is the next. The
//! polls are kept as a table of time and total, flat runs as their two ends, and of those before
//! the oldest message the last few and the first; when it is full the older half is thinned out, so
//! that it reaches back ever further, only less exactly. A message older than the table is at least
//! as old as the table. What came in uncounted (dead letters are not counted as published) makes
//! the estimate void until the queue is empty.

use std::time::{Duration, Instant};

use super::balance::{Balance, Shown};
use crate::model::{AgeMethod, HeadAge};

/// Steps between polls that are kept of one queue.
const STEPS: usize = 48;
/// Steps that are kept before the oldest message: it may have come a little earlier than it seems.
const SPARE: usize = 4;

/// When a poll was, and how old its numbers may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) now: Instant,
    /// Of the totals.
    pub(super) lag: Duration,
    /// Of the depth.
    pub(super) staleness: Duration,
}

/// From one poll to the next. Seven digits are enough, and much is kept of each of ten thousand
/// queues.
#[derive(Clone, Copy, Debug)]
struct Step {
    seconds: f32,
    /// Messages that were published.
    published: f32,
}

impl Step {
    fn new(took: Duration, published: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a share of what came")]
        let published = published as f32;
        Self {
            seconds: took.as_secs_f32(),
            published,
        }
    }

    /// All of some steps as one.
    fn over(steps: &[Self]) -> Self {
        let sum = |of: fn(&Self) -> f32| steps.iter().map(|step| f64::from(of(step))).sum::<f64>();
        #[expect(clippy::cast_possible_truncation, reason = "seven digits are enough")]
        Self {
            seconds: sum(|step| step.seconds) as f32,
            published: sum(|step| step.published) as f32,
        }
    }
}

/// Where in the table a message came.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The step in which it came; none if that was before all of them.
    step: Option<usize>,
    /// How long ago, at least if it was before all steps.
    age: Duration,
}

/// When how many had been published.
#[derive(Clone, Debug, Default)]
pub(super) struct AgeTable {
    began: Option<Instant>,
    /// The newest poll, and how many had been published then.
    newest: Option<(Duration, u64)>,
    /// The way there, the oldest first.
    steps: Vec<Step>,
    /// When the newest step began.
    since: Duration,
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
        let at = self.push(times.now, published, depth);
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
            // What came until now will have left before there is an age again.
            self.steps.clear();
            return None;
        }
        let moved = self.moved((at, times.lag), left);
        // There is one, so not all of them left.
        let next =
            |left: i64| u64::try_from(left.saturating_add(1)).map_or(0, |next| next.min(published));
        let find = |left| self.find(published - next(left));
        let (oldest, newest) = (find(least), find(most.saturating_add(moved)));
        let found = find(least.midpoint(most));
        let age = found.step.map_or(
            HeadAge {
                age: found.age,
                method: AgeMethod::AtLeast,
                error: None,
            },
            |step| {
                // Somewhere between the two polls, and within the bounds.
                let spread = oldest
                    .age
                    .saturating_sub(found.age)
                    .max(found.age.saturating_sub(newest.age));
                HeadAge {
                    age: found.age,
                    method: AgeMethod::Estimate,
                    error: Some(self.width(step) + spread + times.lag),
                }
            },
        );
        self.forget_before(oldest.step);
        Some(age)
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

    /// Takes a poll into the table; when it was.
    fn push(&mut self, now: Instant, published: u64, depth: u64) -> Duration {
        let fell = |(_, before): (Duration, u64)| published < before;
        if self.newest.is_some_and(fell) {
            self.clear();
        }
        let began = *self.began.get_or_insert(now);
        let at = now.saturating_duration_since(began);
        let Some((then, before)) = self.newest.replace((at, published)) else {
            return at;
        };
        if depth == 0 {
            // All of it was taken: only the newest matters from here on.
            self.steps.clear();
        }
        match self.steps.last_mut() {
            Some(last) if last.published == 0.0 && published == before => {
                *last = Step::new(at.saturating_sub(self.since), 0);
            }
            _ => {
                self.add(Step::new(at.saturating_sub(then), published - before));
                self.since = then;
            }
        }
        at
    }

    fn add(&mut self, step: Step) {
        if self.steps.len() == STEPS {
            self.thin_out();
        }
        if self.steps.len() == self.steps.capacity() {
            // Never more than that many: no room is taken for others.
            let room = STEPS - self.steps.len();
            self.steps
                .reserve_exact(room.min(self.steps.len().max(SPARE)));
        }
        self.steps.push(step);
    }

    /// Of the older half two and two become one.
    fn thin_out(&mut self) {
        let half = STEPS / 2;
        for pair in 0..half / 2 {
            let both = self.steps.get(2 * pair..2 * pair + 2).map(Step::over);
            if let (Some(both), Some(place)) = (both, self.steps.get_mut(pair)) {
                *place = both;
            }
        }
        self.steps.drain(half / 2..half);
    }

    /// What came before the oldest message came, and is as one step from here on.
    fn forget_before(&mut self, oldest: Option<usize>) {
        let past = oldest.map_or(0, |step| step.saturating_sub(SPARE));
        if past < 2 {
            return;
        }
        let all = self.steps.get(..past).map(Step::over);
        self.steps.drain(1..past);
        if let (Some(all), Some(first)) = (all, self.steps.first_mut()) {
            *first = all;
        }
        if self.steps.capacity() > 4 * SPARE && self.steps.len() < self.steps.capacity() / 4 {
            self.steps.shrink_to(4 * SPARE);
        }
    }

    /// Where the message came behind which `behind` others were published.
    fn find(&self, behind: u64) -> Place {
        #[expect(clippy::cast_precision_loss, reason = "a share of what came")]
        let behind = behind as f64;
        let (mut passed, mut age) = (0.0, 0.0);
        for (index, step) in self.steps.iter().enumerate().rev() {
            let (seconds, published) = (f64::from(step.seconds), f64::from(step.published));
            if passed + published > behind {
                let share = (behind - passed) / published;
                return Place {
                    step: Some(index),
                    age: Duration::from_secs_f64(age + seconds * share.clamp(0.0, 1.0)),
                };
            }
            (passed, age) = (passed + published, age + seconds);
        }
        Place {
            step: None,
            age: Duration::from_secs_f64(age),
        }
    }

    fn width(&self, step: usize) -> Duration {
        let step = self.steps.get(step);
        step.map_or(Duration::ZERO, |step| Duration::from_secs_f32(step.seconds))
    }
}

#[cfg(test)]
mod tests;

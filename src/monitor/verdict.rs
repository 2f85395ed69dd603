//! How a queue does, judged over its last polls without any threshold of the user's.
//!
//! Input: depth, consumers, acknowledged and redelivered totals of each poll, also of those that
//! did not see the queue. Output: a status and the time until it is empty. Only the course of the
//! numbers is judged, as Burrow does it for Kafka: a deep queue that drains is well, a shallow one
//! that nobody empties is not.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::rates::{TOLERANCE, WINDOW};
use crate::model::QueueStatus;

/// Polls that are judged.
const POLLS: usize = 10;
/// Polls that must have seen the queue.
const ENOUGH: usize = POLLS / 2;

/// What one poll saw of a queue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) at: Instant,
    /// None if the poll did not see the queue.
    pub(super) depth: Option<u64>,
    pub(super) consumers: Option<u64>,
    /// Acknowledged, or delivered where nothing has to be.
    pub(super) done: Option<u64>,
    pub(super) redelivered: Option<u64>,
}

/// The last polls of one queue. Polls closer together than the broker renews its numbers are one:
/// else ten of them could all see the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    slots: VecDeque<Slot>,
    /// When the newest slot began.
    began: Option<Instant>,
    /// The depth that was seen last.
    depth: u64,
}

/// One poll, kept small: there are ten for each of ten thousand queues. Numbers are the lower half
/// of what was seen, for only their course counts: between two polls none changes by two billions.
#[derive(Clone, Copy, Debug)]
struct Slot {
    depth: u32,
    done: u32,
    redelivered: u32,
    /// Milliseconds since the slot before began; the highest bits say what there is.
    after: u32,
}

const WAS_EMPTY: u32 = 1 << 31;
const HAS_DEPTH: u32 = 1 << 30;
const HAS_DONE: u32 = 1 << 29;
const HAS_REDELIVERED: u32 = 1 << 28;
const HAS_CONSUMERS: u32 = 1 << 27;
const NO_CONSUMERS: u32 = 1 << 26;
/// Longest time between two slots: eighteen hours.
const LONGEST: u32 = NO_CONSUMERS - 1;

impl Slot {
    fn new(seen: &Seen, after: Duration) -> Self {
        let after = u32::try_from(after.as_millis()).unwrap_or(LONGEST);
        let bit = |is: bool, bit: u32| if is { bit } else { 0 };
        Self {
            depth: low(seen.depth),
            done: low(seen.done),
            redelivered: low(seen.redelivered),
            after: after.min(LONGEST)
                | bit(seen.depth == Some(0), WAS_EMPTY)
                | bit(seen.depth.is_some(), HAS_DEPTH)
                | bit(seen.done.is_some(), HAS_DONE)
                | bit(seen.redelivered.is_some(), HAS_REDELIVERED)
                | bit(seen.consumers > Some(0), HAS_CONSUMERS)
                | bit(seen.consumers == Some(0), NO_CONSUMERS),
        }
    }

    const fn is(self, bit: u32) -> bool {
        self.after & bit != 0
    }

    const fn after(self) -> Duration {
        Duration::from_millis((self.after & LONGEST) as u64)
    }
}

/// The lower half of a number.
fn low(number: Option<u64>) -> u32 {
    u32::try_from(number.unwrap_or_default() & u64::from(u32::MAX)).unwrap_or_default()
}

/// By how much a number changed, from the lower halves.
const fn change(before: u32, after: u32) -> i64 {
    after.wrapping_sub(before).cast_signed() as i64
}

/// By how much a total grew over the window, as far as polls have it: not known if fewer than two
/// do, or if it began anew.
fn growth(mut totals: impl Iterator<Item = u32>) -> Option<i64> {
    let mut last = totals.next()?;
    let (mut grown, mut polls) = (0, 1);
    for total in totals {
        let change = change(last, total);
        if change < 0 {
            return None;
        }
        (last, grown, polls) = (total, grown + change, polls + 1);
    }
    (polls > 1).then_some(grown)
}

/// The course of the depth over the window.
#[derive(Clone, Copy, Debug)]
struct Course {
    /// By how much it is more than at first.
    grown: i64,
    polls: usize,
    falls: bool,
    is_flat: bool,
}

impl Course {
    fn of(mut depths: impl Iterator<Item = u32>) -> Option<Self> {
        let mut last = depths.next()?;
        let mut course = Self {
            grown: 0,
            polls: 1,
            falls: false,
            is_flat: true,
        };
        for depth in depths {
            let change = change(last, depth);
            course.falls |= change < 0;
            course.grown += change;
            course.is_flat &= course.grown == 0;
            course.polls += 1;
            last = depth;
        }
        Some(course)
    }
}

impl Verdict {
    /// Takes a poll in.
    pub(super) fn observe(&mut self, seen: Seen) {
        self.depth = seen.depth.unwrap_or(self.depth);
        let since = |began: Instant| seen.at.saturating_duration_since(began);
        let after = self.began.map_or(Duration::ZERO, since);
        if let Some(slot) = self.slots.back_mut()
            && after + TOLERANCE < WINDOW
        {
            let before = *slot;
            *slot = Slot::new(&seen, before.after());
            slot.after |= before.after & WAS_EMPTY;
            return;
        }
        match self.slots.len() {
            0 => self.slots.reserve_exact(POLLS),
            POLLS => drop(self.slots.pop_front()),
            _ => {}
        }
        self.slots.push_back(Slot::new(&seen, after));
        self.began = Some(seen.at);
    }

    /// Counters come from elsewhere: what was counted before cannot be compared.
    pub(super) fn forget_counters(&mut self) {
        for slot in &mut self.slots {
            slot.after &= !(HAS_DONE | HAS_REDELIVERED);
        }
    }

    /// Those that saw it.
    fn present(&self) -> impl Iterator<Item = Slot> {
        let slots = self.slots.iter().copied();
        slots.filter(|slot| slot.is(HAS_DEPTH))
    }

    fn course(&self) -> Option<Course> {
        Course::of(self.present().map(|slot| slot.depth))
    }

    /// How it does.
    pub(super) fn status(&self) -> QueueStatus {
        let Some(course) = self.course() else {
            return QueueStatus::Unknown;
        };
        let is_seen = self.slots.back().is_some_and(|slot| slot.is(HAS_DEPTH));
        if course.polls < ENOUGH || !is_seen {
            return QueueStatus::Unknown;
        }
        if self.slots.iter().any(|slot| slot.is(WAS_EMPTY)) {
            return QueueStatus::Ok;
        }
        let of = |bit| self.present().filter(move |slot| slot.is(bit));
        let done = growth(of(HAS_DONE).map(|slot| slot.done));
        let redelivered = growth(of(HAS_REDELIVERED).map(|slot| slot.redelivered));
        // Without counters only a depth that falls shows that somebody takes messages.
        let is_idle = done.map_or(!course.falls, |done| done == 0);
        let all = |bit| self.present().all(|slot| slot.is(bit));
        if is_idle && all(NO_CONSUMERS) {
            QueueStatus::NoConsumer
        } else if redelivered > Some(done.unwrap_or_default()) && !course.falls {
            QueueStatus::Poison
        } else if is_idle && (done.is_some() || course.is_flat) && all(HAS_CONSUMERS) {
            QueueStatus::Stalled
        } else if !course.falls && course.grown > 0 {
            QueueStatus::FallingBehind
        } else if course.grown < 0 {
            QueueStatus::Draining
        } else {
            QueueStatus::Ok
        }
    }

    /// Time until it is empty, if it goes on getting shorter as it did over the window.
    pub(super) fn drain_time(&self) -> Option<Duration> {
        let course = self.course()?;
        if course.grown >= 0 || course.polls < ENOUGH.min(3) {
            return None;
        }
        let seen = |slot: &Slot| slot.is(HAS_DEPTH);
        let first = self.slots.iter().position(seen)?;
        let last = self.slots.iter().rposition(seen)?;
        let between = self.slots.range(first + 1..=last);
        let took: Duration = between.map(|slot| slot.after()).sum();
        #[expect(clippy::cast_precision_loss, reason = "a count of messages")]
        let (now, fell) = (self.depth as f64, course.grown.unsigned_abs() as f64);
        Duration::try_from_secs_f64(took.as_secs_f64() * now / fell).ok()
    }
}

#[cfg(test)]
mod tests;

//! How a queue does, judged over its last polls without any threshold of the user's.
//!
//! Input: depth, consumers, acknowledged and redelivered totals of each poll, also of those that
//! did not see the queue. Output: a status and the time until it is empty. Only the course of the
//! numbers is judged, as Burrow does it for Kafka: a deep queue that drains is well, a shallow one
//! that nobody empties is not.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::rates::{TOLERANCE, WINDOW};
use super::small::Small;
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
}

/// One poll, kept small: there are ten for each of ten thousand queues.
#[derive(Clone, Copy, Debug)]
struct Slot {
    depth: Small,
    done: Small,
    redelivered: Small,
    /// As many as fit; none is [`u32::MAX`].
    consumers: u32,
    /// Milliseconds since the slot before began; the highest bit says that the queue was empty.
    after: u32,
}

const WAS_EMPTY: u32 = 1 << 31;

impl Slot {
    fn new(seen: &Seen, after: Duration) -> Self {
        let consumers = seen.consumers.map(u32::try_from);
        let after = u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
        let empty = if seen.depth == Some(0) { WAS_EMPTY } else { 0 };
        Self {
            depth: Small::new(seen.depth),
            done: Small::new(seen.done),
            redelivered: Small::new(seen.redelivered),
            consumers: consumers.map_or(u32::MAX, |count| count.unwrap_or(u32::MAX - 1)),
            after: after.min(WAS_EMPTY - 1) | empty,
        }
    }

    const fn was_empty(self) -> bool {
        self.after & WAS_EMPTY != 0
    }

    const fn after(self) -> Duration {
        Duration::from_millis((self.after & !WAS_EMPTY) as u64)
    }

    fn consumers(self) -> Option<u32> {
        (self.consumers != u32::MAX).then_some(self.consumers)
    }
}

/// By how much a total grew over the window, as far as polls have it: not known if fewer than two
/// do, or if it began anew.
fn growth(totals: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    let mut totals = totals.flatten();
    let first = totals.next()?;
    let (mut last, mut polls) = (first, 1);
    for total in totals {
        if total < last {
            return None;
        }
        (last, polls) = (total, polls + 1);
    }
    (polls > 1).then(|| last - first)
}

/// The course of the depth over the window.
#[derive(Clone, Copy, Debug)]
struct Course {
    first: u64,
    last: u64,
    polls: usize,
    falls: bool,
    is_flat: bool,
}

impl Course {
    fn of(mut depths: impl Iterator<Item = u64>) -> Option<Self> {
        let first = depths.next()?;
        let mut course = Self {
            first,
            last: first,
            polls: 1,
            falls: false,
            is_flat: true,
        };
        for depth in depths {
            course.falls |= depth < course.last;
            course.is_flat &= depth == first;
            course.last = depth;
            course.polls += 1;
        }
        Some(course)
    }
}

impl Verdict {
    /// Takes a poll in.
    pub(super) fn observe(&mut self, seen: Seen) {
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

    fn present(&self) -> impl Iterator<Item = (Slot, u64)> {
        let slots = self.slots.iter().copied();
        slots.filter_map(|slot| Some((slot, slot.depth.count()?)))
    }

    /// How it does.
    pub(super) fn status(&self) -> QueueStatus {
        let Some(course) = Course::of(self.present().map(|(_, depth)| depth)) else {
            return QueueStatus::Unknown;
        };
        let newest = self.slots.back().and_then(|slot| slot.depth.count());
        if course.polls < ENOUGH || newest.is_none() {
            return QueueStatus::Unknown;
        }
        if self.slots.iter().any(|slot| slot.was_empty()) {
            return QueueStatus::Ok;
        }
        let Course {
            first,
            last,
            falls,
            is_flat,
            ..
        } = course;
        let done = growth(self.present().map(|(slot, _)| slot.done.count()));
        let redelivered = growth(self.present().map(|(slot, _)| slot.redelivered.count()));
        // Without counters only a depth that falls shows that somebody takes messages.
        let is_idle = done.map_or(!falls, |done| done == 0);
        let consumers = || self.present().map(|(slot, _)| slot.consumers());
        if is_idle && consumers().all(|consumers| consumers == Some(0)) {
            QueueStatus::NoConsumer
        } else if redelivered > Some(done.unwrap_or_default()) && !falls {
            QueueStatus::Poison
        } else if is_idle
            && (done.is_some() || is_flat)
            && consumers().all(|consumers| consumers > Some(0))
        {
            QueueStatus::Stalled
        } else if !falls && last > first {
            QueueStatus::FallingBehind
        } else if last < first {
            QueueStatus::Draining
        } else {
            QueueStatus::Ok
        }
    }

    /// Time until it is empty, if it goes on getting shorter as it did over the window.
    pub(super) fn drain_time(&self) -> Option<Duration> {
        let seen = |slot: &Slot| slot.depth.count().is_some();
        let first = self.slots.iter().position(seen)?;
        let last = self.slots.iter().rposition(seen)?;
        let of = |place: usize| self.slots.get(place)?.depth.count();
        let (before, now) = (of(first)?, of(last)?);
        let enough = self.present().count() >= ENOUGH.min(3);
        let fell = before.checked_sub(now).filter(|fell| *fell > 0 && enough)?;
        let between = self.slots.range(first + 1..=last);
        let took: Duration = between.map(|slot| slot.after()).sum();
        let took = took.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a count of messages")]
        let left = took * now as f64 / fell as f64;
        Duration::try_from_secs_f64(left).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{QueueStatus, Seen, Verdict};
    use std::time::{Duration, Instant};

    use QueueStatus::{Draining, FallingBehind, NoConsumer, Ok, Poison, Stalled, Unknown};

    /// Depths of polls five seconds apart, how many were acknowledged and came back between two
    /// of them, and how many consumers there are.
    struct Script {
        depths: Vec<u64>,
        consumers: Option<u64>,
        done: Option<u64>,
        redelivered: Option<u64>,
    }

    fn play(script: &Script) -> Verdict {
        let (begun, mut verdict) = (Instant::now(), Verdict::default());
        for (poll, depth) in (0..).zip(&script.depths) {
            verdict.observe(Seen {
                at: begun + Duration::from_secs(5 * poll),
                depth: Some(*depth),
                consumers: script.consumers,
                done: script.done.map(|done| done * poll),
                redelivered: script.redelivered.map(|redelivered| redelivered * poll),
            });
        }
        verdict
    }

    fn check(depths: impl IntoIterator<Item = u64>, others: [u64; 3], expect: QueueStatus) {
        let [consumers, done, redelivered] = others.map(Some);
        let script = Script {
            depths: depths.into_iter().collect(),
            consumers,
            done,
            redelivered,
        };
        let status = play(&script).status();
        assert_eq!(status, expect, "{:?} {others:?}", script.depths);
    }

    #[test]
    fn each_course_has_its_status() {
        check([9, 5, 0, 4, 9, 9], [1, 10, 0], Ok);
        check([7; 10], [1, 10, 0], Ok);
        check([7, 9, 8, 6, 7, 7], [1, 10, 0], Ok);
        check([7; 10], [0, 0, 0], NoConsumer);
        check(7..17, [0, 0, 0], NoConsumer);
        check([7; 10], [1, 0, 0], Stalled);
        check(7..17, [1, 0, 0], Stalled);
        check(7..17, [1, 3, 0], FallingBehind);
        check([7; 10], [1, 0, 50], Poison);
        check([7; 10], [1, 3, 50], Poison);
        check((7..17).rev(), [1, 3, 0], Draining);
        check((7..17).rev(), [0, 3, 0], Draining);
        check([7; 4], [0, 0, 0], Unknown);
    }

    #[test]
    fn without_counters_only_the_depth_is_judged() {
        let check = |depths: &[u64], consumers, expect| {
            let script = Script {
                depths: depths.to_vec(),
                consumers,
                done: None,
                redelivered: None,
            };
            assert_eq!(play(&script).status(), expect, "{depths:?} {consumers:?}");
        };
        check(&[5, 5, 5, 5, 5], Some(0), NoConsumer);
        check(&[5, 5, 5, 5, 5], Some(2), Stalled);
        check(&[5, 6, 7, 8, 9], Some(2), FallingBehind);
        check(&[9, 8, 7, 6, 5], Some(2), Draining);
        check(&[5, 5, 5, 5, 5], None, Ok);
    }

    #[test]
    fn polls_that_did_not_see_it_count_against_certainty() {
        let mut verdict = play(&Script {
            depths: vec![7; 10],
            consumers: Some(0),
            done: Some(0),
            redelivered: Some(0),
        });
        let mut seen = Seen {
            at: verdict.began.unwrap(),
            depth: Some(7),
            consumers: Some(0),
            done: Some(0),
            redelivered: Some(0),
        };
        let mut observe = |depth| {
            seen.at += Duration::from_secs(5);
            verdict.observe(Seen { depth, ..seen });
            verdict.status()
        };
        for _ in 0..5 {
            assert_eq!(observe(None), Unknown, "the newest poll did not see it");
        }
        assert_eq!(observe(Some(7)), NoConsumer, "five of ten");
        observe(None);
        assert_eq!(observe(Some(7)), Unknown, "four of ten");
    }

    #[test]
    fn polls_closer_together_than_the_broker_counts_are_one() {
        let (begun, mut verdict) = (Instant::now(), Verdict::default());
        let mut at = |second: u64, depth| {
            verdict.observe(Seen {
                at: begun + Duration::from_secs(second),
                depth: Some(depth),
                consumers: Some(1),
                done: Some(second / 5),
                redelivered: None,
            });
            verdict.status()
        };
        for second in 0..20 {
            assert_eq!(at(second, 7), Unknown, "{second}");
        }
        assert_eq!(at(20, 7), Ok, "acknowledged once in five seconds");
        assert_eq!(at(21, 9), FallingBehind);
        at(22, 0);
        assert_eq!(at(23, 9), Ok, "it was empty in between");
    }

    #[test]
    fn a_counter_that_began_anew_is_not_known() {
        let mut verdict = play(&Script {
            depths: vec![7; 5],
            consumers: Some(1),
            done: Some(3),
            redelivered: Some(0),
        });
        let mut seen = Seen {
            at: verdict.began.unwrap(),
            depth: Some(7),
            consumers: Some(1),
            done: Some(0),
            redelivered: Some(0),
        };
        seen.at += Duration::from_secs(5);
        seen.depth = Some(6);
        verdict.observe(seen);
        assert_eq!(verdict.status(), Draining);
    }

    #[test]
    fn a_queue_that_gets_shorter_says_when_it_is_empty() {
        let verdict = play(&Script {
            depths: vec![100, 90, 80, 70, 60],
            consumers: Some(1),
            done: Some(10),
            redelivered: Some(0),
        });
        assert_eq!(verdict.drain_time(), Some(Duration::from_secs(30)));
        let grows = play(&Script {
            depths: vec![60, 70, 80, 90, 100],
            consumers: Some(1),
            done: Some(10),
            redelivered: Some(0),
        });
        assert_eq!(grows.drain_time(), None);
    }
}

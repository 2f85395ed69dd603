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
pub(super) struct Verdict(VecDeque<Slot>);

/// One poll, kept small: there are ten for each of ten thousand queues.
#[derive(Clone, Copy, Debug)]
struct Slot {
    began: Instant,
    depth: Small,
    consumers: Small,
    done: Small,
    redelivered: Small,
    was_empty: bool,
}

/// A count, or none, in the room of a count.
#[derive(Clone, Copy, Debug)]
struct Small(u64);

impl Small {
    fn new(count: Option<u64>) -> Self {
        Self(count.unwrap_or(u64::MAX))
    }

    fn count(self) -> Option<u64> {
        (self.0 != u64::MAX).then_some(self.0)
    }
}

impl Slot {
    fn new(seen: &Seen) -> Self {
        Self {
            began: seen.at,
            depth: Small::new(seen.depth),
            consumers: Small::new(seen.consumers),
            done: Small::new(seen.done),
            redelivered: Small::new(seen.redelivered),
            was_empty: seen.depth == Some(0),
        }
    }

    fn seen(&self) -> Seen {
        Seen {
            at: self.began,
            depth: self.depth.count(),
            consumers: self.consumers.count(),
            done: self.done.count(),
            redelivered: self.redelivered.count(),
        }
    }
}

/// By how much a total grew over the window, as far as polls have it: not known if fewer than two
/// do, or if it began anew.
fn growth(totals: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    let totals: Vec<u64> = totals.flatten().collect();
    let (first, last) = (totals.first()?, totals.last()?);
    (totals.len() > 1 && totals.is_sorted()).then(|| last - first)
}

impl Verdict {
    /// Takes a poll in.
    pub(super) fn observe(&mut self, seen: Seen) {
        if let Some(slot) = self.0.back_mut()
            && seen.at.saturating_duration_since(slot.began) + TOLERANCE < WINDOW
        {
            let (began, was_empty) = (slot.began, slot.was_empty);
            *slot = Slot::new(&seen);
            slot.began = began;
            slot.was_empty |= was_empty;
            return;
        }
        match self.0.len() {
            0 => self.0.reserve_exact(POLLS),
            POLLS => drop(self.0.pop_front()),
            _ => {}
        }
        self.0.push_back(Slot::new(&seen));
    }

    fn present(&self) -> impl Iterator<Item = (Seen, u64)> {
        let polls = self.0.iter().map(Slot::seen);
        polls.filter_map(|seen| Some((seen, seen.depth?)))
    }

    /// How it does.
    pub(super) fn status(&self) -> QueueStatus {
        let depths: Vec<u64> = self.present().map(|(_, depth)| depth).collect();
        let (Some(first), Some(last)) = (depths.first(), depths.last()) else {
            return QueueStatus::Unknown;
        };
        if depths.len() < ENOUGH
            || self
                .0
                .back()
                .is_none_or(|slot| slot.depth.count().is_none())
        {
            return QueueStatus::Unknown;
        }
        if self.0.iter().any(|slot| slot.was_empty) {
            return QueueStatus::Ok;
        }
        let falls = depths
            .windows(2)
            .any(|pair| matches!(pair, [before, after] if after < before));
        let done = growth(self.present().map(|(seen, _)| seen.done));
        let redelivered = growth(self.present().map(|(seen, _)| seen.redelivered));
        // Without counters only a depth that falls shows that somebody takes messages.
        let is_idle = done.map_or(!falls, |done| done == 0);
        let consumers = || self.present().map(|(seen, _)| seen.consumers);
        let is_flat = depths.iter().max() == depths.iter().min();
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
        let (first, before) = self.present().next()?;
        let (last, now) = self.present().last()?;
        let enough = self.present().count() >= ENOUGH.min(3);
        let fell = before.checked_sub(now).filter(|fell| *fell > 0 && enough)?;
        let took = last.at.saturating_duration_since(first.at).as_secs_f64();
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
        let mut seen = verdict.0[9].seen();
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
        let mut seen = verdict.0[4].seen();
        seen.at += Duration::from_secs(5);
        verdict.observe(Seen {
            done: Some(0),
            depth: Some(6),
            ..seen
        });
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

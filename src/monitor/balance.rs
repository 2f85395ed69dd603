//! How many messages left a queue until now, from numbers of which one is late.
//!
//! Input: published and left totals, which are of this moment, and a depth that is as old as the
//! queue's last statistics. What was there before the counts began plus what came uncounted is
//! constant: published less left less depth. Each poll says between which bounds it is, for the
//! depth was true at some moment of the last statistics interval; the bounds of many polls meet. So
//! the place of the oldest message follows the totals, however late the depth is.

use std::time::Duration;

/// What was counted at one poll.
#[derive(Clone, Copy, Debug)]
struct Counted {
    at_nanos: u64,
    published: i64,
    left: i64,
}

/// Polls that there is room for at first: two reach back as far as a depth may be old, and one is new.
const ROOM: usize = 3;

/// The bounds that the polls agree on.
#[derive(Clone, Debug, Default)]
pub(super) struct Balance {
    /// The last polls, reaching back as far as a depth may be old.
    recent: Vec<Counted>,
    /// The depth of the newest.
    depth: i64,
    bounds: Option<(i64, i64)>,
}

/// What a poll shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Messages that left, at least and at most, those included that were there before the counts.
    Left(i64, i64),
    /// More is in the queue than was counted coming in.
    Uncounted,
}

impl Balance {
    /// Takes a poll at `at`; the depth may be older by `staleness`.
    pub(super) fn observe(
        &mut self,
        (at, staleness): (Duration, Duration),
        (published, left): (u64, u64),
        depth: u64,
    ) -> Shown {
        let (published, left, depth) = (signed(published), signed(left), signed(depth));
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if self.recent.len() == self.recent.capacity() {
            self.recent.reserve_exact(ROOM);
        }
        self.recent.push(Counted {
            at_nanos: nanos(at),
            published,
            left,
        });
        let is_changed = std::mem::replace(&mut self.depth, depth) != depth;
        let (at, staleness) = (nanos(at), nanos(staleness));
        let is_old = |counted: &Counted| at.saturating_sub(counted.at_nanos) >= staleness;
        // One that is as old as a depth may be stays.
        let old = self.recent.iter().filter(|counted| is_old(counted)).count();
        self.recent.drain(..old.saturating_sub(1));
        // It was true between two polls: since the last one if it changed since.
        let polls = if is_changed { 2 } else { self.recent.len() };
        let from = self.recent.len().saturating_sub(polls);
        let since = self.recent.get(from..).unwrap_or_default();
        let net = since
            .iter()
            .map(|counted| counted.published - counted.left - depth);
        let drawn = (
            net.clone().min().unwrap_or_default(),
            net.max().unwrap_or_default(),
        );
        if old == 0 {
            // Nobody knows what happened before the first poll.
            self.bounds = None;
            return Shown::Left(left + drawn.0, left + drawn.1);
        }
        let Some((low, high)) = self.bounds else {
            self.bounds = Some(drawn);
            return Shown::Left(left + drawn.0, left + drawn.1);
        };
        let possible = possible(since, depth);
        if possible.1 < low {
            self.bounds = Some(drawn);
            return Shown::Uncounted;
        }
        let bounds = if possible.0 > high {
            // Some expired, were dropped or purged.
            drawn
        } else {
            let (low, high) = (low.max(drawn.0), high.min(drawn.1));
            // Where bounds miss each other by what happened between two polls it lies between them.
            (low.min(high), low.max(high))
        };
        self.bounds = Some(bounds);
        Shown::Left(left + bounds.0, left + bounds.1)
    }
}

/// The bounds if messages came and went in any order between two polls.
fn possible(since: &[Counted], depth: i64) -> (i64, i64) {
    let published = || since.iter().map(|counted| counted.published);
    let left = || since.iter().map(|counted| counted.left);
    let low = published().min().unwrap_or_default() - left().max().unwrap_or_default();
    let high = published().max().unwrap_or_default() - left().min().unwrap_or_default();
    (low - depth, high - depth)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Balance, Shown};
    use std::time::Duration;

    const STALENESS: Duration = Duration::from_secs(5);

    /// Observes second, published, left and depth; what the last poll shows.
    fn check(polls: &[(u64, u64, u64, u64)], expect: Shown) {
        let mut balance = Balance::default();
        let mut shown = Shown::Uncounted;
        for (second, published, left, depth) in polls {
            let times = (Duration::from_secs(*second), STALENESS);
            shown = balance.observe(times, (*published, *left), *depth);
        }
        assert_eq!(shown, expect, "{polls:?}");
    }

    #[test]
    fn a_depth_that_is_late_is_of_some_moment_of_the_last_interval() {
        // Ten a second in and five out: the depth of 25 may be from five seconds ago, or of now.
        check(
            &[(0, 0, 0, 0), (5, 50, 25, 0), (10, 100, 50, 25)],
            Shown::Left(50, 75),
        );
    }

    #[test]
    fn polls_of_a_growing_and_of_a_shrinking_queue_meet() {
        // Depths are two seconds late; nothing was there before, so what left is what was counted.
        let polls = [
            (0, 0, 0, 0),
            (5, 50, 0, 30),
            (10, 100, 0, 80),
            (15, 100, 50, 70),
            (20, 100, 90, 26),
        ];
        check(&polls, Shown::Left(74, 110));
        let quiet = [(25, 100, 90, 10), (30, 100, 90, 10)];
        check(&[&polls[..], &quiet[..]].concat(), Shown::Left(90, 90));
    }

    #[test]
    fn what_expires_moves_it_on_and_what_comes_uncounted_is_told() {
        let quiet = [(0, 100, 20, 80), (5, 100, 20, 80), (10, 100, 20, 80)];
        check(&quiet, Shown::Left(20, 20));
        check(
            &[&quiet[..], &[(15, 100, 20, 30)]].concat(),
            Shown::Left(70, 70),
        );
        check(
            &[&quiet[..], &[(15, 100, 20, 90)]].concat(),
            Shown::Uncounted,
        );
    }
}

//! Counters to rates per second, from polls of ours.
//!
//! Input: a counter's total at each poll. Output: how fast it grew; none at first sight and after
//! a reset. The broker renews its numbers every [`WINDOW`] only: two polls closer together than
//! that would see nothing or too much, and polls six seconds apart see one renewal or two. So a
//! rate spans a time that is near a whole number of windows.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::small::Small;

/// How often the broker renews its numbers (`collect_statistics_interval`), by default.
pub(super) const WINDOW: Duration = Duration::from_secs(5);
/// By how much two polls that are a window apart may be closer.
pub(super) const TOLERANCE: Duration = Duration::from_millis(250);
/// Age of the oldest poll that is kept.
const KEPT: Duration = Duration::from_secs(20);
/// Polls that are kept though a newer one is a good base: others may come late.
const SPARE: usize = 5;
/// Polls closer together than that are one: it moves a base by less than what is good.
const LEAST: Duration = Duration::from_millis(450);
/// Share of a rate by which it may be off where a better base is not at hand.
const WORST: f64 = 0.2;
/// Share by which a rate may be off; the newest base that is as good is taken.
const GOOD: f64 = 0.05;

/// The totals of one poll, kept small: their lower halves, for between two polls none grows by four
/// billions.
#[derive(Clone, Debug)]
struct Poll<const N: usize> {
    /// Milliseconds since the first poll; it may begin anew.
    millis: u32,
    values: [u32; N],
    /// Which of them there were, by bit.
    known: u8,
}

/// The last window of `N` counters of one name.
#[derive(Clone, Debug)]
pub(super) struct Rates<const N: usize> {
    polls: VecDeque<Poll<N>>,
    began: Option<Instant>,
    /// The totals of the newest poll.
    newest: [Small; N],
}

impl<const N: usize> Default for Rates<N> {
    fn default() -> Self {
        Self {
            polls: VecDeque::new(),
            began: None,
            newest: [Small::NONE; N],
        }
    }
}

impl<const N: usize> Poll<N> {
    fn new(millis: u32, values: &[Option<u64>; N]) -> Self {
        let bit = |(index, value): (usize, &Option<u64>)| u8::from(value.is_some()) << index;
        Self {
            millis,
            values: values.map(|value| low(value.unwrap_or_default())),
            known: values.iter().enumerate().map(bit).sum(),
        }
    }

    /// How long before `millis` it was.
    const fn age(&self, millis: u32) -> Duration {
        Duration::from_millis(millis.wrapping_sub(self.millis) as u64)
    }
}

fn low(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default()
}

impl<const N: usize> Rates<N> {
    /// Takes the totals at `at` and gives their rates.
    pub(super) fn observe(&mut self, at: Instant, values: [Option<u64>; N]) -> [Option<f64>; N] {
        let totals = values.map(Small::new);
        if is_reset(&std::mem::replace(&mut self.newest, totals), &values) {
            self.polls.clear();
        }
        let began = *self.began.get_or_insert(at);
        let after = at.saturating_duration_since(began).as_millis();
        let poll = Poll::new(low(u64::try_from(after).unwrap_or_default()), &values);
        let polls = &mut self.polls;
        // Two are kept however old they are: polls may be further apart than that.
        let is_old = |oldest: &Poll<N>| oldest.age(poll.millis) > KEPT;
        while polls.len() > 2 && polls.front().is_some_and(is_old) {
            polls.pop_front();
        }
        let (place, rates) = match base(polls, poll.millis) {
            Some((place, base)) => (place, between(base, &poll)),
            None => (0, [None; N]),
        };
        polls.drain(..place.min(polls.len().saturating_sub(SPARE)));
        let is_close = |last: &Poll<N>| last.age(poll.millis) < LEAST;
        if polls.len() > 1 && polls.back().is_some_and(is_close) {
            return rates;
        }
        if polls.len() == polls.capacity() {
            polls.reserve_exact(SPARE + 1);
        }
        polls.push_back(poll);
        rates
    }

    /// Forgets what was before: what comes next cannot be compared with it.
    pub(super) fn clear(&mut self) {
        self.polls.clear();
    }
}

/// The newest poll from which a rate is good, and its place; else the best of those that are not
/// too bad, before which nothing may go.
fn base<const N: usize>(polls: &VecDeque<Poll<N>>, millis: u32) -> Option<(usize, &Poll<N>)> {
    let judged = polls
        .iter()
        .enumerate()
        .rev()
        .map(|(place, poll)| (place, poll, error(poll.age(millis))));
    let mut best: Option<(&Poll<N>, f64)> = None;
    for (place, totals, error) in judged.filter(|(_, _, error)| *error <= WORST) {
        if error <= GOOD {
            return Some((place, totals));
        }
        if best.is_none_or(|(_, least)| error < least) {
            best = Some((totals, error));
        }
    }
    best.map(|(totals, _)| (0, totals))
}

/// Share by which a rate over `age` may be off, as the broker renews its numbers once a window.
fn error(age: Duration) -> f64 {
    if age + TOLERANCE < WINDOW {
        return f64::INFINITY;
    }
    let windows = age.as_secs_f64() / WINDOW.as_secs_f64();
    (windows - windows.round()).abs() / windows
}

/// Whether a counter fell or went away: the broker, or the queue, began anew.
fn is_reset<const N: usize>(last: &[Small; N], values: &[Option<u64>; N]) -> bool {
    last.iter().zip(values).any(|(last, value)| {
        let fell = |last| value.is_none_or(|value| value < last);
        last.count().is_some_and(fell)
    })
}

fn between<const N: usize>(base: &Poll<N>, now: &Poll<N>) -> [Option<f64>; N] {
    let seconds = base.age(now.millis).as_secs_f64();
    let known = base.known & now.known;
    std::array::from_fn(|index| {
        let (before, now) = (base.values.get(index)?, now.values.get(index)?);
        let grown = (known >> index & 1 == 1).then(|| now.wrapping_sub(*before))?;
        Some(f64::from(grown) / seconds)
    })
}

#[cfg(test)]
mod tests {
    use super::Rates;
    use std::time::{Duration, Instant};

    /// Observes one counter at each second and gives the rates.
    fn check(observations: &[(u64, Option<u64>)], expect: &[Option<f64>]) {
        let begun = Instant::now();
        let mut rates = Rates::<1>::default();
        let seen: Vec<Option<f64>> = observations
            .iter()
            .map(|(second, value)| {
                let at = begun + Duration::from_secs(*second);
                rates.observe(at, [*value])[0]
            })
            .collect();
        assert_eq!(seen, expect, "{observations:?}");
    }

    #[test]
    fn a_rate_spans_at_least_one_window_of_the_broker() {
        check(
            &[(0, Some(10)), (5, Some(60)), (10, Some(60))],
            &[None, Some(10.0), Some(0.0)],
        );
        // Polls every second, totals that the broker renews every five: no zero, no spike.
        let totals = [0, 0, 50, 50, 50, 50, 50, 100, 100, 100, 100, 100, 150];
        let observations: Vec<(u64, Option<u64>)> =
            (0..).zip(totals.into_iter().map(Some)).collect();
        let expect = [vec![None; 5], vec![Some(10.0); 8]].concat();
        check(&observations, &expect);
    }

    #[test]
    fn polls_that_do_not_fit_the_brokers_window_take_a_base_that_does() {
        // 20 a second, renewed every five seconds, polled every two.
        let totals = [0, 0, 0, 100, 100, 200, 200, 200, 300, 300, 400];
        let observations: Vec<(u64, Option<u64>)> =
            (0..).step_by(2).zip(totals.into_iter().map(Some)).collect();
        let sixth = Some(100.0 / 6.0);
        let expect = [None, None, None, sixth, sixth];
        check(&observations, &[&expect[..], &[Some(20.0); 6]].concat());
    }

    #[test]
    fn a_reset_or_a_gap_is_no_rate_and_never_a_spike() {
        check(
            &[(0, Some(100)), (5, Some(200)), (10, Some(3)), (15, Some(8))],
            &[None, Some(20.0), None, Some(1.0)],
        );
        check(
            &[(0, Some(100)), (5, None), (10, Some(500)), (15, Some(505))],
            &[None, None, None, Some(1.0)],
        );
        check(
            &[(0, None), (5, Some(7)), (10, Some(12))],
            &[None, None, Some(1.0)],
        );
    }

    #[test]
    fn a_reset_within_a_window_is_not_bridged() {
        check(
            &[(0, Some(100)), (1, Some(3)), (5, Some(500)), (6, Some(503))],
            &[None, None, None, Some(100.0)],
        );
        check(
            &[(0, Some(100)), (1, None), (5, Some(500)), (10, Some(505))],
            &[None, None, None, Some(1.0)],
        );
    }

    #[test]
    fn what_was_forgotten_is_no_base() {
        let begun = Instant::now();
        let mut rates = Rates::<1>::default();
        rates.observe(begun, [Some(1)]);
        rates.clear();
        let later = begun + Duration::from_secs(5);
        assert_eq!(rates.observe(later, [Some(9)]), [None]);
    }

    #[test]
    fn polls_close_together_take_no_more_room_than_a_base_needs() {
        for (apart, most) in [(50, 14), (250, 14), (500, 12), (1_000, 7), (5_000, 6)] {
            let (begun, mut rates) = (Instant::now(), Rates::<1>::default());
            for poll in 0..2_000 {
                let after = Duration::from_millis(apart * poll);
                // Ten a second, told at once.
                let rate = rates.observe(begun + after, [Some(apart * poll / 100)])[0];
                let is_right = rate.is_none_or(|rate| (rate - 10.0).abs() < 0.3);
                let is_there = rate.is_some() || after < Duration::from_secs(5);
                assert!(is_right && is_there, "{apart} {poll} {rate:?}");
                let kept = rates.polls.len();
                assert!(kept <= most, "{apart}: {kept}");
            }
        }
    }

    #[test]
    fn totals_of_many_billions_have_the_same_rates() {
        let billions = (7 << 32) - 40;
        check(
            &[(0, Some(billions)), (5, Some(billions + 50))],
            &[None, Some(10.0)],
        );
        // A fall by more than half of what is kept of a total is a fall.
        check(
            &[(0, Some(3_000_000_000)), (5, Some(0)), (10, Some(5))],
            &[None, None, Some(1.0)],
        );
    }
}

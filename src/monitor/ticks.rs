//! When a poll is due: the first at once, the others at a phase of this process's own.
//!
//! Agents that are started together, by a rollout or after a power cut, would otherwise ask the
//! broker in the same moment ever after. The phase is drawn once: the time between two polls stays
//! the interval, only that between the first and the second is half to one and a half of it.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// The times of one kind of poll.
#[derive(Debug)]
pub(super) struct Ticks {
    is_first: bool,
    rest: Interval,
}

impl Ticks {
    /// Every `interval` at a phase that is drawn now. What falls out while a poll takes too long is
    /// left out.
    pub(super) fn new(interval: Duration) -> Self {
        Self::at(interval, phase())
    }

    /// The phase is this `share` of the interval, from 0 up to 1.
    fn at(interval: Duration, share: f64) -> Self {
        let begun = Instant::now();
        let mut rest = interval_at(begun + second(interval, share), interval);
        rest.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self {
            is_first: true,
            rest,
        }
    }

    /// Waits until the next is due; when it was to be.
    pub(super) async fn tick(&mut self) -> Instant {
        if std::mem::take(&mut self.is_first) {
            return Instant::now();
        }
        self.rest.tick().await
    }
}

/// A share of the interval, from 0 up to 1.
fn phase() -> f64 {
    fastrand::f64()
}

/// From the start to the second poll.
fn second(interval: Duration, share: f64) -> Duration {
    interval.mul_f64(0.5 + share)
}

#[cfg(test)]
mod tests {
    use super::{Ticks, second};
    use futures_util::FutureExt;
    use std::collections::BTreeSet;
    use std::time::Duration;
    use tokio::time::Instant;

    const INTERVAL: Duration = Duration::from_millis(10);

    #[tokio::test]
    async fn the_first_is_at_once_and_all_others_are_at_one_phase() {
        let created = Instant::now();
        let mut ticks = Ticks::at(INTERVAL, 0.25);
        assert!(ticks.tick().now_or_never().is_some());
        assert!(ticks.tick().now_or_never().is_none() || created.elapsed() > INTERVAL / 2);
        let mut before = ticks.tick().await;
        for _ in 0..20 {
            // On a busy machine some fall out: what is left is at the same phase.
            let tick = ticks.tick().await;
            let apart = (tick - before).as_nanos();
            assert!(apart > 0 && apart % INTERVAL.as_nanos() == 0, "{apart}");
            before = tick;
        }
    }

    #[test]
    fn the_second_is_half_to_one_and_a_half_of_the_interval_later() {
        let minute = Duration::from_secs(60);
        for (share, expect) in [(0.0, 30), (0.5, 60), (0.75, 75)] {
            assert_eq!(second(minute, share), Duration::from_secs(expect));
        }
    }

    #[test]
    fn agents_that_start_together_do_not_poll_in_step() {
        let hour = Duration::from_secs(3600);
        let tenths = (0..500).map(|_| second(hour, super::phase()).as_secs() / 360);
        let tenths: BTreeSet<u64> = tenths.collect();
        assert_eq!(tenths, (5..15).collect(), "each tenth of the hour has some");
    }
}

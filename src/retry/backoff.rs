//! How long to wait after a failure: exponential with full jitter, and what the server asked for.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);
/// Longest wait that a server may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// Failures since the last success.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Forgets the failures.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after one more failure: at random up to 250 ms, 500 ms, .. 30 s; never before
    /// what the server `asked` for, cut at five minutes, and then a little apart from other
    /// senders that were asked the same.
    pub(crate) fn next_wait(&mut self, asked: Option<Duration>) -> Duration {
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(7)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let wait = ceiling.mul_f64(fastrand::f64());
        match asked {
            Some(asked) => wait.max(asked.min(LONGEST_ASKED) + FIRST.mul_f64(fastrand::f64())),
            None => wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Backoff;

    #[test]
    fn waits_grow_to_thirty_seconds_and_start_anew() {
        let waits = |failures: u32| {
            let wait = |_| Backoff { failures }.next_wait(None);
            let waits: Vec<Duration> = (0..200).map(wait).collect();
            (waits.iter().min().copied(), waits.iter().max().copied())
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert!(waits(0).1 <= Some(Duration::from_millis(250)));
        assert!(waits(3).1 > seconds(1));
        assert!(waits(u32::MAX).0 < seconds(15), "no jitter");
        assert!(waits(u32::MAX).1 > seconds(20));
        assert!(waits(u32::MAX).1 <= seconds(30));
        let mut backoff = Backoff { failures: 9 };
        backoff.reset();
        assert!(backoff.next_wait(None) <= Duration::from_millis(250));
    }

    #[test]
    fn the_server_may_ask_for_longer_and_not_for_less() {
        let asked = |failures, asked| {
            let wait = |_| Backoff { failures }.next_wait(Some(asked));
            (0..200).map(wait).max().unwrap()
        };
        let seconds = Duration::from_secs;
        assert!(asked(0, seconds(7)) >= seconds(7) && asked(0, seconds(7)) < seconds(8));
        assert!(asked(0, Duration::MAX) < seconds(301));
        assert!(asked(9, Duration::ZERO) > seconds(20), "asked for no wait");
    }
}

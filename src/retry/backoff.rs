//! How long to wait after a failure: exponential with full jitter, or what the server asked for.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);
/// Longest wait that a server may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// Failures since the last success.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Forgets the failures.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after one more failure: at random up to 250 ms, 500 ms, .. 30 s; never before
    /// what the server `asked` for, cut at five minutes.
    pub(super) fn next_wait(&mut self, asked: Option<Duration>) -> Duration {
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(7)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        match asked {
            Some(asked) => asked.min(LONGEST_ASKED) + FIRST.mul_f64(fastrand::f64()),
            None => ceiling.mul_f64(fastrand::f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Backoff;

    #[test]
    fn waits_grow_to_thirty_seconds_and_start_anew() {
        let longest = |failures: u32| {
            let wait = |_| Backoff { failures }.next_wait(None);
            (0..200).map(wait).max().unwrap()
        };
        assert!(longest(0) <= Duration::from_millis(250));
        assert!(longest(3) > Duration::from_secs(1));
        assert!(longest(u32::MAX) > Duration::from_secs(20));
        assert!(longest(u32::MAX) <= Duration::from_secs(30));
        let mut backoff = Backoff { failures: 9 };
        backoff.reset();
        assert!(backoff.next_wait(None) <= Duration::from_millis(250));
    }

    #[test]
    fn the_server_may_ask_for_longer() {
        let asked = |seconds| Backoff::default().next_wait(Some(Duration::from_secs(seconds)));
        assert!(asked(7) >= Duration::from_secs(7) && asked(7) < Duration::from_secs(8));
        assert!(asked(u64::MAX) < Duration::from_secs(301));
    }
}

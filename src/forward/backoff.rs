//! How long to wait before the next attempt: exponential with full jitter.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);
/// An upstream may ask for a longer wait, but not for ever.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// Waits between the attempts of one outage.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next wait: anything up to the ceiling of this attempt, at least what was `asked` for.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let ceiling = FIRST
            .saturating_mul(1 << self.attempts.min(16))
            .min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        let wait = ceiling.mul_f64(fastrand::f64());
        wait.max(asked.unwrap_or_default().min(LONGEST_ASKED))
    }

    /// The upstream works again.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, LONGEST, LONGEST_ASKED};
    use std::time::Duration;

    #[test]
    fn waits_grow_to_a_ceiling_and_honour_what_is_asked() {
        let mut backoff = Backoff::default();
        assert!(backoff.next(None) <= Duration::from_millis(250));
        assert!(backoff.next(None) <= Duration::from_millis(500));
        let later: Vec<_> = (0..500).map(|_| backoff.next(None)).collect();
        assert!(later.iter().all(|wait| *wait <= LONGEST));
        assert!(later.iter().any(|wait| *wait > LONGEST / 2), "no growth");
        assert!(later.iter().any(|wait| *wait < LONGEST / 2), "no jitter");
        let asked = Some(Duration::from_secs(40));
        assert_eq!(backoff.next(asked), Duration::from_secs(40));
        assert_eq!(backoff.next(Some(Duration::MAX)), LONGEST_ASKED);
        backoff.reset();
        assert!(backoff.next(None) <= Duration::from_millis(250));
    }
}

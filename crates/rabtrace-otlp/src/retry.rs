//! When to try again: pure, time comes as an argument.
//!
//! Retried are answers that say "later" (429, 502, 503, 504) and connections that failed; the pause
//! doubles, is never shorter than what the server asks for, and never ends after the time for the
//! whole export.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#otlphttp-response>.

use std::time::{Duration, SystemTime};

/// How often and after what pauses a request is sent again.
///
/// The default tries until the timeout of the export is over. That is what the SDK's exporter does
/// not do: after three retries, in less than a second, it gives the spans up.
///
/// ```
/// use std::time::Duration;
/// use rabtrace_otlp::{Exporter, RetryPolicy};
///
/// # fn main() -> Result<(), rabtrace_otlp::BuildError> {
/// let policy = RetryPolicy::default().with_max_retries(3);
/// let exporter = Exporter::builder().with_retry_policy(policy).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    max_retries: u32,
    initial_delay: Duration,
    max_delay: Duration,
    max_jitter: Duration,
}

impl Default for RetryPolicy {
    /// From 100 ms to 1.6 s, with up to 100 ms on top, until the timeout.
    fn default() -> Self {
        Self {
            max_retries: u32::MAX,
            initial_delay: Duration::from_millis(100),
            max_delay: Duration::from_millis(1_600),
            max_jitter: Duration::from_millis(100),
        }
    }
}

impl RetryPolicy {
    /// One attempt, no retry.
    #[must_use]
    pub fn disabled() -> Self {
        Self::default().with_max_retries(0)
    }

    /// At most `retries` attempts after the first one.
    #[must_use]
    pub fn with_max_retries(mut self, retries: u32) -> Self {
        self.max_retries = retries;
        self
    }

    /// The pause before the first retry.
    #[must_use]
    pub fn with_initial_delay(mut self, delay: Duration) -> Self {
        self.initial_delay = delay;
        self
    }

    /// The longest pause that is not asked for by the server.
    #[must_use]
    pub fn with_max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// The most that chance adds to a pause, so that many clients do not come at once.
    #[must_use]
    pub fn with_max_jitter(mut self, jitter: Duration) -> Self {
        self.max_jitter = jitter;
        self
    }
}

/// The pauses of one export.
#[derive(Debug)]
pub(crate) struct Backoff<'a> {
    policy: &'a RetryPolicy,
    delay: Duration,
    retries: u32,
}

impl<'a> Backoff<'a> {
    pub(crate) fn new(policy: &'a RetryPolicy) -> Self {
        Self {
            policy,
            delay: policy.initial_delay.min(policy.max_delay),
            retries: 0,
        }
    }

    /// The pause before the next attempt; `None` if there is to be none.
    ///
    /// `asked` is what the server wants, `chance` a number from 0 to 1, `left` the time for the
    /// whole export that is left.
    pub(crate) fn pause(
        &mut self,
        asked: Option<Duration>,
        chance: f64,
        left: Duration,
    ) -> Option<Duration> {
        if self.retries >= self.policy.max_retries {
            return None;
        }
        let jitter = self.policy.max_jitter.mul_f64(chance);
        let pause = self.delay.max(asked.unwrap_or_default()) + jitter;
        self.retries += 1;
        self.delay = self.delay.saturating_mul(2).min(self.policy.max_delay);
        (pause < left).then_some(pause)
    }
}

/// Whether an answer with `status` says that the same request may be taken later.
pub(crate) fn is_retryable(status: u16) -> bool {
    matches!(status, 429 | 502 | 503 | 504)
}

/// What a header `Retry-After` asks for: seconds, or a date.
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn milliseconds(all: &[u64]) -> Vec<Duration> {
        all.iter().copied().map(Duration::from_millis).collect()
    }

    #[test]
    fn pauses_double_up_to_their_end() {
        let policy = RetryPolicy::default();
        let mut backoff = Backoff::new(&policy);
        let pauses: Vec<_> = (0..7)
            .map_while(|_| backoff.pause(None, 0.0, SECOND * 9))
            .collect();
        let expected = milliseconds(&[100, 200, 400, 800, 1_600, 1_600, 1_600]);
        assert_eq!(pauses, expected);
    }

    #[test]
    fn chance_and_the_server_make_them_longer() {
        let policy = RetryPolicy::default();
        let mut backoff = Backoff::new(&policy);
        let mut pause = |asked, chance| backoff.pause(asked, chance, SECOND * 9);
        assert_eq!(pause(None, 1.0), Some(Duration::from_millis(200)));
        assert_eq!(pause(Some(SECOND * 3), 0.0), Some(SECOND * 3));
        assert_eq!(pause(Some(Duration::ZERO), 0.0), Some(SECOND * 2 / 5));
    }

    #[test]
    fn none_ends_after_the_timeout() {
        let policy = RetryPolicy::default();
        let mut backoff = Backoff::new(&policy);
        assert_eq!(backoff.pause(Some(SECOND), 0.0, SECOND), None);
        let policy = RetryPolicy::default().with_max_retries(1);
        let mut backoff = Backoff::new(&policy);
        assert!(backoff.pause(None, 0.0, SECOND).is_some());
        assert_eq!(backoff.pause(None, 0.0, SECOND), None);
        let policy = RetryPolicy::disabled();
        assert_eq!(Backoff::new(&policy).pause(None, 0.0, SECOND), None);
    }

    #[test]
    fn seconds_and_dates() {
        // The date of RFC 9110, section 5.6.7.
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let then = UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(retry_after(" 7 ", then), Some(SECOND * 7));
        assert_eq!(retry_after(date, then - SECOND * 5), Some(SECOND * 5));
        assert_eq!(retry_after(date, then + SECOND), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", then), None);
        assert_eq!(retry_after("-1", then), None);
    }

    #[test]
    fn statuses() {
        let retryable: Vec<u16> = (100..600).filter(|status| is_retryable(*status)).collect();
        assert_eq!(retryable, [429, 502, 503, 504]);
    }
}

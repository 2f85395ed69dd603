//! One peer and one kind of request: never two of them under way, however long one takes.
//!
//! Input: what to ask, and until when to wait. Output: the answer, once it is there. A request
//! that is not answered in time goes on beside the polls until its own time limit; until then
//! that peer is not asked again, and what was left out is counted. So a peer that hangs costs a
//! poll the time that it waits and never the poll itself, and a slow one still gives its numbers,
//! only less often.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio_util::task::AbortOnDropHandle;

use super::failure::{Cause, RequestError};

/// What one request gave.
#[derive(Clone, Debug)]
pub(super) struct Reply<T> {
    pub(super) value: T,
    pub(super) at: Instant,
    pub(super) bytes: u64,
    pub(super) took: Duration,
}

impl<T> Reply<T> {
    /// This and another one, as `join` puts them together.
    pub(super) fn and(mut self, other: Self, join: fn(&mut T, T)) -> Self {
        join(&mut self.value, other.value);
        Self {
            at: other.at,
            bytes: self.bytes + other.bytes,
            took: self.took + other.took,
            ..self
        }
    }
}

#[cfg(test)]
impl<T> Reply<T> {
    /// One that is there at once.
    pub(super) fn now(value: T) -> Self {
        Self {
            value,
            at: Instant::now(),
            bytes: 0,
            took: Duration::ZERO,
        }
    }
}

/// A reply or why there is none.
pub(super) type Outcome<T> = Result<Reply<T>, RequestError>;

/// A request is asked for at most one part in this many of the time.
const REST: u32 = 20;
/// Time-outs after which an optional request is left out for long.
const PATIENCE: u32 = 2;
/// How long it is left out the first time.
const FIRST_PAUSE: Duration = Duration::from_secs(600);
/// How long at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// When something that was slow may be asked again.
#[derive(Debug, Default)]
struct Pace {
    not_before: Option<Instant>,
    timeouts: u32,
    pause: Option<Duration>,
}

impl Pace {
    fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|not_before| now >= not_before)
    }

    fn took(&mut self, begun: Instant, ended: Instant, timed_out: bool) {
        let rest = ended.saturating_duration_since(begun) * REST;
        self.not_before = Some(ended + rest);
        if !timed_out {
            (self.timeouts, self.pause) = (0, None);
            return;
        }
        self.timeouts += 1;
        if self.timeouts >= PATIENCE {
            let pause = self.pause.map_or(FIRST_PAUSE, |pause| pause * 2);
            let pause = pause.min(LONGEST_PAUSE);
            self.pause = Some(pause);
            self.not_before = Some(ended + pause.max(rest));
        }
    }
}

/// A request and what became of it last.
#[derive(Debug)]
pub(super) struct Lane<T> {
    running: Option<(Instant, AbortOnDropHandle<Outcome<T>>)>,
    pace: Pace,
    skipped: u64,
    /// Why it did not answer, until it does.
    trouble: Option<RequestError>,
    /// How long the last answer took.
    took: Option<Duration>,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self {
            running: None,
            pace: Pace::default(),
            skipped: 0,
            trouble: None,
            took: None,
        }
    }
}

impl<T: Send + 'static> Lane<T> {
    /// Asks, unless the last request is still under way: then that one is counted as skipped.
    pub(super) fn ask(&mut self, request: impl Future<Output = Outcome<T>> + Send + 'static) {
        if self.running.is_some() {
            self.skipped += 1;
            return;
        }
        let task = AbortOnDropHandle::new(tokio::spawn(request));
        self.running = Some((Instant::now(), task));
    }

    /// Asks if what was slow has rested, or keeps on asking.
    pub(super) fn ask_if_due(
        &mut self,
        request: impl Future<Output = Outcome<T>> + Send + 'static,
    ) {
        if self.running.is_some() || self.pace.is_due(Instant::now()) {
            self.ask(request);
        }
    }

    /// What it answered by `deadline`; none if it was not asked, or has not answered yet.
    pub(super) async fn answer(&mut self, deadline: Instant) -> Option<Outcome<T>> {
        let (begun, task) = self.running.as_mut()?;
        let begun = *begun;
        let Ok(joined) = tokio::time::timeout_at(deadline.into(), task).await else {
            return None;
        };
        self.running = None;
        let outcome = joined.ok()?;
        let ended = outcome
            .as_ref()
            .map_or_else(|_| Instant::now(), |reply| reply.at);
        let timed_out = matches!(&outcome, Err(error) if matches!(error.cause, Cause::Timeout(_)));
        self.pace.took(begun, ended, timed_out);
        self.took = Some(ended.saturating_duration_since(begun));
        self.trouble = outcome.as_ref().err().cloned();
        Some(outcome)
    }
}

impl<T> Lane<T> {
    /// Whether a request is under way.
    pub(super) const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Requests that were left out since one was under way.
    pub(super) const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Why it did not answer when it was last asked.
    pub(super) const fn trouble(&self) -> Option<&RequestError> {
        self.trouble.as_ref()
    }

    /// How long the last request took.
    pub(super) const fn took(&self) -> Option<Duration> {
        self.took
    }

    /// It is not asked for any more: what it last said does not count.
    pub(super) fn rest(&mut self) {
        self.trouble = None;
    }
}

#[cfg(test)]
mod tests {
    use super::{FIRST_PAUSE, LONGEST_PAUSE, Lane, Pace, Reply};
    use std::time::{Duration, Instant};

    #[test]
    fn what_was_slow_rests_twenty_times_as_long() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let mut pace = Pace::default();
        assert!(pace.is_due(begun));
        pace.took(begun, at(10), false);
        assert!(!pace.is_due(at(209)));
        assert!(pace.is_due(at(210)));
    }

    #[test]
    fn what_timed_out_twice_is_left_alone_and_tried_again_later_and_later() {
        let begun = Instant::now();
        let limit = Duration::from_secs(10);
        let mut pace = Pace::default();
        let mut now = begun;
        let mut time_out = |pace: &mut Pace| {
            pace.took(now, now + limit, true);
            let before = now + limit;
            now = pace.not_before.unwrap();
            now - before
        };
        assert_eq!(time_out(&mut pace), limit * 20);
        assert_eq!(time_out(&mut pace), FIRST_PAUSE);
        assert_eq!(time_out(&mut pace), FIRST_PAUSE * 2);
        let pauses: Vec<Duration> = (0..4).map(|_| time_out(&mut pace)).collect();
        assert_eq!(pauses.last(), Some(&LONGEST_PAUSE));
        pace.took(begun, begun, false);
        assert!(pace.is_due(begun), "an answer forgives all");
    }

    #[tokio::test]
    async fn a_late_answer_is_had_by_the_next_poll_and_none_is_asked_meanwhile() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut lane = Lane::<u8>::default();
        lane.ask(async {
            let value = told.await.unwrap();
            Ok(Reply {
                value,
                at: Instant::now(),
                bytes: 1,
                took: Duration::ZERO,
            })
        });
        assert!(lane.answer(Instant::now()).await.is_none());
        lane.ask(async { panic!("two at once") });
        assert_eq!((lane.skipped(), lane.is_running()), (1, true));
        tell.send(7).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let outcome = lane.answer(deadline).await.unwrap().unwrap();
        assert_eq!((outcome.value, lane.is_running()), (7, false));
    }
}

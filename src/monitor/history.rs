//! What is remembered of one queue, and what follows from it: totals, rates, age, status.

use std::time::{Duration, Instant};

use super::age::{AgeTable, Times};
use super::consumers::{KEPT, Served};
use super::rates::Rates;
use super::totals::{Observed, Totals};
use super::verdict::{Seen, Verdict};
use crate::model::{AgeMethod, HeadAge, QueueSample};

/// The counters of one queue: published, delivered, acknowledged, redelivered, found empty,
/// delivered without the need of an acknowledgement.
pub(super) const COUNTERS: usize = 6;

/// When a round was.
#[derive(Clone, Copy, Debug)]
pub(super) struct When {
    pub(super) at: Instant,
    pub(super) unix_nano: i64,
    /// How old the numbers may be.
    pub(super) staleness: Duration,
}

/// What the age is told from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Basis {
    /// When the counters were read.
    pub(super) at: Instant,
    /// How old they may be.
    pub(super) lag: Duration,
    /// The depth of that moment, which that of the sample need not be; it may be older.
    pub(super) depth: Option<u64>,
}

/// How long a node that has a queue newly may say that it is empty, before it has counted.
const UNCOUNTED: Duration = Duration::from_secs(10);

/// One queue.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// The last round that saw it.
    pub(super) round: u64,
    /// When that was.
    pub(super) seen_at: Option<Instant>,
    first_seen_unix_nano: Option<i64>,
    counted_since_unix_nano: Option<i64>,
    /// How many there are, and when that was told.
    consumers: Option<(u64, Instant)>,
    pub(super) served: Served,
    /// The depth that was known last.
    depth: Option<u64>,
    pub(super) totals: Totals<COUNTERS>,
    rates: Rates<5>,
    age: AgeTable,
    verdict: Verdict,
}

impl History {
    /// The queue is there in this round; at its node, or at all again, since `since`.
    pub(super) fn see(
        &mut self,
        (round, since): (u64, Option<Instant>),
        when: When,
        sample: &mut QueueSample,
    ) {
        self.doubt(when.at, since, sample);
        self.round = round;
        self.seen_at = Some(when.at);
        let first = *self.first_seen_unix_nano.get_or_insert(when.unix_nano);
        sample.first_seen_unix_nano = Some(first);
        match sample.consumers {
            Some(consumers) => self.consumers = Some((consumers, when.at)),
            None => {
                let age = |at: Instant| when.at.saturating_duration_since(at);
                let kept = self.consumers.filter(|(_, at)| age(*at) < KEPT);
                sample.consumers = kept.map(|(consumers, _)| consumers);
            }
        }
    }

    /// A leader that is new says zero until it has counted, up to a statistics interval later. That
    /// is not known, rather than empty.
    fn doubt(&mut self, now: Instant, since: Option<Instant>, sample: &mut QueueSample) {
        let is_new = since.is_some_and(|since| now.saturating_duration_since(since) < UNCOUNTED);
        if is_new && sample.messages == Some(0) && self.depth > Some(0) {
            (
                sample.messages,
                sample.messages_ready,
                sample.messages_unack,
            ) = (None, None, None);
        } else if sample.messages.is_some() {
            self.depth = sample.messages;
        }
    }

    /// Takes the totals of a round that has counters, which were read at `at`.
    pub(super) fn count(
        &mut self,
        (at, unix_nano): (Instant, i64),
        (observed, has_stranger): (Observed<COUNTERS>, bool),
        sample: &mut QueueSample,
    ) {
        let Observed {
            totals,
            gap,
            broken,
        } = observed;
        // Somebody who never answered may count for it too.
        let gap = gap || has_stranger;
        let totals = if gap { [None; COUNTERS] } else { totals };
        [
            sample.messages_publish,
            sample.messages_deliver_get,
            sample.messages_ack,
            sample.messages_redeliver,
            sample.messages_get_empty,
            sample.messages_deliver_no_ack,
        ] = totals;
        if broken {
            self.rates.clear();
            self.age.clear();
            self.counted_since_unix_nano = None;
        }
        if !gap {
            let since = self.counted_since_unix_nano.get_or_insert(unix_nano);
            sample.counted_since_unix_nano = Some(*since);
            let [publish, deliver_get, ack, redeliver, get_empty, _] = totals;
            [
                sample.messages_publish_rate,
                sample.messages_deliver_get_rate,
                sample.messages_ack_rate,
                sample.messages_redeliver_rate,
                sample.messages_get_empty_rate,
            ] = self
                .rates
                .observe(at, [publish, deliver_get, ack, redeliver, get_empty]);
        }
    }

    /// Judges the round: age, status, time until it is empty.
    pub(super) fn judge(&mut self, when: When, basis: Basis, sample: &mut QueueSample) {
        let times = Times {
            now: basis.at,
            lag: basis.lag,
            staleness: when.staleness,
        };
        let counts = sample
            .messages_publish
            .map(|publish| (publish, left(sample)));
        let estimate = self.age.observe(times, counts, basis.depth);
        sample.head_age = stamped(when.unix_nano, sample).or(estimate);
        self.verdict.observe(Seen {
            at: when.at,
            depth: sample.messages.or(sample.messages_ready),
            consumers: sample.consumers,
            done: done(sample),
            redelivered: sample.messages_redeliver,
        });
        sample.status = Some(self.verdict.status());
        sample.drain_time = self.verdict.drain_time();
    }

    /// A round did not see it, though it may still be there.
    pub(super) fn miss(&mut self, at: Instant) {
        self.verdict.observe(Seen {
            at,
            depth: None,
            consumers: None,
            done: None,
            redelivered: None,
        });
    }

    /// Counters come from elsewhere: nothing can be compared.
    pub(super) fn forget_counters(&mut self) {
        self.totals = Totals::default();
        self.counted_since_unix_nano = None;
        self.rates.clear();
        self.age.clear();
        self.verdict.forget_counters();
    }

    /// The broker was away: no rate spans that.
    pub(super) fn forget_rates(&mut self) {
        self.rates.clear();
    }
}

/// What left the queue for good: acknowledged, and delivered without the need to be.
fn left(sample: &QueueSample) -> u64 {
    let counts = [sample.messages_ack, sample.messages_deliver_no_ack];
    counts.into_iter().flatten().fold(0, u64::saturating_add)
}

/// The same, where anything is counted.
fn done(sample: &QueueSample) -> Option<u64> {
    let counted = sample.messages_ack.or(sample.messages_deliver_get);
    counted.map(|_| left(sample))
}

/// The age that the oldest message says of itself, to the second; a clock that is ahead makes it
/// no younger than new.
fn stamped(unix_nano: i64, sample: &QueueSample) -> Option<HeadAge> {
    if sample.messages == Some(0) {
        return None;
    }
    let head = i64::try_from(sample.head_message_timestamp?).ok()?;
    let head = head.checked_mul(1_000_000_000)?;
    let age = u64::try_from(unix_nano.saturating_sub(head)).unwrap_or_default();
    Some(HeadAge {
        age: Duration::from_nanos(age),
        method: AgeMethod::Timestamp,
        error: Some(Duration::from_secs(1)),
    })
}

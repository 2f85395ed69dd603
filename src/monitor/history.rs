//! What is remembered of one queue, and what follows from it: totals, rates, age, status.

use std::time::{Duration, Instant};

use super::age::AgeTable;
use super::rates::Rates;
use super::totals::{NodeId, Observed, Said, Totals};
use super::verdict::{Seen, Verdict};
use crate::model::{AgeMethod, HeadAge, QueueSample};

/// Rounds in which consumers that were not asked for are as they were.
const CONSUMERS_KEPT: u64 = 3;

/// The counters of one queue: published, delivered, acknowledged, redelivered, found empty.
pub(super) const COUNTERS: usize = 5;

/// When a round was.
#[derive(Clone, Copy, Debug)]
pub(super) struct When {
    pub(super) at: Instant,
    pub(super) unix_nano: i64,
    /// How old the numbers may be.
    pub(super) staleness: Duration,
}

/// One queue.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// The last round that saw it.
    pub(super) round: u64,
    /// When that was.
    pub(super) seen_at: Option<Instant>,
    first_seen_unix_nano: Option<i64>,
    consumers: Option<(u64, u64)>,
    totals: Totals<COUNTERS>,
    rates: Rates<4>,
    age: AgeTable,
    verdict: Verdict,
}

impl History {
    /// The queue is there in this round.
    pub(super) fn see(&mut self, round: u64, when: When, sample: &mut QueueSample) {
        self.round = round;
        self.seen_at = Some(when.at);
        let first = *self.first_seen_unix_nano.get_or_insert(when.unix_nano);
        sample.first_seen_unix_nano = Some(first);
        match sample.consumers {
            Some(consumers) => self.consumers = Some((consumers, round)),
            None => {
                let kept = self.consumers.filter(|(_, at)| round - at < CONSUMERS_KEPT);
                sample.consumers = kept.map(|(consumers, _)| consumers);
            }
        }
    }

    /// Takes the counters of a round that has them.
    pub(super) fn count(
        &mut self,
        at: Instant,
        (said, has_stranger): (impl Iterator<Item = (NodeId, Said<COUNTERS>)>, bool),
        sample: &mut QueueSample,
    ) {
        let Observed {
            totals,
            gap,
            broken,
        } = self.totals.observe(said);
        // Somebody who never answered may count for it too.
        let gap = gap || has_stranger;
        let totals = if gap { [None; COUNTERS] } else { totals };
        [
            sample.messages_publish,
            sample.messages_deliver_get,
            sample.messages_ack,
            sample.messages_redeliver,
            sample.messages_get_empty,
        ] = totals;
        if broken {
            self.rates.clear();
            self.age.clear();
        }
        if !gap {
            let [publish, deliver_get, ack, redeliver, _] = totals;
            [
                sample.messages_publish_rate,
                sample.messages_deliver_get_rate,
                sample.messages_ack_rate,
                sample.messages_redeliver_rate,
            ] = self
                .rates
                .observe(at, [publish, deliver_get, ack, redeliver]);
        }
    }

    /// Judges the round: age, status, time until it is empty.
    ///
    /// `counted` is when the counters were read and the depth of that moment, which the depth of
    /// the sample need not be.
    pub(super) fn judge(
        &mut self,
        when: When,
        (counted_at, depth): (Instant, Option<u64>),
        sample: &mut QueueSample,
    ) {
        let times = (counted_at, when.staleness);
        let estimate = self.age.observe(times, sample.messages_publish, depth);
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
        self.rates.clear();
        self.age.clear();
    }

    /// The broker was away: no rate spans that.
    pub(super) fn forget_rates(&mut self) {
        self.rates.clear();
    }
}

/// What left the queue for good: acknowledged, and delivered without the need to be.
fn done(sample: &QueueSample) -> Option<u64> {
    match (sample.messages_ack, sample.messages_deliver_get) {
        // An automatic acknowledgement is in no count of acknowledgements.
        (None | Some(0), delivered) => delivered.map(|delivered| {
            delivered.saturating_sub(sample.messages_redeliver.unwrap_or_default())
        }),
        (acked, _) => acked,
    }
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

//! Where the counters of a round come from, and how old they are.

use std::time::{Duration, Instant};

use super::history::{Basis, COUNTERS, History};
use super::listing::{Listed, listed_counts};
use super::management::QueueList;
use super::prometheus::DetailedScrape;
use super::rates::WINDOW;
use super::roster::Attendance;
use super::round::Reply;
use super::small::Small;
use super::totals::Said;
use crate::model::{QueueSample, Source};

/// Where the counters of a round are read from.
#[derive(Clone, Copy)]
pub(super) enum Counted<'a> {
    /// From the nodes, whose last answer came then.
    Nodes(Instant),
    Listing(&'a Reply<QueueList>),
    Nowhere,
}

impl Counted<'_> {
    pub(super) const fn source(&self) -> Option<Source> {
        match self {
            Self::Nodes(_) => Some(Source::Prometheus),
            Self::Listing(_) => Some(Source::Management),
            Self::Nowhere => None,
        }
    }
}

/// What the queues of a round are counted by.
pub(super) struct Counting<'a> {
    pub(super) counted: Counted<'a>,
    pub(super) attendance: &'a Attendance<'a>,
    pub(super) listed: Listed<'a>,
    /// How old depths may be.
    pub(super) staleness: Duration,
    /// How long the slowest node took.
    pub(super) waited: Duration,
}

impl Counting<'_> {
    /// Counts one queue; what its age is told from.
    pub(super) fn count(
        &self,
        (now, unix_nano): (Instant, i64),
        history: &mut History,
        sample: &mut QueueSample,
    ) -> Basis {
        let place = self.listed.row(sample);
        match self.counted {
            Counted::Nodes(at) => {
                let said = self.attendance.said(|scrape| counts_of(scrape, sample));
                let observed = history.totals.observe(said);
                let has_stranger = self.attendance.has_stranger;
                history.count((at, unix_nano), (observed, has_stranger), sample);
                Basis {
                    at,
                    lag: self.waited,
                    depth: sample.messages,
                }
            }
            Counted::Listing(reply) => {
                let counts = place.map_or([None; COUNTERS], listed_counts);
                let said = std::iter::once((0, Said::Counts(counts)));
                let observed = history.totals.observe(said);
                history.count((reply.at, unix_nano), (observed, false), sample);
                Basis {
                    at: reply.at,
                    lag: self.staleness,
                    depth: place.and_then(|row| row.messages),
                }
            }
            Counted::Nowhere => Basis {
                at: now,
                lag: self.staleness,
                depth: sample.messages.filter(|depth| *depth == 0),
            },
        }
    }
}

/// Where the counters are read from: from the nodes if every one that answers has them.
pub(super) fn counted<'a>(
    attendance: &Attendance<'_>,
    statistics: Option<&'a Reply<QueueList>>,
) -> Counted<'a> {
    let at = attendance
        .at
        .filter(|_| attendance.scrapes().all(|(_, scrape)| scrape.has_counters));
    match (at, statistics) {
        (Some(at), _) => Counted::Nodes(at),
        (None, Some(reply)) => Counted::Listing(reply),
        (None, None) => Counted::Nowhere,
    }
}

/// How old the numbers may be. The management API answers from a second store, and that from a
/// cache that it keeps for five times as long as it took to fill.
pub(super) fn staleness(
    depth: Source,
    counted: Counted<'_>,
    statistics: Option<&Reply<QueueList>>,
) -> Duration {
    match (depth, counted) {
        (Source::Passive, _) => Duration::ZERO,
        (Source::Prometheus | Source::Totals, Counted::Nodes(_) | Counted::Nowhere) => WINDOW,
        _ => 2 * WINDOW + 5 * statistics.map_or(Duration::ZERO, |reply| reply.took),
    }
}

fn counts_of(scrape: &DetailedScrape, sample: &QueueSample) -> [Option<u64>; COUNTERS] {
    let found = scrape.queues.get(&sample.vhost, &sample.queue);
    found.map_or([None; COUNTERS], |queue| {
        [
            queue.publish,
            queue.deliver_get,
            queue.ack,
            queue.redeliver,
            queue.get_empty,
            queue.deliver_no_ack,
        ]
        .map(Small::count)
    })
}

//! What the sources of one round say, put together: pure, but for what it keeps between rounds.
//!
//! Depth and consumers come from prometheus where it has the queue (they are at most one
//! statistics interval old), else from a listing, else over AMQP. Counters come from prometheus if
//! every node that answers has them, else from the listing with statistics. A queue exists if one
//! of them has its depth, or lists its name. What none has is absent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::exchanges::Exchanges;
use super::history::{COUNTERS, History, When};
use super::listing::{Listed, listed, listed_counts, reply};
use super::management::QueueList;
use super::passive::PassiveList;
use super::per_name::PerName;
use super::prometheus::{DetailedScrape, ScrapedQueue};
use super::rates::WINDOW;
use super::roster::{Attendance, LOST, Roster};
use super::round::{Reply, Round};
use super::select::Selector;
use super::totals::{NodeId, Said};
use crate::model::{ExchangeSample, QueueSample, Source};

/// What is remembered from round to round.
#[derive(Debug, Default)]
pub(super) struct Memory {
    round: u64,
    queues: PerName<History>,
    exchanges: Exchanges,
    /// Types and owners of queues, so that a series keeps its tag in a round without a listing.
    kinds: PerName<Kind>,
    /// Where queues of a cluster were.
    places: PerName<Place>,
    roster: Roster,
    /// Where counters came from: another source counts from elsewhere.
    basis: Option<Source>,
}

#[derive(Clone, Debug, Default)]
struct Kind {
    queue_type: Option<Arc<str>>,
    exclusive: Option<bool>,
    round: u64,
}

/// The queues of a round and where they came from.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) queues: Vec<QueueSample>,
    pub(super) exchanges: Vec<ExchangeSample>,
    /// Where depth came from.
    pub(super) depth: Source,
    /// Where counters came from.
    pub(super) counters: Option<Source>,
    pub(super) staleness: Duration,
}

/// Where the counters of a round are read from.
#[derive(Clone, Copy)]
enum Counted<'a> {
    /// From the nodes, whose last answer came then.
    Nodes(Instant),
    Listing(&'a Reply<QueueList>),
    Nowhere,
}

impl Memory {
    /// Puts a round together, without the queues that `selector` leaves out; none if no source
    /// told of queues.
    pub(super) fn merge(
        &mut self,
        round: &Round,
        selector: &Selector,
        (now, unix_nano): (Instant, i64),
    ) -> Option<Merged> {
        let attendance = self.roster.attend(&round.scrapes, now);
        let statistics = reply(round.queues.as_ref());
        let depth = source(&attendance, round)?;
        let counted = counted(&attendance, statistics);
        self.stand_on(counted.source());
        self.round += 1;
        for list in [&round.names, &round.totals, &round.queues] {
            if let Some(list) = reply(list.as_ref()) {
                self.learn(&list.value);
            }
        }
        let staleness = staleness(depth, counted, statistics);
        let when = When {
            at: now,
            unix_nano,
            staleness,
        };
        let mut found = self.existing(round, &attendance, depth);
        found.retain(|sample| selector.admits(&sample.vhost, &sample.queue));
        let listed = Listed::of(statistics);
        for sample in &mut found {
            let history = self.queues.shared_entry(&sample.vhost, &sample.queue);
            history.see(self.round, when, sample);
            let place = listed.row(sample);
            let basis = match counted {
                Counted::Nodes(at) => {
                    let said = attendance.said(|scrape| counts_of(scrape, sample));
                    let said: Vec<(NodeId, Said<COUNTERS>)> = said.collect();
                    history.count(at, (said.into_iter(), attendance.has_stranger), sample);
                    (at, sample.messages)
                }
                Counted::Listing(reply) => {
                    let counts = place.map_or([None; COUNTERS], listed_counts);
                    let said = std::iter::once((0, Said::Counts(counts)));
                    history.count(reply.at, (said, false), sample);
                    (reply.at, place.and_then(|row| row.messages))
                }
                Counted::Nowhere => (now, sample.messages.filter(|depth| *depth == 0)),
            };
            history.judge(when, basis, sample);
        }
        self.forget_deleted(now, attendance.is_whole());
        let exchanges = self.exchanges.merge(&attendance, round, now);
        Some(Merged {
            queues: found,
            exchanges,
            depth,
            counters: counted.source(),
            staleness,
        })
    }

    /// The broker was away, and may have begun anew: no rate spans that.
    pub(super) fn broker_away(&mut self, now: Instant) {
        for history in self.queues.values_mut() {
            history.forget_rates();
            history.miss(now);
        }
        self.exchanges.forget_rates();
    }

    /// Names of the queues of one virtual host.
    pub(super) fn names(&self, vhost: &str) -> Vec<Arc<str>> {
        let queues = self.queues.iter();
        queues
            .filter(|(of, _, _)| &***of == vhost)
            .map(|(_, name, _)| name.clone())
            .collect()
    }

    /// Queues that are known, and whether one of them has no type yet.
    pub(super) fn extent(&self) -> (usize, bool) {
        let has_type = |vhost: &str, queue: &str| {
            let kind = self.kinds.get(vhost, queue);
            kind.is_some_and(|kind| kind.queue_type.is_some())
        };
        let untyped = self
            .queues
            .iter()
            .any(|(vhost, queue, _)| !has_type(vhost, queue));
        (self.queues.iter().count(), untyped)
    }

    fn stand_on(&mut self, source: Option<Source>) {
        if source.is_none() || self.basis == source {
            return;
        }
        if self.basis.is_some() {
            self.queues.values_mut().for_each(History::forget_counters);
        }
        self.basis = source;
    }

    fn learn(&mut self, list: &QueueList) {
        for queue in &list.queues {
            let kind = self.kinds.shared_entry(&queue.vhost, &queue.queue);
            kind.queue_type.clone_from(&queue.queue_type);
            kind.exclusive = queue.exclusive;
            kind.round = self.round;
        }
    }

    /// Every queue that a source of this round has, with its depth.
    fn existing(
        &mut self,
        round: &Round,
        attendance: &Attendance<'_>,
        depth: Source,
    ) -> Vec<QueueSample> {
        let mut samples = Vec::new();
        let mut seen: PerName<()> = PerName::default();
        let owners = self.owners(attendance);
        for queue in listed(round) {
            if seen.get(&queue.vhost, &queue.queue).is_none() {
                seen.insert(&queue.vhost, &queue.queue, ());
                samples.push(queue);
            }
        }
        for sample in &mut samples {
            if let Some(owner) = owners.get(&sample.vhost, &sample.queue) {
                take_depth(sample, owner.queue);
            }
        }
        for (vhost, queue, owner) in owners.iter() {
            if seen.get(vhost, queue).is_none() {
                let mut sample = self.named(vhost, queue);
                sample.node = self.roster.name(owner.node);
                take_depth(&mut sample, owner.queue);
                samples.push(sample);
            }
        }
        if let Some(list) = reply(round.passive.as_ref()).filter(|_| depth == Source::Passive) {
            samples.extend(self.declared(&list.value));
        }
        samples
    }

    fn declared<'a>(&'a self, list: &'a PassiveList) -> impl Iterator<Item = QueueSample> + 'a {
        list.queues.iter().map(|declared| QueueSample {
            messages_ready: Some(declared.ready),
            consumers: Some(declared.consumers),
            ..self.named(&list.vhost, &declared.queue)
        })
    }

    /// A sample of which only name and kind are known.
    fn named(&self, vhost: &Arc<str>, queue: &Arc<str>) -> QueueSample {
        let kind = self.kinds.get(vhost, queue).cloned().unwrap_or_default();
        QueueSample {
            vhost: vhost.clone(),
            queue: queue.clone(),
            queue_type: kind.queue_type,
            exclusive: kind.exclusive,
            ..QueueSample::default()
        }
    }

    /// The node that has each queue. While its leader moves two nodes have it: the one that has it
    /// newly is right, for what the other says is from before.
    fn owners<'a>(&mut self, attendance: &Attendance<'a>) -> PerName<Owner<'a>> {
        let mut owners: PerName<Owner<'a>> = PerName::default();
        let mut holders: PerName<u64> = PerName::default();
        let is_cluster = attendance.nodes.len() > 1;
        for (node, scrape) in attendance.scrapes() {
            for (vhost, name, queue) in scrape.queues.iter().filter(|(_, _, queue)| queue.exists())
            {
                if is_cluster {
                    *holders.shared_entry(vhost, name) |= bit(node);
                }
                let other = owners.get(vhost, name).map(|owner| owner.node);
                let place = self.places.get(vhost, name);
                if other.is_none_or(|other| place.is_some_and(|place| place.moved(other, node))) {
                    owners.insert(vhost, name, Owner { node, queue });
                }
            }
        }
        self.places = PerName::default();
        for (vhost, name, holders) in holders.iter() {
            if let Some(owner) = owners.get(vhost, name).map(|owner| owner.node) {
                let holders = *holders;
                self.places.insert(vhost, name, Place { owner, holders });
            }
        }
        owners
    }

    /// What no round saw is gone at once if every node answered, else after a while.
    fn forget_deleted(&mut self, now: Instant, is_whole: bool) {
        let round = self.round;
        self.queues.retain(|history| {
            if history.round == round {
                return true;
            }
            history.miss(now);
            let seen = |at| now.saturating_duration_since(at) < LOST;
            !is_whole && history.seen_at.is_some_and(seen)
        });
        let queues = &self.queues;
        self.kinds.retain_named(|vhost, name, kind| {
            kind.round == round || queues.get(vhost, name).is_some()
        });
    }
}

/// Where a queue was in the last round.
#[derive(Clone, Copy, Debug)]
struct Place {
    owner: NodeId,
    /// All nodes that had it, by bit.
    holders: u64,
}

impl Place {
    /// Whether a queue that two nodes have is at `to` rather than at `from`.
    const fn moved(&self, from: NodeId, to: NodeId) -> bool {
        let was_at = (self.holders & bit(from) != 0, self.holders & bit(to) != 0);
        match was_at {
            (true, false) => true,
            (false, true) => false,
            _ => self.owner == to,
        }
    }
}

const fn bit(node: NodeId) -> u64 {
    1 << (node % 64)
}

/// Who has a queue.
#[derive(Clone, Copy, Debug)]
struct Owner<'a> {
    node: NodeId,
    queue: &'a ScrapedQueue,
}

impl Counted<'_> {
    const fn source(&self) -> Option<Source> {
        match self {
            Self::Nodes(_) => Some(Source::Prometheus),
            Self::Listing(_) => Some(Source::Management),
            Self::Nowhere => None,
        }
    }
}

fn source(attendance: &Attendance<'_>, round: &Round) -> Option<Source> {
    if attendance.at.is_some() {
        Some(Source::Prometheus)
    } else if reply(round.totals.as_ref()).is_some() {
        Some(Source::Totals)
    } else if reply(round.queues.as_ref()).is_some() {
        Some(Source::Management)
    } else {
        reply(round.passive.as_ref()).map(|_| Source::Passive)
    }
}

fn counted<'a>(
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
fn staleness(
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

fn take_depth(queue: &mut QueueSample, numbers: &ScrapedQueue) {
    queue.messages = numbers.messages;
    queue.messages_ready = numbers.ready;
    queue.messages_unack = numbers.unack;
    queue.consumers = numbers.consumers.or(queue.consumers);
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
        ]
    })
}

#[cfg(test)]
mod tests;

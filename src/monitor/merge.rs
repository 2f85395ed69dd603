//! What the sources of one round say, put together: pure, but for what it keeps between rounds.
//!
//! Depth and consumers come from prometheus where it has the queue (they are at most one
//! statistics interval old), else from a listing, else over AMQP. Counters come from prometheus if
//! every node that answers has them, else from the listing with statistics. A queue exists if one
//! of them has its depth, or lists its name. What none has is absent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::counting::{Counting, counted, staleness};
use super::exchanges::Exchanges;
use super::history::{History, When};
use super::listing::{Listed, listed, reply};
use super::management::QueueList;
use super::passive::PassiveList;
use super::per_name::PerName;
use super::places::{Owner, Places};
use super::prometheus::ScrapedQueue;
use super::roster::{Attendance, LOST, Roster};
use super::round::Round;
use super::select::Selector;
use super::topology::Topology;
use crate::model::{BindingSample, ExchangeSample, QueueSample, Source};

/// What is remembered from round to round.
#[derive(Debug, Default)]
pub(super) struct Memory {
    round: u64,
    queues: PerName<Box<History>>,
    exchanges: Exchanges,
    /// Types and owners of queues, so that a series keeps its tag in a round without a listing.
    kinds: PerName<Kind>,
    /// The round of the last listing.
    listed_at: u64,
    /// Whether a node has a queue that was not listed yet.
    has_untyped: bool,
    /// Where queues of a cluster were.
    places: Places,
    /// When the broker was there again after it was away.
    back_at: Option<Instant>,
    is_away: bool,
    roster: Roster,
    topology: Topology,
    /// Queues that came or went.
    changes: u64,
    /// Queues whose deliveries say that their consumers are others.
    turned: u64,
    /// Where counters came from: another source counts from elsewhere.
    basis: Option<Source>,
}

#[derive(Clone, Debug, Default)]
struct Kind {
    queue_type: Option<Arc<str>>,
    exclusive: Option<bool>,
    round: u64,
    /// Whether a node had it since it was listed: then it is forgotten with the queue, else it waits
    /// for it until the next listing.
    is_met: bool,
}

/// The queues of a round and where they came from.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) queues: Vec<QueueSample>,
    pub(super) exchanges: Vec<ExchangeSample>,
    pub(super) bindings: Vec<BindingSample>,
    /// Where depth came from.
    pub(super) depth: Source,
    /// Where counters came from.
    pub(super) counters: Option<Source>,
    pub(super) staleness: Duration,
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
                self.learn(&list.value, selector);
            }
        }
        let waited = Duration::from_secs(attendance.took.as_secs());
        let staleness = waited + staleness(depth, counted, statistics);
        let when = When {
            at: now,
            unix_nano,
            staleness,
        };
        if std::mem::take(&mut self.is_away) {
            self.back_at = Some(now);
        }
        let mut found = self.existing(round, (&attendance, now), selector);
        if depth == Source::Passive
            && let Some(list) = reply(round.passive.as_ref())
        {
            found.extend(self.declared(&list.value, selector));
        }
        let counting = Counting {
            counted,
            attendance: &attendance,
            listed: Listed::of(statistics),
            staleness,
            waited,
        };
        for sample in &mut found {
            let history = self.queues.shared_entry(&sample.vhost, &sample.queue);
            let since = self.places.since(&sample.vhost, &sample.queue, now);
            self.changes += u64::from(history.round == 0);
            history.see((self.round, since.max(self.back_at)), when, sample);
            let basis = counting.count((now, unix_nano), history, sample);
            self.turned += u64::from(history.served.turns(sample));
            history.judge(when, basis, sample);
        }
        self.forget_deleted(now, attendance.is_whole());
        let exchanges = self.exchanges.merge(&attendance, round, (selector, when));
        let bindings = self.bindings(round, selector, now);
        Some(Merged {
            queues: found,
            exchanges,
            bindings,
            depth,
            counters: counted.source(),
            staleness,
        })
    }

    /// Bindings that came or went, but for those of queues that have no series of their own.
    fn bindings(&mut self, round: &Round, selector: &Selector, now: Instant) -> Vec<BindingSample> {
        let Some(list) = reply(round.bindings.as_ref()) else {
            return Vec::new();
        };
        let mut topology = std::mem::take(&mut self.topology);
        let has_series = |binding: &&BindingSample| {
            let queue = self.named(&binding.vhost, &binding.destination);
            let is_queue = &*binding.destination_type == "queue";
            selector.admits_vhost(&binding.vhost) && (!is_queue || selector.has_own_series(&queue))
        };
        let listed = list.value.iter().filter(has_series).cloned();
        let changes = topology.changes(listed, selector.most(), now);
        self.topology = topology;
        changes
    }

    /// How many queues came or went until now.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    /// The same, and how often deliveries said that a queue's consumers are others.
    pub(super) const fn turns(&self) -> u64 {
        self.changes + self.turned
    }

    /// The broker was away, and may have begun anew: no rate spans that.
    pub(super) fn broker_away(&mut self, now: Instant) {
        self.is_away = true;
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

    /// Queues that are known.
    pub(super) fn queues(&self) -> usize {
        self.queues.len()
    }

    /// Whether a node has a queue of which no listing has told its type.
    pub(super) const fn has_untyped(&self) -> bool {
        self.has_untyped
    }

    /// Whether a node tells of an exchange of which no listing has told its type.
    pub(super) const fn has_untyped_exchanges(&self) -> bool {
        self.exchanges.has_untyped()
    }

    fn stand_on(&mut self, source: Option<Source>) {
        if source.is_none() || self.basis == source {
            return;
        }
        if self.basis.is_some() {
            let queues = self.queues.values_mut();
            queues.for_each(|history| history.forget_counters());
        }
        self.basis = source;
    }

    fn learn(&mut self, list: &QueueList, selector: &Selector) {
        self.listed_at = self.round;
        let queues = list.queues.iter();
        for queue in queues.filter(|queue| selector.admits(&queue.vhost, &queue.queue)) {
            let kind = self.kinds.shared_entry(&queue.vhost, &queue.queue);
            kind.queue_type.clone_from(&queue.queue_type);
            kind.exclusive = queue.exclusive;
            kind.round = self.round;
            kind.is_met = false;
        }
    }

    /// Every queue that a listing or a node of this round has, with its depth.
    fn existing(
        &mut self,
        round: &Round,
        (attendance, now): (&Attendance<'_>, Instant),
        selector: &Selector,
    ) -> Vec<QueueSample> {
        let owners = self.places.owners(attendance, now);
        let mut seen: PerName<()> = PerName::default();
        let mut samples = listed(round);
        samples.retain(|sample| {
            let is_new = seen.get(&sample.vhost, &sample.queue).is_none();
            seen.insert(&sample.vhost, &sample.queue, ());
            is_new && selector.admits(&sample.vhost, &sample.queue)
        });
        self.has_untyped = false;
        for sample in &mut samples {
            if let Some(owner) = owners.get(&sample.vhost, &sample.queue) {
                self.take_owner(sample, &owner);
            }
        }
        samples.reserve(self.queues.len().saturating_sub(samples.len()));
        owners.for_each(|vhost, queue, owner| {
            if selector.admits(vhost, queue) && seen.get(vhost, queue).is_none() {
                let mut sample = QueueSample {
                    vhost: vhost.clone(),
                    queue: queue.clone(),
                    ..QueueSample::default()
                };
                self.take_owner(&mut sample, &owner);
                samples.push(sample);
            }
        });
        samples
    }

    /// What the node that has a queue says of it, and what is known of its kind.
    fn take_owner(&mut self, sample: &mut QueueSample, owner: &Owner<'_>) {
        take_depth(sample, owner.queue);
        sample.node = self.roster.name(owner.node).or(sample.node.take());
        match self.kinds.get_mut(&sample.vhost, &sample.queue) {
            Some(kind) => {
                kind.is_met = true;
                self.has_untyped |= kind.queue_type.is_none();
                if sample.queue_type.is_none() {
                    sample.queue_type.clone_from(&kind.queue_type);
                }
                sample.exclusive = sample.exclusive.or(kind.exclusive);
            }
            None => self.has_untyped = true,
        }
        let kind = owner.queue.queue_type;
        if kind.is_some() && kind != sample.queue_type.as_deref() {
            sample.queue_type = kind.map(Arc::from);
        }
    }

    fn declared<'a>(
        &'a self,
        list: &'a PassiveList,
        selector: &'a Selector,
    ) -> impl Iterator<Item = QueueSample> + 'a {
        let queues = list.queues.iter();
        let admitted = queues.filter(|declared| selector.admits(&list.vhost, &declared.queue));
        admitted.map(|declared| QueueSample {
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

    /// What no round saw is gone at once if every node answered, else after a while.
    fn forget_deleted(&mut self, now: Instant, is_whole: bool) {
        let (round, before) = (self.round, self.changes);
        let changes = &mut self.changes;
        self.queues.retain(|history| {
            if history.round == round {
                return true;
            }
            history.miss(now);
            let seen = |at| now.saturating_duration_since(at) < LOST;
            let stays = !is_whole && history.seen_at.is_some_and(seen);
            *changes += u64::from(!stays);
            stays
        });
        if self.changes == before && self.listed_at != round {
            return;
        }
        let (queues, listed_at) = (&self.queues, self.listed_at);
        self.kinds.retain_named(|vhost, name, kind| {
            let is_awaited = kind.round == listed_at && !kind.is_met;
            is_awaited || queues.get(vhost, name).is_some()
        });
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

fn take_depth(queue: &mut QueueSample, numbers: &ScrapedQueue) {
    queue.messages = numbers.messages.count();
    queue.messages_ready = numbers.ready.count();
    queue.messages_unack = numbers.unack.count();
    queue.consumers = numbers.consumers.count().or(queue.consumers);
}

#[cfg(test)]
mod tests;

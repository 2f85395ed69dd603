//! Where the queues of a cluster are, and since when.
//!
//! While a leader moves two nodes have its queue: the one that has it newly is right, for what the
//! other says is from before.

use std::sync::Arc;
use std::time::Instant;

use super::per_name::PerName;
use super::prometheus::{DetailedScrape, ScrapedQueue};
use super::roster::Attendance;
use super::totals::NodeId;

/// Where each queue was in the last round; empty where there is one node alone.
#[derive(Debug, Default)]
pub(super) struct Places(PerName<Place>);

#[derive(Clone, Copy, Debug)]
struct Place {
    owner: NodeId,
    /// Since when.
    since: Instant,
    /// All nodes that had it, by bit.
    holders: u64,
}

/// Who has a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    pub(super) node: NodeId,
    pub(super) queue: &'a ScrapedQueue,
}

/// Who has which queue in a round.
#[derive(Debug)]
pub(super) enum Owners<'a> {
    /// There is one node alone: it has what it tells of.
    One(NodeId, &'a DetailedScrape),
    Several(PerName<Owner<'a>>),
}

impl<'a> Owners<'a> {
    pub(super) fn get(&self, vhost: &str, name: &str) -> Option<Owner<'a>> {
        match self {
            Self::One(node, scrape) => {
                let queue = scrape.queues.get(vhost, name);
                let queue = queue.filter(|queue| queue.exists())?;
                Some(Owner { node: *node, queue })
            }
            Self::Several(owners) => owners.get(vhost, name).copied(),
        }
    }

    pub(super) fn for_each(&self, mut take: impl FnMut(&Arc<str>, &Arc<str>, Owner<'a>)) {
        match self {
            Self::One(node, scrape) => {
                let queues = scrape.queues.iter();
                for (vhost, name, queue) in queues.filter(|(_, _, queue)| queue.exists()) {
                    take(vhost, name, Owner { node: *node, queue });
                }
            }
            Self::Several(owners) => {
                let owners = owners.iter();
                owners.for_each(|(vhost, name, owner)| take(vhost, name, *owner));
            }
        }
    }
}

impl Places {
    /// The node that has each queue in this round.
    pub(super) fn owners<'a>(&mut self, attendance: &Attendance<'a>, now: Instant) -> Owners<'a> {
        if let ([_], Some((node, scrape))) = (&*attendance.nodes, attendance.scrapes().next()) {
            self.0 = PerName::default();
            return Owners::One(node, scrape);
        }
        let mut owners: PerName<Owner<'a>> = PerName::default();
        let mut holders: PerName<u64> = PerName::default();
        for (node, scrape) in attendance.scrapes() {
            for (vhost, name, queue) in scrape.queues.iter().filter(|(_, _, queue)| queue.exists())
            {
                *holders.shared_entry(vhost, name) |= bit(node);
                let other = owners.get(vhost, name).map(|owner| owner.node);
                let place = self.0.get(vhost, name);
                if other.is_none_or(|other| place.is_some_and(|place| place.moved(other, node))) {
                    owners.insert(vhost, name, Owner { node, queue });
                }
            }
        }
        let before = std::mem::take(&mut self.0);
        for (vhost, name, holders) in holders.iter() {
            if let Some(owner) = owners.get(vhost, name).map(|owner| owner.node) {
                let known = before.get(vhost, name).filter(|place| place.owner == owner);
                let place = Place {
                    owner,
                    since: known.map_or(now, |place| place.since),
                    holders: *holders,
                };
                self.0.insert(vhost, name, place);
            }
        }
        Owners::Several(owners)
    }

    /// Since when a queue is where it is, in a cluster: one that no node has just now is on its way.
    pub(super) fn since(&self, vhost: &str, name: &str, now: Instant) -> Option<Instant> {
        let is_cluster = self.0.iter().next().is_some();
        let place = self.0.get(vhost, name);
        place.map_or(is_cluster.then_some(now), |place| Some(place.since))
    }
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

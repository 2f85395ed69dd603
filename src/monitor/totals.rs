//! Counters of several nodes as one total for each queue that never falls and never jumps.
//!
//! Input: what each node counted for one queue, poll by poll. Output: the sum over the nodes. A
//! count that fell, or that came from a node that had been away for long, is a new base: the total
//! stays where it was, and the poll is marked as broken, so that no rate spans it. While a node
//! that counted for this queue is away the total is not known: absent, not smaller.

use super::small::Small;

/// A node, by its place in the list of those that were ever seen.
pub(super) type NodeId = u16;

/// What one node said of one queue in one poll.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Said<const N: usize> {
    /// Its counts; none where it has no row.
    Counts([Option<u64>; N]),
    /// The same, from a node that was not there before: what it counted until now is no news.
    First([Option<u64>; N]),
    /// It did not answer.
    Away,
    /// It has not answered for so long that the others go on without it.
    Lost,
}

#[derive(Clone, Debug)]
struct Track<const N: usize> {
    node: NodeId,
    last: [Small; N],
    /// What is added to the node's count to make its part of the total; nothing for most.
    offset: Option<Box<[i64; N]>>,
    /// Whether its next count is a base: its row went, or the node was lost.
    is_gone: [bool; N],
}

/// The counters of one queue.
#[derive(Clone, Debug)]
pub(super) struct Totals<const N: usize> {
    tracks: Vec<Track<N>>,
    /// Whether anything was ever counted: before that every count is the base of the total.
    begun: bool,
}

/// The totals of one poll.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Observed<const N: usize> {
    pub(super) totals: [Option<u64>; N],
    /// A node is away: this poll says nothing.
    pub(super) gap: bool,
    /// A counter began anew: what was before cannot be compared.
    pub(super) broken: bool,
}

impl<const N: usize> Default for Totals<N> {
    fn default() -> Self {
        Self {
            tracks: Vec::new(),
            begun: false,
        }
    }
}

impl<const N: usize> Totals<N> {
    /// Takes what every node says in one poll.
    pub(super) fn observe(&mut self, said: impl Iterator<Item = (NodeId, Said<N>)>) -> Observed<N> {
        let mut now = Observed {
            totals: [None; N],
            gap: false,
            broken: false,
        };
        let mut present = [false; N];
        for (node, said) in said {
            match said {
                Said::Counts(counts) => {
                    now.broken |= self.take((node, counts), false, &mut present);
                }
                Said::First(counts) => {
                    now.broken |= self.take((node, counts), self.begun, &mut present);
                }
                Said::Away => now.gap |= self.contributes(node),
                Said::Lost => self.freeze(node),
            }
        }
        self.begun |= present.contains(&true);
        if !now.gap {
            now.totals = std::array::from_fn(|index| {
                let known = present.get(index).copied().unwrap_or_default();
                known.then(|| self.total(index))
            });
        }
        now
    }

    /// Takes one node's counts; whether one of them began anew.
    fn take(
        &mut self,
        (node, counts): (NodeId, [Option<u64>; N]),
        is_base: bool,
        present: &mut [bool; N],
    ) -> bool {
        let place = self.tracks.iter().position(|track| track.node == node);
        if place.is_none() && counts.iter().all(Option::is_none) {
            return false;
        }
        let place = place.unwrap_or_else(|| {
            // One node counts for most queues.
            self.tracks.reserve_exact(1);
            self.tracks.push(Track {
                node,
                last: [Small::NONE; N],
                offset: None,
                is_gone: [false; N],
            });
            self.tracks.len() - 1
        });
        let Some(track) = self.tracks.get_mut(place) else {
            return false;
        };
        let mut broken = false;
        let offsets = &mut track.offset;
        let parts = track.last.iter_mut().enumerate();
        let marks = track.is_gone.iter_mut().zip(present);
        for (((index, last), (is_gone, present)), count) in parts.zip(marks).zip(counts) {
            *present |= count.is_some();
            let before = last.count().unwrap_or_default();
            let began_anew = match (last.count(), count) {
                (Some(last), Some(count)) => count < last,
                // Its row went, and may come back with another count.
                (Some(_), None) => true,
                (None, Some(_)) => is_base || *is_gone,
                (None, None) => false,
            };
            if began_anew {
                let offsets = offsets.get_or_insert_with(|| Box::new([0; N]));
                if let Some(offset) = offsets.get_mut(index) {
                    let part = signed(before).saturating_add(*offset);
                    *offset = part.saturating_sub(signed(count.unwrap_or_default()));
                }
                broken = true;
            }
            *is_gone = count.is_none() && (*is_gone || last.count().is_some());
            *last = Small::new(count);
        }
        broken
    }

    fn contributes(&self, node: NodeId) -> bool {
        self.tracks.iter().any(|track| track.node == node)
    }

    /// What a node that is gone had counted stays; when it comes back it counts from there.
    fn freeze(&mut self, node: NodeId) {
        let of_node = self.tracks.iter_mut().find(|track| track.node == node);
        if let Some(track) = of_node {
            let offsets = track.offset.get_or_insert_with(|| Box::new([0; N]));
            for (last, offset) in track.last.iter_mut().zip(offsets.iter_mut()) {
                *offset = offset.saturating_add(signed(last.count().unwrap_or_default()));
                *last = Small::NONE;
            }
            track.is_gone = [true; N];
        }
    }

    fn total(&self, index: usize) -> u64 {
        let part = |track: &Track<N>| {
            let last = track.last.get(index).and_then(|last| last.count());
            let last = last.unwrap_or_default();
            let offset = track.offset.as_ref().and_then(|offset| offset.get(index));
            let offset = offset.copied().unwrap_or_default();
            signed(last).saturating_add(offset)
        };
        let sum = self.tracks.iter().map(part).fold(0, i64::saturating_add);
        u64::try_from(sum).unwrap_or_default()
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;

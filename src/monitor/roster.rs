//! The nodes of the cluster as the monitor knows them: who answers, who is away, who is lost.
//!
//! A node is known by the name that it says itself; one that is reached by two URLs counts once.
//! One that does not answer is away, and what it counted is not known; after [`LOST`] the others
//! go on without it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lane::Outcome;
use super::prometheus::DetailedScrape;
use super::totals::{NodeId, Said};

/// How long the others wait for a node that does not answer.
pub(super) const LOST: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Member {
    name: Arc<str>,
    answered: Instant,
}

/// Everybody who ever answered.
#[derive(Debug, Default)]
pub(super) struct Roster {
    members: Vec<Member>,
    /// Who answered at each URL last.
    at_url: Vec<Option<NodeId>>,
    began: Option<Instant>,
}

/// How a node is in one round.
#[derive(Clone, Copy, Debug)]
pub(super) enum Presence<'a> {
    Answers(&'a DetailedScrape),
    /// It answers for the first time, or after it was lost.
    Joins(&'a DetailedScrape),
    Away,
    Lost,
}

/// The nodes of one round.
#[derive(Debug, Default)]
pub(super) struct Attendance<'a> {
    pub(super) nodes: Vec<(NodeId, Presence<'a>)>,
    /// A URL at which nobody has ever answered: who counts there is not known.
    pub(super) has_stranger: bool,
    /// When the last answer came.
    pub(super) at: Option<Instant>,
    /// How long the slowest took: its numbers may be as old as that.
    pub(super) took: Duration,
}

impl Roster {
    /// Who is there in this round.
    pub(super) fn attend<'a>(
        &mut self,
        scrapes: &'a [Outcome<DetailedScrape>],
        now: Instant,
    ) -> Attendance<'a> {
        let began = *self.began.get_or_insert(now);
        self.at_url.resize(scrapes.len(), None);
        let mut attendance = Attendance::default();
        for (url, outcome) in scrapes.iter().enumerate() {
            if let Ok(reply) = outcome {
                attendance.at = attendance.at.max(Some(reply.at));
                attendance.took = attendance.took.max(reply.took);
                let name = reply.value.node.clone();
                let name = name.unwrap_or_else(|| Arc::from(format!("#{url}")));
                let (id, is_new) = self.known(&name, now);
                if let Some(place) = self.at_url.get_mut(url) {
                    *place = Some(id);
                }
                if attendance.presence(id).is_none() {
                    let presence = match is_new {
                        true => Presence::Joins(&reply.value),
                        false => Presence::Answers(&reply.value),
                    };
                    attendance.nodes.push((id, presence));
                }
            }
        }
        for (url, _) in scrapes
            .iter()
            .enumerate()
            .filter(|(_, outcome)| outcome.is_err())
        {
            match self.at_url.get(url).copied().flatten() {
                Some(id) if attendance.presence(id).is_none() => {
                    attendance.nodes.push((id, self.absence(id, now)));
                }
                Some(_) => {}
                None => attendance.has_stranger |= now.saturating_duration_since(began) < LOST,
            }
        }
        attendance
    }

    /// The place of a node that answers now, and whether it was not there before.
    fn known(&mut self, name: &Arc<str>, now: Instant) -> (NodeId, bool) {
        let place = self
            .members
            .iter_mut()
            .enumerate()
            .find(|(_, member)| member.name == *name);
        if let Some((place, member)) = place {
            let was_lost = now.saturating_duration_since(member.answered) >= LOST;
            member.answered = now;
            return (NodeId::try_from(place).unwrap_or(NodeId::MAX), was_lost);
        }
        let place = NodeId::try_from(self.members.len()).unwrap_or(NodeId::MAX);
        self.members.push(Member {
            name: name.clone(),
            answered: now,
        });
        (place, true)
    }

    fn absence(&self, id: NodeId, now: Instant) -> Presence<'static> {
        let member = self.members.get(usize::from(id));
        let is_lost =
            member.is_none_or(|member| now.saturating_duration_since(member.answered) >= LOST);
        match is_lost {
            true => Presence::Lost,
            false => Presence::Away,
        }
    }

    /// The name of a node, unless it never said one.
    pub(super) fn name(&self, id: NodeId) -> Option<Arc<str>> {
        let name = &self.members.get(usize::from(id))?.name;
        (!name.starts_with('#')).then(|| name.clone())
    }
}

impl<'a> Attendance<'a> {
    fn presence(&self, id: NodeId) -> Option<Presence<'a>> {
        let found = self.nodes.iter().find(|(node, _)| *node == id);
        found.map(|(_, presence)| *presence)
    }

    /// The answers, each node's once.
    pub(super) fn scrapes(&self) -> impl Iterator<Item = (NodeId, &'a DetailedScrape)> {
        self.nodes
            .iter()
            .filter_map(|(id, presence)| match presence {
                Presence::Answers(scrape) | Presence::Joins(scrape) => Some((*id, *scrape)),
                Presence::Away | Presence::Lost => None,
            })
    }

    /// Whether every node answered that is not lost.
    pub(super) fn is_whole(&self) -> bool {
        let is_away = |presence: &Presence<'_>| matches!(presence, Presence::Away);
        !self.has_stranger && !self.nodes.iter().any(|(_, presence)| is_away(presence))
    }

    /// What each node says, by what `counts` reads out of its answer.
    pub(super) fn said<const N: usize>(
        &self,
        counts: impl Fn(&'a DetailedScrape) -> [Option<u64>; N],
    ) -> impl Iterator<Item = (NodeId, Said<N>)> {
        self.nodes.iter().map(move |(id, presence)| {
            let said = match presence {
                Presence::Answers(scrape) => Said::Counts(counts(scrape)),
                Presence::Joins(scrape) => Said::First(counts(scrape)),
                Presence::Away => Said::Away,
                Presence::Lost => Said::Lost,
            };
            (*id, said)
        })
    }
}

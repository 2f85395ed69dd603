//! Bindings: which exchange gives to which queue or exchange, told when it changes.
//!
//! Input: the listing of bindings, asked for when queues came or went, once a minute at most, and
//! every ten minutes. Output: those that came or went since; once an hour all of them, so that
//! whoever keeps days only still has them. Those of the default exchange, which every queue has,
//! and those of queues without a series of their own are left out; so are those beyond the cap,
//! which is said in the log.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::model::BindingSample;

/// Least time between two listings.
const LEAST: Duration = Duration::from_secs(60);
/// Longest time between two listings.
const MOST: Duration = Duration::from_secs(600);
/// How often all are told again.
const AGAIN: Duration = Duration::from_secs(3600);

/// When bindings are asked for.
#[derive(Debug, Default)]
pub(super) struct Due {
    asked: Option<(Instant, u64)>,
}

impl Due {
    /// Whether it is time, and that they are asked for then; `changes` counts queues that came or
    /// went.
    pub(super) fn is_due(&mut self, changes: u64, now: Instant) -> bool {
        let is_due = self.asked.is_none_or(|(at, seen)| {
            let least = if seen == changes { MOST } else { LEAST };
            now.saturating_duration_since(at) >= least
        });
        if is_due {
            self.asked = Some((now, changes));
        }
        is_due
    }
}

/// The bindings of the last listing.
#[derive(Debug, Default)]
pub(super) struct Topology {
    known: HashSet<BindingSample>,
    told_at: Option<Instant>,
    is_cut: bool,
}

impl Topology {
    /// What came or went with a new listing of at most `most` bindings.
    pub(super) fn changes(
        &mut self,
        listed: impl Iterator<Item = BindingSample>,
        most: usize,
        now: Instant,
    ) -> Vec<BindingSample> {
        let mut listed: Vec<BindingSample> = listed.collect();
        let cut = listed.len().saturating_sub(most);
        if cut > 0 && !self.is_cut {
            tracing::warn!(cut, "bindings beyond broker.max_queues are not told");
        }
        self.is_cut = cut > 0;
        listed.truncate(most);
        let is_old = |at| now.saturating_duration_since(at) >= AGAIN;
        let tell_all = self.told_at.is_none_or(is_old);
        if tell_all {
            self.told_at = Some(now);
        }
        let new: HashSet<BindingSample> = listed.into_iter().collect();
        let gone = self.known.difference(&new).map(|binding| BindingSample {
            present: false,
            ..binding.clone()
        });
        let here = new
            .iter()
            .filter(|binding| tell_all || !self.known.contains(*binding));
        let changes = gone.chain(here.cloned()).collect();
        self.known = new;
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::{AGAIN, Due, LEAST, MOST, Topology};
    use crate::model::BindingSample;
    use std::time::{Duration, Instant};

    fn binding(key: &str) -> BindingSample {
        BindingSample {
            source: "events".into(),
            destination: "audit".into(),
            routing_key: key.into(),
            present: true,
            ..BindingSample::default()
        }
    }

    fn check(topology: &mut Topology, keys: &[&str], now: Instant, expect: &[(&str, bool)]) {
        let listed = keys.iter().map(|key| binding(key));
        let mut changes = topology.changes(listed, 3, now);
        changes.sort_by(|a, b| a.routing_key.cmp(&b.routing_key));
        let seen: Vec<(&str, bool)> = changes
            .iter()
            .map(|binding| (&*binding.routing_key, binding.present))
            .collect();
        assert_eq!(seen, expect, "{keys:?}");
    }

    #[test]
    fn what_comes_and_goes_is_told_once_and_all_of_it_every_hour() {
        let (begun, mut topology) = (Instant::now(), Topology::default());
        check(
            &mut topology,
            &["a", "b"],
            begun,
            &[("a", true), ("b", true)],
        );
        check(&mut topology, &["a", "b"], begun, &[]);
        check(
            &mut topology,
            &["a", "c"],
            begun,
            &[("b", false), ("c", true)],
        );
        let later = begun + AGAIN;
        check(
            &mut topology,
            &["a", "c"],
            later,
            &[("a", true), ("c", true)],
        );
        check(&mut topology, &["a", "b", "c", "d"], later, &[("b", true)]);
    }

    #[test]
    fn it_is_asked_for_when_queues_came_or_went_and_now_and_then() {
        let (begun, mut due) = (Instant::now(), Due::default());
        let mut at = |seconds: Duration, changes| due.is_due(changes, begun + seconds);
        assert!(at(Duration::ZERO, 1));
        assert!(!at(LEAST, 1));
        assert!(!at(LEAST / 2, 2));
        assert!(at(LEAST, 2));
        assert!(!at(MOST, 2));
        assert!(at(LEAST + MOST, 2));
    }
}

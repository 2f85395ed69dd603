//! When nodes and totals are asked for: seldom while all is well, else with every poll.
//!
//! A node whose plugin is asked is seen to fail by that, and to have too little memory or disk. The
//! listing of nodes is what tells of those that are not asked, and of alarms, so while there is one
//! of either it is asked for with every poll.

use std::time::{Duration, Instant};

use super::lane::Outcome;
use super::listing::reply;
use super::prometheus::DetailedScrape;
use super::round::Round;
use super::sources::is_old;
use crate::model::NodeSample;

/// How often while all is well, and for how long it must have been.
const EVERY: Duration = Duration::from_secs(30);

/// How the last rounds were.
#[derive(Debug, Default)]
pub(super) struct Calm {
    /// Since when every source answers; none if one does not.
    since: Option<Instant>,
    asked: Option<Instant>,
    /// Whether the last listing told what no scrape does: a node without one, one that does not run,
    /// an alarm.
    needs_listing: bool,
}

impl Calm {
    /// Whether it is time to ask; then it counts as asked.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = !self.is_calm(now) || is_old(self.asked, EVERY, now);
        if is_due {
            self.asked = Some(now);
        }
        is_due
    }

    /// Whether all was well for a while.
    pub(super) fn is_calm(&self, now: Instant) -> bool {
        let since = self.since;
        since.is_some_and(|since| is_old(Some(since), EVERY, now))
    }

    /// Takes in how a round was.
    pub(super) fn observe(&mut self, round: &Round, now: Instant) {
        if let Some(listing) = reply(round.nodes.as_ref()) {
            let is_other = |node: &NodeSample| {
                let mut scrapes = round.scrapes.iter().flatten();
                let alarms = [node.mem_alarm, node.disk_free_alarm];
                node.running == Some(false)
                    || alarms.contains(&Some(true))
                    || !scrapes.any(|reply| reply.value.node.as_ref() == Some(&node.node))
            };
            self.needs_listing = listing.value.iter().any(is_other);
        }
        let has_enough = |scrape: &Outcome<DetailedScrape>| {
            let reply = scrape.as_ref();
            reply.is_ok_and(|reply| !reply.value.is_short())
        };
        let is_well =
            round.has_totals && !self.needs_listing && round.scrapes.iter().all(has_enough);
        self.since = is_well.then(|| self.since.unwrap_or(now));
    }
}

#[cfg(test)]
mod tests {
    use super::{Calm, EVERY};
    use crate::model::NodeSample;
    use crate::monitor::failure::{Cause, Plugin, RequestError};
    use crate::monitor::lane::{Outcome, Reply};
    use crate::monitor::prometheus::DetailedScrape;
    use crate::monitor::round::Round;
    use std::time::{Duration, Instant};

    fn scrape(node: &str) -> Outcome<DetailedScrape> {
        Ok(Reply::now(DetailedScrape {
            node: Some(node.into()),
            ..DetailedScrape::default()
        }))
    }

    fn refused() -> Outcome<DetailedScrape> {
        Err(RequestError {
            plugin: Plugin::Prometheus,
            url: "http://h".to_owned(),
            cause: Cause::Refused,
        })
    }

    /// A round with these scrapes, and a listing of nodes and whether they run, if it was asked for.
    fn round(scrapes: Vec<Outcome<DetailedScrape>>, nodes: Option<&[(&str, bool)]>) -> Round {
        let listing = nodes.map(|nodes| {
            let node = |(name, running): &(&str, bool)| NodeSample {
                node: (*name).into(),
                running: Some(*running),
                ..NodeSample::default()
            };
            Ok(Reply::now(nodes.iter().map(node).collect()))
        });
        Round {
            scrapes,
            nodes: listing,
            has_totals: true,
            ..Round::default()
        }
    }

    /// Plays one such round every five seconds; at which of them nodes were asked for.
    fn play(rounds: u64, of: impl Fn(u64, bool) -> Round) -> Vec<u64> {
        let (begun, mut calm) = (Instant::now(), Calm::default());
        let mut asked = Vec::new();
        for number in 0..rounds {
            let now = begun + Duration::from_secs(5 * number);
            let is_due = calm.is_due(now);
            asked.extend(is_due.then_some(number));
            calm.observe(&of(number, is_due), now);
        }
        asked
    }

    fn all(rounds: u64) -> Vec<u64> {
        (0..rounds).collect()
    }

    #[test]
    fn nodes_that_all_answer_are_asked_for_seldom_once_that_lasts() {
        assert_eq!(EVERY.as_secs(), 30);
        let asked = play(20, |_, is_due| {
            let nodes: &[_] = &[("a", true), ("b", true)];
            round(vec![scrape("a"), scrape("b")], is_due.then_some(nodes))
        });
        assert_eq!(asked, [0, 1, 2, 3, 4, 5, 11, 17]);
    }

    #[test]
    fn one_that_fails_is_told_of_with_every_poll_until_all_was_well_for_a_while() {
        let asked = play(30, |number, is_due| {
            let is_away = (13..15).contains(&number);
            let b = if is_away { refused() } else { scrape("b") };
            let nodes: &[_] = &[("a", true), ("b", !is_away)];
            round(vec![scrape("a"), b], is_due.then_some(nodes))
        });
        let expect = [
            &[0, 1, 2, 3, 4, 5, 11][..],
            &[14, 15, 16, 17, 18, 19, 20, 26],
        ]
        .concat();
        assert_eq!(asked, expect);
    }

    #[test]
    fn a_node_with_too_little_is_told_of_with_every_poll_for_its_alarms() {
        let scrape = |memory: u64, disk: u64| {
            let text = format!(
                "# TYPE rabbitmq_detailed_queue_messages gauge\n\
                 rabbitmq_detailed_process_resident_memory_bytes {memory}\n\
                 rabbitmq_detailed_resident_memory_limit_bytes 1000\n\
                 rabbitmq_detailed_disk_space_available_bytes {disk}\n\
                 rabbitmq_detailed_disk_space_available_limit_bytes 2.0e3\n\
                 rabbitmq_identity_info{{rabbitmq_node=\"a\"}} 1\n"
            );
            Ok(Reply::now(DetailedScrape::parse(&text).unwrap()))
        };
        for short in [(1000, 2001), (999, 2000)] {
            let asked = play(30, |number, is_due| {
                let is_short = (13..15).contains(&number);
                let (memory, disk) = if is_short { short } else { (999, 2001) };
                let nodes: &[_] = &[("a", true)];
                round(vec![scrape(memory, disk)], is_due.then_some(nodes))
            });
            let expect = [
                &[0, 1, 2, 3, 4, 5, 11][..],
                &[14, 15, 16, 17, 18, 19, 20, 26],
            ];
            assert_eq!(asked, expect.concat(), "{short:?}");
        }
    }

    #[test]
    fn what_only_the_listing_tells_of_is_asked_for_with_every_poll() {
        let with = |nodes: &'static [(&str, bool)]| {
            play(20, move |_, is_due| {
                round(vec![scrape("a")], is_due.then_some(nodes))
            })
        };
        assert_eq!(with(&[("a", true), ("b", true)]), all(20), "b has no URL");
        assert_eq!(with(&[("a", false)]), all(20), "it does not run");
        let alarm = play(20, |_, is_due| {
            let mut round = round(vec![scrape("a")], is_due.then_some(&[("a", true)]));
            if let Some(Ok(listing)) = &mut round.nodes {
                listing.value[0].disk_free_alarm = Some(true);
            }
            round
        });
        assert_eq!(alarm, all(20), "an alarm is raised");
        let away = play(20, |_, _| Round {
            has_totals: false,
            ..round(vec![scrape("a")], None)
        });
        assert_eq!(away, all(20), "the management API does not answer");
        let none = play(20, |_, is_due| {
            round(vec![refused()], is_due.then_some(&[]))
        });
        assert_eq!(none, all(20), "no plugin answers");
    }
}

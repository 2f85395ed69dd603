//! When a node is asked for consumers: they cost it up to as much as all else.
//!
//! Input: what it says in each round of connections and channels, and how queues do. Of many queues
//! consumers are asked for every half minute while nothing comes or goes and every queue goes on as
//! before; after a change in the next round, and every quarter of a minute while that lasts. A queue
//! tells its consumers up to five seconds late: what was asked for right behind a change is asked for
//! once more.

use std::time::{Duration, Instant};

use super::lane::Reply;
use super::prometheus::{Consumers, DetailedScrape};
use super::small::Small;
use super::sources::is_old;
use crate::model::QueueSample;

/// Queues from which on consumers are not asked for in every round.
const MANY: usize = 500;
/// How often while much changes.
const OFTEN: Duration = Duration::from_secs(15);
/// How often in any case.
const SELDOM: Duration = Duration::from_secs(30);
/// How long consumers that were not asked for are as they were.
pub(super) const KEPT: Duration = Duration::from_secs(35);
/// By how much later a queue may tell them.
const LATE: Duration = Duration::from_secs(6);

/// What was known when a node told consumers last, and what changed since.
#[derive(Debug, Default)]
pub(super) struct Asked {
    at: Option<Instant>,
    /// Whether nothing had changed then.
    was_quiet: bool,
    /// When a change was seen, until consumers that know of it are told.
    change: Option<Instant>,
    /// Connections and channels that came or went.
    churn: Option<u64>,
    /// Queues that came or went, and how often [`Served`] said that one turned.
    turns: u64,
}

impl Asked {
    /// Whether they are asked for now, of so many queues that turned so often.
    pub(super) fn next(&mut self, (queues, turns): (usize, u64), now: Instant) -> Consumers {
        if turns != self.turns {
            (self.turns, self.change) = (turns, Some(now));
        }
        let is_news = self.change.is_some() && (self.was_quiet || is_old(self.at, OFTEN, now));
        if queues <= MANY || is_news || is_old(self.at, SELDOM, now) {
            Consumers::Asked
        } else {
            Consumers::LeftOut
        }
    }

    /// Takes in what the node answered.
    pub(super) fn observe(&mut self, reply: &Reply<DetailedScrape>) {
        if reply.value.has_consumers {
            self.was_quiet = self.change.is_none() && self.at.is_some();
            let asked = reply.at.checked_sub(reply.took).unwrap_or(reply.at);
            self.at = Some(asked);
            let change = self.change;
            self.change = change.filter(|at| asked.saturating_duration_since(*at) < LATE);
        }
        let churn = self.churn.replace(reply.value.churn());
        if churn.is_some() && churn != self.churn {
            self.change = Some(reply.at);
        }
    }
}

/// How a queue's consumers do, as far as deliveries tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Served {
    /// Delivered until the last poll.
    delivered: Small,
    /// Whether any were since the one before.
    is_served: bool,
}

impl Served {
    /// Takes in a poll. Whether the consumers seem to have come or gone: nothing is delivered any more
    /// though messages are ready, or something is though there were none.
    pub(super) fn turns(&mut self, sample: &QueueSample) -> bool {
        let Some(delivered) = sample.messages_deliver_get else {
            return false;
        };
        let before = self.delivered.count();
        let is_served = before.is_some_and(|before| delivered > before);
        let was_served = std::mem::replace(&mut self.is_served, is_served);
        self.delivered = Small::new(Some(delivered));
        match (was_served, is_served) {
            (true, false) => sample.messages_ready > Some(0),
            (false, true) => sample.consumers == Some(0),
            (true, true) | (false, false) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Asked, Served};
    use crate::model::QueueSample;
    use crate::monitor::lane::Reply;
    use crate::monitor::prometheus::{Consumers, DetailedScrape};
    use std::time::{Duration, Instant};

    /// What a node answers at which so many channels were opened until now.
    fn reply(channels: u64, consumers: Consumers, at: Instant) -> Reply<DetailedScrape> {
        let text = format!(
            "# TYPE rabbitmq_detailed_queue_messages gauge\n\
             rabbitmq_detailed_channels_opened_total {channels}\n"
        );
        Reply {
            value: DetailedScrape {
                has_consumers: consumers == Consumers::Asked,
                ..DetailedScrape::parse(&text).unwrap()
            },
            at,
            bytes: 0,
            took: Duration::ZERO,
        }
    }

    /// In which of so many rounds, five seconds apart, a node is asked for consumers of 501 queues; `of`
    /// says how many channels were opened and queues turned until that round, or none if the node
    /// does not answer.
    fn play(rounds: u64, of: impl Fn(u64) -> Option<(u64, u64)>) -> Vec<u64> {
        let (mut asked, mut when, mut turns) = (Asked::default(), Vec::new(), 0);
        let begun = Instant::now();
        for round in 0..rounds {
            let now = begun + Duration::from_secs(5 * round);
            let consumers = asked.next((501, turns), now);
            if consumers == Consumers::Asked {
                when.push(round);
            }
            if let Some((channels, now_turned)) = of(round) {
                turns = now_turned;
                asked.observe(&reply(channels, consumers, now));
            }
        }
        when
    }

    #[test]
    fn while_nothing_happens_they_are_asked_for_seldom() {
        let new = play(20, |_| Some((7, 3)));
        assert_eq!(new, [0, 3, 9, 15], "the queues are new");
        assert_eq!(play(20, |_| Some((7, 0))), [0, 6, 12, 18]);
        let (mut few, now) = (Asked::default(), Instant::now());
        for _ in 0..3 {
            assert_eq!(few.next((500, 0), now), Consumers::Asked);
            few.observe(&reply(7, Consumers::Asked, now));
        }
    }

    #[test]
    fn a_change_is_looked_at_in_the_next_round_and_once_more_and_many_in_every_third() {
        let from_eight = |round: u64| u64::from(round >= 8);
        let channel = play(20, |round| Some((from_eight(round), 0)));
        assert_eq!(channel, [0, 6, 9, 12, 18]);
        let queue = play(20, |round| Some((0, from_eight(round))));
        assert_eq!(queue, [0, 6, 9, 12, 18]);
        let always = play(20, |round| Some((round, round)));
        assert_eq!(always, [0, 3, 6, 9, 12, 15, 18]);
        let later = play(30, |round| Some((round.saturating_sub(8), 0)));
        assert_eq!(later, [0, 6, 10, 13, 16, 19, 22, 25, 28]);
    }

    #[test]
    fn what_a_node_did_not_tell_is_asked_for_again() {
        let away = |round: u64| (!(5..9).contains(&round)).then_some((7, 0));
        assert_eq!(play(17, away), [0, 6, 7, 8, 9, 15]);
    }

    /// A node that takes two rounds to answer is asked in every third.
    #[test]
    fn a_slow_node_is_asked_too() {
        let (mut asked, begun) = (Asked::default(), Instant::now());
        let mut told = Vec::new();
        for round in 0..16 {
            let at = |round: u64| begun + Duration::from_secs(5 * round);
            let consumers = asked.next((501, 0), at(round));
            if round % 3 == 0 {
                let reply = Reply {
                    took: Duration::from_secs(10),
                    ..reply(7, consumers, at(round + 2))
                };
                asked.observe(&reply);
                told.extend(reply.value.has_consumers.then_some(round));
            }
        }
        assert_eq!(told, [0, 6, 12]);
    }

    #[test]
    fn a_queue_turns_when_deliveries_stop_or_begin_against_what_is_known() {
        let mut served = Served::default();
        let mut turns = |delivered: Option<u64>, ready: u64, consumers: u64| {
            served.turns(&QueueSample {
                messages_deliver_get: delivered,
                messages_ready: Some(ready),
                consumers: Some(consumers),
                ..QueueSample::default()
            })
        };
        assert!(!turns(Some(10), 5, 1), "the first says nothing");
        assert!(!turns(Some(12), 5, 1));
        assert!(!turns(None, 5, 1), "a poll without counters neither");
        assert!(turns(Some(12), 5, 1), "it stops, and messages wait");
        assert!(!turns(Some(12), 5, 1), "which is told once");
        assert!(!turns(Some(13), 5, 1), "it goes on");
        assert!(!turns(Some(13), 0, 1), "it stops because nothing waits");
        assert!(turns(Some(14), 5, 0), "there were no consumers");
    }
}

//! Which queues have a series of their own.
//!
//! Input: the queues of a round. Output: those that the configuration lets in; generated and
//! exclusive ones as one series for each name and virtual host, and those beyond the cap, the
//! shallowest, as one series `_other`. Nothing is cut silently: the sums stay whole, and how many
//! were cut is told. A series that stands for several has no counters, for their members change.

use std::collections::HashMap;
use std::sync::Arc;

use super::pattern::fits;
use crate::config::Selection;
use crate::model::{ExchangeSample, OTHER, QueueSample};

/// The word in `fold_queues` for those that belong to one connection.
const EXCLUSIVE: &str = "(exclusive)";

/// The choice of the configuration.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector(Selection);

/// What is left of the queues of a round.
#[derive(Debug, Default)]
pub(super) struct Selected {
    pub(super) queues: Vec<QueueSample>,
    /// How many are in the series [`OTHER`].
    pub(super) cut: u64,
}

impl Selector {
    pub(super) fn new(selection: &Selection) -> Self {
        Self(selection.clone())
    }

    /// Whether a queue is watched at all.
    pub(super) fn admits(&self, vhost: &str, queue: &str) -> bool {
        self.admits_vhost(vhost)
            && any(&self.0.include_queues, queue)
            && !any(&self.0.exclude_queues, queue)
    }

    /// Whether anything of a virtual host is watched.
    pub(super) fn admits_vhost(&self, vhost: &str) -> bool {
        any(&self.0.include_vhosts, vhost) && !any(&self.0.exclude_vhosts, vhost)
    }

    /// Folds and caps.
    pub(super) fn select(&self, queues: Vec<QueueSample>) -> Selected {
        let mut own = queues;
        let mut folds: HashMap<(Arc<str>, &str), QueueSample> = HashMap::new();
        own.retain(|queue| {
            let fold = self.fold_of(queue);
            if let Some(name) = fold {
                let sum = folds
                    .entry((queue.vhost.clone(), name))
                    .or_insert_with(|| empty(queue.vhost.clone(), Arc::from(name)));
                add(sum, queue);
            }
            fold.is_none()
        });
        let cut = own.len().saturating_sub(self.0.max_queues);
        if cut > 0 {
            let depth = |queue: &QueueSample| queue.messages.or(queue.messages_ready);
            // By name where depths are equal: the choice must not change from poll to poll.
            own.sort_unstable_by(|a, b| {
                let names = || (&a.vhost, &a.queue).cmp(&(&b.vhost, &b.queue));
                depth(b).cmp(&depth(a)).then_with(names)
            });
            let mut other = empty(Arc::from(OTHER), Arc::from(OTHER));
            own.drain(self.0.max_queues..)
                .for_each(|queue| add(&mut other, &queue));
            own.push(other);
        }
        own.extend(folds.into_values());
        Selected {
            queues: own,
            cut: cut as u64,
        }
    }

    /// Caps exchanges as queues: those stay that most was published to until now, which changes little
    /// from poll to poll. How many are in the series [`OTHER`].
    pub(super) fn select_exchanges(
        &self,
        mut exchanges: Vec<ExchangeSample>,
    ) -> (Vec<ExchangeSample>, u64) {
        let cut = exchanges.len().saturating_sub(self.0.max_queues) as u64;
        if cut > 0 {
            exchanges.sort_unstable_by(|a, b| {
                let names = || (&a.vhost, &a.exchange).cmp(&(&b.vhost, &b.exchange));
                let published = b.messages_publish_in.cmp(&a.messages_publish_in);
                published.then_with(names)
            });
            let mut other = ExchangeSample {
                vhost: Arc::from(OTHER),
                exchange: Arc::from(OTHER),
                folded: Some(cut),
                ..ExchangeSample::default()
            };
            for exchange in exchanges.drain(self.0.max_queues..) {
                rate(
                    &mut other.messages_publish_in_rate,
                    exchange.messages_publish_in_rate,
                );
                rate(
                    &mut other.messages_publish_out_rate,
                    exchange.messages_publish_out_rate,
                );
            }
            exchanges.push(other);
        }
        (exchanges, cut)
    }

    /// Whether a queue is let in and not folded.
    pub(super) fn has_own_series(&self, queue: &QueueSample) -> bool {
        self.admits(&queue.vhost, &queue.queue) && self.fold_of(queue).is_none()
    }

    /// How many series there may be.
    pub(super) const fn most(&self) -> usize {
        self.0.max_queues
    }

    fn fold_of(&self, queue: &QueueSample) -> Option<&str> {
        let is_of = |pattern: &&String| {
            fits(pattern, &queue.queue) || (*pattern == EXCLUSIVE && queue.exclusive == Some(true))
        };
        self.0.fold_queues.iter().find(is_of).map(String::as_str)
    }
}

fn any(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| fits(pattern, name))
}

fn empty(vhost: Arc<str>, queue: Arc<str>) -> QueueSample {
    QueueSample {
        vhost,
        queue,
        folded: Some(0),
        ..QueueSample::default()
    }
}

fn count(place: &mut Option<u64>, value: Option<u64>) {
    if let Some(value) = value {
        *place = Some(place.unwrap_or(0).saturating_add(value));
    }
}

fn rate(place: &mut Option<f64>, value: Option<f64>) {
    if let Some(value) = value {
        *place = Some(place.unwrap_or(0.0) + value);
    }
}

fn add(sum: &mut QueueSample, queue: &QueueSample) {
    count(&mut sum.folded, Some(1));
    count(&mut sum.messages, queue.messages);
    count(&mut sum.messages_ready, queue.messages_ready);
    count(&mut sum.messages_unack, queue.messages_unack);
    count(&mut sum.consumers, queue.consumers);
    count(&mut sum.memory, queue.memory);
    count(&mut sum.message_bytes, queue.message_bytes);
    rate(&mut sum.messages_publish_rate, queue.messages_publish_rate);
    rate(
        &mut sum.messages_deliver_get_rate,
        queue.messages_deliver_get_rate,
    );
    rate(&mut sum.messages_ack_rate, queue.messages_ack_rate);
    rate(
        &mut sum.messages_redeliver_rate,
        queue.messages_redeliver_rate,
    );
    rate(
        &mut sum.messages_get_empty_rate,
        queue.messages_get_empty_rate,
    );
}

#[cfg(test)]
mod tests {
    use super::Selector;
    use crate::config::Selection;
    use crate::model::{ExchangeSample, OTHER, QueueSample};
    use proptest::prelude::*;

    fn selection() -> Selection {
        Selection {
            include_vhosts: vec!["*".to_owned()],
            include_queues: vec!["*".to_owned()],
            max_queues: 10,
            ..Selection::default()
        }
    }

    fn queue(name: &str, depth: u64) -> QueueSample {
        QueueSample {
            vhost: "/".into(),
            queue: name.into(),
            messages: Some(depth),
            messages_publish: Some(3),
            messages_publish_rate: Some(0.5),
            ..QueueSample::default()
        }
    }

    #[test]
    fn what_is_left_out_wins_over_what_is_let_in() {
        let selector = Selector::new(&Selection {
            include_queues: vec!["orders*".to_owned(), "bills".to_owned()],
            exclude_queues: vec!["*.tmp".to_owned()],
            exclude_vhosts: vec!["test-?".to_owned()],
            ..selection()
        });
        for (vhost, queue, expect) in [
            ("/", "orders", true),
            ("/", "bills", true),
            ("/", "orders.tmp", false),
            ("/", "others", false),
            ("test-1", "orders", false),
        ] {
            assert_eq!(selector.admits(vhost, queue), expect, "{vhost} {queue}");
        }
    }

    #[test]
    fn the_deepest_stay_and_the_others_are_one_series_with_their_number() {
        let selector = Selector::new(&Selection {
            max_queues: 2,
            ..selection()
        });
        let queues =
            [("a", 1), ("b", 9), ("c", 1), ("d", 5)].map(|(name, depth)| queue(name, depth));
        let selected = selector.select(queues.to_vec());
        let seen: Vec<_> = selected
            .queues
            .iter()
            .map(|queue| {
                (
                    &*queue.queue,
                    queue.messages,
                    queue.folded,
                    queue.messages_publish,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("b", Some(9), None, Some(3)),
                ("d", Some(5), None, Some(3)),
                (OTHER, Some(2), Some(2), None),
            ]
        );
        assert_eq!(
            (selected.cut, selected.queues[2].messages_publish_rate),
            (2, Some(1.0))
        );
    }

    #[test]
    fn the_exchanges_that_most_goes_through_stay_and_the_others_are_one_series() {
        let selector = Selector::new(&Selection {
            max_queues: 2,
            ..selection()
        });
        let exchange = |(name, published): (&str, Option<u64>)| ExchangeSample {
            vhost: "/".into(),
            exchange: name.into(),
            messages_publish_in: published,
            messages_publish_in_rate: published.map(|_| 0.5),
            ..ExchangeSample::default()
        };
        let few = [("a", Some(1)), ("", Some(9))].map(exchange).to_vec();
        assert_eq!(selector.select_exchanges(few.clone()), (few, 0));
        let many = [
            ("a", Some(1)),
            ("", Some(9)),
            ("b", None),
            ("c", Some(5)),
            ("d", Some(1)),
        ];
        let (exchanges, cut) = selector.select_exchanges(many.map(exchange).to_vec());
        let seen: Vec<_> = exchanges
            .iter()
            .map(|exchange| {
                (
                    &*exchange.exchange,
                    exchange.messages_publish_in,
                    exchange.messages_publish_in_rate,
                    exchange.folded,
                )
            })
            .collect();
        let expect = [
            ("", Some(9), Some(0.5), None),
            ("c", Some(5), Some(0.5), None),
            (OTHER, None, Some(1.0), Some(3)),
        ];
        assert_eq!((&seen[..], cut), (&expect[..], 3));
    }

    #[test]
    fn generated_and_exclusive_queues_share_a_series() {
        let selector = Selector::new(&Selection {
            fold_queues: vec!["amq.gen-*".to_owned(), "(exclusive)".to_owned()],
            ..selection()
        });
        let own = QueueSample {
            exclusive: Some(true),
            ..queue("reply-17", 1)
        };
        let queues = vec![
            queue("amq.gen-a", 1),
            queue("amq.gen-b", 2),
            own,
            queue("orders", 4),
        ];
        let mut selected = selector.select(queues).queues;
        selected.sort_by(|a, b| a.queue.cmp(&b.queue));
        let seen: Vec<_> = selected
            .iter()
            .map(|queue| (&*queue.queue, queue.messages, queue.folded))
            .collect();
        assert_eq!(
            seen,
            [
                ("(exclusive)", Some(1), Some(1)),
                ("amq.gen-*", Some(3), Some(2)),
                ("orders", Some(4), None),
            ]
        );
    }

    proptest! {
        #[test]
        fn whatever_is_cut_the_sum_stays(depths in proptest::collection::vec(0..1_000u64, 0..40), most in 1..20usize) {
            let selector = Selector::new(&Selection { max_queues: most, ..selection() });
            let queues = depths.iter().enumerate().map(|(at, depth)| queue(&at.to_string(), *depth));
            let selected = selector.select(queues.collect());
            let sum: u64 = selected.queues.iter().filter_map(|queue| queue.messages).sum();
            prop_assert_eq!(sum, depths.iter().sum::<u64>());
            prop_assert_eq!(selected.queues.len(), depths.len().min(most) + usize::from(selected.cut > 0));
        }
    }
}

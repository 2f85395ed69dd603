use std::time::{Duration, Instant};

use super::{Memory, Merged};
use crate::config::Selection;
use crate::model::{QueueSample, Source};
use crate::monitor::failure::{Cause, Plugin, RequestError};
use crate::monitor::management::QueueList;
use crate::monitor::prometheus::DetailedScrape;
use crate::monitor::round::{Outcome, Reply, Round};
use crate::monitor::select::Selector;

fn ok<T>(value: T, at: Instant) -> Outcome<T> {
    Ok(Reply {
        value,
        at,
        bytes: 0,
        took: Duration::ZERO,
    })
}

fn refused<T>() -> Outcome<T> {
    Err(RequestError {
        plugin: Plugin::Prometheus,
        url: String::new(),
        cause: Cause::Refused,
    })
}

/// A node's text: queues with their depth and, in a broker of 4.0, what was published to them.
fn node(name: &str, queues: &[(&str, u64)], published: Option<&[(&str, u64)]>) -> DetailedScrape {
    let row = |metric: &str, (queue, value): &(&str, u64)| {
        format!("rabbitmq_detailed_queue_{metric}{{vhost=\"/\",queue=\"{queue}\"}} {value}\n")
    };
    let mut text = "# TYPE rabbitmq_detailed_queue_messages gauge\n".to_owned();
    text.extend(queues.iter().map(|queue| row("messages", queue)));
    if let Some(published) = published {
        text += "# TYPE rabbitmq_detailed_queue_messages_acked_total counter\n\
                 # TYPE rabbitmq_detailed_queue_exchange_messages_published_total counter\n";
        let metric = "exchange_messages_published_total";
        text.extend(published.iter().map(|queue| row(metric, queue)));
    }
    text += &format!("rabbitmq_identity_info{{rabbitmq_node=\"{name}\"}} 1\n");
    DetailedScrape::parse(&text).unwrap()
}

fn listed(queue: &str, messages: u64, publish: u64) -> QueueSample {
    QueueSample {
        vhost: "/".into(),
        queue: queue.into(),
        queue_type: Some("classic".into()),
        messages: Some(messages),
        messages_publish: Some(publish),
        ..QueueSample::default()
    }
}

fn listing(queues: Vec<QueueSample>) -> QueueList {
    QueueList {
        queues,
        bad_rows: 0,
    }
}

/// Puts a round of `at` together.
fn merge(memory: &mut Memory, round: &Round, at: Instant) -> Option<Merged> {
    let all = Selection {
        include_vhosts: vec!["*".to_owned()],
        include_queues: vec!["*".to_owned()],
        ..Selection::default()
    };
    memory.merge(round, &Selector::new(&all), (at, 0))
}

/// Name, depth, published, rate.
type Seen<'a> = (&'a str, Option<u64>, Option<u64>, Option<f64>);

fn seen(merged: &Merged) -> Vec<Seen<'_>> {
    let mut rows: Vec<_> = merged
        .queues
        .iter()
        .map(|queue| {
            (
                &*queue.queue,
                queue.messages,
                queue.messages_publish,
                queue.messages_publish_rate,
            )
        })
        .collect();
    rows.sort_by_key(|row| row.0);
    rows
}

#[test]
fn depth_comes_from_prometheus_and_counters_from_the_listing_before_4_0() {
    let at = Instant::now();
    let mut memory = Memory::default();
    let scrape = node("a", &[("both", 7), ("new", 1)], None);
    let round = Round {
        scrapes: vec![ok(scrape.clone(), at)],
        queues: Some(ok(
            listing(vec![listed("both", 3, 9), listed("odd", 2, 2)]),
            at,
        )),
        ..Round::default()
    };
    let merged = merge(&mut memory, &round, at).unwrap();
    assert_eq!(
        seen(&merged),
        [
            ("both", Some(7), Some(9), None),
            ("new", Some(1), None, None),
            ("odd", Some(2), Some(2), None),
        ]
    );
    assert_eq!(
        (merged.depth, merged.counters),
        (Source::Prometheus, Some(Source::Management))
    );

    // A round in which the listing is not due: no counters, but the same series.
    let round = Round {
        scrapes: vec![ok(scrape, at)],
        ..Round::default()
    };
    let merged = merge(&mut memory, &round, at).unwrap();
    let both = merged
        .queues
        .iter()
        .find(|queue| &*queue.queue == "both")
        .unwrap();
    assert_eq!(both.queue_type.as_deref(), Some("classic"));
    assert_eq!(both.messages_publish, None);
}

#[test]
fn nodes_are_added_up_and_a_node_with_two_urls_counts_once() {
    let at = Instant::now();
    let a = node("a", &[("q", 5)], Some(&[("q", 1), ("ghost", 8)]));
    let b = node("b", &[], Some(&[("q", 4)]));
    let round = Round {
        scrapes: vec![ok(a.clone(), at), ok(b, at), ok(a, at)],
        ..Round::default()
    };
    let merged = merge(&mut Memory::default(), &round, at).unwrap();
    assert_eq!(seen(&merged), [("q", Some(5), Some(5), None)]);
}

#[test]
fn a_node_that_is_away_makes_gaps_and_never_a_spike() {
    let begun = Instant::now();
    let mut memory = Memory::default();
    let mut poll = |second: u64, second_node: bool, total: u64| {
        let at = begun + Duration::from_secs(second);
        let a = node("a", &[("q", 5)], Some(&[("q", total)]));
        let b = node("b", &[], Some(&[("q", 1_000_000)]));
        let round = Round {
            scrapes: vec![ok(a, at), if second_node { ok(b, at) } else { refused() }],
            ..Round::default()
        };
        let merged = merge(&mut memory, &round, at).unwrap();
        (
            merged.queues[0].messages_publish,
            merged.queues[0].messages_publish_rate,
        )
    };
    assert_eq!(poll(0, true, 10), (Some(1_000_010), None));
    assert_eq!(poll(5, true, 20), (Some(1_000_020), Some(2.0)));
    assert_eq!(poll(10, false, 30), (None, None));
    assert_eq!(poll(15, true, 40), (Some(1_000_040), Some(2.0)));
    // It stays away: the others go on without it, and what it counts meanwhile is no news.
    for second in (20..75).step_by(5) {
        assert_eq!(poll(second, false, 40), (None, None), "{second}");
    }
    assert_eq!(poll(75, false, 50).0, Some(1_000_050));
}

#[test]
fn counters_from_another_source_begin_anew() {
    let begun = Instant::now();
    let at = |second| begun + Duration::from_secs(second);
    let mut memory = Memory::default();
    let scraped = |second, total| Round {
        scrapes: vec![ok(
            node("a", &[("q", 5)], Some(&[("q", total)])),
            at(second),
        )],
        ..Round::default()
    };
    let listed = |second, total| Round {
        scrapes: vec![refused()],
        queues: Some(ok(listing(vec![listed("q", 5, total)]), at(second))),
        ..Round::default()
    };
    let mut rate = |second, round: &Round| {
        let merged = merge(&mut memory, round, at(second)).unwrap();
        merged.queues[0].messages_publish_rate
    };
    assert_eq!(rate(0, &scraped(0, 10)), None);
    assert_eq!(rate(5, &scraped(5, 20)), Some(2.0));
    assert_eq!(rate(10, &listed(10, 5_000)), None);
    assert_eq!(rate(15, &listed(15, 5_010)), Some(2.0));
    assert_eq!(rate(20, &scraped(20, 9_000)), None);
}

/// The depth of "q" and the node that has it, as two nodes say.
#[test]
fn a_queue_whose_leader_moves_is_counted_once_and_where_it_is_new() {
    let begun = Instant::now();
    let mut memory = Memory::default();
    let mut poll = |second: u64, on_a: &[(&str, u64)], on_b: &[(&str, u64)]| {
        let at = begun + Duration::from_secs(second);
        let (a, b) = (node("a", on_a, None), node("b", on_b, None));
        let round = Round {
            scrapes: vec![ok(a, at), ok(b, at)],
            ..Round::default()
        };
        let merged = merge(&mut memory, &round, at).unwrap();
        assert_eq!(merged.queues.len(), 1, "one series");
        let queue = &merged.queues[0];
        (
            queue.messages.unwrap(),
            queue.node.as_deref().unwrap().to_owned(),
        )
    };
    assert_eq!(poll(0, &[("q", 5)], &[]), (5, "a".to_owned()));
    // What is left on the node that it went from is old, however much it says.
    assert_eq!(poll(5, &[("q", 5)], &[("q", 3)]), (3, "b".to_owned()));
    assert_eq!(poll(10, &[("q", 5)], &[("q", 2)]), (2, "b".to_owned()));
    assert_eq!(poll(15, &[], &[("q", 1)]), (1, "b".to_owned()));
    assert_eq!(poll(20, &[("q", 4)], &[("q", 1)]), (4, "a".to_owned()));
}

#[test]
fn a_queue_that_was_deleted_is_gone_and_made_anew_it_begins_anew() {
    let begun = Instant::now();
    let mut memory = Memory::default();
    let mut poll = |second: u64, queues: &[(&str, u64)], total: u64| {
        let at = begun + Duration::from_secs(second);
        let round = Round {
            scrapes: vec![ok(node("a", queues, Some(&[("q", total)])), at)],
            ..Round::default()
        };
        let merged = merge(&mut memory, &round, at).unwrap();
        let queue = merged.queues.first().cloned();
        queue.map(|queue| (queue.messages_publish, queue.messages_publish_rate))
    };
    assert_eq!(poll(0, &[("q", 5)], 100), Some((Some(100), None)));
    assert_eq!(poll(5, &[("q", 5)], 110), Some((Some(110), Some(2.0))));
    assert_eq!(poll(10, &[], 110), None, "only a ghost of it is left");
    assert_eq!(poll(15, &[("q", 1)], 111), Some((Some(111), None)));
    assert_eq!(poll(20, &[("q", 1)], 7), Some((Some(111), None)), "a reset");
    assert_eq!(poll(25, &[("q", 1)], 17), Some((Some(121), Some(2.0))));
}

#[test]
fn a_broker_that_restarts_makes_a_gap_and_no_spike() {
    let begun = Instant::now();
    let mut memory = Memory::default();
    let at = |second| begun + Duration::from_secs(second);
    let poll = |memory: &mut Memory, second: u64, total: u64| {
        let round = Round {
            scrapes: vec![ok(
                node("a", &[("q", 5)], Some(&[("q", total)])),
                at(second),
            )],
            ..Round::default()
        };
        let merged = merge(memory, &round, at(second)).unwrap();
        let queue = &merged.queues[0];
        (
            queue.messages,
            queue.messages_publish,
            queue.messages_publish_rate,
        )
    };
    let memory = &mut memory;
    poll(memory, 0, 100);
    assert_eq!(poll(memory, 5, 110), (Some(5), Some(110), Some(2.0)));
    memory.broker_away(at(10));
    // It counted more since than before: the total grows, and no rate spans that.
    assert_eq!(poll(memory, 15, 900), (Some(5), Some(900), None));
    assert_eq!(poll(memory, 20, 910), (Some(5), Some(910), Some(2.0)));
}

#[test]
fn without_any_source_there_is_nothing() {
    let round = Round {
        scrapes: vec![refused()],
        queues: Some(refused()),
        ..Round::default()
    };
    assert!(merge(&mut Memory::default(), &round, Instant::now()).is_none());
}

/// Since when a queue is seen and its counters count, in seconds, after a round at that second.
fn since(
    memory: &mut Memory,
    (begun, second): (Instant, u64),
    round: &Round,
) -> Option<(Option<i64>, Option<i64>)> {
    let at = begun + Duration::from_secs(second);
    let all = Selection {
        include_vhosts: vec!["*".to_owned()],
        include_queues: vec!["*".to_owned()],
        ..Selection::default()
    };
    let nanos = i64::try_from(second).unwrap() * 1_000_000_000;
    let merged = memory.merge(round, &Selector::new(&all), (at, nanos))?;
    let queue = merged.queues.first()?;
    let seconds = |nanos: Option<i64>| nanos.map(|nanos| nanos / 1_000_000_000);
    Some((
        seconds(queue.first_seen_unix_nano),
        seconds(queue.counted_since_unix_nano),
    ))
}

#[test]
fn counters_count_since_they_were_first_read_and_anew_after_each_break() {
    let mut memory = Memory::default();
    let said = |published: Option<&[(&str, u64)]>| Round {
        scrapes: vec![ok(node("a", &[("q", 1)], published), Instant::now())],
        ..Round::default()
    };
    let begun = Instant::now();
    let mut at = |second, round: &Round| since(&mut memory, (begun, second), round);
    // Nothing was counted yet: what comes is counted since then.
    assert_eq!(at(100, &said(Some(&[]))), Some((Some(100), Some(100))));
    let some = said(Some(&[("q", 5)]));
    assert_eq!(at(105, &some), Some((Some(100), Some(100))));
    // A count that fell, of a queue that was made anew between two polls.
    let fewer = said(Some(&[("q", 2)]));
    assert_eq!(at(110, &fewer), Some((Some(100), Some(110))));
    assert_eq!(at(115, &some), Some((Some(100), Some(110))));
    // It is gone, and another one of its name comes.
    let none = Round {
        scrapes: vec![ok(node("a", &[], Some(&[])), Instant::now())],
        ..Round::default()
    };
    assert_eq!(at(120, &none), None);
    assert_eq!(at(125, &some), Some((Some(125), Some(125))));
}

#[test]
fn counters_of_another_source_count_since_it_answers_and_a_gap_is_no_break() {
    let mut memory = Memory::default();
    let at_node = |name, scrape| match scrape {
        true => ok(node(name, &[("q", 1)], Some(&[("q", 5)])), Instant::now()),
        false => refused(),
    };
    let both = |one, other| Round {
        scrapes: vec![at_node("a", one), at_node("b", other)],
        ..Round::default()
    };
    let begun = Instant::now();
    let mut at = |second, round: &Round| since(&mut memory, (begun, second), round);
    assert_eq!(at(100, &both(true, true)), Some((Some(100), Some(100))));
    assert_eq!(
        at(105, &both(true, false)),
        Some((Some(100), None)),
        "a gap"
    );
    assert_eq!(at(110, &both(true, true)), Some((Some(100), Some(100))));
    let listed = Round {
        queues: Some(ok(listing(vec![listed("q", 1, 3)]), Instant::now())),
        ..Round::default()
    };
    assert_eq!(at(115, &listed), Some((Some(100), Some(115))));
    assert_eq!(at(120, &both(true, true)), Some((Some(100), Some(120))));
}

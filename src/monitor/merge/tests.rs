use std::time::{Duration, Instant};

use super::{Memory, Merged};
use crate::model::{QueueSample, Source};
use crate::monitor::failure::{Cause, Plugin, RequestError};
use crate::monitor::management::QueueList;
use crate::monitor::prometheus::DetailedScrape;
use crate::monitor::round::{Outcome, Reply, Round};

fn ok<T>(value: T, at: Instant) -> Outcome<T> {
    Ok(Reply {
        value,
        at,
        bytes: 0,
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

/// Name, depth, published, rate.
fn seen(merged: &Merged) -> Vec<(&str, Option<u64>, Option<u64>, Option<f64>)> {
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
    let merged = memory.merge(&round).unwrap();
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
    let merged = memory.merge(&round).unwrap();
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
    let merged = Memory::default().merge(&round).unwrap();
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
        let merged = memory.merge(&round).unwrap();
        (
            merged.queues[0].messages_publish,
            merged.queues[0].messages_publish_rate,
        )
    };
    assert_eq!(poll(0, true, 10), (Some(1_000_010), None));
    assert_eq!(poll(5, true, 20), (Some(1_000_020), Some(2.0)));
    assert_eq!(poll(10, false, 30), (None, None));
    assert_eq!(poll(15, true, 40), (Some(1_000_040), Some(2.0)));
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
    let mut rate = |round: &Round| memory.merge(round).unwrap().queues[0].messages_publish_rate;
    assert_eq!(rate(&scraped(0, 10)), None);
    assert_eq!(rate(&scraped(5, 20)), Some(2.0));
    assert_eq!(rate(&listed(10, 5_000)), None);
    assert_eq!(rate(&listed(15, 5_010)), Some(2.0));
    assert_eq!(rate(&scraped(20, 9_000)), None);
}

#[test]
fn without_any_source_there_is_nothing() {
    let round = Round {
        scrapes: vec![refused()],
        queues: Some(refused()),
        ..Round::default()
    };
    assert!(Memory::default().merge(&round).is_none());
}

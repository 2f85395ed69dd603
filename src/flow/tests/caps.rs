//! Too many values of tags, through the whole flow.

use std::collections::HashSet;

use super::*;
use crate::model::{AttributeValue, Span};

fn with(span: Span, attributes: &[(&str, &str)]) -> Span {
    let mut span = span;
    let text = |value: &str| AttributeValue::Text(Arc::from(value));
    let attributes = attributes.iter();
    let attributes = attributes.map(|(name, value)| (Arc::from(*name), text(value)));
    span.attributes.extend(attributes);
    span
}

/// A request of which nothing is like another's but its start; it ends a task.
fn request(number: usize) -> Span {
    let one = format!("/orders/{number}");
    let attributes = [
        ("http.request.method", "GET"),
        ("http.route", &*one),
        ("task.id", "7"),
        ("task.status", "done"),
        ("task.creator.id", &*one),
        ("agent.id", &*one),
        ("notification.type", "order"),
    ];
    let mut request = with(span("shop", SpanKind::Server, &[]), &attributes);
    request.name = Arc::from(one);
    request.span_id = SpanId::from_bytes(&(number as u64 + 1).to_be_bytes()).unwrap();
    request
}

/// Points of a measurement: all of them, how many are `_other` in that tag, and different ones.
fn points_of(points: &[Point], (name, of): (&str, &str)) -> (usize, usize, usize) {
    let points = measurement(points, name);
    let others = points
        .iter()
        .filter(|point| tag(point, of) == Some("_other"));
    let different: HashSet<_> = points
        .iter()
        .map(|point| (&point.tags, point.time_unix_nano))
        .collect();
    (points.len(), others.count(), different.len())
}

#[test]
fn every_point_is_there_when_its_tags_are_too_many() {
    let mut flow = flow();
    let number = 5 * MAX_SERIES;
    let (mut points, mut hops) = (Vec::new(), Vec::new());
    for first in (0..number).step_by(500) {
        let taken = flow.take_batch(batch((first..first + 500).map(request).collect()), NOW);
        points.extend(flow.influx_points(&taken));
        hops.extend(taken.store.hops);
    }
    let half = number - MAX_SERIES / 2;
    let all = number - MAX_SERIES;
    for (of, others) in [
        (("spans", "span_name"), half),
        (("request_metrics", "endpoint"), half),
        (("task_metrics", "creator_id"), all),
    ] {
        assert_eq!(points_of(&points, of), (number, others, number), "{of:?}");
    }
    let hop = &hops[number - 1];
    assert_eq!((&*hop.span.service, &*hop.span.name), ("shop", "_other"));
    let own = hop.span.text(Hop::FOLDED[1]).map(|name| &**name);
    assert_eq!(own, Some("/orders/4999"), "the span itself knows its name");

    let closed = flow.close_windows(20 * SECOND);
    let services = measurement(&closed.store.points, "service_metrics");
    let requests: u64 = services.iter().map(|point| whole(point, "requests")).sum();
    assert_eq!((services.len(), requests), (1, number as u64));
    let agents = measurement(&closed.store.points, "agent_metrics");
    assert_eq!(agents.len(), MAX_SERIES / 2 + 1);
    let counts: Vec<_> = flow.series_counts().collect();
    let spans = counts.iter().find(|count| count.measurement == "spans");
    let spans = spans.map(|count| (count.series, count.folded));
    assert_eq!(spans, Some((MAX_SERIES / 2 + 1, half as u64)));
}

#[test]
fn a_request_that_comes_again_is_the_same_points() {
    let mut flow = flow();
    let all: Vec<Span> = (0..3 * MAX_SERIES).map(request).collect();
    flow.take_batch(batch(all), NOW);
    let again = || batch((2_000..3_000).map(request).collect());
    let first = flow.take_batch(again(), NOW);
    let first = flow.influx_points(&first);
    let second = flow.take_batch(again(), NOW + SECOND);
    assert_eq!(flow.influx_points(&second), first);
}

#[test]
fn names_that_came_with_a_release_have_their_series_when_the_old_ones_are_gone() {
    let mut flow = flow();
    let named = |version: &str| -> Vec<Span> {
        let name = |number| Arc::from(format!("{version} {number}"));
        let spans = (0..400).map(|number| Span {
            name: name(number),
            ..request(0)
        });
        spans.collect()
    };
    let mut others = |version: &str, now: i64| {
        let taken = flow.take_batch(batch(named(version)), now);
        flow.close_windows(now);
        points_of(&flow.influx_points(&taken), ("spans", "span_name")).1
    };
    assert_eq!([others("one", NOW), others("two", NOW + SECOND)], [0, 300]);
    let later = NOW + 3_600 * SECOND;
    assert_eq!(others("two", later), 300);
    assert_eq!(
        others("two", later + SECOND),
        300,
        "the window in which an hour is over"
    );
    assert_eq!(others("two", later + 2 * SECOND), 0);
}

#[test]
fn records_of_paths_beyond_the_cap_add_up() {
    let mut flow = flow();
    let mut rows = 0;
    for hash in 1..=2 * MAX_SERIES as u64 {
        let record = metrics::messages(hash, 3, 12);
        let taken = metrics::take(&mut flow, vec![record], 12);
        rows += taken
            .store
            .windows
            .iter()
            .map(|window| window.count)
            .sum::<u64>();
        let learned = (taken.store.steps.len(), taken.store.paths.len());
        let is_known = usize::from(hash <= MAX_SERIES as u64 / 2);
        assert_eq!(learned, (is_known, is_known), "{hash}");
    }
    let closed = flow.close_windows(20 * SECOND).closed;
    let counts = closed.iter().map(|window| window.count);
    let total = 6 * MAX_SERIES as u64;
    assert_eq!((rows, counts.sum::<u64>()), (total, total));
    assert_eq!(closed.len(), MAX_SERIES / 2 + 1);
}

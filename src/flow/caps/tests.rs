use std::collections::HashSet;

use proptest::prelude::*;

use super::{Capped, Caps, Folded, IDLE_NANOS};

const LIMIT: usize = 100;

/// The tags of a span as they come out.
fn fold(caps: &mut Caps, tags: [&str; 3]) -> [String; 3] {
    let folded: Folded<3> = caps.fold(Capped::Spans, (tags.map(str::as_bytes), "consumer"));
    let mut out = tags.map(str::to_owned);
    for (tag, is_other) in out.iter_mut().zip(folded.others) {
        if is_other {
            "_other".clone_into(tag);
        }
    }
    out
}

fn count(caps: &Caps) -> (usize, u64) {
    let spans = caps.counts().next().unwrap();
    assert_eq!(spans.measurement, "spans");
    (spans.series, spans.folded)
}

#[test]
fn a_tag_that_holds_an_id_leaves_the_others_as_they_are() {
    let mut caps = Caps::new(LIMIT);
    for number in 0..10_000 {
        let name = format!("GET /orders/{number}");
        let [service, name, queue] = fold(&mut caps, ["shop", &name, ""]);
        assert_eq!((&*service, &*queue), ("shop", ""));
        assert_eq!(name == "_other", number >= 50, "{name}");
    }
    assert_eq!(count(&caps), (51, 9_950));
    let late = ["billing", "charge", "invoices"];
    assert_eq!(fold(&mut caps, late), ["billing", "_other", "invoices"]);
    let known = ["shop", "GET /orders/7", ""];
    assert_eq!(fold(&mut caps, known), known);
}

#[test]
fn beyond_all_series_every_tag_is_other_and_what_is_known_stays() {
    let mut caps = Caps::new(LIMIT);
    // No tag has many values, but there are many sets of them.
    let mut sets = Vec::new();
    for number in 0..30 * 30 {
        let names = [number / 30, number % 30].map(|number| format!("n{number}"));
        let tags = [names[0].as_str(), names[1].as_str(), "jobs"];
        sets.push(fold(&mut caps, tags));
    }
    let other = sets.iter().filter(|tags| **tags == ["_other"; 3]).count();
    assert_eq!((other, count(&caps)), (800, (LIMIT, 800)));
    assert_eq!(fold(&mut caps, ["n0", "n7", "jobs"]), ["n0", "n7", "jobs"]);
    assert_eq!(fold(&mut caps, ["new", "", ""]), ["_other", "", ""]);
}

#[test]
fn what_nothing_came_to_for_an_hour_makes_room() {
    let mut caps = Caps::new(LIMIT);
    let release = |caps: &mut Caps, version: u32| {
        let names = (0..40).map(|number| format!("v{version} step {number}"));
        let folded = names.filter(|name| fold(caps, ["shop", name, ""])[1] == "_other");
        folded.count()
    };
    assert_eq!(release(&mut caps, 1), 0);
    assert_eq!(release(caps.at(1), 2), 30, "both at once are too many");
    caps.at(IDLE_NANOS).forget();
    assert_eq!(
        release(&mut caps, 2),
        30,
        "the first release was here less than an hour ago"
    );
    caps.at(IDLE_NANOS + 1).forget();
    assert_eq!(
        release(&mut caps, 2),
        0,
        "it is forgotten, the second goes on"
    );
    assert_eq!(release(&mut caps, 1), 30);
}

#[test]
fn a_single_tag_may_have_as_many_values_as_there_are_series() {
    let mut caps = Caps::new(LIMIT);
    let folded = (0..LIMIT + 7)
        .filter(|number| {
            let name = format!("queue{number}");
            let folded = caps.fold(Capped::QueueMetrics, ([name.as_bytes()], ()));
            folded.is_folded()
        })
        .count();
    assert_eq!(folded, 7);
}

#[test]
fn a_million_values_take_no_more_memory_than_a_few() {
    let memory = |values: u64| {
        let mut caps = Caps::new(20_000);
        let info = allocation_counter::measure(|| {
            for value in 0..values {
                let bytes = value.to_be_bytes();
                let tags = [&bytes[..3], &bytes[..], &b"jobs"[..]];
                std::hint::black_box(caps.fold(Capped::Spans, (tags, ())));
            }
        });
        info.bytes_max
    };
    let (few, many) = (memory(20_000), memory(1_000_000));
    assert!(many <= few && many < 4 << 20, "{few} and {many} bytes");
}

proptest! {
    #[test]
    fn there_are_never_more_series_than_the_cap(
        tags in prop::collection::vec((0..40_u8, 0..40_u8, 0..40_u8), 1..3_000),
    ) {
        let mut caps = Caps::new(LIMIT);
        let mut series = HashSet::new();
        let mut keys = HashSet::new();
        for (a, b, c) in tags {
            let tags = [a, b, c].map(|tag| format!("t{tag}"));
            let tags = [tags[0].as_str(), tags[1].as_str(), tags[2].as_str()];
            let out = fold(&mut caps, tags);
            // What came in and what came out are in the same series from now on.
            prop_assert_eq!(&fold(&mut caps, tags), &out);
            let bytes = [out[0].as_bytes(), out[1].as_bytes(), out[2].as_bytes()];
            keys.insert(caps.fold(Capped::Spans, (bytes, "consumer")).series);
            series.insert(out);
        }
        prop_assert!(series.len() <= LIMIT + 1, "{} series", series.len());
        prop_assert_eq!(series.len(), keys.len());
    }
}

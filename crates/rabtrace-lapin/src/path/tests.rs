//! What holds for every path.

use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn step(direction: Direction, service: &'static str) -> Step<'static> {
    Step::new(service, direction, "planner_queue")
}

/// A path at a time, by an origin and steps of its own.
fn path(origin_us: u64, services: &[&str], last_us: u64) -> PathContext {
    let mut at = None;
    for (number, service) in services.iter().enumerate() {
        let now_us = if number == 0 { origin_us } else { last_us };
        let step = Step::new(service, Direction::Out, "q");
        at = Some(checkpoint(at.as_ref(), &step, now_us).context);
    }
    at.unwrap()
}

#[test]
fn hashes_and_values_are_stable_across_versions() {
    let origin = checkpoint(None, &step(Direction::Out, "gateway"), 1_000);
    let node = step(Direction::Out, "gateway").node();
    assert_eq!(node, 0xc850_1272_e597_3fd5);
    assert_eq!(origin.context.hash(), 0x2107_08ec_416d_1d1a);
    let taken = step(Direction::In, "planner").via("events");
    let next = checkpoint(Some(&origin.context), &taken, 1_500);
    assert_eq!(next.context.hash(), 0x5aef_4111_39ab_fde0);
    assert_eq!(next.parent_hash, Some(origin.context.hash()));
    assert_eq!(
        next.context.to_string(),
        "1Wu9BETmr_eAAAAAAAAPoAAAAAAH0AgAAAGA7KA"
    );
}

#[test]
fn the_origin_has_no_edge_and_a_total_of_zero() {
    let origin = checkpoint(None, &step(Direction::Out, "gateway"), 7);
    assert_eq!((origin.edge, origin.skew), (None, None));
    assert_eq!(origin.total, Some(Duration::ZERO));
    assert_eq!(origin.parent_hash, None);
    assert_eq!(origin.context.origin_us(), 7);
    // What was before a delivery that brings nothing is not known.
    let taken = checkpoint(None, &step(Direction::In, "planner"), 7);
    assert_eq!((taken.edge, taken.total), (None, None));
}

#[test]
fn a_stamp_of_the_broker_stands_for_the_publish() {
    let node = Node::of(&step(Direction::In, "planner"));
    let taken = advance(Before::Stamped(5_000), node, 7_000);
    let waited = Some(Duration::from_micros(2_000));
    assert_eq!((taken.edge, taken.total), (waited, waited));
    assert_eq!(taken.parent_hash, None);
    assert_eq!(taken.context.origin_us(), 5_000);
    let early = advance(Before::Stamped(5_000), node, 4_000);
    assert_eq!((early.edge, early.total), (None, None));
    assert_eq!(early.skew, Some(Duration::from_micros(1_000)));
}

#[test]
fn clocks_that_disagree_are_clamped_and_told() {
    let parent = path(50, &["a", "b"], 100);
    let early = checkpoint(Some(&parent), &step(Direction::In, "audit"), 90);
    assert_eq!(early.edge, None);
    assert_eq!(early.skew, Some(Duration::from_micros(10)));
    assert_eq!(early.total, Some(Duration::from_micros(50)));
    assert_eq!(early.context.last_us(), 100);
    let earlier = checkpoint(Some(&parent), &step(Direction::In, "audit"), 40);
    assert_eq!((earlier.edge, earlier.total), (None, None));
    assert_eq!(earlier.context.last_us(), 100);
}

#[test]
fn another_version_or_form_counts_as_absent() {
    let value = path(1, &["a", "b"], 2).to_string();
    assert!(PathContext::parse(&value).is_some());
    for odd in [
        String::new(),
        "1".to_owned(),
        value.replacen('1', "2", 1),
        format!("{value}A"),
        format!("{value}="),
        format!("{value}AAA"),
        value[..value.len() - 1].to_owned(),
        value[..value.len() - 2].to_owned() + "+A",
        "1-000000000000001f-10-ff".to_owned(),
        "1".repeat(56),
    ] {
        assert_eq!(PathContext::parse(&odd), None, "{odd}");
    }
    // Bits that stand for nothing.
    let odd = path(1, &["a"], 2).to_string();
    let last = &odd[odd.len() - 1..];
    let other = if last == "A" { "B" } else { "_" };
    assert_eq!(
        PathContext::parse(&(odd[..odd.len() - 1].to_owned() + other)),
        None
    );
}

#[test]
fn a_thousand_retries_are_one_path() {
    let out = Step::new("worker", Direction::Out, "retry");
    let taken = Step::new("worker", Direction::In, "retry");
    let mut at = checkpoint(None, &Step::new("gateway", Direction::Out, "retry"), 1).context;
    let mut hashes = HashSet::from([at.hash()]);
    let mut edges = 0;
    for round in 1..=1_000_u64 {
        for (half, step) in [taken, out].iter().enumerate() {
            let half = u64::try_from(half).unwrap();
            let next = checkpoint(Some(&at), step, 1 + round * 10 + half);
            edges += next.edge.unwrap().as_micros();
            assert_eq!(
                next.is_repeat,
                next.parent_hash == Some(next.context.hash())
            );
            at = next.context;
            hashes.insert(at.hash());
        }
    }
    assert_eq!(hashes.len(), 3, "published, taken, published again");
    assert_eq!((at.steps(), at.repeats()), (3, 1_998));
    assert_eq!(edges, u128::from(at.last_us() - at.origin_us()));
}

#[test]
fn a_path_ends_to_grow() {
    let services: Vec<String> = (0..100).map(|number| format!("service-{number}")).collect();
    let mut at: Option<PathContext> = None;
    for service in &services {
        at = Some(checkpoint(at.as_ref(), &Step::new(service, Direction::In, "q"), 1).context);
    }
    let at = at.unwrap();
    assert_eq!((at.steps(), at.repeats()), (64, 36));
    assert_eq!(PathContext::parse(&at.to_string()), Some(at));
}

fn merged(parents: &[PathContext], now_us: u64) -> Merge {
    let node = Node::of(&Step::new("joiner", Direction::Out, "joined"));
    merge(parents, node, now_us).unwrap()
}

#[test]
fn a_merge_has_all_its_parents() {
    let (one, two) = (path(10, &["a", "b"], 40), path(20, &["c", "d"], 50));
    let joined = merged(&[one, two], 70);
    let step = joined.checkpoint;
    assert_eq!(
        step.parent_hash,
        Some(one.hash()),
        "the one with the oldest origin"
    );
    let micros = |duration: Option<Duration>| duration.unwrap().as_micros();
    assert_eq!((micros(step.edge), micros(step.total)), (20, 60));
    assert_eq!((step.context.origin_us(), step.context.last_us()), (10, 70));
    assert_eq!(step.context.steps(), 3);
    let edges: Vec<_> = joined
        .edges
        .iter()
        .map(|edge| (edge.parent_hash, micros(edge.edge), micros(edge.total)))
        .collect();
    assert_eq!(edges, [(one.hash(), 30, 60), (two.hash(), 20, 50)]);
    assert_eq!(merged(&[two, one], 70).checkpoint, step);
    assert_eq!(merged(&[two, one, two], 70).checkpoint, step);
    // Several messages of one path go on as one of them does.
    let node = Node::of(&Step::new("joiner", Direction::Out, "joined"));
    let alone = advance(Before::Path(&one), node, 70);
    let alike = merged(&[one, one], 70);
    assert_eq!((alike.checkpoint, alike.edges.len()), (alone, 2));
    assert_eq!(merge(&[], node, 70), None);
}

#[test]
fn a_merge_of_many_paths_has_sixteen_and_the_others() {
    let names: Vec<String> = (0..40).map(|number| format!("service-{number}")).collect();
    let parents: Vec<PathContext> = names.iter().map(|name| path(1, &[name], 1)).collect();
    let joined = merged(&parents, 5);
    assert_eq!(joined.edges.len(), 40);
    let distinct: HashSet<u64> = joined.edges.iter().map(|edge| edge.parent_hash).collect();
    assert_eq!(distinct.len(), 17);
    assert!(distinct.contains(&OTHER_PATHS));
    let backwards: Vec<PathContext> = parents.into_iter().rev().collect();
    assert_eq!(merged(&backwards, 5).checkpoint, joined.checkpoint);
}

#[test]
fn a_merge_in_a_loop_is_a_repeat() {
    let (one, two) = (path(10, &["a"], 40), path(20, &["c"], 50));
    let first = merged(&[one, two], 70).checkpoint.context;
    let again = merged(&[one, first], 90);
    assert!(again.checkpoint.is_repeat);
    assert_eq!(again.checkpoint.context.hash(), first.hash());
    assert_eq!(again.checkpoint.parent_hash, Some(first.hash()));
    assert!(again.edges.is_empty());
}

fn steps() -> impl Strategy<Value = Vec<(String, bool, String, i32)>> {
    let step = (
        "[a-c]{1,2}",
        any::<bool>(),
        "[a-c]{0,2}",
        -1_000_000..i32::MAX,
    );
    proptest::collection::vec(step, 1..100)
}

proptest! {
    #[test]
    fn the_edges_of_a_chain_add_up_to_its_total(begun in 1 << 40..1_u64 << 50, steps in steps()) {
        let (mut parent, mut now, mut edges) = (None, begun, Duration::ZERO);
        for (service, out, destination, wait) in &steps {
            let direction = if *out { Direction::Out } else { Direction::In };
            let direction = if parent.is_none() { Direction::Out } else { direction };
            let step = Step::new(service, direction, destination);
            let next = checkpoint(parent.as_ref(), &step, now);
            edges += next.edge.unwrap_or_default();
            prop_assert!(next.total.is_none_or(|total| total == edges));
            prop_assert_eq!(next.total.is_none(), now < begun);
            prop_assert!(next.edge.is_none() || next.skew.is_none());
            let same = parent.as_ref().map(PathContext::hash) == Some(next.context.hash());
            prop_assert_eq!(next.is_repeat, same);
            parent = Some(next.context);
            let read = PathContext::parse(&next.context.to_string());
            prop_assert_eq!(read, parent);
            now = now.saturating_add_signed(i64::from(*wait));
        }
    }

    #[test]
    fn an_entry_is_small_and_comes_back(bytes in proptest::collection::vec(any::<u8>(), 24..=40)) {
        let text = |bytes: &[u8]| {
            use std::fmt::Write;
            let mut bits = String::new();
            bytes.iter().for_each(|byte| write!(bits, "{byte:08b}").unwrap());
            while !bits.len().is_multiple_of(6) {
                bits.push('0');
            }
            let signs = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let sign = |six: &[u8]| {
                let six = usize::from_str_radix(std::str::from_utf8(six).unwrap(), 2).unwrap();
                char::from(signs.as_bytes()[six])
            };
            bits.as_bytes().chunks(6).map(sign).collect::<String>()
        };
        let value = format!("1{}", text(&bytes));
        let read = PathContext::parse(&value);
        prop_assert_eq!(read.is_some(), bytes.len() % 2 == 0);
        if let Some(context) = read {
            prop_assert_eq!(context.to_string(), value);
            let member = context.member();
            prop_assert!(member.len() <= 64);
            prop_assert_eq!(member, format!("rabtrace={context}").into_bytes());
        }
    }

    #[test]
    fn anything_can_be_read(value: String, bytes: Vec<u8>, text in "1[A-Za-z0-9_-]{30,56}") {
        let _ = PathContext::parse(&value);
        let _ = PathContext::read(&bytes);
        let _ = PathContext::parse(&text);
    }

    #[test]
    fn different_steps_have_different_hashes(
        one in ("[a-c]{0,3}", any::<bool>(), "[a-c]{0,3}", proptest::option::of("[a-c]{0,3}")),
        other in ("[a-c]{0,3}", any::<bool>(), "[a-c]{0,3}", proptest::option::of("[a-c]{0,3}")),
        parent in proptest::option::of(1..3_u64),
    ) {
        let hash = |(service, out, destination, via): &(String, bool, String, Option<String>)| {
            let direction = if *out { Direction::Out } else { Direction::In };
            let mut step = Step::new(service, direction, destination);
            step.via = via.as_deref();
            step_hash(parent, step.node())
        };
        prop_assert_eq!(one == other, hash(&one) == hash(&other));
    }
}

//! What holds for every path.

use proptest::prelude::*;

use super::*;

#[test]
fn the_hash_is_stable_across_versions() {
    let origin = checkpoint(None, "gateway", (Direction::Out, "planner_queue"), 1_000);
    assert_eq!(origin.context.hash, 0xc850_1272_e597_3fd5);
    let next = checkpoint(
        Some(&origin.context),
        "planner",
        (Direction::In, "planner_queue"),
        1_500,
    );
    assert_eq!(next.context.hash, 0x2b09_320a_fc85_91cc);
    assert_eq!(next.parent_hash, Some(origin.context.hash));
}

#[test]
fn the_origin_has_no_edge_and_a_total_of_zero() {
    let origin = checkpoint(None, "gateway", (Direction::Out, "planner_queue"), 7);
    assert_eq!(origin.edge, None);
    assert_eq!(origin.total, Some(Duration::ZERO));
    assert_eq!(origin.parent_hash, None);
    assert_eq!(origin.context.origin_us, 7);
}

#[test]
fn clocks_that_disagree_give_no_duration() {
    let parent = PathContext {
        hash: 1,
        origin_us: 50,
        last_us: 100,
    };
    let step = checkpoint(Some(&parent), "audit", (Direction::In, "audit"), 90);
    assert_eq!(step.edge, None);
    assert_eq!(step.total, Some(Duration::from_micros(40)));
    let step = checkpoint(Some(&parent), "audit", (Direction::In, "audit"), 40);
    assert_eq!((step.edge, step.total), (None, None));
}

#[test]
fn another_version_or_form_counts_as_absent() {
    for value in [
        "",
        "1",
        "2-000000000000001f-10-ff",
        "1-1f-10-ff",
        "1-000000000000001F-10-ff",
        "1-000000000000001f-10",
        "1-000000000000001f-10-ff-1",
        "1-000000000000001f--ff",
        "1-000000000000001f-+1-ff",
        "1-000000000000001f-10000000000000000-ff",
    ] {
        assert_eq!(PathContext::parse(value), None, "{value}");
    }
}

fn steps() -> impl Strategy<Value = Vec<(String, bool, String, u32)>> {
    let step = ("[a-z]{1,8}", any::<bool>(), "[a-z._]{0,12}", any::<u32>());
    proptest::collection::vec(step, 1..20)
}

proptest! {
    #[test]
    fn the_edges_of_a_chain_add_up_to_its_total(begun in 0..1_u64 << 50, steps in steps()) {
        let (mut parent, mut now, mut edges) = (None, begun, Duration::ZERO);
        for (service, out, destination, wait) in &steps {
            let direction = if *out { Direction::Out } else { Direction::In };
            let step = checkpoint(parent.as_ref(), service, (direction, destination), now);
            edges += step.edge.unwrap_or_default();
            prop_assert_eq!(Some(edges), step.total);
            parent = Some(step.context);
            now += u64::from(*wait);
        }
    }

    #[test]
    fn an_entry_is_small_and_comes_back(hash: u64, origin_us: u64, last_us: u64) {
        let context = PathContext { hash, origin_us, last_us };
        let value = context.to_string();
        prop_assert!(TRACESTATE_KEY.len() + 1 + value.len() <= 64);
        prop_assert!(!value.contains(['=', ',']));
        prop_assert_eq!(PathContext::parse(&value), Some(context));
    }

    #[test]
    fn any_text_can_be_read(value: String) {
        let _ = PathContext::parse(&value);
    }

    #[test]
    fn different_steps_have_different_hashes(
        one in ("[a-c]{0,3}", any::<bool>(), "[a-c]{0,3}"),
        other in ("[a-c]{0,3}", any::<bool>(), "[a-c]{0,3}"),
        parent in proptest::option::of(0..3_u64),
    ) {
        let hash = |(service, out, destination): &(String, bool, String)| {
            let direction = if *out { Direction::Out } else { Direction::In };
            step_hash(parent, service, (direction, destination))
        };
        prop_assert_eq!(one == other, hash(&one) == hash(&other));
    }
}

//! One queue on scripted nodes: resets, gaps, late rows; and any script at all.

use super::{Said, Totals};
use proptest::prelude::*;

use Said::{Away, Counts, First, Lost};

/// What the nodes say in each poll, and what the total is: none if unknown, and whether it broke.
fn check(polls: &[(&[Said<1>], Option<u64>, bool)]) {
    let mut totals = Totals::<1>::default();
    for (at, (said, total, broken)) in polls.iter().enumerate() {
        let observed = totals.observe((0..).zip(said.iter().copied()));
        assert_eq!(
            (observed.totals[0], observed.broken),
            (*total, *broken),
            "poll {at}"
        );
    }
}

fn counts(count: u64) -> Said<1> {
    Counts([Some(count)])
}

const NO_ROW: Said<1> = Counts([None]);

#[test]
fn nodes_are_added_up() {
    check(&[
        (&[First([Some(3)]), First([Some(4)])], Some(7), false),
        (&[counts(5), counts(4)], Some(9), false),
    ]);
}

#[test]
fn a_count_that_fell_is_a_new_base() {
    check(&[
        (&[counts(100)], Some(100), false),
        (&[counts(3)], Some(100), true),
        (&[counts(10)], Some(107), false),
    ]);
}

#[test]
fn a_row_that_appears_on_a_node_that_was_there_is_news() {
    check(&[
        (&[counts(1), NO_ROW], Some(1), false),
        (&[counts(1), counts(4)], Some(5), false),
    ]);
}

#[test]
fn what_a_new_node_counted_before_is_no_news() {
    check(&[
        (&[counts(10)], Some(10), false),
        (&[counts(11), First([Some(1_000_000)])], Some(11), true),
        (&[counts(11), counts(1_000_002)], Some(13), false),
    ]);
}

#[test]
fn a_node_that_is_away_makes_a_gap_only_for_queues_it_counts_for() {
    check(&[
        (&[counts(10), counts(5)], Some(15), false),
        (&[counts(11), Away], None, false),
        (&[counts(12), counts(8)], Some(20), false),
    ]);
    check(&[
        (&[counts(10), NO_ROW], Some(10), false),
        (&[counts(11), Away], Some(11), false),
    ]);
}

#[test]
fn the_others_go_on_without_a_node_that_is_lost() {
    check(&[
        (&[counts(10), counts(5)], Some(15), false),
        (&[counts(11), Lost], Some(16), false),
        (&[counts(12), Lost], Some(17), false),
        (&[counts(12), counts(900)], Some(17), true),
        (&[counts(12), counts(901)], Some(18), false),
    ]);
}

#[test]
fn a_row_that_went_is_absent_and_not_zero() {
    check(&[
        (&[counts(10)], Some(10), false),
        (&[NO_ROW], None, true),
        (&[counts(2)], Some(10), true),
        (&[counts(3)], Some(11), false),
    ]);
}

/// One poll of one node: how much it counted since the last, and what else happened.
#[derive(Clone, Copy, Debug)]
enum Event {
    Grows(u64),
    Restarts(u64),
    Vanishes,
    Away,
    Lost,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (0..50u64).prop_map(Event::Grows),
        1 => (0..5u64).prop_map(Event::Restarts),
        1 => Just(Event::Vanishes),
        1 => Just(Event::Away),
        1 => Just(Event::Lost),
    ]
}

proptest! {
    /// Whatever happens, a total never falls and never grows by more than was really counted.
    #[test]
    fn no_script_makes_a_spike_or_a_fall(
        start in any::<[u32; 3]>(),
        script in proptest::collection::vec([event(), event(), event()], 1..40),
    ) {
        let mut totals = Totals::<1>::default();
        let mut raw = start.map(u64::from);
        let first = totals.observe((0..).zip(raw.map(|raw| First([Some(raw)]))));
        let mut before = first.totals[0].unwrap();
        prop_assert_eq!(before, raw.iter().sum::<u64>());
        let mut counted = 0;
        for events in script {
            let mut said = [NO_ROW; 3];
            for ((said, raw), event) in said.iter_mut().zip(&mut raw).zip(events) {
                *said = match event {
                    Event::Grows(by) => { *raw += by; counted += by; counts(*raw) }
                    Event::Restarts(to) => { *raw = to; counted += to; counts(to) }
                    Event::Vanishes => NO_ROW,
                    Event::Away => Away,
                    Event::Lost => Lost,
                };
            }
            let observed = totals.observe((0..).zip(said));
            if let Some(total) = observed.totals[0] {
                prop_assert!(total >= before, "{total} after {before}");
                prop_assert!(total - before <= counted, "{total} after {before}: {counted}");
                (before, counted) = (total, 0);
            }
        }
    }
}

use std::time::{Duration, Instant};

use super::{AgeTable, SPARE, STEPS, Times};
use crate::model::{AgeMethod, HeadAge};

use AgeMethod::{AtLeast, Empty, Estimate};

fn times(now: Instant) -> Times {
    Times {
        now,
        lag: Duration::ZERO,
        staleness: Duration::from_secs(5),
    }
}

/// Observes time in seconds, published and depth, the rest having left; the last poll's age.
fn play(polls: &[(u64, u64, u64)]) -> Option<HeadAge> {
    let (begun, mut table, mut age) = (Instant::now(), AgeTable::default(), None);
    for (second, published, depth) in polls {
        let at = begun + Duration::from_secs(*second);
        let counts = (*published, published.saturating_sub(*depth));
        age = table.observe(times(at), Some(counts), Some(*depth));
    }
    age
}

/// The same; the age in seconds and its method.
fn check(polls: &[(u64, u64, u64)], expect: Option<(f64, AgeMethod)>) {
    let seen = play(polls).map(|age| (age.age.as_secs_f64(), age.method));
    assert_eq!(seen, expect, "{polls:?}");
}

#[test]
fn the_oldest_of_a_backlog_came_when_the_total_was_less_by_the_depth() {
    // Ten a second, nothing taken but the first fifty.
    check(
        &[(0, 0, 0), (5, 50, 50), (10, 100, 50)],
        Some((4.9, Estimate)),
    );
    // The publisher paused from 5 to 15.
    let paused = [
        (0, 0, 0),
        (5, 50, 50),
        (10, 50, 50),
        (15, 50, 50),
        (20, 100, 75),
    ];
    check(&paused, Some((20.0 - 2.6, Estimate)));
    check(&[(0, 0, 0), (5, 50, 50), (10, 100, 0)], Some((0.0, Empty)));
}

#[test]
fn a_depth_that_is_late_is_made_up_for_by_what_was_counted() {
    // Ten a second come in and, for ten seconds each, none and fifteen go; depths are four seconds
    // late. What left is what was counted, so the oldest is always known to a poll's width.
    let (begun, mut table) = (Instant::now(), AgeTable::default());
    let left = |second: u64| {
        (0..second)
            .map(|at| if (at / 10) % 2 == 1 { 15 } else { 0 })
            .sum()
    };
    for poll in 0..30_u64 {
        let second = 5 * poll;
        let late = second.saturating_sub(4);
        let counts = (10 * second, left(second));
        let depth = 10 * late - u64::min(left(late), 10 * late);
        let now = begun + Duration::from_secs(second);
        let age = table
            .observe(times(now), Some(counts), Some(depth))
            .unwrap();
        if poll > 6 {
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let truth = (10 * second - left(second) - 1) as f64 / 10.0;
            let off = (age.age.as_secs_f64() - truth).abs();
            assert!(off < 0.5, "{age:?}, not {truth}");
            assert!(
                off <= age.error.unwrap().as_secs_f64(),
                "{age:?}, not {truth}"
            );
        }
    }
}

#[test]
fn what_was_there_before_is_at_least_as_old_as_the_table() {
    check(&[(0, 1_000, 400)], Some((0.0, AtLeast)));
    check(&[(0, 1_000, 400), (30, 1_100, 450)], Some((30.0, AtLeast)));
    // Counts began anew when the broker was started; the messages are older.
    check(&[(0, 5, 400), (10, 6, 401)], Some((10.0, AtLeast)));
}

#[test]
fn what_came_in_uncounted_voids_it_until_the_queue_is_empty() {
    check(&[(0, 10, 0), (5, 11, 1), (10, 12, 500)], None);
    check(
        &[
            (0, 10, 0),
            (5, 11, 1),
            (10, 12, 500),
            (15, 12, 0),
            (20, 17, 5),
        ],
        Some((4.0, Estimate)),
    );
}

#[test]
fn counts_that_fall_begin_a_new_table() {
    check(
        &[(0, 0, 0), (5, 500, 500), (10, 3, 3)],
        Some((0.0, AtLeast)),
    );
}

#[test]
fn what_is_not_known_gives_no_age() {
    let (now, mut table) = (times(Instant::now()), AgeTable::default());
    assert_eq!(table.observe(now, Some((3, 0)), None), None);
    assert_eq!(table.observe(now, None, Some(3)), None);
    let empty = table.observe(now, None, Some(0)).unwrap();
    assert_eq!(empty.method, Empty);
}

#[test]
fn the_table_stays_small_reaches_back_to_its_beginning_and_says_how_exact_it_is() {
    let (begun, mut table) = (Instant::now(), AgeTable::default());
    let mut age = None;
    for poll in 0..1_000 {
        let at = begun + Duration::from_secs(5 * poll);
        // One a second, none taken but the first hundred.
        let (published, left) = (5 * poll, u64::min(5 * poll, 100));
        age = table.observe(times(at), Some((published, left)), Some(published - left));
        assert!(table.steps.capacity() <= STEPS);
    }
    let age = age.unwrap();
    let error = age.error.unwrap();
    let truth = Duration::from_secs(5 * 999 - 101);
    assert_eq!(age.method, Estimate);
    assert!(age.age.abs_diff(truth) <= error, "{age:?}, {truth:?}");
    let later = times(begun + Duration::from_secs(5_000));
    let waiting = table.observe(later, Some((5_000, 4_998)), Some(2));
    assert!(
        waiting.unwrap().error.unwrap() <= Duration::from_secs(16),
        "{waiting:?}"
    );
}

#[test]
fn what_is_long_gone_takes_no_room_and_the_rest_is_as_exact() {
    let (begun, mut table) = (Instant::now(), AgeTable::default());
    for poll in 0..1_000_u64 {
        let at = begun + Duration::from_secs(5 * poll);
        // Ten a second, each of which waits for twenty seconds.
        let published = 50 * poll;
        let depth = published.min(200);
        let counts = (published, published - depth);
        let age = table.observe(times(at), Some(counts), Some(depth));
        if poll > 5 {
            let age = age.unwrap();
            let seconds = (age.age.as_secs_f64(), age.error.unwrap().as_secs_f64());
            assert_eq!((age.method, seconds), (Estimate, (19.9, 5.0)), "{poll}");
        }
    }
    // Four polls of what waits, and a few before.
    assert!(table.steps.capacity() <= 4 * SPARE, "{table:?}");
    let first = table.steps.first().unwrap().seconds;
    assert!(first > 4_000.0, "it still reaches back: {first}");
}

#[test]
fn a_backlog_that_is_taken_gives_its_room_back() {
    let (begun, mut table) = (Instant::now(), AgeTable::default());
    let mut most = 0;
    for poll in 0..200_u64 {
        let at = begun + Duration::from_secs(5 * poll);
        let published = 10 * poll;
        // All but one are taken in the end.
        let depth = if poll < 100 { published } else { 1 };
        let counts = (published, published - depth);
        let age = table.observe(times(at), Some(counts), Some(depth));
        assert!(age.is_some(), "{poll}");
        most = most.max(table.steps.capacity());
    }
    assert_eq!(most, STEPS);
    assert!(table.steps.capacity() <= 4 * SPARE, "{table:?}");
}

#[test]
fn counts_beyond_seven_digits_are_as_good() {
    let (begun, mut table) = (Instant::now(), AgeTable::default());
    let mut age = None;
    for poll in 0..1_000_u64 {
        let at = begun + Duration::from_secs(5 * poll);
        // A hundred thousand a second, none taken but the first million.
        let published = 500_000 * poll + 1_000_000_000_000;
        let left = published.min(1_000_001_000_000);
        age = table.observe(times(at), Some((published, left)), Some(published - left));
    }
    let age = age.unwrap();
    let truth = Duration::from_secs(5 * 999 - 10);
    assert_eq!(age.method, Estimate);
    assert!(
        age.age.abs_diff(truth) <= age.error.unwrap(),
        "{age:?}, {truth:?}"
    );
}

#[test]
fn a_message_that_waits_for_months_is_as_old_as_it_is() {
    let (begun, mut table) = (Instant::now(), AgeTable::default());
    let mut observe = |after: Duration, published| {
        table
            .observe(times(begun + after), Some((published, 0)), Some(published))
            .unwrap()
    };
    observe(Duration::ZERO, 0);
    let each = Duration::from_millis(5_100);
    let polls = 90 * 24 * 3600 * 10 / 51;
    let ages = (1..=polls).map(|poll| observe(each * poll, 1));
    let age = ages.last().unwrap();
    let truth = each * polls - each;
    assert_eq!(age.method, Estimate);
    let bound = age.error.unwrap();
    assert!(bound.abs_diff(each) < Duration::from_millis(1), "{bound:?}");
    assert!(age.age.abs_diff(truth) < each, "{age:?}, {truth:?}");
}

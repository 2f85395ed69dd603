use std::sync::Arc;

use super::{MAX_SERIES, Series, Skipped};
use crate::model::{
    Direction, EdgeKind, ExplicitHistogram, Histogram, PathMeasure, PathRecord, PathValue, Resume,
    Told,
};

const SECOND: u64 = 1_000_000_000;
/// When the agent began to look, in seconds.
const BEGIN: u64 = 1_000;

fn at(seconds: u64) -> i64 {
    i64::try_from(seconds * SECOND).unwrap()
}

fn series() -> Series {
    Series::resume(&mut Resume::default(), at(BEGIN))
}

fn record(value: PathValue, start: u64, end: u64) -> PathRecord {
    PathRecord {
        service: Arc::from("worker"),
        instance: Arc::from("one"),
        hash: 7,
        parent: Some(3),
        direction: Direction::In,
        destination: Arc::from("jobs"),
        kind: EdgeKind::Forward,
        via: None,
        error_type: None,
        measure: PathMeasure::Messages,
        cumulative: true,
        start_unix_nano: start * SECOND,
        end_unix_nano: end * SECOND,
        value,
    }
}

fn count(count: u64, start: u64, end: u64) -> PathRecord {
    record(PathValue::Count(count), start, end)
}

#[track_caller]
fn check(series: &mut Series, record: &PathRecord, expect: Result<u64, Skipped>) {
    let now = i64::try_from(record.end_unix_nano).unwrap();
    let outcome = series.take(record, now).0;
    let outcome = outcome.map(|value| match value {
        PathValue::Count(count) => count,
        PathValue::Exponential(histogram) => histogram.count(),
        PathValue::Explicit(explicit) => explicit.counts.iter().sum(),
    });
    assert_eq!(outcome, expect);
}

#[test]
fn a_cumulative_series_counts_what_came_since() {
    let mut series = series();
    check(&mut series, &count(5, 1_001, 1_010), Ok(5));
    check(&mut series, &count(8, 1_001, 1_020), Ok(3));
    check(
        &mut series,
        &count(8, 1_001, 1_020),
        Err(Skipped::Retransmitted),
    );
    check(
        &mut series,
        &count(6, 1_001, 1_015),
        Err(Skipped::Retransmitted),
    );
    // Its process began anew: by its start, or because the count fell.
    check(&mut series, &count(9, 1_025, 1_030), Ok(9));
    check(&mut series, &count(2, 1_025, 1_040), Ok(2));
    // Another process of the same name, which began earlier, goes on beside it.
    check(&mut series, &count(10, 1_001, 1_050), Ok(2));
    check(&mut series, &count(3, 1_025, 1_060), Ok(1));
}

#[test]
fn a_series_that_began_before_the_agent_looked_is_a_baseline() {
    let mut series = series();
    check(
        &mut series,
        &count(5_000, 900, 1_010),
        Err(Skipped::Baseline),
    );
    check(&mut series, &count(5_003, 900, 1_020), Ok(3));
}

#[test]
fn delta_points_count_whole_and_once() {
    let mut series = series();
    let delta = |number, end| PathRecord {
        cumulative: false,
        ..count(number, end - 10, end)
    };
    check(&mut series, &delta(5, 500), Ok(5));
    check(&mut series, &delta(5, 500), Err(Skipped::Retransmitted));
    check(&mut series, &delta(5, 510), Ok(5));
    // One that was overtaken counts, and once.
    check(&mut series, &delta(7, 505), Ok(7));
    check(&mut series, &delta(7, 505), Err(Skipped::Retransmitted));
    check(&mut series, &delta(5, 500), Err(Skipped::Retransmitted));
    for other in [
        PathRecord {
            instance: Arc::from("two"),
            ..delta(4, 500)
        },
        PathRecord {
            kind: EdgeKind::Reply,
            ..delta(4, 500)
        },
        PathRecord {
            error_type: Some(Arc::from("")),
            ..delta(4, 500)
        },
        PathRecord {
            measure: PathMeasure::Errors,
            ..delta(4, 500)
        },
    ] {
        check(&mut series, &other, Ok(4));
    }
}

#[test]
fn what_was_stored_goes_on_after_a_restart() {
    let mut before = series();
    let states = [count(5, 1_001, 1_010), count(8, 1_001, 1_020)]
        .map(|record| before.take(&record, at(1_020)).1.unwrap());
    let mut resume = Resume {
        series: states.to_vec(),
        stored_unix_nano: at(1_020),
        ..Resume::default()
    };
    let mut series = Series::resume(&mut resume, at(9_000));
    assert!(
        series.forget(at(9_010)).is_empty(),
        "only the agent was away"
    );
    check(
        &mut series,
        &count(8, 1_001, 1_020),
        Err(Skipped::Retransmitted),
    );
    check(&mut series, &count(10, 1_001, 1_030), Ok(2));
    // It began while no agent ran: nobody counted it.
    let young = PathRecord {
        hash: 8,
        ..count(4, 1_500, 2_010)
    };
    check(&mut series, &young, Ok(4));
}

#[test]
fn histograms_of_both_kinds_count_what_came_since() {
    let mut series = series();
    let mut histogram = Histogram::default();
    let mut total = |values: &[f64], end| {
        values.iter().for_each(|value| histogram.record(*value));
        PathRecord {
            measure: PathMeasure::Total,
            ..record(PathValue::Exponential(histogram.clone()), 1_001, end)
        }
    };
    check(&mut series, &total(&[0.5, 2.0], 1_010), Ok(2));
    let (value, _) = series.take(&total(&[0.25], 1_020), at(1_020));
    let Ok(PathValue::Exponential(delta)) = value else {
        panic!("{value:?}");
    };
    assert_eq!((delta.count(), delta.sum()), (1, 0.25));
    assert!((delta.max() - 0.25).abs() < 0.01, "{}", delta.max());

    let edge = |counts: &[u64], sum, end| {
        let explicit = ExplicitHistogram {
            bounds: vec![0.1, 1.0],
            counts: counts.to_vec(),
            told: Told {
                sum: Some(sum),
                ..Told::default()
            },
        };
        PathRecord {
            measure: PathMeasure::Edge,
            ..record(PathValue::Explicit(explicit), 1_001, end)
        }
    };
    check(&mut series, &edge(&[1, 2, 3], 9.0, 1_010), Ok(6));
    let (value, _) = series.take(&edge(&[2, 2, 4], 12.5, 1_020), at(1_020));
    let Ok(PathValue::Explicit(delta)) = value else {
        panic!("{value:?}");
    };
    assert_eq!((delta.counts, delta.told.sum), (vec![1, 0, 1], Some(3.5)));
}

#[test]
fn a_forgotten_process_is_not_counted_from_its_start_again() {
    let mut series = series();
    check(&mut series, &count(5, 1_001, 1_010), Ok(5));
    assert!(series.forget(at(1_010 + 3_600)).is_empty());
    assert_eq!(series.forget(at(1_011 + 3_600)).len(), 1);
    check(
        &mut series,
        &count(50, 1_001, 9_000),
        Err(Skipped::Baseline),
    );
    check(&mut series, &count(51, 1_001, 9_010), Ok(1));
}

#[test]
fn series_without_number_are_refused_and_those_that_are_known_go_on() {
    let mut series = series();
    let of = |number: u64, end| PathRecord {
        cumulative: false,
        hash: number + 1,
        ..count(1, 1_001, end)
    };
    for number in 0..MAX_SERIES as u64 {
        check(&mut series, &of(number, 1_010), Ok(1));
    }
    let cumulative = PathRecord {
        cumulative: true,
        ..of(MAX_SERIES as u64, 1_010)
    };
    check(&mut series, &cumulative, Err(Skipped::Full));
    // What came since the last time is known of a delta without what was before.
    check(&mut series, &of(MAX_SERIES as u64, 1_010), Ok(1));
    check(&mut series, &of(0, 1_020), Ok(1));
}

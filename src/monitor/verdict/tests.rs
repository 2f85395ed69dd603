use super::{QueueStatus, Seen, Verdict};
use std::time::{Duration, Instant};

use QueueStatus::{Draining, FallingBehind, NoConsumer, Ok, Poison, Stalled, Unknown};

/// Depths of polls five seconds apart, how many were acknowledged and came back between two
/// of them, and how many consumers there are.
struct Script {
    depths: Vec<u64>,
    consumers: Option<u64>,
    done: Option<u64>,
    redelivered: Option<u64>,
}

fn play(script: &Script) -> Verdict {
    let (begun, mut verdict) = (Instant::now(), Verdict::default());
    for (poll, depth) in (0..).zip(&script.depths) {
        verdict.observe(Seen {
            at: begun + Duration::from_secs(5 * poll),
            depth: Some(*depth),
            consumers: script.consumers,
            done: script.done.map(|done| done * poll),
            redelivered: script.redelivered.map(|redelivered| redelivered * poll),
        });
    }
    verdict
}

fn check(depths: impl IntoIterator<Item = u64>, others: [u64; 3], expect: QueueStatus) {
    let [consumers, done, redelivered] = others.map(Some);
    let script = Script {
        depths: depths.into_iter().collect(),
        consumers,
        done,
        redelivered,
    };
    let status = play(&script).status();
    assert_eq!(status, expect, "{:?} {others:?}", script.depths);
}

#[test]
fn each_course_has_its_status() {
    check([9, 5, 0, 4, 9, 9], [1, 10, 0], Ok);
    check([7; 10], [1, 10, 0], Ok);
    check([7, 9, 8, 6, 7, 7], [1, 10, 0], Ok);
    check([7; 10], [0, 0, 0], NoConsumer);
    check(7..17, [0, 0, 0], NoConsumer);
    check([7; 10], [1, 0, 0], Stalled);
    check(7..17, [1, 0, 0], Stalled);
    check(7..17, [1, 3, 0], FallingBehind);
    check([7; 10], [1, 0, 50], Poison);
    check([7; 10], [1, 3, 50], Poison);
    check((7..17).rev(), [1, 3, 0], Draining);
    check((7..17).rev(), [0, 3, 0], Draining);
    check([7; 4], [0, 0, 0], Unknown);
}

#[test]
fn without_counters_only_the_depth_is_judged() {
    let check = |depths: &[u64], consumers, expect| {
        let script = Script {
            depths: depths.to_vec(),
            consumers,
            done: None,
            redelivered: None,
        };
        assert_eq!(play(&script).status(), expect, "{depths:?} {consumers:?}");
    };
    check(&[5, 5, 5, 5, 5], Some(0), NoConsumer);
    check(&[5, 5, 5, 5, 5], Some(2), Stalled);
    check(&[5, 6, 7, 8, 9], Some(2), FallingBehind);
    check(&[9, 8, 7, 6, 5], Some(2), Draining);
    check(&[5, 5, 5, 5, 5], None, Ok);
}

#[test]
fn polls_that_did_not_see_it_count_against_certainty() {
    let mut verdict = play(&Script {
        depths: vec![7; 10],
        consumers: Some(0),
        done: Some(0),
        redelivered: Some(0),
    });
    let mut seen = Seen {
        at: verdict.began.unwrap(),
        depth: Some(7),
        consumers: Some(0),
        done: Some(0),
        redelivered: Some(0),
    };
    let mut observe = |depth| {
        seen.at += Duration::from_secs(5);
        verdict.observe(Seen { depth, ..seen });
        verdict.status()
    };
    for _ in 0..5 {
        assert_eq!(observe(None), Unknown, "the newest poll did not see it");
    }
    assert_eq!(observe(Some(7)), NoConsumer, "five of ten");
    observe(None);
    assert_eq!(observe(Some(7)), Unknown, "four of ten");
}

#[test]
fn polls_closer_together_than_the_broker_counts_are_one() {
    let (begun, mut verdict) = (Instant::now(), Verdict::default());
    let mut at = |second: u64, depth| {
        verdict.observe(Seen {
            at: begun + Duration::from_secs(second),
            depth: Some(depth),
            consumers: Some(1),
            done: Some(second / 5),
            redelivered: None,
        });
        verdict.status()
    };
    for second in 0..20 {
        assert_eq!(at(second, 7), Unknown, "{second}");
    }
    assert_eq!(at(20, 7), Ok, "acknowledged once in five seconds");
    assert_eq!(at(21, 9), FallingBehind);
    at(22, 0);
    assert_eq!(at(23, 9), Ok, "it was empty in between");
}

#[test]
fn a_counter_that_began_anew_is_not_known() {
    let mut verdict = play(&Script {
        depths: vec![7; 5],
        consumers: Some(1),
        done: Some(3),
        redelivered: Some(0),
    });
    let mut seen = Seen {
        at: verdict.began.unwrap(),
        depth: Some(7),
        consumers: Some(1),
        done: Some(0),
        redelivered: Some(0),
    };
    seen.at += Duration::from_secs(5);
    seen.depth = Some(6);
    verdict.observe(seen);
    assert_eq!(verdict.status(), Draining);
}

#[test]
fn a_queue_that_gets_shorter_says_when_it_is_empty() {
    let verdict = play(&Script {
        depths: vec![100, 90, 80, 70, 60],
        consumers: Some(1),
        done: Some(10),
        redelivered: Some(0),
    });
    assert_eq!(verdict.drain_time(), Some(Duration::from_secs(30)));
    let grows = play(&Script {
        depths: vec![60, 70, 80, 90, 100],
        consumers: Some(1),
        done: Some(10),
        redelivered: Some(0),
    });
    assert_eq!(grows.drain_time(), None);
}

#[test]
fn numbers_of_many_billions_are_judged_by_their_course() {
    let billions = 3 << 32;
    for (depths, expect) in [
        ([1, 2, 3, 4, 5, 6], FallingBehind),
        ([6, 5, 4, 3, 2, 1], Draining),
        ([0, 0, 0, 0, 0, 0], Ok),
    ] {
        // The lower half passes its end.
        let depths = depths.map(|depth| (billions - 3) + depth);
        check(depths, [1, billions / 7, 0], expect);
    }
    check([billions; 6], [1, 0, 0], Stalled);
    let verdict = play(&Script {
        depths: (0..5).map(|poll| billions - poll * 1_000).collect(),
        consumers: Some(1),
        done: Some(1_000),
        redelivered: None,
    });
    let left = verdict.drain_time().unwrap().as_secs();
    assert_eq!(left, (billions - 4_000) / 200);
}

#[test]
fn counters_of_another_source_are_not_compared() {
    let mut verdict = play(&Script {
        depths: vec![7; 10],
        consumers: Some(1),
        done: Some(0),
        redelivered: Some(0),
    });
    verdict.forget_counters();
    verdict.observe(Seen {
        at: verdict.began.unwrap() + Duration::from_secs(5),
        depth: Some(7),
        consumers: Some(1),
        done: Some(90),
        redelivered: Some(100),
    });
    assert_eq!(verdict.status(), Stalled, "by its depth alone");
}

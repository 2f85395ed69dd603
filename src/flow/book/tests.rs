use std::sync::Arc;

use super::{MAX_PATHS, OTHER_HASH, PathBook};
use crate::model::Direction::{In, Out};
use crate::model::{Direction, StepRow};

/// Service, hash, parent (0 for none), direction, destination.
type Step = (&'static str, u64, u64, Direction, &'static str);

fn row((service, hash, parent, direction, destination): Step) -> StepRow {
    StepRow {
        hash,
        parent: (parent != 0).then_some(parent),
        service: Arc::from(service),
        direction,
        destination: Arc::from(destination),
        via: None,
        dead_letter: false,
    }
}

fn via(step: Step, via: &str) -> StepRow {
    StepRow {
        via: Some(Arc::from(via)),
        ..row(step)
    }
}

/// A book of these steps, and the same learnt backwards.
fn books(steps: &[StepRow]) -> [PathBook; 2] {
    let mut books = [PathBook::default(), PathBook::default()];
    for step in steps {
        books[0].learn(step, 0);
    }
    for step in steps.iter().rev() {
        books[1].learn(step, 0);
    }
    books
}

#[track_caller]
fn check(steps: &[StepRow], expect: &[(u64, &str)]) {
    for book in books(steps) {
        for (hash, text) in expect {
            assert_eq!(book.text(*hash).as_deref(), Some(*text));
        }
    }
}

fn chain() -> Vec<StepRow> {
    vec![
        row(("gateway", 1, 0, Out, "events")),
        via(("planner", 2, 1, In, "planner_queue"), "events"),
        row(("planner", 3, 2, Out, "weather_queue")),
        row(("weather", 4, 3, In, "weather_queue")),
        via(("audit", 5, 1, In, "audit_queue"), "events"),
    ]
}

#[test]
fn any_order_ends_in_the_same_texts() {
    check(
        &chain(),
        &[
            (
                4,
                "gateway > events > planner_queue > planner > weather_queue > weather",
            ),
            (5, "gateway > events > audit_queue > audit"),
        ],
    );
}

#[test]
fn an_unknown_parent_is_shown_and_mended() {
    let mut book = PathBook::default();
    let chain = chain();
    for step in &chain[2..4] {
        book.learn(step, 0);
    }
    assert_eq!(
        book.text(4).as_deref(),
        Some("? > planner > weather_queue > weather")
    );
    book.learn(&chain[1], 0);
    assert_eq!(
        book.text(2).as_deref(),
        Some("? > events > planner_queue > planner")
    );
    let (mended, new) = book.learn(&chain[0], 0);
    let hashes: Vec<u64> = mended.iter().map(|path| path.hash).collect();
    assert_eq!((hashes, new), (vec![1, 2, 3, 4], true));
    assert_eq!(
        book.learn(&chain[0], 0),
        (Vec::new(), false),
        "nothing is new"
    );
    // The store forgets what is not used: in another hour it is told once more.
    let (told, new) = book.learn(&chain[0], 1);
    assert_eq!((told.len(), told[0].hash, new), (1, 1, true));
    assert_eq!(book.learn(&chain[0], 1), (Vec::new(), false));
}

#[test]
fn a_text_without_end_is_cut_at_its_origin() {
    let mut book = PathBook::default();
    let long = "q".repeat(250);
    for hash in 1..=40_u64 {
        let step = StepRow {
            service: format!("s{hash}").into(),
            destination: long.as_str().into(),
            ..row(("", hash, hash - 1, Out, ""))
        };
        book.learn(&step, 0);
    }
    let text = book.text(40).unwrap();
    assert!(
        text.len() <= 4_200 && text.starts_with("… > "),
        "{}",
        text.len()
    );
    assert!(text.ends_with(&long));
}

#[test]
fn what_nobody_saw_is_unknown_and_not_invented() {
    check(
        &[
            row(("gateway", 1, 0, Out, "q1")),
            row(("worker", 2, 1, In, "q3")),
            via(("audit", 3, 1, In, "q4"), "topics"),
            row(("worker", 9, 0, In, "jobs")),
            row(("far", 4, OTHER_HASH, In, "jobs")),
        ],
        &[
            (2, "gateway > q1 > ? > q3 > worker"),
            (3, "gateway > q1 > ? > topics > q4 > audit"),
            (9, "? > jobs > worker"),
            (4, "_other > jobs > far"),
            (OTHER_HASH, "_other"),
        ],
    );
}

#[test]
fn a_dead_letter_was_moved_by_the_broker() {
    let moved = StepRow {
        dead_letter: true,
        ..via(("mourner", 3, 1, In, "dead"), "work")
    };
    check(
        &[
            row(("gateway", 1, 0, Out, "orders")),
            via(("worker", 2, 1, In, "work"), "orders"),
            moved.clone(),
        ],
        &[(3, "gateway > orders > work > dead > mourner")],
    );
    // Before it is known as one it could be anybody's.
    let mut book = PathBook::default();
    book.learn(&row(("gateway", 1, 0, Out, "orders")), 0);
    book.learn(
        &StepRow {
            dead_letter: false,
            ..moved.clone()
        },
        0,
    );
    assert!(book.text(3).unwrap().contains('?'));
    let (texts, new) = book.learn(&moved, 0);
    assert_eq!((texts.len(), new), (1, true));
    assert!(!book.text(3).unwrap().contains('?'));
}

#[test]
fn a_loop_is_told_once() {
    check(
        &[
            row(("gateway", 1, 0, Out, "work")),
            row(("worker", 2, 1, In, "work")),
            row(("worker", 3, 2, Out, "retry")),
            row(("worker", 4, 3, In, "work")),
            row(("worker", 5, 4, Out, "done")),
        ],
        &[
            (3, "gateway > work > worker > retry"),
            (4, "gateway > work > worker"),
            (5, "gateway > work > worker > done"),
        ],
    );
}

#[test]
fn merged_messages_stand_in_braces() {
    let steps = [
        row(("a", 1, 0, Out, "q1")),
        row(("w", 2, 1, In, "q1")),
        row(("b", 3, 0, Out, "q2")),
        row(("w", 4, 3, In, "q2")),
        row(("w", 5, 2, Out, "sum")),
        row(("w", 5, 4, Out, "sum")),
        row(("z", 6, 5, In, "sum")),
    ];
    check(
        &steps,
        &[
            (5, "{a > q1, b > q2} > w > sum"),
            (6, "{a > q1, b > q2} > w > sum > z"),
        ],
    );
}

#[test]
fn a_repeat_is_found_where_its_edge_stands() {
    let [book, _] = books(&chain());
    assert_eq!(book.with_edge(4, ("planner", Out, "weather_queue")), 3);
    assert_eq!(book.with_edge(4, ("weather", In, "weather_queue")), 4);
    assert_eq!(book.with_edge(4, ("nobody", In, "weather_queue")), 4);
    assert_eq!(book.with_edge(77, ("weather", In, "weather_queue")), 77);
}

#[test]
fn circles_are_survived() {
    let mut book = PathBook::default();
    for (hash, parent) in [(1, 2), (2, 1), (3, 1), (3, 2), (1, 3), (2, 3)] {
        book.learn(&row(("s", hash, parent, Out, "d")), 0);
    }
    assert!(book.text(2).is_some());
    book.learn(&row(("s", 7, 7, Out, "d")), 0);
    assert!(book.text(7).is_none(), "a repeat is no step");
}

#[test]
fn a_full_book_forgets_what_is_not_used_and_keeps_what_others_go_on_from() {
    let mut book = PathBook::default();
    for step in chain() {
        book.learn(&step, 0);
    }
    let last = 100 + 3 * MAX_PATHS as u64;
    for hash in 100..=last {
        book.learn(&row(("s", hash, 0, Out, "d")), 0);
        book.learn(&chain()[3], 0);
        assert!(book.text(hash).is_some(), "the newest is never refused");
    }
    assert_eq!(book.entries.len(), MAX_PATHS);
    assert_eq!(book.turn.len(), MAX_PATHS);
    assert!(book.text(100).is_none(), "nobody used it");
    assert!(book.text(5).is_none(), "nobody used it, and none goes on");
    assert_eq!(
        book.text(4).as_deref(),
        Some("gateway > events > planner_queue > planner > weather_queue > weather")
    );
    let listed: usize = book.children.values().map(Vec::len).sum();
    assert_eq!(listed, 3, "children that are gone are not listed");
}

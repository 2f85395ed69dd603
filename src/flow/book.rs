//! The book of paths: from the hash of a path to its text.
//!
//! Each step names its own hash and its parent's, so the text is found by walking up. Steps come
//! in any order: while a parent is unknown the text begins with `?`, and it is mended, with that
//! of every path that goes on from it, when the parent comes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Direction, PathStep, PathText};

/// Paths that are kept; a path beyond it has no text and is counted with the others.
pub(super) const MAX_PATHS: usize = 10_000;
/// Steps that a text has at most; a longer path is cut at its origin.
const MAX_STEPS: usize = 64;
/// What stands for the part that is not known.
pub(super) const UNKNOWN: &str = "?";

struct Entry {
    parent: Option<u64>,
    service: Arc<str>,
    direction: Direction,
    destination: Arc<str>,
    text: Arc<str>,
}

/// All paths seen so far.
#[derive(Default)]
pub struct PathBook {
    entries: HashMap<u64, Entry>,
    children: HashMap<u64, Vec<u64>>,
}

impl PathBook {
    /// Takes a step of `service` in; gives the texts that are new or better known by it.
    pub fn learn(&mut self, service: &Arc<str>, step: &PathStep) -> Vec<PathText> {
        if self.entries.contains_key(&step.hash) || self.entries.len() >= MAX_PATHS {
            return Vec::new();
        }
        let entry = Entry {
            parent: step.parent,
            service: Arc::clone(service),
            direction: step.direction,
            destination: Arc::clone(&step.destination),
            text: Arc::from(UNKNOWN),
        };
        self.entries.insert(step.hash, entry);
        if let Some(parent) = step.parent {
            self.children.entry(parent).or_default().push(step.hash);
        }
        self.mend(step.hash)
    }

    /// The text of a path, as far as it is known.
    #[must_use]
    pub fn text(&self, hash: u64) -> Option<Arc<str>> {
        self.entries.get(&hash).map(|entry| Arc::clone(&entry.text))
    }

    /// Renders the text of `hash` and of every path that goes on from it.
    fn mend(&mut self, hash: u64) -> Vec<PathText> {
        let mut changed = Vec::new();
        let mut left = vec![hash];
        while let Some(hash) = left.pop() {
            let text: Arc<str> = Arc::from(self.render(hash));
            let Some(entry) = self.entries.get_mut(&hash) else {
                continue;
            };
            if entry.text == text {
                continue;
            }
            entry.text = Arc::clone(&text);
            let ends_in_delivery = entry.direction == Direction::In;
            changed.push(PathText {
                hash,
                text,
                ends_in_delivery,
            });
            left.extend(self.children.get(&hash).into_iter().flatten());
        }
        changed
    }

    fn render(&self, hash: u64) -> String {
        let mut steps = Vec::new();
        let mut next = Some(hash);
        let mut known = true;
        while let Some(hash) = next {
            let Some(entry) = self.entries.get(&hash).filter(|_| steps.len() < MAX_STEPS) else {
                known = false;
                break;
            };
            steps.push(entry);
            next = entry.parent;
        }
        let mut parts: Vec<&str> = Vec::new();
        // A path that begins with a delivery was published by somebody who is not traced.
        let begins_inside = steps
            .last()
            .is_some_and(|entry| entry.direction == Direction::In);
        if !known || begins_inside {
            parts.push(UNKNOWN);
        }
        let mut push = |part| {
            if parts.last() != Some(&part) {
                parts.push(part);
            }
        };
        for entry in steps.iter().rev() {
            match entry.direction {
                Direction::Out => {
                    push(&entry.service);
                    push(&entry.destination);
                }
                Direction::In => {
                    push(&entry.destination);
                    push(&entry.service);
                }
            }
        }
        parts.join(" > ")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{MAX_PATHS, PathBook};
    use crate::model::{Direction, PathStep};

    fn step(hash: u64, parent: u64, direction: Direction, destination: &str) -> PathStep {
        let parent = (parent != 0).then_some(parent);
        PathStep {
            hash,
            parent,
            direction,
            destination: Arc::from(destination),
            edge: None,
            total: None,
        }
    }

    /// Learns `(service, hash, parent, direction, destination)` in that order.
    fn learn(book: &mut PathBook, steps: &[(&str, u64, u64, Direction, &str)]) {
        for (service, hash, parent, direction, destination) in steps {
            book.learn(
                &Arc::from(*service),
                &step(*hash, *parent, *direction, destination),
            );
        }
    }

    const CHAIN: [(&str, u64, u64, Direction, &str); 5] = [
        ("gateway", 1, 0, Direction::Out, "events"),
        ("planner", 2, 1, Direction::In, "planner_queue"),
        ("planner", 3, 2, Direction::Out, "weather_queue"),
        ("weather", 4, 3, Direction::In, "weather_queue"),
        ("audit", 5, 1, Direction::In, "audit_queue"),
    ];

    #[test]
    fn any_order_ends_in_the_same_texts() {
        let mut backwards = CHAIN;
        backwards.reverse();
        for steps in [CHAIN, backwards] {
            let mut book = PathBook::default();
            learn(&mut book, &steps);
            let whole = "gateway > events > planner_queue > planner > weather_queue > weather";
            assert_eq!(book.text(4).as_deref(), Some(whole));
            assert_eq!(
                book.text(5).as_deref(),
                Some("gateway > events > audit_queue > audit")
            );
        }
    }

    #[test]
    fn an_unknown_parent_is_shown_and_mended() {
        let mut book = PathBook::default();
        learn(&mut book, &CHAIN[2..4]);
        assert_eq!(
            book.text(4).as_deref(),
            Some("? > planner > weather_queue > weather")
        );
        learn(&mut book, &CHAIN[1..2]);
        let mended = book.learn(&Arc::from("gateway"), &step(1, 0, Direction::Out, "events"));
        let hashes: Vec<u64> = mended.iter().map(|path| path.hash).collect();
        assert_eq!(hashes, [1, 2, 3, 4]);
    }

    #[test]
    fn a_message_of_an_untraced_publisher_has_an_unknown_origin() {
        let mut book = PathBook::default();
        learn(&mut book, &[("worker", 9, 0, Direction::In, "jobs")]);
        assert_eq!(book.text(9).as_deref(), Some("? > jobs > worker"));
    }

    #[test]
    fn a_circle_and_too_many_paths_are_survived() {
        let mut book = PathBook::default();
        learn(
            &mut book,
            &[
                ("a", 1, 2, Direction::Out, "x"),
                ("b", 2, 1, Direction::In, "x"),
            ],
        );
        assert!(book.text(2).is_some());
        for hash in 10..20 + MAX_PATHS as u64 {
            learn(&mut book, &[("s", hash, 0, Direction::Out, "d")]);
        }
        assert_eq!(book.entries.len(), MAX_PATHS);
    }
}

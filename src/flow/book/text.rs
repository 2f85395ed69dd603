//! How the text of a path reads: services and destinations in order, ` > ` between them.
//!
//! - Who publishes puts down its service and its destination; who takes a delivery the queue and
//!   its service, before them the name under which the message came in, where that is another.
//! - `?` stands for what is not known: an unknown parent, the publisher of a path that begins
//!   with a delivery, and whoever carried a message from where it was published to where it came
//!   in. A message that the broker moved because a queue gave it up needs none.
//! - An edge that the text holds already cuts it back to there: a loop is told once.
//! - Where messages were merged their texts stand in braces: `{a > q1, b > q2} > w`.

use std::collections::BTreeSet;

use super::{Entry, OTHER, OTHER_HASH, PathBook, UNKNOWN};
use crate::model::Direction;

/// Steps that a text has at most; a longer path is cut at its origin.
pub(super) const MAX_STEPS: usize = 64;
/// Bytes that the texts in braces may take; more of them are counted instead.
const MAX_MERGED_BYTES: usize = 1_024;

const SEPARATOR: &str = " > ";
/// Bytes that a text has at most; a longer one is cut at its origin.
const MAX_BYTES: usize = 4_096;
/// What stands for what was cut.
const CUT: &str = "…";

/// Parts of a text, and where in them each edge ends.
#[derive(Default)]
struct Parts<'a> {
    parts: Vec<&'a str>,
    edges: Vec<(&'a Entry, usize)>,
}

impl<'a> Parts<'a> {
    fn push(&mut self, part: &'a str) {
        if self.parts.last() != Some(&part) {
            self.parts.push(part);
        }
    }

    /// Adds a step that follows `parent`, where that is known.
    fn step(&mut self, entry: &'a Entry, parent: Option<&Entry>) {
        let edge = (&*entry.service, entry.direction, &*entry.destination);
        if let Some(at) = self.edges.iter().position(|(other, _)| other.is_edge(edge))
            && let Some((_, end)) = self.edges.get(at)
        {
            self.parts.truncate(*end);
            self.edges.truncate(at + 1);
            return;
        }
        match entry.direction {
            Direction::Out => {
                self.push(&entry.service);
                self.push(&entry.destination);
            }
            Direction::In => {
                self.enter(entry, parent);
                self.push(&entry.destination);
                self.push(&entry.service);
            }
        }
        self.edges.push((entry, self.parts.len()));
    }

    /// How a delivered message came to its queue.
    fn enter(&mut self, entry: &'a Entry, parent: Option<&Entry>) {
        let came_in = entry.via.as_deref().unwrap_or(&entry.destination);
        let published = parent
            .filter(|parent| parent.direction == Direction::Out)
            .map(|parent| &*parent.destination);
        if published == Some(came_in) {
            return;
        }
        if parent.is_some() && !entry.dead_letter {
            self.push(UNKNOWN);
        }
        self.push(came_in);
    }
}

/// The parts as a text, the newest ones if not all have room.
fn shortened(parts: &[&str]) -> String {
    let mut room = MAX_BYTES;
    let fits = |part: &&&str| {
        let left = room.checked_sub(part.len() + SEPARATOR.len());
        room = left.unwrap_or(0);
        left.is_some()
    };
    let number = parts.iter().rev().take_while(fits).count();
    let kept = parts.get(parts.len() - number..).unwrap_or_default();
    let cut = (number < parts.len()).then_some(CUT);
    let parts: Vec<&str> = cut.into_iter().chain(kept.iter().copied()).collect();
    parts.join(SEPARATOR)
}

impl PathBook {
    pub(super) fn render(&self, hash: u64) -> String {
        let mut chain: Vec<&Entry> = Vec::new();
        let mut next = hash;
        // What stands before the oldest step of the chain.
        let before: Option<String> = loop {
            if next == OTHER_HASH {
                break Some(OTHER.to_owned());
            }
            let Some(entry) = self.entries.get(&next).filter(|_| chain.len() < MAX_STEPS) else {
                break Some(UNKNOWN.to_owned());
            };
            chain.push(entry);
            match entry.parents[..] {
                [] if entry.direction == Direction::In => break Some(UNKNOWN.to_owned()),
                [] => break None,
                [parent] => next = parent,
                _ => break Some(self.merged(entry)),
            }
        };
        let mut text = Parts::default();
        if let Some(before) = &before {
            text.push(before);
        }
        let mut parent = None;
        for entry in chain.iter().rev() {
            text.step(entry, parent);
            parent = Some(*entry);
        }
        shortened(&text.parts)
    }

    /// The texts of what was merged, without the service that merged it.
    fn merged(&self, entry: &Entry) -> String {
        let texts: BTreeSet<&str> = entry
            .parents
            .iter()
            .map(|parent| match self.entries.get(parent) {
                Some(parent) => {
                    let whole = &*parent.text;
                    let cut = whole.strip_suffix(&*entry.service);
                    cut.and_then(|cut| cut.strip_suffix(SEPARATOR))
                        .unwrap_or(whole)
                }
                None if *parent == OTHER_HASH => OTHER,
                None => UNKNOWN,
            })
            .collect();
        if texts.len() == 1 {
            return texts.into_iter().collect();
        }
        let number = texts.len();
        let joined = texts.into_iter().collect::<Vec<_>>().join(", ");
        if joined.len() > MAX_MERGED_BYTES {
            format!("{{{number} paths}}")
        } else {
            format!("{{{joined}}}")
        }
    }
}

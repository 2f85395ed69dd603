//! The book of paths: from the hash of a path to its text.
//!
//! Each step names its own hash and its parent's, so the text is found by walking up. Steps come
//! in any order: while a parent is unknown the text begins with `?`, and it is mended, with that
//! of every path that goes on from it, when the parent comes. How a text reads: [`text`].
//!
//! Bounded: [`MAX_PATHS`] steps; when it is full one that was not used lately and from which none
//! goes on makes room.

mod text;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::model::{Direction, OTHER, PathText, StepRow};

/// Steps that are kept.
pub(super) const MAX_PATHS: usize = 10_000;
/// Parents that one step keeps: what was merged.
const MAX_PARENTS: usize = 17;
/// Text of a path of which nothing is known.
pub(super) const UNKNOWN: &str = "?";
/// Hash and text of the paths that a library has no room for.
pub(super) const OTHER_HASH: u64 = u64::MAX;

struct Entry {
    /// None at an origin, several where messages were merged.
    parents: Vec<u64>,
    service: Arc<str>,
    direction: Direction,
    destination: Arc<str>,
    via: Option<Arc<str>>,
    dead_letter: bool,
    text: Arc<str>,
    /// The hour in which the step from each parent was told last: what nobody uses any more goes
    /// from the store with its hours.
    told: Vec<i64>,
    /// Whether it was used since the last time that room was looked for.
    used: bool,
}

impl Entry {
    fn is_edge(&self, (service, direction, destination): (&str, Direction, &str)) -> bool {
        &*self.service == service
            && self.direction == direction
            && &*self.destination == destination
    }

    /// Its text as it is told.
    fn told(&self, hash: u64) -> PathText {
        PathText {
            hash,
            text: Arc::clone(&self.text),
            ends_in_delivery: self.direction == Direction::In,
        }
    }

    /// Whether the step from that parent was told in that hour; from now on it was.
    fn tell(&mut self, parent: Option<u64>, hour: i64) -> bool {
        let place = parent.and_then(|parent| self.parents.iter().position(|own| *own == parent));
        let told = self.told.get_mut(place.unwrap_or(0));
        told.is_none_or(|told| std::mem::replace(told, hour.max(*told)) >= hour)
    }
}

/// What a step brought.
enum Entered {
    /// Nothing that was not known.
    Known,
    /// Nothing that was not known, but not in this hour yet.
    Again,
    /// That messages come to it from a queue that gave them up.
    DeadLetter,
    /// Itself, or a further parent.
    Step,
}

/// All steps seen lately.
#[derive(Default)]
pub struct PathBook {
    entries: HashMap<u64, Entry>,
    children: HashMap<u64, Vec<u64>>,
    /// Every entry once, in the order in which room is looked for.
    turn: VecDeque<u64>,
}

impl PathBook {
    /// Takes a step in that came in that hour; gives the texts that are new or better known by it,
    /// and whether the step itself was new. Both once an hour also where nothing is.
    pub fn learn(&mut self, step: &StepRow, hour: i64) -> (Vec<PathText>, bool) {
        // A repeat is no step, and what stands for others has none.
        if step.hash == OTHER_HASH || step.parent == Some(step.hash) {
            return (Vec::new(), false);
        }
        match self.enter(step, hour) {
            Entered::Known => return (Vec::new(), false),
            Entered::Again => {
                let entry = self.entries.get(&step.hash);
                let told = entry.map(|entry| entry.told(step.hash));
                return (told.into_iter().collect(), true);
            }
            Entered::DeadLetter => {}
            Entered::Step => {
                if let Some(parent) = step.parent {
                    self.children.entry(parent).or_default().push(step.hash);
                }
            }
        }
        (self.mend(step.hash), true)
    }

    /// The text of a path, as far as it is known.
    #[must_use]
    pub fn text(&self, hash: u64) -> Option<Arc<str>> {
        if hash == OTHER_HASH {
            return Some(Arc::from(OTHER));
        }
        self.entries.get(&hash).map(|entry| Arc::clone(&entry.text))
    }

    /// The step of the path `hash`, the newest first, that is this edge; `hash` if none is.
    #[must_use]
    pub fn with_edge(&self, hash: u64, edge: (&str, Direction, &str)) -> u64 {
        let mut next = hash;
        for _ in 0..text::MAX_STEPS {
            let Some(entry) = self.entries.get(&next) else {
                break;
            };
            if entry.is_edge(edge) {
                return next;
            }
            let [parent] = entry.parents[..] else { break };
            next = parent;
        }
        hash
    }

    /// Notes a step.
    fn enter(&mut self, step: &StepRow, hour: i64) -> Entered {
        if let Some(entry) = self.entries.get_mut(&step.hash) {
            entry.used = true;
            let is_told = entry.tell(step.parent, hour);
            let newly_dead = step.dead_letter && !entry.dead_letter;
            entry.dead_letter |= step.dead_letter;
            let another = step.parent.filter(|parent| !entry.parents.contains(parent));
            return match another.filter(|_| entry.parents.len() < MAX_PARENTS) {
                Some(parent) => {
                    entry.parents.push(parent);
                    entry.told.push(hour);
                    Entered::Step
                }
                None if newly_dead => Entered::DeadLetter,
                None if is_told => Entered::Known,
                None => Entered::Again,
            };
        }
        if self.entries.len() >= MAX_PATHS {
            self.make_room();
        }
        let entry = Entry {
            parents: step.parent.into_iter().collect(),
            service: Arc::clone(&step.service),
            direction: step.direction,
            destination: Arc::clone(&step.destination),
            via: step.via.clone(),
            dead_letter: step.dead_letter,
            text: Arc::from(UNKNOWN),
            told: vec![hour],
            used: false,
        };
        self.entries.insert(step.hash, entry);
        self.turn.push_back(step.hash);
        Entered::Step
    }

    /// Takes out one entry that was not used lately and from which none goes on.
    fn make_room(&mut self) {
        // Twice around: the first time may only find that all were used. Steps that are each
        // other's parents leave none; then the oldest goes.
        for _ in 0..2 * self.turn.len() {
            let Some(hash) = self.turn.pop_front() else {
                return;
            };
            let has_children = self.children.contains_key(&hash);
            let Some(entry) = self.entries.get_mut(&hash) else {
                continue;
            };
            if !entry.used && !has_children {
                return self.remove(hash);
            }
            entry.used = false;
            self.turn.push_back(hash);
        }
        if let Some(hash) = self.turn.pop_front() {
            self.remove(hash);
        }
    }

    fn remove(&mut self, hash: u64) {
        let Some(entry) = self.entries.remove(&hash) else {
            return;
        };
        for parent in entry.parents {
            if let Some(children) = self.children.get_mut(&parent) {
                children.retain(|child| *child != hash);
                if children.is_empty() {
                    self.children.remove(&parent);
                }
            }
        }
    }

    /// Renders the text of `hash` and of every path that goes on from it.
    fn mend(&mut self, hash: u64) -> Vec<PathText> {
        let mut changed = Vec::new();
        let mut left = VecDeque::from([hash]);
        // Steps that are each other's parents would go on for ever.
        let mut budget = 2 * self.entries.len() + 2;
        while let Some(hash) = left.pop_front().filter(|_| budget > 0) {
            budget -= 1;
            let text: Arc<str> = Arc::from(self.render(hash));
            let Some(entry) = self.entries.get_mut(&hash) else {
                continue;
            };
            if entry.text == text {
                continue;
            }
            entry.text = text;
            changed.push(entry.told(hash));
            left.extend(self.children.get(&hash).into_iter().flatten());
        }
        changed
    }
}

#[cfg(test)]
mod tests;

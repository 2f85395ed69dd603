//! Texts of paths for spans that carry no path context: another language, or no rabtrace before.
//!
//! Input: every span, with the text of its path where it has one. Output: for the others the text
//! of their parent, and what they add to it: who publishes its service and destination, who takes
//! a delivery the queue and its service, who serves a request its service. Parent and child may
//! stand in one batch in any order. A span that came before its parent's batch gets no text
//! itself; those that go on from it get theirs as soon as the parent is there. Loops are told as
//! often as they were gone through.
//!
//! Bounded: the last [`GENERATION`] spans at least and twice as many at most, and texts of
//! [`MAX_TEXT`] bytes; a longer one is none.

use std::collections::{HashMap, VecDeque};
use std::mem::swap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::book::UNKNOWN;
use crate::model::{Hop, SpanId, SpanKind, TraceId};

/// Spans that are remembered and forgotten together; as many as fill a table of 32,768 places.
const GENERATION: usize = 28_672;
/// Bytes of a text that is made here.
const MAX_TEXT: usize = 1_024;
/// Generations between a span and the nearest of its ancestors that has a text.
const MAX_GENERATIONS: usize = 64;

/// Texts that were made last: most spans of a request make one that the one before made.
const MAX_MADE: usize = 8;

const SEPARATOR: &str = " > ";

type Key = (TraceId, SpanId);

enum Node {
    /// The text of its path; empty before anything was published.
    Text(Arc<str>),
    /// What it adds to its parent's.
    Adds { parent: Key, parts: Parts },
}

/// What a span adds to a text.
#[derive(Clone, PartialEq)]
enum Parts {
    Nothing,
    Publishes(Arc<str>, Arc<str>),
    Takes(Arc<str>, Arc<str>),
    Serves(Arc<str>),
}

/// The newest spans.
#[derive(Default)]
pub(super) struct Ancestry {
    nodes: Nodes,
    made: Made,
    /// The text of a path that did not begin.
    origin: Arc<str>,
}

/// Spans by their ids, in two generations: when the younger is full it becomes the elder, which is
/// forgotten as a whole. Taking out single ones costs a search each.
#[derive(Default)]
struct Nodes {
    young: HashMap<Key, Node, RandomState>,
    old: HashMap<Key, Node, RandomState>,
}

impl Nodes {
    fn get(&self, key: &Key) -> Option<&Node> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    fn insert(&mut self, key: Key, node: Node) {
        if self.young.len() >= GENERATION {
            swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key, node);
    }
}

/// What was added to a text, and what came of it; the newest at the end.
#[derive(Default)]
struct Made(VecDeque<(Arc<str>, Parts, Arc<str>)>);

impl Made {
    /// The text with what a span adds; none if that is too long.
    fn add(&mut self, text: &Arc<str>, parts: &Parts) -> Option<Arc<str>> {
        if matches!(parts, Parts::Nothing) {
            return Some(Arc::clone(text));
        }
        let same = |made: &&(Arc<str>, Parts, Arc<str>)| made.0 == *text && made.1 == *parts;
        if let Some((.., whole)) = self.0.iter().rev().find(same) {
            return Some(Arc::clone(whole));
        }
        let whole = add(text, parts)?;
        if self.0.len() >= MAX_MADE {
            self.0.pop_front();
        }
        self.0
            .push_back((Arc::clone(text), parts.clone(), Arc::clone(&whole)));
        Some(whole)
    }
}

impl Ancestry {
    /// Remembers the spans and gives those without a path the text that follows from their
    /// parents.
    pub(super) fn trace(&mut self, hops: &mut [Hop]) {
        for hop in hops.iter_mut() {
            self.remember(hop);
        }
        let without = |hop: &&mut Hop| hop.step.is_none() && hop.path.is_none();
        for hop in hops.iter_mut().filter(without) {
            hop.path = self.text(key(hop)).filter(|text| !text.is_empty());
        }
    }

    /// A span that has no parent gets its text here already.
    fn remember(&mut self, hop: &mut Hop) {
        let parts = parts(hop);
        let node = match (&hop.path, hop.span.parent_span_id) {
            (Some(text), _) => Node::Text(Arc::clone(text)),
            (None, Some(parent)) => Node::Adds {
                parent: (hop.span.trace_id, parent),
                parts,
            },
            (None, None) => {
                let text = self.made.add(&self.origin, &parts).unwrap_or_default();
                if hop.step.is_none() && !text.is_empty() {
                    hop.path = Some(Arc::clone(&text));
                }
                Node::Text(text)
            }
        };
        self.nodes.insert(key(hop), node);
    }

    /// The text of a span's path, if its ancestors are known up to one that has one.
    fn text(&mut self, key: Key) -> Option<Arc<str>> {
        let mut added: Vec<(Key, Parts)> = Vec::new();
        let mut next = key;
        let mut text = loop {
            match self.nodes.get(&next)? {
                Node::Text(text) => break Arc::clone(text),
                Node::Adds { .. } if added.len() >= MAX_GENERATIONS => return None,
                Node::Adds { parent, parts } => {
                    added.push((next, parts.clone()));
                    next = *parent;
                }
            }
        };
        while let Some((key, parts)) = added.pop() {
            text = self.made.add(&text, &parts)?;
            self.nodes.insert(key, Node::Text(Arc::clone(&text)));
        }
        Some(text)
    }
}

fn key(hop: &Hop) -> Key {
    (hop.span.trace_id, hop.span.span_id)
}

fn parts(hop: &Hop) -> Parts {
    let service = Arc::clone(&hop.span.service);
    match (hop.span.kind, &hop.destination) {
        (SpanKind::Producer, Some(destination)) => {
            Parts::Publishes(service, Arc::clone(destination))
        }
        (SpanKind::Consumer, Some(destination)) => Parts::Takes(Arc::clone(destination), service),
        (SpanKind::Server, _) => Parts::Serves(service),
        _ => Parts::Nothing,
    }
}

/// The text with what a span adds; none if that is too long.
fn add(text: &Arc<str>, parts: &Parts) -> Option<Arc<str>> {
    let (unknown, new) = match parts {
        Parts::Nothing => return Some(Arc::clone(text)),
        // A request is on no path before it published something.
        Parts::Serves(_) if text.is_empty() => return Some(Arc::clone(text)),
        Parts::Serves(service) => (false, vec![service]),
        Parts::Publishes(service, destination) => (false, vec![service, destination]),
        Parts::Takes(destination, service) => (text.is_empty(), vec![destination, service]),
    };
    let mut whole = String::from(&**text);
    let mut last = whole.len() - last(text).len();
    let unknown = unknown.then_some(UNKNOWN);
    for part in unknown
        .into_iter()
        .chain(new.into_iter().map(|part| &**part))
    {
        if whole.get(last..) == Some(part) {
            continue;
        }
        if !whole.is_empty() {
            whole.push_str(SEPARATOR);
        }
        last = whole.len();
        whole.push_str(part);
    }
    (whole.len() <= MAX_TEXT).then(|| Arc::from(whole))
}

/// What stands behind the last separator.
fn last(text: &str) -> &str {
    let bytes = text.as_bytes().windows(SEPARATOR.len());
    let mut ends = bytes.rev().zip(0..);
    let end = ends.find(|(bytes, _)| *bytes == SEPARATOR.as_bytes());
    let from = end.map_or(0, |(_, length)| text.len() - length);
    text.get(from..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Ancestry, GENERATION};
    use crate::flow::hop::{hop, tests::span};
    use crate::model::{Hop, SpanId, SpanKind};

    fn id(number: u64) -> SpanId {
        SpanId::from_bytes(&number.to_be_bytes()).unwrap()
    }

    /// A span of `service` about `destination`; parent 0 is none.
    fn of(number: u64, parent: u64, service: &str, about: (SpanKind, &str)) -> Hop {
        let (kind, destination) = about;
        let name = [("messaging.destination.name", destination)];
        let attributes = if destination.is_empty() {
            &[][..]
        } else {
            &name
        };
        let mut span = span(service, kind, attributes);
        span.span_id = id(number);
        span.parent_span_id = (parent != 0).then(|| id(parent));
        hop(span)
    }

    fn with_path(hop: Hop, path: &str) -> Hop {
        let mut traced = hop;
        traced.path = Some(Arc::from(path));
        traced.step = crate::flow::hop::hop(span(
            "s",
            SpanKind::Producer,
            &[
                ("rabtrace.direction", "out"),
                ("rabtrace.path.hash", "01"),
                ("rabtrace.destination", "q1"),
            ],
        ))
        .step;
        traced
    }

    fn texts(ancestry: &mut Ancestry, mut hops: Vec<Hop>) -> Vec<Option<String>> {
        ancestry.trace(&mut hops);
        hops.into_iter()
            .map(|hop| hop.path.map(|path| path.to_string()))
            .collect()
    }

    const CONSUMER: SpanKind = SpanKind::Consumer;
    const PRODUCER: SpanKind = SpanKind::Producer;

    fn python() -> Vec<Hop> {
        // As an exporter sends them: who ends first comes first.
        vec![
            of(4, 3, "python", (PRODUCER, "q2")),
            of(3, 2, "python", (SpanKind::Internal, "")),
            of(2, 1, "python", (CONSUMER, "q1")),
        ]
    }

    #[test]
    fn a_service_without_context_goes_on_from_its_parent() {
        let mut ancestry = Ancestry::default();
        let traced = with_path(of(1, 0, "rust", (PRODUCER, "q1")), "rust > q1");
        texts(&mut ancestry, vec![traced]);
        let told = texts(&mut ancestry, python());
        let told: Vec<_> = told.iter().map(|text| text.as_deref().unwrap()).collect();
        let whole = "rust > q1 > python > q2";
        assert_eq!(told, [whole, "rust > q1 > python", "rust > q1 > python"]);
    }

    #[test]
    fn who_came_before_its_parent_has_no_text_and_its_children_have() {
        let mut ancestry = Ancestry::default();
        assert_eq!(texts(&mut ancestry, python()), [None, None, None]);
        let traced = with_path(of(1, 0, "rust", (PRODUCER, "q1")), "rust > q1");
        texts(&mut ancestry, vec![traced]);
        let child = of(5, 4, "node", (CONSUMER, "q2"));
        let told = texts(&mut ancestry, vec![child]);
        assert_eq!(told[0].as_deref(), Some("rust > q1 > python > q2 > node"));
    }

    #[test]
    fn a_trace_without_any_context_begins_where_it_is_published() {
        let mut ancestry = Ancestry::default();
        let told = texts(
            &mut ancestry,
            vec![
                of(1, 0, "web", (SpanKind::Server, "")),
                of(2, 1, "web", (PRODUCER, "q1")),
                of(3, 2, "worker", (CONSUMER, "q1")),
                of(4, 3, "api", (SpanKind::Server, "")),
                of(9, 0, "worker", (CONSUMER, "q9")),
                of(11, 10, "worker", (CONSUMER, "q9")),
            ],
        );
        let told: Vec<_> = told.iter().map(Option::as_deref).collect();
        assert_eq!(
            told,
            [
                None,
                Some("web > q1"),
                Some("web > q1 > worker"),
                Some("web > q1 > worker > api"),
                Some("? > q9 > worker"),
                None
            ]
        );
    }

    #[test]
    fn only_the_newest_are_remembered_and_circles_are_survived() {
        let mut ancestry = Ancestry::default();
        let circle = vec![
            of(1, 2, "a", (PRODUCER, "q")),
            of(2, 1, "a", (PRODUCER, "q")),
        ];
        assert_eq!(texts(&mut ancestry, circle), [None, None]);
        let known = with_path(of(3, 0, "a", (PRODUCER, "q")), "a > q");
        texts(&mut ancestry, vec![known]);
        let child = |number| of(number, 3, "b", (CONSUMER, "q"));
        let others = |ancestry: &mut Ancestry, from: u64| {
            for number in from..from + GENERATION as u64 {
                texts(ancestry, vec![of(number, 0, "a", (PRODUCER, "q"))]);
            }
            assert!(ancestry.nodes.young.len() <= GENERATION);
            assert!(ancestry.nodes.old.len() <= GENERATION);
        };
        others(&mut ancestry, 100_000);
        let told = texts(&mut ancestry, vec![child(4)]);
        assert_eq!(told[0].as_deref(), Some("a > q > b"), "so many came since");
        others(&mut ancestry, 200_000);
        assert_eq!(texts(&mut ancestry, vec![child(5)]), [None]);
    }
}

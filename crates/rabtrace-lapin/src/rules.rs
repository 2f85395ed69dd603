//! What holds for some destinations only: how their messages relate to traces, and templates for
//! routing keys.
//!
//! Input: a [`Destination`]. Output: how it is handled, and its routing key's template. Pure; asked
//! once for each destination, not for each message.

use crate::semconv::Destination;

/// How the span of a delivery relates to the publish of its message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Relation {
    /// The publish is linked to, and it is the parent unless the application has a span active.
    #[default]
    Parent,
    /// The publish is linked to only: the delivery begins a trace of its own, or belongs to the
    /// span that the application has active. The path of the message goes on all the same; its
    /// baggage is not taken, as it would be handed on to whoever is called.
    Link,
    /// What the message says of its trace is not looked at: for queues that strangers can reach.
    Ignore,
}

/// What happens to a `traceparent` that is in the headers already when a message is published.
///
/// One that a delivery brought, in properties that are published again, is stale: it is replaced
/// in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExistingContext {
    /// The application put it there (an outbox, a relay): it is kept and linked to.
    #[default]
    Keep,
    /// It is replaced.
    Replace,
}

/// How deliveries and publishes of some destinations are handled. The first rule that matches
/// counts.
///
/// ```
/// use rabtrace_lapin::{Relation, Rule, TraceConfig};
///
/// let config = TraceConfig::new()
///     .with_rule(Rule::queue("public_*").with_relation(Relation::Link))
///     .with_rule(Rule::queue("hooks").with_relation(Relation::Ignore));
/// ```
#[derive(Clone, Debug)]
pub struct Rule {
    place: Place,
    pattern: String,
    relation: Relation,
    existing: ExistingContext,
    untraced: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Queue,
    Exchange,
}

impl Rule {
    /// A rule for deliveries from the queues that `pattern` matches, and for publishes to them
    /// through the default exchange. `*` in a pattern stands for any text.
    #[must_use]
    pub fn queue(pattern: impl Into<String>) -> Self {
        Self::new(Place::Queue, pattern.into())
    }

    /// A rule for publishes to the exchanges that `pattern` matches. `*` in a pattern stands for
    /// any text.
    #[must_use]
    pub fn exchange(pattern: impl Into<String>) -> Self {
        Self::new(Place::Exchange, pattern.into())
    }

    fn new(place: Place, pattern: String) -> Self {
        Self {
            place,
            pattern,
            relation: Relation::default(),
            existing: ExistingContext::default(),
            untraced: false,
        }
    }

    /// How deliveries relate to the publishes of their messages.
    #[must_use]
    pub fn with_relation(mut self, relation: Relation) -> Self {
        self.relation = relation;
        self
    }

    /// What happens to a `traceparent` that is in the headers already.
    #[must_use]
    pub fn with_existing_context(mut self, existing: ExistingContext) -> Self {
        self.existing = existing;
        self
    }

    /// No spans, no metrics and no headers.
    #[must_use]
    pub fn untraced(mut self) -> Self {
        self.untraced = true;
        self
    }

    fn covers(&self, destination: &Destination<'_>) -> bool {
        let default_exchange = destination.exchange.is_empty();
        let name = match (self.place, destination.queue) {
            (Place::Queue, Some(queue)) => queue,
            (Place::Queue, None) if default_exchange => destination.routing_key,
            (Place::Exchange, None) if !default_exchange => destination.exchange,
            _ => return false,
        };
        matches(&self.pattern, name)
    }
}

/// What the rules say of one destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Handling {
    pub(crate) relation: Relation,
    pub(crate) existing: ExistingContext,
    pub(crate) untraced: bool,
}

/// The first rule that covers the destination, else the defaults.
pub(crate) fn handling(rules: &[Rule], destination: &Destination<'_>) -> Handling {
    let rule = rules.iter().find(|rule| rule.covers(destination));
    rule.map_or_else(Handling::default, |rule| Handling {
        relation: rule.relation,
        existing: rule.existing,
        untraced: rule.untraced,
    })
}

/// The first of the templates that the routing key is of: `order.{id}` is that of `order.42`. A
/// part in braces stands for one word between dots, or for what is left of it.
pub(crate) fn template_of<'a>(templates: &'a [String], routing_key: &str) -> Option<&'a str> {
    let fits = |template: &&String| {
        let mut words = routing_key.split('.');
        let fit = template.split('.').all(|part| {
            let word = words.next();
            word.is_some_and(|word| word_fits(part, word))
        });
        fit && words.next().is_none()
    };
    templates.iter().find(fits).map(String::as_str)
}

/// `{id}` fits any word that is not empty; `order-{id}` one with that beginning.
fn word_fits(part: &str, word: &str) -> bool {
    let Some((before, rest)) = part.split_once('{') else {
        return part == word;
    };
    let Some((_, after)) = rest.split_once('}') else {
        return part == word;
    };
    let inner = word
        .strip_prefix(before)
        .and_then(|word| word.strip_suffix(after));
    inner.is_some_and(|inner| !inner.is_empty())
}

/// Whether `pattern`, in which `*` stands for any text, is `name`. Linear in both, as it goes back
/// to the last star only.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(byte) if Some(byte) == name.get(seen) => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((star_at, from)) = star else {
                    return false;
                };
                star = Some((star_at, from + 1));
                at = star_at + 1;
                seen = from + 1;
            }
        }
    }
    pattern.iter().skip(at).all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, name: &str, expect: bool) {
        assert_eq!(matches(pattern, name), expect, "{pattern} {name}");
    }

    #[test]
    fn a_star_stands_for_any_text() {
        check("tasks", "tasks", true);
        check("tasks", "tasks2", false);
        check("public_*", "public_", true);
        check("public_*", "public_in", true);
        check("public_*", "private", false);
        check("*.in.*", "a.in.in.b", true);
        check("*.in", "a.in.b", false);
        check("*", "", true);
        check("", "", true);
        check("a*b*c", "aXbYbZc", true);
        check("a*b*c", "aXbYbZ", false);
    }

    #[test]
    fn the_first_rule_counts() {
        let rules = [
            Rule::queue("hooks").with_relation(Relation::Ignore),
            Rule::queue("*").with_relation(Relation::Link),
            Rule::exchange("raw").untraced(),
        ];
        let check = |exchange, routing_key, queue, expect| {
            let destination = Destination {
                exchange,
                routing_key,
                queue,
            };
            assert_eq!(handling(&rules, &destination), expect, "{destination:?}");
        };
        let relation = |relation| Handling {
            relation,
            ..Handling::default()
        };
        check("events", "a", Some("hooks"), relation(Relation::Ignore));
        check("", "hooks", None, relation(Relation::Ignore));
        check("events", "hooks", None, Handling::default());
        check("raw", "hooks", Some("q"), relation(Relation::Link));
        let untraced = Handling {
            untraced: true,
            ..Handling::default()
        };
        check("raw", "x", None, untraced);
    }

    #[test]
    fn braces_stand_for_a_word() {
        let templates = ["order.{id}", "user-{id}.*.{what}", "plain", "odd.{"].map(String::from);
        let check = |key, expect| assert_eq!(template_of(&templates, key), expect, "{key}");
        check("order.42", Some("order.{id}"));
        check("order.", None);
        check("order", None);
        check("order.42.x", None);
        check("user-7.*.x", Some("user-{id}.*.{what}"));
        check("user-.*.x", None);
        check("plain", Some("plain"));
        check("odd.{", Some("odd.{"));
        check("odd.x", None);
    }
}

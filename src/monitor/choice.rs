//! Which source gives what, and how the broker is: each change told once.

use std::time::Duration;

use super::failure::{Plugin, RequestError};
use super::merge::Merged;
use super::round::Round;
use crate::health::Component;
use crate::model::Source;

/// Where depth and counters come from.
type Sources = (Source, Option<Source>);

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct Choice {
    said: Option<Sources>,
    /// A new choice, seen once: a broker that starts opens one port before the other.
    seen: Option<Sources>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Unknown,
    /// Every source that there is answers.
    Well,
    /// Queues are known, but a source fails.
    Partly,
    /// Nothing is known.
    Away,
}

impl Choice {
    /// The broker told of its queues.
    pub(super) fn made(
        &mut self,
        component: &Component,
        (merged, took): (&Merged, Duration),
        round: &Round,
    ) {
        let failures = &round.troubles;
        // A listing that was not due is not a source that is lost.
        let counters = match (merged.counters, self.said) {
            (None, Some((_, counters))) if round.queues.is_none() => counters,
            (counters, _) => counters,
        };
        self.say((merged.depth, counters), failures);
        let of_node = |failure: &RequestError| failure.plugin == Plugin::Prometheus;
        let nodes_failed = failures.iter().any(of_node) && round.scrapes.iter().any(Result::is_ok);
        let serious = |failure: &&RequestError| nodes_failed || !failure.is_absent();
        if let Some(failure) = failures.iter().find(serious) {
            component.degraded(&failure.to_string());
            if self.state == State::Away {
                // To the component nothing changed; to a reader of the log it did.
                tracing::info!(reason = failure.why(), "broker answers again, in part");
            }
            self.state = State::Partly;
        } else {
            component.healthy(took);
            self.state = State::Well;
        }
    }

    /// No source told of queues.
    pub(super) fn lost(&mut self, component: &Component, why: &str) {
        component.degraded(why);
        if self.state == State::Partly {
            tracing::warn!(reason = why, "broker does not answer");
        }
        self.state = State::Away;
    }

    fn say(&mut self, sources: Sources, failures: &[RequestError]) {
        let again = self.seen.replace(sources) == Some(sources);
        if self.said == Some(sources) || (self.said.is_some() && !again) {
            return;
        }
        self.said = Some(sources);
        let (depth, counters) = sources;
        tracing::info!(
            depth = depth.as_str(),
            counters = counters.map_or("none", Source::as_str),
            reason = reason(sources, failures),
            "broker sources chosen"
        );
    }
}

fn reason((depth, counters): Sources, failures: &[RequestError]) -> String {
    if !failures.is_empty() {
        let texts: Vec<String> = failures
            .iter()
            .map(|failure| {
                format!(
                    "{} at {}: {}",
                    failure.plugin.name(),
                    failure.url,
                    failure.why()
                )
            })
            .collect();
        return texts.join("; ");
    }
    match (depth, counters) {
        (Source::Prometheus, Some(Source::Management)) => {
            "rabbitmq_prometheus has no counters of single queues before 4.0".to_owned()
        }
        _ => "every source answers".to_owned(),
    }
}

//! Paths: messages that arrived, and how long they had been under way.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Direction, EdgeKind, FlowWindow, OTHER};

/// Paths with series of their own; those beyond count as `_other`.
pub(super) const MAX_PATHS: usize = 500;
/// Upper bounds of the histogram, in seconds.
pub(super) const BOUNDS: [f64; 12] = [
    0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// What was counted of one path since the agent started.
#[derive(Debug, Default)]
pub(super) struct PathCounts {
    pub(super) messages: u64,
    pub(super) errors: u64,
    pub(super) redelivered: u64,
    /// Values at most as large as each bound.
    pub(super) below: [u64; BOUNDS.len()],
    pub(super) count: u64,
    pub(super) sum_seconds: f64,
}

/// Counts by path.
#[derive(Debug, Default)]
pub(super) struct Paths(pub(super) BTreeMap<Arc<str>, PathCounts>);

impl Paths {
    /// Adds a window that was closed. Arrivals alone count; how long messages were under way is of
    /// those that came the first time.
    pub(super) fn add(&mut self, path: &Arc<str>, window: &FlowWindow) {
        if window.direction != Direction::In {
            return;
        }
        let room = self.0.len() < MAX_PATHS || self.0.contains_key(path);
        let path = if room { Arc::clone(path) } else { OTHER.into() };
        let counts = self.0.entry(path).or_default();
        counts.messages += window.count;
        counts.errors += window.errors;
        counts.redelivered += window.redelivered;
        if matches!(window.kind, EdgeKind::Forward | EdgeKind::Reply) {
            for (below, bound) in counts.below.iter_mut().zip(BOUNDS) {
                *below += window.total.at_most(bound);
            }
            counts.count += window.total.count();
            counts.sum_seconds += window.total.sum();
        }
    }
}

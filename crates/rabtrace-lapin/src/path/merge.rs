//! Fan-in: one message that is made of several deliveries.
//!
//! Input: the paths of the deliveries, a step and the time. Output: one checkpoint for the message,
//! and one edge for each delivery that went in. The order of the deliveries does not matter. At
//! most 16 different paths are told apart, the ones with the lowest hashes; the rest are the other
//! paths.

use std::time::Duration;

use super::step::Times;
use super::{Checkpoint, Node, OTHER_PATHS, PathContext, mix, step_hash};

/// Different paths that go into one message by name.
const PARENTS: usize = 16;

/// A step that several paths take together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Merge {
    pub(crate) checkpoint: Checkpoint,
    /// The edge of each delivery that went in; none where the step is a repeat.
    pub(crate) edges: Vec<Merged>,
}

/// The edge of one delivery that went into a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Merged {
    pub(crate) parent_hash: u64,
    pub(crate) edge: Option<Duration>,
    pub(crate) total: Option<Duration>,
    pub(crate) skew: Option<Duration>,
}

/// Extends all of `parents` by one step to `node`; none where there are none.
pub(crate) fn merge(parents: &[PathContext], node: Node, now_us: u64) -> Option<Merge> {
    let oldest = parents
        .iter()
        .min_by_key(|path| (path.origin_us(), path.hash()))?;
    let mut named: Vec<u64> = parents.iter().map(PathContext::hash).collect();
    named.sort_unstable();
    named.dedup();
    if named.len() > PARENTS {
        named.truncate(PARENTS);
        named.push(OTHER_PATHS);
    }
    let name_of = |hash| named.binary_search(&hash).map_or(OTHER_PATHS, |_| hash);
    let again = parents.iter().filter(|path| path.repeats_at(node));
    let again = again.min_by_key(|path| (path.origin_us(), path.hash()));
    let last_us = parents.iter().map(PathContext::last_us).max()?;
    let mut context = *again.unwrap_or(oldest);
    context.begin_at(oldest.origin_us());
    parents.iter().for_each(|path| context.cover(path));
    let parent_hash = match again {
        Some(again) => {
            context.repeat();
            again.hash()
        }
        None => {
            context.grow(step_hash(Some(joint(&named)), node.hash), node);
            name_of(oldest.hash())
        }
    };
    context.reach(last_us.max(now_us));
    let times = Times::between((oldest.origin_us(), last_us), now_us);
    let edge_of = |path: &PathContext| {
        let times = Times::between((path.origin_us(), path.last_us()), now_us);
        Merged {
            parent_hash: name_of(path.hash()),
            edge: times.edge,
            total: times.total,
            skew: times.skew,
        }
    };
    let joined = parents.iter().filter(|_| again.is_none());
    Some(Merge {
        checkpoint: Checkpoint {
            context,
            parent_hash: Some(parent_hash),
            is_repeat: again.is_some(),
            edge: times.edge,
            total: times.total,
            skew: times.skew,
        },
        edges: joined.map(edge_of).collect(),
    })
}

/// What stands for several different paths together; one alone stands for itself.
fn joint(named: &[u64]) -> u64 {
    match named {
        [one] => *one,
        all => mix(all
            .iter()
            .fold(0, |sum: u64, hash| sum.wrapping_add(mix(*hash)))),
    }
}

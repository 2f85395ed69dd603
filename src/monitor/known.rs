//! What the next round asks by: how many queues there are, and what of them is not known yet.

use std::sync::Arc;

/// What is known from the round before.
pub(super) struct Known<'a> {
    /// Queues that there are.
    pub(super) queues: usize,
    /// Whether one of them has no type yet.
    pub(super) has_untyped: bool,
    /// How many queues came or went since the monitor began.
    pub(super) changes: u64,
    /// The same, and how often deliveries said that a queue's consumers are others.
    pub(super) turns: u64,
    /// Whether a node tells of an exchange whose type is not known.
    pub(super) has_untyped_exchanges: bool,
    /// Names in the virtual host of the AMQP URL, for when nothing else tells of queues.
    pub(super) names: &'a (dyn Fn() -> Vec<Arc<str>> + Sync),
}

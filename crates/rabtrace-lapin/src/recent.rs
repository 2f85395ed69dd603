//! Which trace contexts came in with deliveries lately, and how earlier attempts at a message
//! ended.
//!
//! Two tables of fixed size, for the whole process: what is published may have been received
//! through another channel. A newer entry takes the place of an older one, so both forget; nothing
//! grows. Asked for a context that was forgotten, they do not know it: then a stale context counts
//! as the application's own, and an attempt as one without a predecessor.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use opentelemetry::trace::{SpanContext, SpanId, TraceId};

use crate::outcome::Settlement;

/// The ids in a `traceparent`.
pub(crate) type Ids = (TraceId, SpanId);

/// Contexts that are remembered.
const RECEIVED: usize = 8_192;
/// Failed attempts that are remembered.
const ATTEMPTS: usize = 1_024;

static CONTEXTS: [AtomicU64; RECEIVED] = [const { AtomicU64::new(0) }; RECEIVED];
static FAILED: [Mutex<Option<Attempt>>; ATTEMPTS] = [const { Mutex::new(None) }; ATTEMPTS];

/// An attempt at a message that did not succeed.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// The publish of the message.
    pub(crate) creation: Ids,
    /// [`mark_of`] the queue that it came from: each queue of a fanout has its own attempts.
    pub(crate) queue: u64,
    /// The span of the attempt.
    pub(crate) span: SpanContext,
    /// 1 for the first.
    pub(crate) number: u64,
    /// How it ended.
    pub(crate) settlement: Settlement,
}

/// A message with this context is handed to the application.
pub(crate) fn received((trace_id, span_id): Ids) {
    if let Some(slot) = CONTEXTS.get(place(span_id, RECEIVED)) {
        slot.store(mark(trace_id, span_id), Ordering::Relaxed);
    }
}

/// Whether a delivery brought this context lately.
pub(crate) fn was_received((trace_id, span_id): Ids) -> bool {
    let slot = CONTEXTS.get(place(span_id, RECEIVED));
    slot.is_some_and(|slot| slot.load(Ordering::Relaxed) == mark(trace_id, span_id))
}

/// An attempt ended without success; the message may come again.
pub(crate) fn failed(attempt: Attempt) {
    if let Some(slot) = FAILED.get(attempt_place(attempt.creation, attempt.queue)) {
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(attempt);
    }
}

/// The last attempt at the message of that publish from that queue.
pub(crate) fn attempt(creation: Ids, queue: &str) -> Option<Attempt> {
    let queue = mark_of(queue);
    let slot = FAILED.get(attempt_place(creation, queue))?;
    let attempt = slot.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = |attempt: &&Attempt| attempt.creation == creation && attempt.queue == queue;
    attempt.as_ref().filter(fits).cloned()
}

/// What stands for a queue here.
pub(crate) fn mark_of(queue: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    queue.hash(&mut hasher);
    hasher.finish()
}

fn attempt_place((_, span_id): Ids, queue: u64) -> usize {
    let span_id = u64::from_be_bytes(span_id.to_bytes()) ^ queue;
    place(SpanId::from(span_id), ATTEMPTS)
}

/// Span ids are random: their low bits are as good as a hash.
fn place(span_id: SpanId, size: usize) -> usize {
    let low = u64::from_be_bytes(span_id.to_bytes()) & 0xffff_ffff;
    usize::try_from(low).unwrap_or(0) % size
}

fn mark(trace_id: TraceId, span_id: SpanId) -> u64 {
    let [high, low] = halves(trace_id);
    (high ^ low.rotate_left(32) ^ u64::from_be_bytes(span_id.to_bytes())) | 1
}

fn halves(trace_id: TraceId) -> [u64; 2] {
    let id = u128::from_be_bytes(trace_id.to_bytes());
    let half = |part: u128| u64::try_from(part & u128::from(u64::MAX)).unwrap_or(0);
    [half(id >> 64), half(id)]
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{TraceFlags, TraceState};

    use super::*;

    fn ids(trace: u128, span: u64) -> Ids {
        (TraceId::from(trace), SpanId::from(span))
    }

    #[test]
    fn contexts_are_known_until_others_take_their_place() {
        let (one, other) = (ids(0xa1, 0x7777_0001), ids(0xa2, 0x7777_0001));
        assert!(!was_received(one));
        received(one);
        assert!(was_received(one) && !was_received(other));
        received(other);
        assert!(was_received(other) && !was_received(one));
    }

    #[test]
    fn an_attempt_is_found_by_its_publish() {
        let creation = ids(0xb1, 0x8888_0001);
        let flags = TraceFlags::SAMPLED;
        let span = SpanContext::new(creation.0, SpanId::from(9), flags, false, TraceState::NONE);
        assert!(attempt(creation, "work").is_none());
        let number = 2;
        failed(Attempt {
            creation,
            queue: mark_of("work"),
            span,
            number,
            settlement: Settlement::NackRequeue,
        });
        assert_eq!(attempt(creation, "work").unwrap().number, 2);
        assert!(attempt(creation, "other").is_none());
        assert!(attempt(ids(0xb2, 0x8888_0001), "work").is_none());
    }
}

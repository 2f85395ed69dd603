//! Requests that the flow has, and whose senders do not know it: the store was late, or they hung
//! up.
//!
//! Who comes again with the same bytes waits for the first, so that nothing counts twice. Bounded:
//! the newest [`MAX_REQUESTS`]; a request that is forgotten counts again. Nothing is hashed while
//! there is none.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use crate::model::{Pending, Signal};

/// Requests that are remembered.
const MAX_REQUESTS: usize = 1_024;

/// What stands for a request.
type Key = (u8, usize, u64);

/// The requests of which nobody knows yet; a clone is the same.
#[derive(Clone, Default)]
pub(super) struct Unsure(Arc<Shared>);

#[derive(Default)]
struct Shared {
    hasher: RandomState,
    requests: Mutex<VecDeque<(Key, Vec<Pending>)>>,
}

impl Unsure {
    fn requests(&self) -> MutexGuard<'_, VecDeque<(Key, Vec<Pending>)>> {
        self.0
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, signal: Signal, payload: &Bytes) -> Key {
        let hash = self.0.hasher.hash_one(payload);
        (signal.code(), payload.len(), hash)
    }

    /// The request that is handed over to the flow with receipts for `pending`.
    pub(super) fn handed(&self, signal: Signal, payload: Bytes, pending: Vec<Pending>) -> Handed {
        Handed {
            unsure: self.clone(),
            signal,
            payload,
            pending,
        }
    }

    /// The same request, if it was handed over before and is still under way.
    pub(super) fn again(&self, signal: Signal, payload: &Bytes) -> Option<Handed> {
        if self.requests().is_empty() {
            return None;
        }
        let key = self.key(signal, payload);
        let mut requests = self.requests();
        let place = requests.iter().position(|(known, _)| *known == key)?;
        let (_, pending) = requests.remove(place)?;
        drop(requests);
        Some(self.handed(signal, payload.clone(), pending))
    }
}

/// A request that the flow has; dropped before it is known what came of it, it is unsure.
pub(super) struct Handed {
    unsure: Unsure,
    signal: Signal,
    payload: Bytes,
    pending: Vec<Pending>,
}

impl Handed {
    /// Whether it is stored, if that is known in time.
    pub(super) async fn stored(mut self, within: Duration) -> Option<bool> {
        let kept = join_all(self.pending.iter_mut().map(Pending::stored));
        let kept = tokio::time::timeout(within, kept).await.ok()?;
        self.pending.clear();
        Some(kept.into_iter().all(|kept| kept))
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let key = self.unsure.key(self.signal, &self.payload);
        let mut requests = self.unsure.requests();
        if requests.len() >= MAX_REQUESTS {
            requests.pop_front();
        }
        requests.push_back((key, std::mem::take(&mut self.pending)));
    }
}

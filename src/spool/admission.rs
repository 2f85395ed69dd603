//! How many bytes may be under way to the disk at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What one permit stands for.
const UNIT: usize = 1 << 10;

/// Lets payloads in while there is room; those that come first are let in first.
#[derive(Clone)]
pub(super) struct Admission {
    permits: Arc<Semaphore>,
    all: u32,
}

impl Admission {
    pub(super) fn new(bytes: usize) -> Self {
        let all =
            u32::try_from((bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self {
            permits: Arc::new(Semaphore::new(all as usize)),
            all,
        }
    }

    /// Waits until there is room for `bytes`; what is larger than all of it has it alone.
    pub(super) async fn enter(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let wanted = u32::try_from(bytes / UNIT + 1)
            .unwrap_or(u32::MAX)
            .min(self.all);
        Arc::clone(&self.permits)
            .acquire_many_owned(wanted)
            .await
            .ok()
    }
}

//! The deliveries of one channel that are not settled yet, by delivery tag.
//!
//! Settling by tag, through any clone of the channel, finds the spans that it ends here. An entry
//! is weak and goes when its span ends, so nothing is kept that the application does not keep;
//! deliveries that need no settlement never enter.

mod by_tag;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lapin::types::DeliveryTag;

use self::by_tag::ByTag;
use crate::outcome::Settlement;
use crate::process::Process;

/// Open deliveries by tag.
#[derive(Debug, Default)]
pub(crate) struct Open(Mutex<ByTag<Weak<Process>>>);

impl Open {
    /// A tag that is taken belongs to a channel that lapin opened again since: tags begin anew. A
    /// delivery of the channel before, handed out late, does not take the place of a newer one.
    pub(crate) fn insert(&self, process: &Arc<Process>) {
        let entry = Arc::downgrade(process);
        let mut open = self.lock();
        // Under the lock: who inserts a newer one has seen that this one is poisoned.
        if process.handed.acker.poisoned() {
            return;
        }
        let before = open.insert(process.handed.delivery_tag, entry);
        drop(open);
        // Outside of the lock: ending a span removes its entry.
        let before = before.and_then(|before| before.upgrade());
        if let Some(before) = before.filter(|before| !before.is_settling()) {
            before.end(Settlement::ChannelLost);
        }
    }

    /// Removes the entry if it is this one's, not a later one's with the same tag.
    pub(crate) fn remove(&self, process: &Process) {
        let mut open = self.lock();
        let own = |entry: &Weak<Process>| std::ptr::eq(entry.as_ptr(), process);
        let removed = open.remove_if(process.handed.delivery_tag, own);
        drop(open);
        drop(removed);
    }

    /// The delivery with that tag.
    pub(crate) fn one(&self, tag: DeliveryTag) -> Option<Arc<Process>> {
        let found = self.lock().find(tag).and_then(Weak::upgrade)?;
        is_open(&found).then_some(found)
    }

    /// The deliveries up to that tag, itself included; all of them for tag 0. Those of a channel
    /// that lapin opened anew since are not among them: their tags mean nothing any more.
    pub(crate) fn up_to(&self, tag: DeliveryTag) -> Vec<Arc<Process>> {
        let last = if tag == 0 { DeliveryTag::MAX } else { tag };
        let mut found = self.within(last);
        found.retain(is_open);
        found
    }

    /// All of them, those of a channel that was opened anew included.
    pub(crate) fn all(&self) -> Vec<Arc<Process>> {
        self.within(DeliveryTag::MAX)
    }

    /// Ends those of a channel that lapin opened anew since, if the last one is of that kind: the
    /// first that is delivered after that makes an end of all of them.
    pub(crate) fn end_lost(&self) {
        let last = {
            let open = self.lock();
            open.last().and_then(Weak::upgrade)
        };
        if last.is_some_and(|last| last.handed.acker.poisoned()) {
            for process in self.all() {
                process.end_if_lost(None);
            }
        }
    }

    fn within(&self, last: DeliveryTag) -> Vec<Arc<Process>> {
        let open = self.lock();
        open.up_to(last).filter_map(Weak::upgrade).collect()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().last().is_none()
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, ByTag<Weak<Process>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Neither of a channel that is gone nor settled by somebody else, who removes it in a moment.
fn is_open(process: &Arc<Process>) -> bool {
    !process.handed.acker.poisoned() && !process.is_ended()
}

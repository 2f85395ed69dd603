//! The end of the spool that takes payloads.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::admission::Admission;
use super::error::SpoolError;
use super::open::Spool;
use super::ready::Shared;
use super::worker::{Command, Entry};

/// Appends payloads. A clone writes to the same spool.
#[derive(Clone)]
pub struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) commands: Arc<Door>,
    pub(super) admission: Admission,
    /// Bytes of a payload at most.
    pub(super) limit: usize,
    /// Whether what it appends came to the sink just then.
    pub(super) is_entry: bool,
}

/// The way to the worker, which hears when the last writer is gone.
pub(super) struct Door(pub(super) Sender<Command>);

impl Drop for Door {
    fn drop(&mut self) {
        // If the thread has ended nobody waits for it.
        let _ = self.0.send(Command::NoMoreWriters);
    }
}

impl Writer {
    /// Appends a payload of `items` items, and returns when it is durable. Those that one task
    /// appends one after the other stay in that order. `kind` comes back with the record.
    ///
    /// Dropping the future leaves open whether the payload is taken.
    ///
    /// # Errors
    /// [`SpoolError::Full`] and [`SpoolError::Disk`] if the disk does not take it now,
    /// [`SpoolError::TooLarge`] if it never will, [`SpoolError::Closed`] if the spool's thread has
    /// ended. The payload is then not acknowledged; in rare cases it is handed on all the same
    /// after a restart.
    pub async fn append(&self, kind: u8, items: u32, payload: Bytes) -> Result<(), SpoolError> {
        let bytes = payload.len();
        if bytes > self.limit {
            let limit = self.limit;
            return Err(SpoolError::TooLarge { bytes, limit });
        }
        let permit = self.admission.enter(bytes).await;
        let permit = permit.ok_or(SpoolError::Closed)?;
        let (reply, durable) = oneshot::channel();
        let entry = Entry {
            kind,
            items,
            payload,
            reply,
            permit,
            is_entry: self.is_entry,
        };
        let sent = self.commands.0.send(Command::Append(entry));
        sent.map_err(|_| SpoolError::Closed)?;
        durable.await.unwrap_or(Err(SpoolError::Closed))
    }

    /// The same, and what it appends counts as received by the sink: nobody counted it before.
    #[must_use]
    pub fn counting(self) -> Self {
        Self {
            is_entry: true,
            ..self
        }
    }

    /// Bytes of the largest payload that it takes.
    #[must_use]
    pub const fn largest(&self) -> usize {
        self.limit
    }

    /// The spool that this writes to.
    #[must_use]
    pub fn spool(&self) -> Spool {
        Spool::of(Arc::clone(&self.shared))
    }
}

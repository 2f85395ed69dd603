//! The end of the spool that a sink holds.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::open::Spool;
use super::ready::{Shared, Taken};
use super::worker::Command;

/// A payload as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What kind of payload it is; the appender's word.
    pub kind: u8,
    /// How many items are in it.
    pub items: u32,
    /// The payload, unchanged.
    pub payload: Bytes,
    /// Its number in this spool. Numbers grow, and a record that comes again has the same one.
    pub number: u64,
}

/// Hands records on, oldest first. There is one for each spool.
///
/// Dropping it keeps the spool open for its writers; what was not done comes again after the next
/// start.
pub struct Reader {
    pub(super) shared: Arc<Shared>,
    pub(super) commands: Sender<Command>,
}

impl Reader {
    /// The next record; none when all writers are gone and everything was handed out, or when the
    /// spool's thread has ended. Dropping the future loses nothing.
    ///
    /// A record that is neither done nor handed out again holds the cursor back: the space on disk
    /// from there on is given back only when the spool is full.
    pub async fn next(&mut self) -> Option<Record> {
        loop {
            match self.shared.take() {
                Taken::Record { record, wake } => {
                    if wake {
                        // If the thread has ended there is nothing to be read.
                        let _ = self.commands.send(Command::ReadOn);
                    }
                    return Some(record);
                }
                Taken::Finished => return None,
                Taken::Nothing => self.shared.readable().await,
            }
        }
    }

    /// The record was delivered, or given up for good. When this returns, it will not come again
    /// after the end of the process; after a power cut, records of the last second may. Records
    /// may be done in any order, several at once.
    pub async fn done(&self, record: Record) {
        let (reply, noted) = oneshot::channel();
        let number = record.number;
        if self.commands.send(Command::Done { number, reply }).is_ok() {
            // Without an answer the thread has ended: it comes again.
            let _ = noted.await;
        }
    }

    /// The spool that this reads.
    #[must_use]
    pub fn spool(&self) -> Spool {
        Spool::of(Arc::clone(&self.shared))
    }
}

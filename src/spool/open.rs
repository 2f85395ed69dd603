//! Opening a spool, and what is known of one that is open.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use super::admission::Admission;
use super::disk::Disk;
use super::error::SpoolError;
use super::folder::Folder;
use super::limits::Limits;
use super::ready::Shared;
use super::recover::{Refusal, recover};
use super::stats::Stats;
use super::worker::{Worker, WorkerSetup};
use super::writer::Door;
use super::{Reader, Writer};
use crate::metrics::{Metrics, Stage};

/// What [`Spool::open`] needs.
pub struct SpoolSetup {
    /// The folder, of this spool alone; it is made if it is not there.
    pub folder: PathBuf,
    /// The sink that reads it.
    pub sink: Stage,
    /// How much it may take.
    pub limits: Limits,
    /// Counts what is dropped (`spool_full`, `spool_damaged`), in items, and commits that failed.
    pub metrics: Metrics,
}

/// A spool that is open. It does not keep it open: that do [`Writer`] and [`Reader`].
#[derive(Clone)]
pub struct Spool {
    shared: Arc<Shared>,
}

impl Spool {
    pub(super) fn of(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Opens a spool, whatever is damaged in it, and starts its thread. It reads no payloads but
    /// those of the last write, and blocks meanwhile.
    ///
    /// # Errors
    /// [`SpoolError::Unusable`] if the folder cannot be made or written, if another process has
    /// it, if its files may not be opened, or if a newer version wrote it.
    pub fn open(setup: SpoolSetup) -> Result<(Writer, Reader), SpoolError> {
        let folder = Folder::take(&setup.folder)?;
        Self::open_on(Box::new(folder), setup)
    }

    /// The same on another disk; `setup.folder` only names it.
    ///
    /// # Errors
    /// [`SpoolError::Unusable`] if the disk cannot be read.
    pub fn open_on(disk: Box<dyn Disk>, setup: SpoolSetup) -> Result<(Writer, Reader), SpoolError> {
        let limits = setup.limits.sound();
        let found = recover(disk.as_ref()).map_err(|Refusal { why, fix }| {
            SpoolError::unusable("the spool cannot be read", &setup.folder, why, fix)
        })?;
        let waiting = found.next.minus(found.start.before);
        let shared = Arc::new(Shared::new(limits.memory_bytes, waiting));
        if waiting.records > 0 {
            let (records, items) = (waiting.records, waiting.items);
            tracing::info!(
                sink = setup.sink.name(),
                records,
                items,
                "the spool goes on"
            );
        }
        setup.metrics.received(setup.sink, waiting.items);
        let (sender, commands) = mpsc::channel();
        let worker = Worker::new(WorkerSetup {
            disk,
            found,
            limits,
            shared: Arc::clone(&shared),
            commands,
            sink: setup.sink,
            metrics: setup.metrics,
        });
        start(worker, &setup.folder)?;
        let writer = Writer {
            shared: Arc::clone(&shared),
            commands: Arc::new(Door(sender.clone())),
            admission: Admission::new(limits.pending_bytes),
            is_entry: false,
            limit: limits.record_bytes,
        };
        let reader = Reader {
            shared,
            commands: sender,
        };
        Ok((writer, reader))
    }

    /// Its figures now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Waits until writers and reader are gone, everything is on the disk, and the folder is free.
    pub async fn closed(&self) {
        self.shared.ended().await;
    }
}

fn start(worker: Worker, folder: &Path) -> Result<(), SpoolError> {
    let thread = std::thread::Builder::new().name("spool".to_owned());
    let started = thread.spawn(move || worker.run());
    started.map(|_| ()).map_err(|error| {
        let fix = "allow more threads for this user";
        SpoolError::unusable("the spool's thread cannot be started", folder, error, fix)
    })
}

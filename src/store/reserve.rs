//! Room on the disk that is kept for retention: a full disk must not keep it from dropping what fills it.
//!
//! To drop an hour the log must grow by some pages, and what is in the log already must find room in
//! the file. `rabtrace.reserve` is a file of no use but its size, made while there is plenty of room,
//! and removed when there is none.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use super::disk::free_bytes;

/// The largest reserve.
const MAX_BYTES: u64 = 16 << 20;
/// A smaller one would be of no use.
const MIN_BYTES: u64 = 1 << 20;
/// It takes one part in so many of what is free at most.
const PARTS: u64 = 4;

/// The reserve of one folder.
pub(super) struct Reserve {
    path: PathBuf,
    /// What was given back last: as much is taken again, be it more than its part.
    given: u64,
}

impl Reserve {
    pub(super) fn of(folder: &Path) -> Self {
        Self {
            path: folder.join("rabtrace.reserve"),
            given: 0,
        }
    }

    /// Takes the room, or more of it, as far as there is some.
    pub(super) fn take(&self) {
        if let Err(error) = self.grow() {
            tracing::debug!(%error, path = %self.path.display(), "no room is kept for retention");
        }
    }

    fn grow(&self) -> io::Result<()> {
        let taken = self.taken();
        if taken >= MAX_BYTES {
            return Ok(());
        }
        let room = self.free()?.saturating_add(taken);
        let part = (room / PARTS).min(MAX_BYTES);
        let bytes = match self.given {
            given if given <= room / 2 => part.max(given),
            _ => part,
        };
        if bytes < MIN_BYTES || bytes <= taken {
            return Ok(());
        }
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&self.path)?;
        let grown = fallocate(&file, FallocateFlags::empty(), 0, bytes);
        if grown.is_err() && taken == 0 {
            // Not every file system can keep room.
            fs::remove_file(&self.path)?;
        }
        Ok(grown?)
    }

    /// Gives the room back; whether there was some.
    pub(super) fn give(&mut self) -> bool {
        let taken = self.taken();
        let gave = fs::remove_file(&self.path).is_ok() && taken > 0;
        if gave {
            self.given = taken;
            tracing::info!(
                bytes = taken,
                "the disk is full: retention gets the room kept for it"
            );
        }
        gave
    }

    /// Whether the disk has no room but this.
    pub(super) fn is_needed(&self) -> bool {
        self.free().is_ok_and(|free| free < MIN_BYTES)
    }

    fn taken(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    fn free(&self) -> io::Result<u64> {
        free_bytes(self.path.parent().unwrap_or(Path::new(".")))
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_BYTES, MIN_BYTES, Reserve};
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn room_is_taken_once_and_given_back_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut reserve = Reserve::of(folder.path());
        assert!(!reserve.give(), "there is none");
        reserve.take();
        let file = std::fs::metadata(&reserve.path).unwrap();
        assert!((MIN_BYTES..=MAX_BYTES).contains(&file.len()), "{file:?}");
        assert!(file.blocks() * 512 >= file.len(), "it only looks like room");
        assert_eq!(file.mode() & 0o777, 0o600);
        reserve.take();
        assert_eq!(std::fs::metadata(&reserve.path).unwrap().ino(), file.ino());
        assert!(reserve.give() && !reserve.give());
    }
}

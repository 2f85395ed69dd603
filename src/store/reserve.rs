//! Room on the disk that is kept for retention: a full disk must not keep it from dropping what fills it.
//!
//! To drop an hour the log must grow by some pages, and what is in the log already must find room in
//! the file. `rabtrace.reserve` is a file of no use but its size, made while there is plenty of room,
//! and removed when there is none.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// The largest reserve: as large as the log of two of the largest transactions.
const MAX_BYTES: u64 = 16 << 20;
/// A smaller one would be of no use.
const MIN_BYTES: u64 = 1 << 20;
/// It takes one part in so many of what is free at most.
const PARTS: u64 = 4;

/// The reserve of one folder.
pub(super) struct Reserve(PathBuf);

impl Reserve {
    pub(super) fn of(folder: &Path) -> Self {
        Self(folder.join("rabtrace.reserve"))
    }

    /// Takes the room, or more of it, as far as there is some.
    pub(super) fn take(&self) {
        if let Err(error) = self.grow() {
            tracing::debug!(%error, path = %self.0.display(), "no room is kept for retention");
        }
    }

    fn grow(&self) -> io::Result<()> {
        let taken = fs::metadata(&self.0).map_or(0, |file| file.len());
        if taken >= MAX_BYTES {
            return Ok(());
        }
        let disk = statvfs(self.0.parent().unwrap_or(Path::new(".")))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let bytes = (free.saturating_add(taken) / PARTS).min(MAX_BYTES);
        if bytes < taken.max(MIN_BYTES) {
            return Ok(());
        }
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&self.0)?;
        Ok(fallocate(&file, FallocateFlags::empty(), 0, bytes)?)
    }

    /// Gives the room back; whether there was some.
    pub(super) fn give(&self) -> bool {
        fs::remove_file(&self.0).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_BYTES, MIN_BYTES, Reserve};
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn room_is_taken_once_and_given_back_once() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(folder.path());
        assert!(!reserve.give(), "there is none");
        reserve.take();
        let file = std::fs::metadata(&reserve.0).unwrap();
        assert!((MIN_BYTES..=MAX_BYTES).contains(&file.len()), "{file:?}");
        assert!(file.blocks() * 512 >= file.len(), "it only looks like room");
        assert_eq!(file.mode() & 0o777, 0o600);
        reserve.take();
        assert_eq!(std::fs::metadata(&reserve.0).unwrap().ino(), file.ino());
        assert!(reserve.give() && !reserve.give());
    }
}

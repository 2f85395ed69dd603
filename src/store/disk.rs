//! What the disk under a folder has.

use std::io;
use std::path::Path;

use rustix::fs::statvfs;

/// What is free there for a user who is not root.
pub(crate) fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// How large a store in that folder may be: half of its disk if that is less than what it is told.
pub(crate) fn max_bytes(folder: &Path, told: u64) -> u64 {
    let disk = statvfs(folder);
    let disk = disk.map_or(u64::MAX, |disk| disk.f_blocks.saturating_mul(disk.f_frsize));
    told.min(disk / 2)
}

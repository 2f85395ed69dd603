//! Two files that take turns: the one that grows, and the one before it.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file that grows.
const NEW: &str = "dead_letter.ndjson";
/// The one before it.
const OLD: &str = "dead_letter.1.ndjson";

/// Both files.
pub(super) struct Pair {
    new: PathBuf,
    old: PathBuf,
    /// Bytes of one file at most.
    limit: u64,
    file: Option<File>,
    new_bytes: u64,
    old_bytes: u64,
}

impl Pair {
    pub(super) fn new(folder: &Path, max_bytes: u64) -> Self {
        let (new, old) = (folder.join(NEW), folder.join(OLD));
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let (new_bytes, old_bytes) = (size(&new), size(&old));
        Self {
            new,
            old,
            limit: max_bytes / 2,
            file: None,
            new_bytes,
            old_bytes,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.new
    }

    pub(super) fn bytes(&self) -> u64 {
        self.new_bytes + self.old_bytes
    }

    /// Appends a line, all of it or, if that can be undone, nothing.
    pub(super) fn append(&mut self, line: &[u8]) -> Result<()> {
        let length = line.len() as u64;
        if length > self.limit {
            let why = format!("{length} bytes are more than one file may have");
            return Err(Error::new(ErrorKind::FileTooLarge, why));
        }
        if self.new_bytes + length > self.limit {
            self.file = None;
            std::fs::rename(&self.new, &self.old)?;
            (self.old_bytes, self.new_bytes) = (self.new_bytes, 0);
        }
        if self.file.is_none() {
            self.file = Some(self.open()?);
        }
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        if let Err(error) = file.write_all(line) {
            // A line that could not be taken back is ended when the file is opened again.
            let _ = file.set_len(self.new_bytes);
            self.new_bytes = file.metadata().map_or(self.new_bytes, |found| found.len());
            self.file = None;
            return Err(error);
        }
        self.new_bytes += length;
        Ok(())
    }

    /// The file that grows, at the beginning of a line.
    fn open(&mut self) -> Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let mut file = options.open(&self.new)?;
        self.new_bytes = file.metadata()?.len();
        if let Some(last) = self.new_bytes.checked_sub(1) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, last)?;
            if byte != *b"\n" {
                file.write_all(b"\n")?;
                self.new_bytes += 1;
            }
        }
        Ok(file)
    }
}

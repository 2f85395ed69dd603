//! A folder of the operating system: the spool's disk, and its lock.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Result, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::disk::{Disk, DiskFile};
use super::error::SpoolError;

/// The file that whoever has the folder holds locked.
const LOCK: &str = "spool.lock";

const OTHER_FOLDER: &str = "make it a folder that this user may write, or name another one";

/// A folder that belongs to this process, until it is dropped.
pub(super) struct Folder {
    path: PathBuf,
    /// The folder itself, to sync it.
    itself: File,
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is not there, and takes it.
    ///
    /// # Errors
    /// [`SpoolError::Unusable`] if it cannot be made or written, or if another process has it.
    pub(super) fn take(path: &Path) -> std::result::Result<Self, SpoolError> {
        let missing: Vec<_> = path
            .ancestors()
            .take_while(|above| !above.exists())
            .collect();
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(path).map_err(|error| {
            let why = match error.kind() {
                ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
                    "it, or a folder above it, is a file".to_owned()
                }
                _ => error.to_string(),
            };
            SpoolError::unusable("the spool's folder cannot be made", path, why, OTHER_FOLDER)
        })?;
        for made in missing {
            // A folder whose name is not durable takes everything in it along.
            let above = made.parent().filter(|above| !above.as_os_str().is_empty());
            let synced = File::open(above.unwrap_or(Path::new("."))).and_then(|it| it.sync_all());
            synced.map_err(|error| {
                let what = "the spool's folder cannot be made durable";
                SpoolError::unusable(what, made, error, OTHER_FOLDER)
            })?;
        }
        let lock = lock(path)?;
        let itself = File::open(path).map_err(|error| {
            let what = "the spool's folder cannot be read";
            SpoolError::unusable(what, path, error, OTHER_FOLDER)
        })?;
        Ok(Self {
            path: path.to_owned(),
            itself,
            _lock: lock,
        })
    }
}

fn lock(folder: &Path) -> std::result::Result<File, SpoolError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let opened = options.mode(0o600).open(folder.join(LOCK));
    let mut file = opened.map_err(|error| {
        let what = "the spool's folder cannot be written";
        SpoolError::unusable(what, folder, error, OTHER_FOLDER)
    })?;
    if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        let mut holder = String::new();
        // Who holds it is a help, not a need.
        let _ = file.read_to_string(&mut holder);
        let why = if error == rustix::io::Errno::WOULDBLOCK {
            format!("another agent has it (process {})", holder.trim())
        } else {
            error.to_string()
        };
        let fix = "stop that agent, or give this one a folder of its own";
        let what = "the spool is in use";
        return Err(SpoolError::unusable(what, folder, why, fix));
    }
    // On a full disk the number is missing, and nothing else.
    let _ = file.set_len(0);
    let _ = file.rewind();
    let _ = writeln!(file, "{}", std::process::id());
    Ok(file)
}

impl Disk for Folder {
    fn list(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        Ok(Box::new(options.open(self.path.join(name))?))
    }

    fn open(&self, name: &str) -> Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        Ok(Box::new(options.open(self.path.join(name))?))
    }

    fn remove(&self, name: &str) -> Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> Result<()> {
        self.itself.sync_all()
    }
}

impl DiskFile for File {
    fn size(&self) -> Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn set_size(&mut self, size: u64) -> Result<()> {
        self.set_len(size)
    }

    fn sync(&mut self) -> Result<()> {
        self.sync_data()
    }
}

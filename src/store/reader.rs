//! Reading the store, while the agent writes it and when no agent runs.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::error::{StoreError, of_open};
use super::open::check_version;

const URI_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'.')
    .remove(b'-')
    .remove(b'_');

/// Asks the store's file. A clone asks the same file; each question opens it anew, read only, so
/// that readers on several threads never wait for each other or for the writer.
///
/// All questions block: ask them where blocking is allowed. Times are nanoseconds since the Unix
/// epoch.
#[derive(Clone, Debug)]
pub struct Reader {
    file: PathBuf,
}

impl Reader {
    /// A reader of `file`, which is opened once to see that it can be read.
    ///
    /// # Errors
    /// [`StoreError::Absent`] if there is no such file, [`StoreError::Unusable`] if it cannot be
    /// read, is no database, or is of another version.
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        let reader = Self {
            file: file.to_owned(),
        };
        reader.connect()?;
        Ok(reader)
    }

    /// The file that it reads.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    pub(super) fn connect(&self) -> Result<Connection, StoreError> {
        match self.file.try_exists() {
            Ok(true) => {}
            Ok(false) => return Err(StoreError::Absent(self.file.clone())),
            Err(error) => {
                return Err(StoreError::Unusable {
                    what: "the store's file cannot be looked at",
                    path: self.file.clone(),
                    why: error.to_string(),
                    fix: "run as the user that owns the folder".to_owned(),
                });
            }
        }
        let database = match open(&self.file, "") {
            // SQLite wants to make a shared-memory file beside the database. Where it may not,
            // and no log waits to be read, the file alone is all there is.
            Err(error) if self.is_read_only(&error) => open(&self.file, "?immutable=1"),
            opened => opened,
        };
        let database = database.map_err(|error| of_open(&self.file, error))?;
        check_version(&database, &self.file)?;
        Ok(database)
    }

    fn is_read_only(&self, error: &rusqlite::Error) -> bool {
        let mut log = OsString::from(&self.file);
        log.push("-wal");
        let log_bytes = std::fs::metadata(&log).map_or(0, |found| found.len());
        let code = error.sqlite_error_code();
        log_bytes == 0 && matches!(code, Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
    }
}

fn open(file: &Path, query: &str) -> rusqlite::Result<Connection> {
    let path = percent_encode(file.as_os_str().as_bytes(), URI_PATH);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let database = Connection::open_with_flags(format!("file:{path}{query}"), flags)?;
    database.busy_timeout(Duration::from_secs(5))?;
    database.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(database)
}

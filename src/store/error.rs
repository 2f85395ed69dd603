//! What can go wrong with the store, told so that the next step is clear.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why the store cannot be opened, written or asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder or the file cannot be used.
    #[error("{what}\n  path  {}\n  why   {why}\n  fix   {fix}", path.display())]
    Unusable {
        /// What failed.
        what: &'static str,
        /// Folder or file.
        path: PathBuf,
        /// Why.
        why: String,
        /// The next step.
        fix: String,
    },
    /// There is no store yet.
    #[error(
        "there is no store\n  path  {}\n  fix   start `rabtrace agent`, or name the folder it \
         writes to in store.folder (RABTRACE_STORE_FOLDER)",
        .0.display()
    )]
    Absent(PathBuf),
    /// The text is neither a trace id nor the beginning of one.
    #[error("{0:?} is no trace id: it takes 4 to 32 hexadecimal digits")]
    NoTraceId(String),
    /// Several traces begin like this.
    #[error(
        "several traces begin with {prefix}: {}; give more digits",
        candidates.join(", ")
    )]
    AmbiguousTrace {
        /// The digits that were given.
        prefix: String,
        /// Some of the traces that begin so.
        candidates: Vec<String>,
    },
    /// Several paths have that part in their texts.
    #[error(
        "{number} paths fit {wanted:?}; give the whole text of one, or its hash:\n  {}",
        candidates.join("\n  ")
    )]
    AmbiguousPath {
        /// What was asked for.
        wanted: String,
        /// How many fit.
        number: usize,
        /// The busiest of them.
        candidates: Vec<String>,
    },
    /// The SQL text is refused or wrong; the message says where and what to do.
    #[error("{0}")]
    Sql(String),
    /// The SQL statement took too long.
    #[error(
        "the statement was stopped after {} s\n  fix   ask for less time (`WHERE time >= …`), or \
         read message_flow instead of spans",
        .0.as_secs_f64()
    )]
    SqlTimeout(Duration),
    /// SQLite failed.
    #[error("the store's database failed: {0}")]
    Database(#[from] rusqlite::Error),
}

impl StoreError {
    /// Whether the disk is full.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Database(error) if is_full(error))
    }
}

/// Whether trying again can help: the disk, a lock, memory; not the data itself.
pub(super) fn is_transient(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode as Code;
    matches!(
        error.sqlite_error_code(),
        Some(
            Code::DiskFull
                | Code::SystemIoFailure
                | Code::DatabaseBusy
                | Code::DatabaseLocked
                | Code::ReadOnly
                | Code::CannotOpen
                | Code::OutOfMemory
                | Code::DatabaseCorrupt
                | Code::NotADatabase
                | Code::PermissionDenied
                | Code::FileLockingProtocolFailed
        )
    )
}

/// Whether the disk is full, or the user's part of it: SQLite says so in three ways.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi;
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(
        code,
        Some(ffi::SQLITE_FULL | ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE)
    )
}

/// What SQLite's refusal to open `file` means.
pub(super) fn of_open(file: &Path, error: rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode as Code;
    let (what, fix) = match error.sqlite_error_code() {
        Some(Code::NotADatabase | Code::DatabaseCorrupt) => (
            "the store's file is no database, or a damaged one",
            format!(
                "move it away: mv {0} {0}.old; a new one is made at the next start",
                file.display()
            ),
        ),
        Some(Code::CannotOpen | Code::PermissionDenied | Code::ReadOnly) => (
            "the store's file cannot be opened",
            "run as the user that owns it, or make file and folder accessible".to_owned(),
        ),
        _ if is_full(&error) => (
            "there is no room for the store",
            "make room on its disk, or move it to another one: store.folder (RABTRACE_STORE_FOLDER)"
                .to_owned(),
        ),
        _ => return StoreError::Database(error),
    };
    StoreError::Unusable {
        what,
        path: file.to_owned(),
        why: error.to_string(),
        fix,
    }
}

//! Why a spool cannot be opened, or did not take a payload.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

/// What went wrong. What is not acknowledged may be appended again.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpoolError {
    /// The folder cannot be used.
    #[error("{what}\n  path  {}\n  why   {why}\n  fix   {fix}", path.display())]
    Unusable {
        /// What failed.
        what: &'static str,
        /// The folder.
        path: PathBuf,
        /// Why.
        why: String,
        /// The next step.
        fix: String,
    },
    /// The disk has no room, or the quota is used up. What was durable still is; try again later.
    #[error("the spool's disk is full: {0}")]
    Full(String),
    /// The disk failed. What was durable still is; try again later.
    #[error("the spool's disk failed: {0}")]
    Disk(String),
    /// The payload is larger than a record may be; it will never be taken.
    #[error("a payload of {bytes} bytes is larger than the {limit} bytes that the spool takes")]
    TooLarge {
        /// Bytes of the payload.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The spool's thread has ended.
    #[error("the spool is closed")]
    Closed,
}

impl SpoolError {
    /// Whether the same payload may be taken later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Disk(_))
    }

    pub(super) fn unusable(
        what: &'static str,
        path: &Path,
        why: impl ToString,
        fix: impl ToString,
    ) -> Self {
        Self::Unusable {
            what,
            path: path.to_owned(),
            why: why.to_string(),
            fix: fix.to_string(),
        }
    }

    /// What a failed write means.
    pub(super) fn of_write(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Self::Full(error.to_string())
            }
            _ => Self::Disk(error.to_string()),
        }
    }
}

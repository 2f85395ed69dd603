//! A file of the configuration that cannot be used for TLS.

use std::path::{Path, PathBuf};

/// Which key, which file, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} cannot be used: {why}\n  file  {}\n  fix   {fix}", file.display())]
pub struct TlsError {
    /// The key of the configuration.
    pub key: String,
    /// The file that it names.
    pub file: PathBuf,
    /// What is wrong with it.
    pub why: String,
    /// The next step.
    pub fix: String,
}

impl TlsError {
    pub(super) fn new(
        (key, file): (&str, &Path),
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            key: key.to_owned(),
            file: file.to_owned(),
            why: why.into(),
            fix: fix.into(),
        }
    }
}

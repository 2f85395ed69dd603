//! What a person reads when something does not work.

use std::fmt;

/// Why something failed, and what to do about it. Secrets are masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What failed, where, and what the server said.
    pub why: String,
    /// The next step.
    pub fix: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}; fix: {}", self.why, self.fix)
    }
}

/// Why a batch is not written yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It may pass by itself.
    Passing {
        /// What happened.
        why: String,
        /// How long the server asked to wait.
        after: Option<std::time::Duration>,
    },
    /// A person must mend it; the data is kept meanwhile.
    Lasting(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Lasting(failure)
    }
}

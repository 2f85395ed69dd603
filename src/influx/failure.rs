//! What a person reads when something does not work.

use crate::health::Failure;

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

//! What became of the reloads of the configuration: told by the agent, read by `/status`.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// Reloads so far, as `/status` tells them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// How many took effect.
    pub applied: u64,
    /// How many were refused; the configuration before them stayed in force.
    pub refused: u64,
    /// All that was wrong with the newest one; empty if nothing was.
    pub mistakes: Vec<String>,
    /// Keys that were changed and take effect at the next start.
    pub restart_needed: Vec<String>,
}

/// Where reloads are told; a clone is the same board.
#[derive(Clone, Debug, Default)]
pub struct ReloadBoard(Arc<Mutex<ReloadReport>>);

impl ReloadBoard {
    /// Changes what is told.
    pub fn tell(&self, change: impl FnOnce(&mut ReloadReport)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What is told.
    #[must_use]
    pub fn report(&self) -> ReloadReport {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

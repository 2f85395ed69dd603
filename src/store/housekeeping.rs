//! What is done to hours beside writing them, in steps that are short enough for writers to wait.

use super::Store;
use super::error::StoreError;
use super::schema::hour_of;

/// How long after its end an hour is closed: late spans come in until then.
const LATE_NANOS: i64 = 5 * 60 * 1_000_000_000;

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// There is nothing to do for now.
    Nothing,
    /// A part of what an hour needs.
    Part,
    /// The last part of the sums of an hour that ended.
    HourSummed,
}

impl Store {
    /// Does one step of what there is to do: indexes spans by trace id, sums the path statistics of
    /// hours that ended. Blocks for a tenth of a second or so.
    ///
    /// # Errors
    /// If SQLite fails; what was done before stays done.
    pub fn step(&mut self) -> Result<Done, StoreError> {
        let done = self.next_step();
        self.stale |= done.is_err();
        Ok(done?)
    }

    fn next_step(&mut self) -> rusqlite::Result<Done> {
        self.refresh()?;
        // All of it can be made again.
        self.database.pragma_update(None, "synchronous", "NORMAL")?;
        let open = hour_of(self.now().saturating_sub(LATE_NANOS));
        match self.index(open)? {
            Done::Nothing => self.sum(open),
            step => Ok(step),
        }
    }
}

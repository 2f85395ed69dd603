//! Writing batches: all of what is given goes in with one transaction, or nothing does.

mod dictionary;
mod flow;
mod json;
mod points;
mod spans;
mod state;

pub(super) use dictionary::Dictionaries;
pub(super) use flow::{insert as insert_flow, write_row as write_flow_row};
pub(super) use state::CLOSED_UNTIL;

use rusqlite::Connection;

use super::catalogue::Catalogue;
use super::error::StoreError;
use super::schema::hour_of;
use super::{Store, views};
use crate::model::StoreBatch;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Spans.
    pub spans: u64,
    /// Points.
    pub points: u64,
    /// Rows of path statistics.
    pub windows: u64,
    /// Points that were left out: the names of their measurements are not of the data model's
    /// form, belong to the store, or are too many.
    pub refused: u64,
    /// Tags and fields of points that were left out for the same reasons.
    pub columns_refused: u64,
}

/// What the parts of one transaction share.
struct Session<'a> {
    database: &'a Connection,
    catalogue: &'a mut Catalogue,
    dictionaries: &'a mut Dictionaries,
    hours: Hours,
}

/// Which hours may have a table.
#[derive(Clone, Copy)]
struct Hours {
    oldest: i64,
    now: i64,
}

impl Hours {
    /// The hour under which a row of that time is kept: its own, or the present one if the time
    /// is older than retention or in the future, so that a wrong clock makes no tables.
    fn of(self, unix_nano: i64) -> i64 {
        let hour = hour_of(unix_nano);
        if (self.oldest..=self.now + 1).contains(&hour) {
            hour
        } else {
            self.now
        }
    }
}

impl Store {
    /// Writes all batches in one transaction and confirms their receipts; blocks.
    ///
    /// # Errors
    /// If SQLite fails; then nothing of them is written.
    pub fn write(&mut self, batches: &[StoreBatch]) -> Result<Written, StoreError> {
        let written = self.write_all(batches);
        // What was rolled back is still in catalogue and dictionaries.
        self.stale |= written.is_err();
        Ok(written?)
    }

    fn write_all(&mut self, batches: &[StoreBatch]) -> rusqlite::Result<Written> {
        self.refresh()?;
        let now = self.now();
        let hours = Hours {
            oldest: hour_of(self.oldest(now)),
            now: hour_of(now),
        };
        // What is acknowledged by this commit must survive the machine, not only the process.
        let acknowledges = batches.iter().any(|batch| !batch.receipts.is_empty());
        let synchronous = if acknowledges { "FULL" } else { "NORMAL" };
        self.database
            .pragma_update(None, "synchronous", synchronous)?;
        let transaction = self.database.unchecked_transaction()?;
        let mut session = Session {
            database: &transaction,
            catalogue: &mut self.catalogue,
            dictionaries: &mut self.dictionaries,
            hours,
        };
        let mut written = Written::default();
        for batch in batches {
            session.path_texts(&batch.paths)?;
            session.steps(&batch.steps)?;
        }
        session.spans(batches, &mut written)?;
        session.windows(batches, &mut written)?;
        session.points(batches, &mut written)?;
        session.flow_state(batches)?;
        views::rebuild(&transaction, &mut self.catalogue)?;
        transaction.commit()?;
        for receipt in batches.iter().flat_map(|batch| &batch.receipts) {
            receipt.confirm();
        }
        Ok(written)
    }

    /// Reads catalogue and dictionaries again if a transaction failed.
    pub(super) fn refresh(&mut self) -> rusqlite::Result<()> {
        if self.stale {
            self.dictionaries = Dictionaries::default();
            self.summing = None;
            self.catalogue = Catalogue::read(&self.database)?;
            self.stale = false;
        }
        Ok(())
    }
}

//! Dropping hours: by age, then by bytes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::disk::max_bytes;
use super::error::{StoreError, is_full};
use super::schema::{MAX_HOURS, hour_of, start_of};
use super::write::Dictionaries;
use super::{Store, views};

/// Data is kept no longer than views can show it, whatever is set.
const LONGEST: Duration = Duration::from_secs(3600 * MAX_HOURS.unsigned_abs());
/// Pages that go back to the disk in one transaction: the log of more would need room itself.
const VACUUM_PAGES: u32 = 1_000;
/// For how long that goes on in one round: batches wait.
const VACUUM: Duration = Duration::from_millis(200);

/// What one round of retention did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Hours dropped because they were too old.
    pub hours_by_age: u64,
    /// Hours dropped because the file was too large.
    pub hours_by_size: u64,
}

impl Store {
    /// Changes for how long, and up to which size, data is kept.
    pub(super) fn keep(&mut self, retention: Duration, max_bytes: u64) {
        if self.config.retention != retention {
            tell_cut(retention);
        }
        self.config.retention = retention;
        self.config.max_bytes = max_bytes;
    }

    /// From when on data is kept at `now`, both in nanoseconds since the Unix epoch.
    pub(super) fn oldest(&self, now: i64) -> i64 {
        let retention = self.config.retention.min(LONGEST);
        now.saturating_sub(i64::try_from(retention.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Drops hours that are too old, and the oldest ones while the store is too large: closed hours
    /// first, then, if it must be, the open one. On a full disk the room that is kept for that is used.
    /// Blocks.
    ///
    /// # Errors
    /// If SQLite fails; what was done before stays done.
    pub fn retain(&mut self) -> Result<Dropped, StoreError> {
        let mut done = Dropped::default();
        let mut outcome = self.attempt(&mut done);
        if outcome.as_ref().is_err_and(is_full) && self.reserve.give() {
            outcome = self.attempt(&mut done);
        }
        if outcome.as_ref().is_err_and(is_full) {
            // What is in the log goes into the file, so that the log begins anew.
            outcome = self.backfill().and_then(|()| self.attempt(&mut done));
        }
        if done != Dropped::default() {
            tracing::info!(
                by_age = done.hours_by_age,
                by_size = done.hours_by_size,
                "retention dropped hours of the store"
            );
        }
        outcome?;
        self.reserve.take();
        Ok(done)
    }

    fn attempt(&mut self, done: &mut Dropped) -> rusqlite::Result<()> {
        let outcome = self.drop_what_must(done);
        self.stale |= outcome.is_err();
        outcome
    }

    fn drop_what_must(&mut self, done: &mut Dropped) -> rusqlite::Result<()> {
        self.refresh()?;
        let now = self.now();
        let limit = self.oldest(now);
        let old: BTreeSet<i64> = self
            .catalogue
            .hours()
            .into_iter()
            .filter(|hour| start_of(hour + 1) <= limit)
            .collect();
        self.drop_hours(&old)?;
        done.hours_by_age += count(&old);
        let max_bytes = max_bytes(&self.config.folder, self.config.max_bytes);
        while self.used_bytes()? > max_bytes {
            let Some(oldest) = self.catalogue.hours().first().copied() else {
                // What is left are texts that nothing refers to any more.
                self.drop_texts(i64::MAX)?;
                self.dictionaries = Dictionaries::default();
                break;
            };
            self.drop_hours(&BTreeSet::from([oldest]))?;
            done.hours_by_size += 1;
        }
        if self.shrink(max_bytes)? {
            // Only then the file itself is smaller.
            self.backfill()?;
        }
        Ok(())
    }

    /// Moves what it can from the log into the file, without waiting for readers.
    fn backfill(&self) -> rusqlite::Result<()> {
        let sql = "PRAGMA wal_checkpoint(PASSIVE)";
        self.database.query_row(sql, [], |_| Ok(()))
    }

    fn drop_hours(&mut self, hours: &BTreeSet<i64>) -> rusqlite::Result<()> {
        if hours.is_empty() {
            return Ok(());
        }
        let transaction = self.database.unchecked_transaction()?;
        for hour in hours {
            self.catalogue.drop_hour(&transaction, *hour)?;
        }
        // With no hour left, everything of the past goes.
        let oldest = self.catalogue.hours().first().copied();
        let oldest = oldest.unwrap_or_else(|| hour_of(self.now()));
        self.drop_texts(oldest)?;
        views::rebuild(&transaction, &mut self.catalogue)?;
        transaction.commit()?;
        self.dictionaries = Dictionaries::default();
        self.summing = None;
        Ok(())
    }

    /// Drops the entries of the dictionaries that no hour from `oldest` on uses.
    fn drop_texts(&self, oldest: i64) -> rusqlite::Result<()> {
        let mut dictionaries: Vec<String> =
            ["operations", "checkpoints", "paths", "steps", "resources"]
                .map(|of| format!("dictionary_{of}"))
                .into();
        dictionaries.extend(
            self.catalogue
                .measurements
                .keys()
                .map(|of| format!("series_{of}")),
        );
        for table in dictionaries {
            let text = format!("DELETE FROM \"{table}\" WHERE last_hour < ?1");
            self.database.execute(&text, [oldest])?;
        }
        Ok(())
    }

    /// Bytes of the pages that hold something.
    fn used_bytes(&self) -> rusqlite::Result<u64> {
        let [pages, free, size] = self.pages()?;
        Ok(pages
            .saturating_sub(free)
            .saturating_mul(size)
            .unsigned_abs())
    }

    /// Pages of the file, pages of these that are free, bytes of a page.
    fn pages(&self) -> rusqlite::Result<[i64; 3]> {
        let number = |name: &str| {
            self.database
                .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
        };
        Ok([
            number("page_count")?,
            number("freelist_count")?,
            number("page_size")?,
        ])
    }

    /// Gives free pages back to the disk while the file itself is larger than it may be; else
    /// they are kept for the next hour. Whether it gave any.
    fn shrink(&self, max_bytes: u64) -> rusqlite::Result<bool> {
        let (begun, mut gave) = (Instant::now(), false);
        loop {
            let [pages, free, size] = self.pages()?;
            let bytes = pages.saturating_mul(size).unsigned_abs();
            if free == 0 || bytes <= max_bytes || begun.elapsed() > VACUUM {
                return Ok(gave);
            }
            let mut statement = self
                .database
                .prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
            gave = true;
        }
    }
}

/// Says so where data is not kept for as long as is set.
pub(super) fn tell_cut(retention: Duration) {
    if retention > LONGEST {
        tracing::warn!(
            hours = MAX_HOURS,
            "store.retention is cut to what views can show"
        );
    }
}

fn count(hours: &BTreeSet<i64>) -> u64 {
    u64::try_from(hours.len()).unwrap_or(u64::MAX)
}

//! `stats`: how much the store holds. Ids count up within a table of an hour, so that the highest
//! is the number of rows.

use std::ffi::OsString;

use super::Snapshot;
use super::rows::StoreStats;
use crate::store::schema::{Kind, start_of};
use crate::store::{Reader, StoreError};

impl Reader {
    /// How much the store holds.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn stats(&self) -> Result<StoreStats, StoreError> {
        let snapshot = self.snapshot()?;
        let catalogue = &snapshot.catalogue;
        let pragma = |name: &str| {
            snapshot
                .database
                .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
        };
        let used = pragma("page_count")? - pragma("freelist_count")?;
        let mut log = OsString::from(self.file());
        log.push("-wal");
        let bytes = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |found| found.len());
        let hours = catalogue.hours();
        let (mut spans, mut flow_windows, mut points) = (0, 0, 0);
        for hour in catalogue.spans.keys() {
            spans += rows(&snapshot, &Kind::Spans.table(*hour))?;
        }
        for hour in &catalogue.flow {
            flow_windows += rows(&snapshot, &Kind::Flow.table(*hour))?;
        }
        for (name, measurement) in &catalogue.measurements {
            for hour in &measurement.hours {
                points += rows(&snapshot, &Kind::Points(name).table(*hour))?;
            }
        }
        Ok(StoreStats {
            file: self.file().display().to_string(),
            spans,
            flow_windows,
            points,
            paths: snapshot
                .database
                .query_row("SELECT count(*) FROM dictionary_paths", [], |row| {
                    row.get::<_, i64>(0)
                })?
                .unsigned_abs(),
            hours: u64::try_from(hours.len()).unwrap_or(u64::MAX),
            used_bytes: (used * pragma("page_size")?).unsigned_abs(),
            file_bytes: bytes(self.file()) + bytes(std::path::Path::new(&log)),
            oldest_unix_nano: hours.first().map(|hour| start_of(*hour)),
            newest_unix_nano: hours.last().map(|hour| start_of(*hour)),
        })
    }
}

fn rows(snapshot: &Snapshot, table: &str) -> rusqlite::Result<u64> {
    let text = format!("SELECT ifnull(max(id), 0) FROM \"{table}\"");
    let highest: i64 = snapshot.database.query_row(&text, [], |row| row.get(0))?;
    Ok(highest.unsigned_abs())
}

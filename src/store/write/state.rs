//! What the flow goes on from after a restart, in the same transaction as the windows.

use super::Session;
use crate::model::StoreBatch;

/// Name of the row that says until when windows are in InfluxDB.
pub(in crate::store) const CLOSED_UNTIL: &str = "closed_until";

impl Session<'_> {
    pub(super) fn flow_state(&mut self, batches: &[StoreBatch]) -> rusqlite::Result<()> {
        for batch in batches {
            self.series_states(batch)?;
            if let Some(until) = batch.closed_until {
                self.database
                    .prepare_cached(
                        "INSERT INTO flow_meta (name, value) VALUES (?1, ?2) \
                         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    )?
                    .execute((CLOSED_UNTIL, until))?;
            }
        }
        Ok(())
    }

    fn series_states(&mut self, batch: &StoreBatch) -> rusqlite::Result<()> {
        let mut write = self.database.prepare_cached(
            "INSERT INTO flow_series (series, instance, start, end, seen, value) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (series) DO UPDATE SET \
             instance = excluded.instance, start = excluded.start, end = excluded.end, \
             seen = excluded.seen, value = excluded.value",
        )?;
        for state in &batch.series {
            write.execute((
                state.key,
                state.instance.cast_signed(),
                state.start_unix_nano,
                state.end_unix_nano,
                state.seen_unix_nano,
                state.value.as_deref(),
            ))?;
        }
        let mut forget = self
            .database
            .prepare_cached("DELETE FROM flow_series WHERE series = ?1")?;
        for key in &batch.forgotten {
            forget.execute([key])?;
        }
        Ok(())
    }
}

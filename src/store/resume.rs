//! What a flow goes on from: steps of paths, the newest points of series, open windows.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Row;

use super::Store;
use super::catalogue::Catalogue;
use super::error::StoreError;
use super::schema::{Kind, hour_of};
use super::write::CLOSED_UNTIL;
use crate::model::{
    Checkpoint, Direction, EdgeKind, FlowWindow, Histogram, Resume, SeriesState, StepRow,
};

/// Steps that are read at most, the newest.
const MAX_STEPS: i64 = 10_000;
/// Rows of windows that are read at most, the newest.
const MAX_ROWS: usize = 200_000;
/// Windows that ended longer ago are not handed to InfluxDB any more.
const MAX_AGE: i64 = 3_600_000_000_000;

impl Store {
    /// What a flow with windows of that width goes on from. Windows are read only if they go to
    /// InfluxDB: the store's own rows add up.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn resume(&mut self, width: Duration, with_windows: bool) -> Result<Resume, StoreError> {
        let series = self.series()?;
        let windows = match with_windows {
            true => self.open_windows(width)?,
            false => Vec::new(),
        };
        Ok(Resume {
            steps: self.steps()?,
            stored_unix_nano: series.iter().map(|of| of.seen_unix_nano).max().unwrap_or(0),
            series,
            windows,
        })
    }

    fn steps(&self) -> rusqlite::Result<Vec<StepRow>> {
        let mut statement = self.database.prepare(
            "SELECT hash, parent, service, direction, destination, via, dead_letter \
             FROM (SELECT *, rowid AS row FROM dictionary_steps ORDER BY last_hour DESC, rowid DESC \
             LIMIT ?1) ORDER BY last_hour, row",
        )?;
        let rows = statement.query_map([MAX_STEPS], |row| {
            let parent: i64 = row.get(1)?;
            let via: Arc<str> = row.get(5)?;
            Ok(StepRow {
                hash: row.get::<_, i64>(0)?.cast_unsigned(),
                parent: (parent != 0).then_some(parent.cast_unsigned()),
                service: row.get(2)?,
                direction: direction(row, 3)?,
                destination: row.get(4)?,
                via: (!via.is_empty()).then_some(via),
                dead_letter: row.get(6)?,
            })
        })?;
        rows.collect()
    }

    fn series(&self) -> rusqlite::Result<Vec<SeriesState>> {
        let mut statement = self
            .database
            .prepare("SELECT series, instance, start, end, seen, value FROM flow_series")?;
        let rows = statement.query_map([], |row| {
            Ok(SeriesState {
                key: row.get(0)?,
                instance: row.get::<_, i64>(1)?.cast_unsigned(),
                start_unix_nano: row.get(2)?,
                end_unix_nano: row.get(3)?,
                seen_unix_nano: row.get(4)?,
                value: row.get::<_, Option<Vec<u8>>>(5)?.map(Into::into),
            })
        })?;
        rows.collect()
    }

    /// Parts of the windows that InfluxDB does not have, or not whole.
    fn open_windows(&mut self, width: Duration) -> rusqlite::Result<Vec<FlowWindow>> {
        let now = self.now();
        // The first start notes when it was: windows are handed over from then on.
        self.database.execute(
            "INSERT INTO flow_meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
            (CLOSED_UNTIL, now),
        )?;
        let until: i64 = self.database.query_row(
            "SELECT value FROM flow_meta WHERE name = ?1",
            [CLOSED_UNTIL],
            |row| row.get(0),
        )?;
        let since = until.max(now.saturating_sub(MAX_AGE));
        let nanos = i64::try_from(width.as_nanos()).unwrap_or(i64::MAX);
        let catalogue = Catalogue::read(&self.database)?;
        let oldest = hour_of(since.saturating_sub(nanos));
        let mut windows = Vec::new();
        for hour in catalogue.flow.range(oldest..).rev() {
            let mut statement = self.database.prepare(&format!(
                "SELECT f.time, f.count, f.errors, f.redelivered, f.skewed, f.max_attempt, f.edge, \
                 f.total, f.process, f.sampled, p.hash, c.service, c.direction, c.destination, \
                 c.kind FROM {} f JOIN dictionary_checkpoints c ON c.id = f.checkpoint \
                 JOIN dictionary_paths p ON p.id = c.path \
                 WHERE f.time + f.width > ?1 AND f.width = ?2 ORDER BY f.id DESC LIMIT ?3",
                Kind::Flow.table(*hour)
            ))?;
            let left = i64::try_from(MAX_ROWS.saturating_sub(windows.len())).unwrap_or(0);
            let rows = statement.query_map([since, nanos, left], window)?;
            for row in rows {
                windows.push(FlowWindow { width, ..row? });
            }
        }
        Ok(windows)
    }
}

fn window(row: &Row<'_>) -> rusqlite::Result<FlowWindow> {
    let kind: String = row.get(14)?;
    let checkpoint = Checkpoint {
        hash: row.get::<_, i64>(10)?.cast_unsigned(),
        kind: EdgeKind::named(&kind).unwrap_or_default(),
        service: row.get(11)?,
        direction: direction(row, 12)?,
        destination: row.get(13)?,
        sampled: row.get(9)?,
    };
    let count = |place| row.get::<_, i64>(place).map(i64::unsigned_abs);
    let histogram = |place| -> rusqlite::Result<Histogram> {
        let bytes = row.get_ref(place)?.as_blob()?;
        Ok(Histogram::decode(bytes).unwrap_or_default())
    };
    Ok(FlowWindow {
        count: count(1)?,
        errors: count(2)?,
        redelivered: count(3)?,
        skewed: count(4)?,
        max_attempt: count(5)?,
        edge: histogram(6)?,
        total: histogram(7)?,
        process: histogram(8)?,
        ..FlowWindow::new(checkpoint, row.get(0)?, Duration::ZERO)
    })
}

fn direction(row: &Row<'_>, place: usize) -> rusqlite::Result<Direction> {
    Ok(match row.get_ref(place)?.as_str()? {
        "out" => Direction::Out,
        _ => Direction::In,
    })
}

//! Texts and steps of paths, and path statistics into the tables of their hours.

use std::sync::Arc;

use rusqlite::{CachedStatement, ToSql};

use super::dictionary::{Checkpoint, Path};
use super::spans::UNKNOWN_PATH;
use super::{Session, Written};
use crate::model::{Direction, FlowWindow, Histogram, OTHER, PathText, StepRow, StoreBatch};
use crate::store::schema::Kind;

/// Hash of the paths that a library or the flow has no room for.
const OTHER_PATHS: u64 = u64::MAX;

/// The columns of a row of path statistics, without its id.
pub(in crate::store) const COLUMNS: &str = "time, width, checkpoint, count, errors, redelivered, \
     skewed, max_attempt, edge_p50, edge_p95, edge_p99, edge_max, edge_sum, duration_p50, \
     duration_p95, duration_p99, duration_max, duration_sum, process_p50, process_p95, \
     process_p99, process_max, process_sum, edge, total, process, slowest_trace, slowest_ms, \
     sampled";

/// The statement that writes a row with all [`COLUMNS`] into `table`.
pub(in crate::store) fn insert(table: &str) -> String {
    let marks = vec!["?"; COLUMNS.split(',').count()].join(", ");
    format!("INSERT INTO {table} ({COLUMNS}) VALUES ({marks})")
}

impl Session<'_> {
    pub(super) fn path_texts(&mut self, paths: &[PathText]) -> rusqlite::Result<()> {
        if paths.is_empty() {
            return Ok(());
        }
        // A step that was forgotten and came back does not know its parents at first: the text
        // that did is kept.
        let mut statement = self.database.prepare_cached(
            "INSERT INTO dictionary_paths (hash, text, ends_in_delivery, last_hour) \
             VALUES (?1, ?2, ?3, ?4) ON CONFLICT (hash) DO UPDATE SET \
             text = CASE WHEN excluded.text LIKE '?%' AND text NOT LIKE '?%' THEN text \
             ELSE excluded.text END, \
             ends_in_delivery = excluded.ends_in_delivery, \
             last_hour = max(last_hour, excluded.last_hour)",
        )?;
        for path in paths {
            statement.execute((
                path.hash.cast_signed(),
                &path.text,
                path.ends_in_delivery,
                self.hours.now,
            ))?;
        }
        Ok(())
    }

    pub(super) fn steps(&mut self, steps: &[StepRow]) -> rusqlite::Result<()> {
        if steps.is_empty() {
            return Ok(());
        }
        let mut statement = self.database.prepare_cached(
            "INSERT INTO dictionary_steps (hash, parent, service, direction, destination, via, \
             last_hour, dead_letter) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
             ON CONFLICT (hash, parent) DO UPDATE SET \
             last_hour = max(last_hour, excluded.last_hour), \
             dead_letter = max(dead_letter, excluded.dead_letter)",
        )?;
        for step in steps {
            statement.execute((
                step.hash.cast_signed(),
                step.parent.unwrap_or(0).cast_signed(),
                &step.service,
                step.direction.as_str(),
                &step.destination,
                step.via.as_deref().unwrap_or_default(),
                self.hours.now,
                step.dead_letter,
            ))?;
        }
        Ok(())
    }

    pub(super) fn windows(
        &mut self,
        batches: &[StoreBatch],
        written: &mut Written,
    ) -> rusqlite::Result<()> {
        for window in batches.iter().flat_map(|batch| &batch.windows) {
            self.window(window)?;
            written.windows += 1;
        }
        Ok(())
    }

    fn window(&mut self, window: &FlowWindow) -> rusqlite::Result<()> {
        let hour = self.hours.of(window.start_unix_nano);
        self.catalogue.open_flow(self.database, hour)?;
        let path = Path {
            hash: window.hash,
            text: match window.hash {
                OTHER_PATHS => OTHER,
                _ => UNKNOWN_PATH,
            },
            ends_in_delivery: window.direction == Direction::In,
        };
        let checkpoint = Checkpoint {
            path: self.dictionaries.path(self.database, hour, path)?,
            service: Arc::clone(&window.service),
            destination: Arc::clone(&window.destination),
            direction: window.direction.as_str(),
            kind: window.kind.as_str(),
        };
        let checkpoint = self
            .dictionaries
            .checkpoint(self.database, hour, checkpoint)?;
        self.keep_steps(window.hash, hour)?;
        let text = insert(&Kind::Flow.table(hour));
        let mut statement = self.database.prepare_cached(&text)?;
        write_row(&mut statement, checkpoint, window)
    }

    /// Says that the steps which lead to `hash` are in use in that hour.
    fn keep_steps(&mut self, hash: u64, hour: i64) -> rusqlite::Result<()> {
        if self.dictionaries.steps.find(&hash, hour).is_some() {
            return Ok(());
        }
        let mut statement = self.database.prepare_cached(
            "WITH RECURSIVE above (hash) AS (VALUES (?1) UNION \
             SELECT s.parent FROM dictionary_steps s JOIN above a ON s.hash = a.hash) \
             UPDATE dictionary_steps SET last_hour = ?2 \
             WHERE last_hour < ?2 AND hash IN (SELECT hash FROM above)",
        )?;
        statement.execute((hash.cast_signed(), hour))?;
        self.dictionaries.steps.keep(&hash, 0, hour);
        Ok(())
    }
}

/// Writes a row by a statement of [`insert`].
pub(in crate::store) fn write_row(
    statement: &mut CachedStatement<'_>,
    checkpoint: i64,
    window: &FlowWindow,
) -> rusqlite::Result<()> {
    let width = i64::try_from(window.width.as_nanos()).unwrap_or(i64::MAX);
    let fixed = [
        window.start_unix_nano,
        width,
        checkpoint,
        count(window.count),
        count(window.errors),
        count(window.redelivered),
        count(window.skewed),
        count(window.max_attempt),
    ];
    let mut place = 0;
    let mut bind = |value: &dyn ToSql| {
        place += 1;
        statement.raw_bind_parameter(place, value)
    };
    for value in fixed {
        bind(&value)?;
    }
    let histograms = [&window.edge, &window.total, &window.process];
    for value in histograms.into_iter().flat_map(summary) {
        bind(&value)?;
    }
    for histogram in histograms {
        bind(&histogram.encode())?;
    }
    let slowest = window.slowest;
    bind(&slowest.as_ref().map(|slowest| slowest.trace_id.as_bytes()))?;
    bind(&slowest.map(|slowest| slowest.duration.as_secs_f64() * 1e3))?;
    bind(&window.sampled)?;
    statement.raw_execute()?;
    Ok(())
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// p50, p95, p99, greatest and sum in milliseconds; none of them when empty.
fn summary(histogram: &Histogram) -> [Option<f64>; 5] {
    if histogram.count() == 0 {
        return [None; 5];
    }
    let ms = |seconds: f64| seconds * 1e3;
    [
        histogram.quantile(0.5).map(ms),
        histogram.quantile(0.95).map(ms),
        histogram.quantile(0.99).map(ms),
        Some(ms(histogram.max())),
        Some(ms(histogram.sum())),
    ]
}

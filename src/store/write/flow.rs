//! Texts of paths, and path statistics into the tables of their hours.

use std::sync::Arc;

use super::dictionary::{Checkpoint, Path};
use super::spans::UNKNOWN_PATH;
use super::{Session, Written};
use crate::model::{Direction, FlowWindow, Histogram, PathText, StoreBatch};
use crate::store::schema::Kind;

impl Session<'_> {
    pub(super) fn path_texts(&mut self, paths: &[PathText]) -> rusqlite::Result<()> {
        if paths.is_empty() {
            return Ok(());
        }
        let mut statement = self.database.prepare_cached(
            "INSERT INTO dictionary_paths (hash, text, ends_in_delivery, last_hour) \
             VALUES (?1, ?2, ?3, ?4) ON CONFLICT (hash) DO UPDATE SET text = excluded.text, \
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
            text: UNKNOWN_PATH,
            ends_in_delivery: window.direction == Direction::In,
        };
        let checkpoint = Checkpoint {
            path: self.dictionaries.path(self.database, hour, path)?,
            service: Arc::clone(&window.service),
            destination: Arc::clone(&window.destination),
            direction: window.direction.as_str(),
        };
        let checkpoint = self
            .dictionaries
            .checkpoint(self.database, hour, checkpoint)?;
        let mut statement = self.database.prepare_cached(&format!(
            "INSERT INTO {} (time, width, checkpoint, count, errors, redelivered, edge_p50, \
             edge_p95, edge_p99, edge_max, edge_sum, duration_p50, duration_p95, duration_p99, \
             duration_max, duration_sum, edge, total) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            Kind::Flow.table(hour)
        ))?;
        let width = i64::try_from(window.width.as_nanos()).unwrap_or(i64::MAX);
        let fixed = [
            window.start_unix_nano,
            width,
            checkpoint,
            count(window.count),
            count(window.errors),
            count(window.redelivered),
        ];
        let mut place = 0;
        for value in fixed {
            place += 1;
            statement.raw_bind_parameter(place, value)?;
        }
        for value in summary(&window.edge)
            .into_iter()
            .chain(summary(&window.total))
        {
            place += 1;
            statement.raw_bind_parameter(place, value)?;
        }
        statement.raw_bind_parameter(place + 1, window.edge.encode())?;
        statement.raw_bind_parameter(place + 2, window.total.encode())?;
        statement.raw_execute()?;
        Ok(())
    }
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

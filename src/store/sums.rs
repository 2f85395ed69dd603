//! Path statistics of closed hours, summed for 5 minutes: who asks for a long time reads these.
//!
//! Input: the rows of a closed hour, ten seconds each. Output: its table of sums, one row for each
//! checkpoint and 5 minutes; rows that came out of their turn make further ones, which add up.
//! A row that comes after that takes the sums away, and they are made anew. They are made in steps;
//! until the last one, which a row of `flow_meta` tells, they are as if they were not there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Row};

use super::Store;
use super::housekeeping::Done;
use super::schema::{self, Kind};
use super::write::{insert_flow, write_flow_row};
use crate::model::{Checkpoint, Direction, EdgeKind, FlowWindow, Slowest, TraceId};

/// Width of a sum.
const WIDTH: Duration = Duration::from_secs(300);
const WIDTH_NANOS: i64 = 300_000_000_000;

/// Rows that are read in one step.
const ROWS: u32 = 20_000;

/// Sums by start, then by checkpoint and whether it is sampled.
type Sums = BTreeMap<i64, HashMap<(i64, bool), FlowWindow>>;

/// An hour that is being summed.
#[derive(Default)]
pub(super) struct Summing {
    hour: i64,
    /// The last row that was read.
    read: i64,
    /// What is not written yet.
    sums: Sums,
}

impl Store {
    /// Sums a part of an hour before `open` that has no sums.
    pub(super) fn sum(&mut self, open: i64) -> rusqlite::Result<Done> {
        let closed = self.catalogue.flow.range(..open);
        let mut hours = closed.filter(|hour| !self.catalogue.flow_sums.contains(*hour));
        let Some(hour) = hours.next().copied() else {
            return Ok(Done::Nothing);
        };
        let begun = self.summing.take().filter(|begun| begun.hour == hour);
        let transaction = self.database.unchecked_transaction()?;
        let mut summing = match begun {
            Some(begun) => begun,
            None => begin(&transaction, hour)?,
        };
        let is_whole = sum_rows(&transaction, &mut summing)?;
        if is_whole {
            transaction.execute(
                "DELETE FROM flow_meta WHERE name = ?1",
                [schema::summing(hour)],
            )?;
        }
        transaction.commit()?;
        if is_whole {
            self.catalogue.flow_parts.remove(&hour);
            self.catalogue.flow_sums.insert(hour);
            return Ok(Done::HourSummed);
        }
        self.catalogue.flow_parts.insert(hour);
        self.summing = Some(summing);
        Ok(Done::Part)
    }
}

/// Makes the empty table of an hour's sums, in the place of one that was left in the middle.
fn begin(database: &Connection, hour: i64) -> rusqlite::Result<Summing> {
    let table = Kind::FlowSums.table(hour);
    database.execute_batch(&format!("DROP TABLE IF EXISTS \"{table}\""))?;
    Kind::FlowSums.create(database, hour, &[])?;
    database.execute(
        "INSERT OR REPLACE INTO flow_meta (name, value) VALUES (?1, 0)",
        [schema::summing(hour)],
    )?;
    Ok(Summing {
        hour,
        ..Summing::default()
    })
}

/// Sums the next rows; whether those were the last.
fn sum_rows(database: &Connection, summing: &mut Summing) -> rusqlite::Result<bool> {
    let Summing { hour, read, sums } = summing;
    let mut rows = database.prepare(&format!(
        "SELECT time, checkpoint, sampled, count, errors, redelivered, skewed, max_attempt, edge, \
         total, process, slowest_trace, slowest_ms, id FROM {} WHERE id > ?1 ORDER BY id LIMIT {ROWS}",
        Kind::Flow.table(*hour)
    ))?;
    let mut rows = rows.query([*read])?;
    let mut number = 0;
    while let Some(row) = rows.next()? {
        number += 1;
        *read = row.get(13)?;
        let time: i64 = row.get(0)?;
        let start = time - time.rem_euclid(WIDTH_NANOS);
        let key = (row.get(1)?, row.get(2)?);
        let of_start = sums.entry(start).or_default();
        let sum = of_start
            .entry(key)
            .or_insert_with(|| FlowWindow::new(nameless(key.1), start, WIDTH));
        add(sum, row)?;
        // Rows come nearly in the order of their time.
        while sums.len() > 2 {
            write_first(database, *hour, sums)?;
        }
    }
    let is_last = number < ROWS;
    while is_last && !sums.is_empty() {
        write_first(database, *hour, sums)?;
    }
    Ok(is_last)
}

fn write_first(database: &Connection, hour: i64, sums: &mut Sums) -> rusqlite::Result<()> {
    let Some((_, first)) = sums.pop_first() else {
        return Ok(());
    };
    let text = insert_flow(&Kind::FlowSums.table(hour));
    let mut statement = database.prepare_cached(&text)?;
    for ((checkpoint, _), sum) in first {
        write_flow_row(&mut statement, checkpoint, &sum)?;
    }
    Ok(())
}

/// The rows know their checkpoint by its key alone.
fn nameless(sampled: bool) -> Checkpoint {
    Checkpoint {
        hash: 0,
        kind: EdgeKind::Forward,
        service: Arc::default(),
        direction: Direction::In,
        destination: Arc::default(),
        sampled,
    }
}

fn add(sum: &mut FlowWindow, row: &Row<'_>) -> rusqlite::Result<()> {
    let count = |place| row.get::<_, i64>(place).map(i64::unsigned_abs);
    sum.count = sum.count.saturating_add(count(3)?);
    sum.errors = sum.errors.saturating_add(count(4)?);
    sum.redelivered = sum.redelivered.saturating_add(count(5)?);
    sum.skewed = sum.skewed.saturating_add(count(6)?);
    sum.max_attempt = sum.max_attempt.max(count(7)?);
    for (place, into) in [
        (8, &mut sum.edge),
        (9, &mut sum.total),
        (10, &mut sum.process),
    ] {
        into.merge_encoded(row.get_ref(place)?.as_blob()?);
    }
    let trace = row.get_ref(11)?.as_blob_or_null()?;
    let slowest = trace.and_then(TraceId::from_bytes);
    let duration: Option<f64> = row.get(12)?;
    let duration = duration.and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok());
    if let Some((trace_id, duration)) = slowest.zip(duration) {
        sum.offer(Slowest { trace_id, duration });
    }
    Ok(())
}

//! The questions that the API and the CLI ask, each with its answer as plain rows.
//!
//! `paths` merges roll-ups; the others scan the hours that can hold an answer, newest first.

mod functions;
mod operations;
mod paths;
mod queues;
mod recent;
mod rows;
mod sql;
mod stats;
mod trace;

pub use paths::{
    Compared, DiffAsked, ErrorType, HopChange, HopRow, PathChange, PathDetail, PathEnd, PathPart,
    PathRow, PathSide, PathSort, PathsAsked, PathsDiff, SlowHop, Times,
};
pub use rows::{ErrorRow, QueueRow, RecentTrace, SlowRow, StoreStats, Trace, TraceSpan};
pub use sql::{SqlLimits, SqlResult};

use rusqlite::Connection;

use super::catalogue::Catalogue;
use super::schema::hour_of;

/// The file as it was at one moment: tables that retention drops meanwhile stay readable.
struct Snapshot {
    database: Connection,
    catalogue: Catalogue,
}

impl super::Reader {
    fn snapshot(&self) -> Result<Snapshot, super::StoreError> {
        let database = self.connect()?;
        database.execute_batch("BEGIN")?;
        let catalogue = Catalogue::read(&database)?;
        Ok(Snapshot {
            database,
            catalogue,
        })
    }
}

/// Whether an hour can hold rows since then. Rows with a wrong time are in the hour in which they
/// came, so that the question is whether the hour ended before.
const fn may_hold(hour: i64, since_unix_nano: i64) -> bool {
    hour >= hour_of(since_unix_nano)
}

/// Nanoseconds as milliseconds.
#[expect(clippy::cast_precision_loss, reason = "shown to a person")]
fn ms(nanos: i64) -> f64 {
    nanos as f64 / 1e6
}

/// A share of two times, in seconds.
#[expect(clippy::cast_precision_loss, reason = "shown to a person")]
fn seconds(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}

/// Small letters and digits, two for a byte.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
        text
    })
}

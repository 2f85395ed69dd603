//! `slow` and `errors`: spans summed by operation.

use std::collections::HashMap;

use rusqlite::{Connection, Row};
use serde_json::Value;

use super::rows::{ErrorRow, SlowRow};
use super::{hex, may_hold, ms};
use crate::model::Histogram;
use crate::store::schema::Kind;
use crate::store::{Reader, StoreError};

/// Characters of a message by which failures are told apart.
const MAX_MESSAGE: usize = 200;
/// Kinds of failures that are told apart; further ones are left out.
const MAX_FAILURES: usize = 10_000;

#[derive(Default)]
struct Sum {
    durations: Histogram,
    errors: u64,
    longest: i64,
    slowest: [u8; 16],
}

/// What an operation is.
struct Named {
    service: String,
    name: String,
    kind: String,
    destination: Option<String>,
}

/// What tells one kind of failure from another.
#[derive(PartialEq, Eq, Hash)]
struct Failure {
    operation: i64,
    error_type: Option<String>,
    message: Option<String>,
}

#[derive(Default)]
struct Seen {
    count: u64,
    last: i64,
    trace: [u8; 16],
}

impl Reader {
    /// Operations since then, by their 95th percentile, the slowest first, `limit` at most.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn slow(&self, since_unix_nano: i64, limit: usize) -> Result<Vec<SlowRow>, StoreError> {
        let snapshot = self.snapshot()?;
        let mut sums: HashMap<i64, Sum> = HashMap::new();
        for hour in snapshot
            .catalogue
            .spans
            .keys()
            .filter(|hour| may_hold(**hour, since_unix_nano))
        {
            let mut statement = snapshot.database.prepare(&format!(
                "SELECT operation, duration, status, trace FROM {} WHERE start >= ?1",
                Kind::Spans.table(*hour)
            ))?;
            let mut rows = statement.query([since_unix_nano])?;
            while let Some(row) = rows.next()? {
                let sum = sums.entry(row.get(0)?).or_default();
                let duration: i64 = row.get(1)?;
                sum.durations.record(ms(duration));
                sum.errors += u64::from(row.get::<_, i64>(2)? == 2);
                if duration >= sum.longest {
                    sum.longest = duration;
                    sum.slowest = row.get(3)?;
                }
            }
        }
        let mut slow = Vec::with_capacity(sums.len());
        for (operation, sum) in sums {
            slow.push(slow_row(named(&snapshot.database, operation)?, &sum));
        }
        slow.sort_by(|a, b| b.p95_ms.total_cmp(&a.p95_ms));
        slow.truncate(limit);
        Ok(slow)
    }

    /// Failures since then, the most frequent first, `limit` at most.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn errors(&self, since_unix_nano: i64, limit: usize) -> Result<Vec<ErrorRow>, StoreError> {
        let snapshot = self.snapshot()?;
        let mut failures: HashMap<Failure, Seen> = HashMap::new();
        for hour in snapshot
            .catalogue
            .spans
            .keys()
            .filter(|hour| may_hold(**hour, since_unix_nano))
        {
            let mut statement = snapshot.database.prepare(&format!(
                "SELECT s.operation, s.start, s.trace, d.message, d.attributes, d.events \
                 FROM {} s LEFT JOIN {} d ON d.id = s.id WHERE s.status = 2 AND s.start >= ?1",
                Kind::Spans.table(*hour),
                Kind::Details.table(*hour)
            ))?;
            let mut rows = statement.query([since_unix_nano])?;
            while let Some(row) = rows.next()? {
                let failure = failure(row)?;
                if failures.len() >= MAX_FAILURES && !failures.contains_key(&failure) {
                    continue;
                }
                let seen = failures.entry(failure).or_default();
                seen.count += 1;
                let start: i64 = row.get(1)?;
                if start >= seen.last {
                    seen.last = start;
                    seen.trace = row.get(2)?;
                }
            }
        }
        let mut errors = Vec::with_capacity(failures.len());
        for (failure, seen) in failures {
            let named = named(&snapshot.database, failure.operation)?;
            errors.push(error_row(named, failure, &seen));
        }
        errors.sort_by(|a, b| {
            b.count
                .cmp(&a.count)
                .then(b.last_unix_nano.cmp(&a.last_unix_nano))
        });
        errors.truncate(limit);
        Ok(errors)
    }
}

fn named(database: &Connection, operation: i64) -> rusqlite::Result<Named> {
    let mut statement = database.prepare_cached(
        "SELECT service, name, kind, nullif(destination, '') FROM dictionary_operations \
         WHERE id = ?1",
    )?;
    statement.query_row([operation], |row| {
        Ok(Named {
            service: row.get(0)?,
            name: row.get(1)?,
            kind: row.get(2)?,
            destination: row.get(3)?,
        })
    })
}

fn slow_row(named: Named, sum: &Sum) -> SlowRow {
    #[expect(clippy::cast_precision_loss, reason = "shown to a person")]
    let count = sum.durations.count().max(1) as f64;
    SlowRow {
        service_name: named.service,
        span_name: named.name,
        kind: named.kind,
        destination: named.destination,
        count: sum.durations.count(),
        errors: sum.errors,
        avg_ms: sum.durations.sum() / count,
        p95_ms: sum.durations.quantile(0.95).unwrap_or_default(),
        max_ms: ms(sum.longest),
        slowest_trace_id: hex(&sum.slowest),
    }
}

fn error_row(named: Named, failure: Failure, seen: &Seen) -> ErrorRow {
    ErrorRow {
        service_name: named.service,
        span_name: named.name,
        destination: named.destination,
        error_type: failure.error_type,
        message: failure.message,
        count: seen.count,
        last_unix_nano: seen.last,
        example_trace_id: hex(&seen.trace),
    }
}

/// Type and message of a failure: the span's own, else those of its first exception (OpenTelemetry
/// semantic conventions, "Recording errors" and "Exceptions in logs and spans").
fn failure(row: &Row<'_>) -> rusqlite::Result<Failure> {
    let parse = |place: usize| -> rusqlite::Result<Value> {
        let text: Option<String> = row.get(place)?;
        Ok(text
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or(Value::Null))
    };
    let (attributes, events) = (parse(4)?, parse(5)?);
    let text = |value: &Value| {
        value
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let of_event = |name: &str| {
        let events = events.as_array()?;
        events
            .iter()
            .find_map(|event| text(event.get("attributes")?.get(name)?))
    };
    let error_type = attributes.get("error.type").and_then(text);
    let message: Option<String> = row.get(3)?;
    let message = message.or_else(|| of_event("exception.message"));
    Ok(Failure {
        operation: row.get(0)?,
        error_type: error_type.or_else(|| of_event("exception.type")),
        message: message.map(|message| message.chars().take(MAX_MESSAGE).collect()),
    })
}

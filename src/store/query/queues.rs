//! `queues`: the newest sample of each queue, read backwards from the newest point.

use std::collections::HashSet;

use rusqlite::Row;

use super::rows::QueueRow;
use super::{Snapshot, seconds};
use crate::store::schema::{Kind, series_table};
use crate::store::{Reader, StoreError};

const MEASUREMENT: &str = "rabbitmq_queue";
/// A queue without a sample for so long before the newest sample of all has been deleted.
const GONE_NANOS: i64 = 60 * 1_000_000_000;

/// The columns in the order in which [`row_of`] reads them.
const TAGS: [&str; 4] = ["cluster", "vhost", "queue", "type"];
const FIELDS: [&str; 10] = [
    "state",
    "node",
    "messages",
    "messages_ready",
    "messages_unack",
    "consumers",
    "messages_publish_rate",
    "messages_deliver_get_rate",
    "messages_ack_rate",
    "messages_redeliver_rate",
];

impl Reader {
    /// The queues of the newest polls, by vhost and name; empty if no broker was ever polled.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn queues(&self, now_unix_nano: i64) -> Result<Vec<QueueRow>, StoreError> {
        let snapshot = self.snapshot()?;
        let mut queues = Vec::new();
        let Some(measurement) = snapshot.catalogue.measurements.get(MEASUREMENT) else {
            return Ok(queues);
        };
        let mut seen = HashSet::new();
        let mut newest = None;
        for hour in measurement.hours.iter().rev() {
            let mut statement = snapshot.database.prepare(&select(&snapshot, *hour))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let time: i64 = row.get(1)?;
                let newest = *newest.get_or_insert(time);
                if time < newest.saturating_sub(GONE_NANOS) {
                    return Ok(sorted(queues));
                }
                if seen.insert(row.get::<_, i64>(0)?) {
                    queues.push(row_of(row, seconds(now_unix_nano.saturating_sub(time)))?);
                }
            }
        }
        Ok(sorted(queues))
    }
}

fn sorted(mut queues: Vec<QueueRow>) -> Vec<QueueRow> {
    queues.sort_by(|a, b| (&a.vhost, &a.queue, &a.cluster).cmp(&(&b.vhost, &b.queue, &b.cluster)));
    queues
}

fn select(snapshot: &Snapshot, hour: i64) -> String {
    let known = snapshot.catalogue.measurements.get(MEASUREMENT);
    let column = |table: &str, prefix: &str, name: &str, has: bool| match has {
        true => format!(", {table}.\"{prefix}_{name}\""),
        false => ", NULL".to_owned(),
    };
    let mut columns = String::from("p.series, p.time");
    for name in TAGS {
        let has = known.is_some_and(|of| of.tags.iter().any(|tag| tag == name));
        columns.push_str(&column("s", "tag", name, has));
    }
    for name in FIELDS {
        let has = known.is_some_and(|of| of.fields.iter().any(|field| field == name));
        columns.push_str(&column("p", "field", name, has));
    }
    format!(
        "SELECT {columns} FROM \"{}\" p LEFT JOIN \"{}\" s ON s.id = p.series ORDER BY p.id DESC",
        Kind::Points(MEASUREMENT).table(hour),
        series_table(MEASUREMENT)
    )
}

fn row_of(row: &Row<'_>, age_seconds: f64) -> rusqlite::Result<QueueRow> {
    Ok(QueueRow {
        cluster: row.get(2)?,
        vhost: row.get::<_, Option<String>>(3)?.unwrap_or_default(),
        queue: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
        queue_type: row.get(5)?,
        state: row.get(6)?,
        node: row.get(7)?,
        messages: row.get(8)?,
        messages_ready: row.get(9)?,
        messages_unack: row.get(10)?,
        consumers: row.get(11)?,
        publish_rate_per_second: row.get(12)?,
        deliver_rate_per_second: row.get(13)?,
        ack_rate_per_second: row.get(14)?,
        redeliver_rate_per_second: row.get(15)?,
        age_seconds,
    })
}

//! `paths`: roll-ups of each path's last checkpoint, merged.

use std::collections::HashMap;

use rusqlite::{Connection, Row};

use super::rows::PathRow;
use super::{may_hold, seconds};
use crate::model::Histogram;
use crate::store::schema::Kind;
use crate::store::{Reader, StoreError};

#[derive(Default)]
struct Merged {
    count: u64,
    errors: u64,
    redelivered: u64,
    edge: Histogram,
    total: Histogram,
    last_seen: i64,
}

impl Reader {
    /// The paths that ended in a delivery since then, the busiest first, `limit` at most.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn paths(
        &self,
        since_unix_nano: i64,
        now_unix_nano: i64,
        limit: usize,
    ) -> Result<Vec<PathRow>, StoreError> {
        let snapshot = self.snapshot()?;
        let mut merged: HashMap<i64, Merged> = HashMap::new();
        let mut first = i64::MAX;
        for hour in snapshot
            .catalogue
            .flow
            .iter()
            .filter(|hour| may_hold(**hour, since_unix_nano))
        {
            let mut statement = snapshot.database.prepare(&format!(
                "SELECT c.path, f.time, f.width, f.count, f.errors, f.redelivered, f.edge, f.total \
                 FROM {} f JOIN dictionary_checkpoints c ON c.id = f.checkpoint \
                 JOIN dictionary_paths p ON p.id = c.path \
                 WHERE f.time + f.width > ?1 AND c.direction = 'in' AND p.ends_in_delivery",
                Kind::Flow.table(*hour)
            ))?;
            let mut rows = statement.query([since_unix_nano])?;
            while let Some(row) = rows.next()? {
                first = first.min(row.get(1)?);
                add(merged.entry(row.get(0)?).or_default(), row)?;
            }
        }
        let span = seconds(now_unix_nano.saturating_sub(first.max(since_unix_nano)));
        let mut paths = Vec::with_capacity(merged.len());
        for (path, merged) in merged {
            paths.push(row_of(&snapshot.database, path, merged, span)?);
        }
        paths.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.path.cmp(&b.path)));
        paths.truncate(limit);
        Ok(paths)
    }
}

fn add(merged: &mut Merged, row: &Row<'_>) -> rusqlite::Result<()> {
    let (time, width): (i64, i64) = (row.get(1)?, row.get(2)?);
    merged.count += row.get::<_, i64>(3)?.unsigned_abs();
    merged.errors += row.get::<_, i64>(4)?.unsigned_abs();
    merged.redelivered += row.get::<_, i64>(5)?.unsigned_abs();
    merged.last_seen = merged.last_seen.max(time.saturating_add(width));
    for (place, into) in [(6, &mut merged.edge), (7, &mut merged.total)] {
        let bytes = row.get_ref(place)?.as_blob()?;
        if let Some(histogram) = Histogram::decode(bytes) {
            into.merge(&histogram);
        }
    }
    Ok(())
}

fn row_of(
    database: &Connection,
    path: i64,
    merged: Merged,
    span_seconds: f64,
) -> rusqlite::Result<PathRow> {
    let mut statement =
        database.prepare_cached("SELECT text, hash FROM dictionary_paths WHERE id = ?1")?;
    let (text, hash) = statement.query_row([path], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
    })?;
    let ms = |seconds: f64| seconds * 1e3;
    let quantile = |quantile| merged.total.quantile(quantile).map(ms);
    #[expect(clippy::cast_precision_loss, reason = "shown to a person")]
    let count = merged.count as f64;
    Ok(PathRow {
        path: text,
        hash: format!("{:016x}", hash.cast_unsigned()),
        count: merged.count,
        // At least a second: the first message of a young agent is no storm.
        rate_per_second: count / span_seconds.max(1.0),
        errors: merged.errors,
        redelivered: merged.redelivered,
        p50_ms: quantile(0.5),
        p95_ms: quantile(0.95),
        p99_ms: quantile(0.99),
        max_ms: (merged.total.count() > 0).then(|| ms(merged.total.max())),
        last_hop_wait_p95_ms: merged.edge.quantile(0.95).map(ms),
        last_seen_unix_nano: merged.last_seen,
    })
}

//! `trace`: all spans of one trace, by its id or the beginning of it.

use std::collections::BTreeSet;

use rusqlite::Row;
use serde_json::Value;

use super::rows::{Trace, TraceSpan};
use super::{Snapshot, hex, ms};
use crate::model::{Hop, OTHER};
use crate::store::catalogue::SpanHour;
use crate::store::schema::Kind;
use crate::store::{Reader, StoreError};

/// Spans of one trace that are given at most.
const MAX_SPANS: usize = 10_000;
/// Traces that an ambiguous beginning is told to match.
const MAX_CANDIDATES: usize = 5;

impl Reader {
    /// The trace of that id, or the only one whose id begins with `text`, 4 digits at least; none
    /// if there is no such trace.
    ///
    /// # Errors
    /// [`StoreError::NoTraceId`], [`StoreError::AmbiguousTrace`], or if the file cannot be read.
    pub fn trace(&self, text: &str) -> Result<Option<Trace>, StoreError> {
        let text = text.trim().to_ascii_lowercase();
        let (low, high) =
            range(&text).ok_or_else(|| StoreError::NoTraceId(text.chars().take(64).collect()))?;
        let snapshot = self.snapshot()?;
        let id = if low == high {
            low
        } else {
            let found = candidates(&snapshot, &low, &high)?;
            let mut found = found.into_iter();
            match (found.next(), found.len()) {
                (None, _) => return Ok(None),
                (Some(only), 0) => only,
                (Some(first), _) => {
                    return Err(StoreError::AmbiguousTrace {
                        prefix: text,
                        candidates: [first]
                            .into_iter()
                            .chain(found)
                            .map(|id| hex(&id))
                            .collect(),
                    });
                }
            }
        };
        let mut spans = Vec::new();
        for (hour, of) in &snapshot.catalogue.spans {
            read(&snapshot, (*hour, *of), &id, &mut spans)?;
        }
        if spans.is_empty() {
            return Ok(None);
        }
        spans.sort_by(|a, b| {
            a.start_unix_nano
                .cmp(&b.start_unix_nano)
                .then(b.duration_ms.total_cmp(&a.duration_ms))
        });
        let truncated = spans.len() > MAX_SPANS;
        spans.truncate(MAX_SPANS);
        Ok(Some(Trace {
            trace_id: hex(&id),
            truncated,
            spans,
        }))
    }
}

/// The lowest and the highest id that begin with these digits.
fn range(text: &str) -> Option<([u8; 16], [u8; 16])> {
    let plain = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !plain || !(4..=32).contains(&text.len()) {
        return None;
    }
    let fill = |digit: &str| {
        let whole = format!("{text}{}", digit.repeat(32 - text.len()));
        u128::from_str_radix(&whole, 16).ok().map(u128::to_be_bytes)
    };
    Some((fill("0")?, fill("f")?))
}

/// Ids of traces in that range, a few at most.
fn candidates(
    snapshot: &Snapshot,
    low: &[u8; 16],
    high: &[u8; 16],
) -> rusqlite::Result<BTreeSet<[u8; 16]>> {
    let mut found = BTreeSet::new();
    for (hour, of) in &snapshot.catalogue.spans {
        let ids = matching(*hour, *of, "trace BETWEEN ?1 AND ?2");
        let mut statement = snapshot.database.prepare(&format!(
            "SELECT DISTINCT trace FROM ({ids}) LIMIT {MAX_CANDIDATES}"
        ))?;
        let mut rows = statement.query([low, high])?;
        while let Some(row) = rows.next()? {
            found.insert(row.get(0)?);
        }
        if found.len() >= MAX_CANDIDATES {
            break;
        }
    }
    Ok(found)
}

/// Trace and id of the spans of an hour that match: those of every run, and those behind the last.
fn matching(hour: i64, of: SpanHour, condition: &str) -> String {
    let spans = Kind::Spans.table(hour);
    if !of.has_traces {
        return format!("SELECT trace, id FROM {spans} WHERE {condition}");
    }
    let traces = Kind::Traces.table(hour);
    format!(
        "WITH RECURSIVE runs (run) AS (SELECT min(run) FROM {traces} UNION ALL \
         SELECT (SELECT min(run) FROM {traces} WHERE run > runs.run) FROM runs \
         WHERE run IS NOT NULL) \
         SELECT trace, id FROM runs CROSS JOIN {traces} USING (run) WHERE {condition} UNION ALL \
         SELECT trace, id FROM {spans} WHERE id > (SELECT ifnull(max(run), 0) FROM {traces}) \
         AND {condition}"
    )
}

fn read(
    snapshot: &Snapshot,
    (hour, of): (i64, SpanHour),
    id: &[u8; 16],
    spans: &mut Vec<TraceSpan>,
) -> rusqlite::Result<()> {
    let mut statement = snapshot.database.prepare(&format!(
        "SELECT lower(hex(s.span)), nullif(lower(hex(s.parent)), ''), o.service, o.name, o.kind, \
         CASE s.status WHEN 2 THEN 'error' WHEN 1 THEN 'ok' ELSE 'unset' END, d.message, s.start, \
         s.duration, s.queue, nullif(o.destination, ''), p.text, s.redelivered, d.attributes, \
         d.events, d.links, r.attributes \
         FROM {} s JOIN dictionary_operations o ON o.id = s.operation \
         LEFT JOIN dictionary_paths p ON p.id = s.path LEFT JOIN {} d ON d.id = s.id \
         LEFT JOIN dictionary_resources r ON r.id = s.resource \
         WHERE s.id IN (SELECT id FROM ({}) LIMIT {})",
        Kind::Spans.table(hour),
        Kind::Details.table(hour),
        matching(hour, of, "trace = ?1"),
        MAX_SPANS + 1
    ))?;
    for span in statement.query_map([id], span)? {
        spans.push(span?);
    }
    Ok(())
}

fn span(row: &Row<'_>) -> rusqlite::Result<TraceSpan> {
    let json = |place: usize, empty: fn() -> Value| -> rusqlite::Result<Value> {
        let text: Option<String> = row.get(place)?;
        let parsed = text.and_then(|text| serde_json::from_str(&text).ok());
        Ok(parsed.unwrap_or_else(empty))
    };
    let object = || Value::Object(serde_json::Map::new());
    let array = || Value::Array(Vec::new());
    let attributes = json(13, object)?;
    // What became `_other` because there were too many of them has its own name here.
    let [service, name, destination] = Hop::FOLDED;
    let own = |name: String, folded: &str| match attributes[folded].as_str() {
        Some(own) if name == OTHER => own.to_owned(),
        _ => name,
    };
    Ok(TraceSpan {
        span_id: row.get(0)?,
        parent_span_id: row.get(1)?,
        service_name: own(row.get(2)?, service),
        span_name: own(row.get(3)?, name),
        kind: row.get(4)?,
        status: row.get(5)?,
        status_message: row.get(6)?,
        start_unix_nano: row.get(7)?,
        duration_ms: ms(row.get(8)?),
        queue_ms: row.get::<_, Option<i64>>(9)?.map(ms),
        destination: row
            .get::<_, Option<_>>(10)?
            .map(|was| own(was, destination)),
        path: row.get(11)?,
        redelivered: row.get(12)?,
        attributes,
        events: json(14, array)?,
        links: json(15, array)?,
        resource: json(16, object)?,
    })
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn beginnings_become_ranges() {
        let (low, high) = range("0af7").unwrap();
        assert_eq!(
            (low[..3].to_vec(), high[..3].to_vec()),
            (vec![10, 247, 0], vec![10, 247, 255])
        );
        let (low, high) = range("0af7651916cd43dd8448eb211c80319c").unwrap();
        assert_eq!(low, high);
        for bad in ["", "0af", "0afg", "+af7", &"0".repeat(33), "größe"] {
            assert!(range(bad).is_none(), "{bad:?} was taken");
        }
    }
}

//! `recent_traces`: the newest traces in short, to choose one from.

use std::collections::{BTreeSet, HashMap};

use rusqlite::Row;

use super::rows::RecentTrace;
use super::{may_hold, ms};
use crate::store::schema::Kind;
use crate::store::{Reader, StoreError};

/// Spans that are looked at, the newest first; traces that reach further back are told in part.
const MAX_SPANS: usize = 200_000;

struct Short {
    root: String,
    root_name: String,
    has_root: bool,
    root_start: i64,
    start: i64,
    end: i64,
    spans: u64,
    errors: u64,
    services: BTreeSet<String>,
}

impl Reader {
    /// The newest traces since then, `limit` at most, of the newest 200,000 spans.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn recent_traces(
        &self,
        since_unix_nano: i64,
        limit: usize,
    ) -> Result<Vec<RecentTrace>, StoreError> {
        let snapshot = self.snapshot()?;
        let mut traces: HashMap<[u8; 16], Short> = HashMap::new();
        let mut looked_at = 0;
        for hour in snapshot.catalogue.spans.keys().rev() {
            if !may_hold(*hour, since_unix_nano) || looked_at >= MAX_SPANS {
                break;
            }
            let mut statement = snapshot.database.prepare(&format!(
                "SELECT s.trace, s.start, s.duration, s.status, s.parent IS NULL, o.service, o.name \
                 FROM {} s JOIN dictionary_operations o ON o.id = s.operation \
                 WHERE s.start >= ?1 ORDER BY s.id DESC LIMIT ?2",
                Kind::Spans.table(*hour)
            ))?;
            let left = i64::try_from(MAX_SPANS - looked_at).unwrap_or(i64::MAX);
            let mut rows = statement.query([since_unix_nano, left])?;
            while let Some(row) = rows.next()? {
                looked_at += 1;
                add(&mut traces, row)?;
            }
        }
        let mut recent: Vec<RecentTrace> = traces
            .into_iter()
            .map(|(id, short)| row_of(&id, short))
            .collect();
        recent.sort_by(|a, b| {
            b.start_unix_nano
                .cmp(&a.start_unix_nano)
                .then_with(|| a.trace_id.cmp(&b.trace_id))
        });
        recent.truncate(limit);
        Ok(recent)
    }
}

fn add(traces: &mut HashMap<[u8; 16], Short>, row: &Row<'_>) -> rusqlite::Result<()> {
    let (start, duration): (i64, i64) = (row.get(1)?, row.get(2)?);
    let is_root: bool = row.get(4)?;
    let service = row.get_ref(5)?.as_str()?;
    let short = traces.entry(row.get(0)?).or_insert_with(|| Short {
        root: String::new(),
        root_name: String::new(),
        has_root: false,
        root_start: i64::MAX,
        start: i64::MAX,
        end: i64::MIN,
        spans: 0,
        errors: 0,
        services: BTreeSet::new(),
    });
    short.spans += 1;
    short.errors += u64::from(row.get::<_, i64>(3)? == 2);
    short.start = short.start.min(start);
    short.end = short.end.max(start.saturating_add(duration));
    if !short.services.contains(service) {
        short.services.insert(service.to_owned());
    }
    // The root, or while it is not there the earliest span.
    let better = (is_root, start) != (false, i64::MAX)
        && (is_root && !short.has_root || is_root == short.has_root && start < short.root_start);
    if better {
        service.clone_into(&mut short.root);
        short.root_name = row.get(6)?;
        short.has_root = is_root;
        short.root_start = start;
    }
    Ok(())
}

fn row_of(id: &[u8; 16], short: Short) -> RecentTrace {
    RecentTrace {
        trace_id: super::hex(id),
        root_service_name: short.root,
        root_span_name: short.root_name,
        start_unix_nano: short.start,
        duration_ms: ms(short.end.saturating_sub(short.start)),
        spans: short.spans,
        services: u64::try_from(short.services.len()).unwrap_or(u64::MAX),
        errors: short.errors,
    }
}

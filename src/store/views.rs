//! The views that SQL users see: the data model's names and columns over the tables of the hours.

use rusqlite::Connection;

use super::catalogue::{Catalogue, Measurement};
use super::schema::{Kind, SHOWN_HOURS, series_table};

/// Text of the path dictionary; `hash` as 16 hexadecimal digits.
const PATHS: &str = "SELECT printf('%016x', hash) AS hash, text AS path, \
                     ends_in_delivery FROM dictionary_paths";

/// Makes the views anew that no longer show what there is.
pub(super) fn rebuild(database: &Connection, catalogue: &mut Catalogue) -> rusqlite::Result<()> {
    for view in std::mem::take(&mut catalogue.stale_views) {
        database.execute_batch(&format!("DROP VIEW IF EXISTS \"{view}\""))?;
        let select = match view.as_str() {
            "spans" => union(catalogue.spans.keys().copied(), Kind::Spans, spans),
            "message_flow" => union(catalogue.flow.iter().copied(), Kind::Flow, message_flow),
            "paths" => PATHS.to_owned(),
            other => match catalogue.measurements.get(other) {
                Some(of) => union(of.hours.iter().copied(), Kind::Points(other), |table, _| {
                    points(other, of, table)
                }),
                None => continue,
            },
        };
        database.execute_batch(&format!("CREATE VIEW \"{view}\" AS {select}"))?;
    }
    Ok(())
}

/// One SELECT for each of the newest hours.
fn union(
    hours: impl DoubleEndedIterator<Item = i64>,
    kind: Kind<'_>,
    select: impl Fn(&str, Option<i64>) -> String,
) -> String {
    let newest = hours
        .rev()
        .take(usize::try_from(SHOWN_HOURS).unwrap_or(usize::MAX));
    let mut arms: Vec<String> = newest
        .map(|hour| select(&kind.table(hour), Some(hour)))
        .collect();
    arms.reverse();
    if arms.is_empty() {
        arms.push(select(&kind.empty(), None));
    }
    arms.join("\nUNION ALL ")
}

// Left joins by primary key: SQLite leaves those out whose columns nobody asks for.
fn spans(table: &str, hour: Option<i64>) -> String {
    let details = hour.map_or_else(|| Kind::Details.empty(), |hour| Kind::Details.table(hour));
    format!(
        "SELECT s.start AS time, lower(hex(s.trace)) AS trace_id, lower(hex(s.span)) AS span_id, \
         nullif(lower(hex(s.parent)), '') AS parent_span_id, o.service AS service_name, \
         o.name AS span_name, o.kind AS kind, \
         CASE s.status WHEN 2 THEN 'error' WHEN 1 THEN 'ok' ELSE 'unset' END AS status, \
         d.message AS status_message, nullif(o.destination, '') AS destination, \
         s.start AS start_ns, s.duration / 1e6 AS duration_ms, s.queue / 1e6 AS queue_ms, \
         p.text AS path, s.redelivered AS redelivered, d.attributes AS attributes, \
         d.events AS events, d.links AS links, r.attributes AS resource \
         FROM \"{table}\" s LEFT JOIN dictionary_operations o ON o.id = s.operation \
         LEFT JOIN dictionary_paths p ON p.id = s.path \
         LEFT JOIN \"{details}\" d ON d.id = s.id \
         LEFT JOIN dictionary_resources r ON r.id = s.resource"
    )
}

fn message_flow(table: &str, _hour: Option<i64>) -> String {
    format!(
        "SELECT f.time AS time, p.text AS path, printf('%016x', p.hash) AS path_hash, \
         c.service AS service, c.destination AS destination, c.direction AS direction, \
         c.kind AS kind, f.count AS count, f.errors AS errors, f.redelivered AS redelivered, \
         f.skewed AS skewed, f.max_attempt AS max_attempt, \
         f.edge_p50 AS edge_p50, f.edge_p95 AS edge_p95, f.edge_p99 AS edge_p99, \
         f.edge_max AS edge_max, f.edge_sum AS edge_sum, \
         f.duration_p50 AS duration_p50, f.duration_p95 AS duration_p95, \
         f.duration_p99 AS duration_p99, f.duration_max AS duration_max, \
         f.duration_sum AS duration_sum, f.process_p50 AS process_p50, \
         f.process_p95 AS process_p95, f.process_p99 AS process_p99, \
         f.process_max AS process_max, f.process_sum AS process_sum, \
         nullif(lower(hex(f.slowest_trace)), '') AS slowest_trace_id, \
         f.slowest_ms AS slowest_ms, f.sampled AS sampled, f.width / 1e9 AS window_seconds, \
         f.total AS histogram \
         FROM \"{table}\" f LEFT JOIN dictionary_checkpoints c ON c.id = f.checkpoint \
         LEFT JOIN dictionary_paths p ON p.id = c.path"
    )
}

fn points(measurement: &str, of: &Measurement, table: &str) -> String {
    let mut columns = vec!["p.time AS time".to_owned()];
    for tag in &of.tags {
        columns.push(format!("s.\"tag_{tag}\" AS \"{}\"", shown(tag, &["time"])));
    }
    let taken: Vec<&str> = of.tags.iter().map(String::as_str).chain(["time"]).collect();
    for field in &of.fields {
        columns.push(format!(
            "p.\"field_{field}\" AS \"{}\"",
            shown(field, &taken)
        ));
    }
    format!(
        "SELECT {} FROM \"{table}\" p LEFT JOIN \"{}\" s ON s.id = p.series",
        columns.join(", "),
        series_table(measurement)
    )
}

/// The name of a column, another one where it is taken.
fn shown(name: &str, taken: &[&str]) -> String {
    if taken.contains(&name) {
        format!("{name}_value")
    } else {
        name.to_owned()
    }
}

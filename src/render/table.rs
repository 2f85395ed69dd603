//! Rows as tables.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets::NOTHING};

use super::{milliseconds, rate, safe};
use crate::store::{ErrorRow, QueueRow, RecentTrace, SlowRow, SqlResult};

/// A table of texts under a heading; columns that hold numbers alone are aligned to the right.
#[must_use]
pub fn table(heading: &[&str], rows: Vec<Vec<String>>) -> String {
    let numbers: Vec<bool> = (0..heading.len())
        .map(|column| is_of_numbers(rows.iter().filter_map(|row| row.get(column))))
        .collect();
    let aligned: Vec<(&str, bool)> = heading.iter().copied().zip(numbers).collect();
    aligned_table(&aligned, rows)
}

/// A table whose columns, with their headings, stand at the right where that is true.
pub(super) fn aligned_table(heading: &[(&str, bool)], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heading.iter().map(|(name, _)| *name));
    for row in rows {
        table.add_row(row.iter().zip(heading).map(|(cell, (_, right))| {
            Cell::new(safe(cell)).set_alignment(if *right {
                CellAlignment::Right
            } else {
                CellAlignment::Left
            })
        }));
    }
    table.trim_fmt()
}

/// Whether a column holds numbers alone, with or without a unit: those stand at the right.
fn is_of_numbers<'a>(mut cells: impl Iterator<Item = &'a String>) -> bool {
    cells.all(|cell| {
        let number = cell.trim_end_matches(char::is_alphabetic);
        cell == "-" || number.parse::<f64>().is_ok()
    })
}

pub(super) fn or_dash<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), text)
}

/// Queues, one row each.
#[must_use]
pub fn queues(rows: &[QueueRow]) -> String {
    if rows.is_empty() {
        return "no queues yet: the broker has none, or was not polled\n".to_owned();
    }
    let count = |value: Option<i64>| or_dash(value, |value| value.to_string());
    let cells = rows.iter().map(|row| {
        let name = if row.vhost == "/" {
            row.queue.clone()
        } else {
            format!("{} ({})", row.queue, row.vhost)
        };
        vec![
            name,
            row.queue_type.clone().unwrap_or_else(|| "-".to_owned()),
            count(row.messages),
            count(row.messages_ready),
            count(row.messages_unack),
            count(row.consumers),
            or_dash(row.publish_rate_per_second, rate),
            or_dash(row.deliver_rate_per_second, rate),
            or_dash(row.ack_rate_per_second, rate),
            or_dash(row.redeliver_rate_per_second, rate),
        ]
    });
    let heading = [
        "QUEUE",
        "TYPE",
        "MESSAGES",
        "READY",
        "UNACKED",
        "CONSUMERS",
        "IN/s",
        "OUT/s",
        "ACK/s",
        "REDELIVER/s",
    ];
    table(&heading, cells.collect())
}

/// Slow operations, one row each.
#[must_use]
pub fn slow(rows: &[SlowRow]) -> String {
    if rows.is_empty() {
        return "no spans in this time\n".to_owned();
    }
    let cells = rows.iter().map(|row| {
        vec![
            row.service_name.clone(),
            row.span_name.clone(),
            row.destination.clone().unwrap_or_else(|| "-".to_owned()),
            row.count.to_string(),
            milliseconds(row.avg_ms),
            milliseconds(row.p95_ms),
            milliseconds(row.max_ms),
            row.errors.to_string(),
            row.slowest_trace_id.clone(),
        ]
    });
    table(
        &[
            "SERVICE",
            "OPERATION",
            "DESTINATION",
            "COUNT",
            "AVG",
            "p95",
            "MAX",
            "ERRORS",
            "SLOWEST TRACE",
        ],
        cells.collect(),
    )
}

/// Failures, one row each.
#[must_use]
pub fn errors(rows: &[ErrorRow]) -> String {
    if rows.is_empty() {
        return "no errors in this time\n".to_owned();
    }
    let cells = rows.iter().map(|row| {
        vec![
            row.service_name.clone(),
            row.span_name.clone(),
            row.error_type.clone().unwrap_or_else(|| "-".to_owned()),
            row.message.clone().unwrap_or_else(|| "-".to_owned()),
            row.count.to_string(),
            row.example_trace_id.clone(),
        ]
    });
    table(
        &[
            "SERVICE",
            "OPERATION",
            "ERROR",
            "MESSAGE",
            "COUNT",
            "EXAMPLE TRACE",
        ],
        cells.collect(),
    )
}

/// Traces, one row each.
#[must_use]
pub fn traces(rows: &[RecentTrace]) -> String {
    if rows.is_empty() {
        return "no traces in this time: do the services send OTLP to the agent?\n".to_owned();
    }
    let cells = rows.iter().map(|row| {
        vec![
            row.trace_id.clone(),
            row.root_service_name.clone(),
            row.root_span_name.clone(),
            row.spans.to_string(),
            row.services.to_string(),
            milliseconds(row.duration_ms),
        ]
    });
    table(
        &[
            "TRACE",
            "SERVICE",
            "BEGINS WITH",
            "SPANS",
            "SERVICES",
            "DURATION",
        ],
        cells.collect(),
    )
}

/// The answer to a statement.
#[must_use]
pub fn sql(result: &SqlResult) -> String {
    let heading: Vec<&str> = result.columns.iter().map(String::as_str).collect();
    let cell = |value: &serde_json::Value| match value {
        serde_json::Value::Null => "-".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let rows = result
        .rows
        .iter()
        .map(|row| row.iter().map(cell).collect())
        .collect();
    let mut text = table(&heading, rows);
    if result.truncated {
        text.push_str("\n… there are more rows: add a LIMIT of your own, or ask for less");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_of_numbers_stand_at_the_right_and_names_at_the_left() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let text = table(
            &["QUEUE", "COUNT", "p95"],
            vec![row(["1st", "7", "40µs"]), row(["orders", "1000", "-"])],
        );
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(
            lines,
            [
                " QUEUE   COUNT  p95",
                " 1st         7  40µs",
                " orders   1000     -"
            ]
        );
    }
}

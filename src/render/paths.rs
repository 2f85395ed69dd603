//! Paths as a table.

use super::table::{aligned_table, or_dash};
use super::{milliseconds, percent, rate};
use crate::store::{PathEnd, PathPart, PathRow};

/// A path is not made shorter than that.
const MIN_PATH: usize = 24;

/// Paths, one row each, however wide.
#[must_use]
pub fn paths(rows: &[PathRow]) -> String {
    paths_within(rows, None)
}

/// Paths, one row each; where lines would be longer than `width` characters, the paths are
/// shortened in the middle.
#[must_use]
pub fn paths_within(rows: &[PathRow], width: Option<usize>) -> String {
    if rows.is_empty() {
        return "no paths in this time: do the services export their metrics to the agent?\n"
            .to_owned();
    }
    let longest = rows.iter().map(|row| length(&row.path)).max().unwrap_or(0);
    let mut text = fit(width, longest, |limit| lines(rows, limit));
    for (remark, holds) in remarks() {
        if rows.iter().any(holds) {
            text.push('\n');
            text.push_str(remark);
        }
    }
    text
}

type Holds = fn(&PathRow) -> bool;

fn remarks() -> [(&'static str, Holds); 2] {
    [
        ("* counted from sampled spans only", |row| row.sampled),
        (
            "> ?  published, and received by nobody who is traced",
            |row| row.end == PathEnd::Unseen,
        ),
    ]
}

fn lines(rows: &[PathRow], limit: usize) -> String {
    let heading = [
        ("PATH", false),
        ("/s", true),
        ("COUNT", true),
        ("ERRORS", true),
        ("REDELIVERED", true),
        ("p50", true),
        ("p95", true),
        ("p99", true),
        ("TIME GOES TO", false),
        ("p95 CHANGE", true),
    ];
    let cells = rows.iter().map(|row| {
        vec![
            name(row, limit),
            rate(row.rate_per_second),
            row.count.to_string(),
            failed(row.errors, row.count),
            row.redelivered.to_string(),
            or_dash(row.p50_ms, milliseconds),
            or_dash(row.p95_ms, milliseconds),
            or_dash(row.p99_ms, milliseconds),
            or_dash(row.slowest_hop.as_ref(), |hop| {
                goes_to(&hop.step, hop.part, hop.share)
            }),
            if row.is_new {
                "new".to_owned()
            } else {
                or_dash(row.p95_change, change)
            },
        ]
    });
    aligned_table(&heading, cells.collect())
}

fn name(row: &PathRow, limit: usize) -> String {
    let mark = if row.sampled { " *" } else { "" };
    format!("{}{mark}", shortened(&row.path, limit))
}

fn goes_to(step: &str, part: PathPart, share: f64) -> String {
    format!("{step} {} {}", part.as_str(), percent(share))
}

/// A count of failures, with its share of all.
pub(super) fn failed(errors: u64, count: u64) -> String {
    if errors == 0 {
        return "0".to_owned();
    }
    #[expect(clippy::cast_precision_loss, reason = "shown to a person")]
    let share = errors as f64 / count.max(1) as f64;
    format!("{errors} ({})", percent(share))
}

/// By how much something is more, with its sign.
pub(super) fn change(share: f64) -> String {
    let percent = share * 100.0;
    if percent.abs() < 0.5 {
        "0 %".to_owned()
    } else {
        format!("{percent:+.0} %")
    }
}

/// Characters of a text.
pub(super) fn length(text: &str) -> usize {
    text.chars().count()
}

/// A table made again with texts of fewer characters if a line of it is longer than `width`;
/// `longest` is the length of the longest text.
pub(super) fn fit(width: Option<usize>, longest: usize, table: impl Fn(usize) -> String) -> String {
    let whole = table(usize::MAX);
    let widest = whole.lines().map(length).max().unwrap_or(0);
    match width {
        Some(width) if widest > width => {
            let limit = longest.saturating_sub(widest - width);
            table(limit.max(MIN_PATH))
        }
        _ => whole,
    }
}

/// A text of at most `limit` characters, its middle left out if it must be.
pub(super) fn shortened(text: &str, limit: usize) -> String {
    let length = length(text);
    if length <= limit {
        return text.to_owned();
    }
    let kept = limit.saturating_sub(1);
    let (head, tail) = (kept / 2, kept - kept / 2);
    let mut short: String = text.chars().take(head).collect();
    short.push('…');
    short.extend(text.chars().skip(length - tail));
    short
}

#[cfg(test)]
pub(super) mod tests;

//! What changed between two spans of time.

use super::paths::{change, failed, fit, length, shortened};
use super::table::{aligned_table, or_dash};
use super::{milliseconds, rate};
use crate::store::{PathChange, PathSide, PathsDiff};

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// The lists that are not empty, and the rules; paths are shortened in the middle where lines
/// would be longer than `width` characters.
#[must_use]
pub fn paths_diff(diff: &PathsDiff, width: Option<usize>) -> String {
    let mut text = head(diff);
    let sections: [(&str, &[PathChange], Section); 6] = [
        ("SLOWER", &diff.slower, latency),
        ("FASTER", &diff.faster, latency),
        ("APPEARED", &diff.appeared, presence),
        ("VANISHED", &diff.vanished, presence),
        ("MORE ERRORS", &diff.more_errors, errors),
        ("FEWER ERRORS", &diff.fewer_errors, errors),
    ];
    for (name, rows, section) in sections {
        if rows.is_empty() {
            continue;
        }
        let longest = rows.iter().map(|row| length(&row.path)).max().unwrap_or(0);
        let longest = longest.max(length(name));
        text.push_str(&fit(width, longest, |limit| section(name, rows, limit)));
        text.push_str("\n\n");
    }
    text.push_str(&format!("{} paths unchanged\n", diff.unchanged));
    for rule in &diff.rules {
        text.push_str(&format!("  {rule}\n"));
    }
    text
}

type Section = fn(&str, &[PathChange], usize) -> String;

fn head(diff: &PathsDiff) -> String {
    let (before, now) = (diff.before, diff.now);
    if before.count == 0 {
        return "nothing was recorded in the earlier span: there is nothing to compare with\n\n"
            .to_owned();
    }
    let span = duration(now.until_unix_nano.saturating_sub(now.since_unix_nano));
    let ago = duration(now.until_unix_nano.saturating_sub(before.until_unix_nano));
    format!(
        "the last {span} against {span} that ended {ago} ago: {} messages, before {}\n\n",
        now.count, before.count
    )
}

fn latency(name: &str, rows: &[PathChange], limit: usize) -> String {
    let heading = [
        (name, false),
        ("p95 BEFORE", true),
        ("NOW", true),
        ("CHANGE", true),
        ("COUNT BEFORE", true),
        ("NOW", true),
        ("MOST OF IT", false),
    ];
    let cells = rows.iter().map(|row| {
        let p95 = |side: &Option<PathSide>| {
            let p95 = side.as_ref().and_then(|side| side.p95_ms);
            or_dash(p95, milliseconds)
        };
        vec![
            shortened(&row.path, limit),
            p95(&row.before),
            p95(&row.now),
            or_dash(row.p95_change, change),
            count(&row.before),
            count(&row.now),
            or_dash(row.hop.as_ref(), |hop| {
                let (before, now) = (milliseconds(hop.before_ms), milliseconds(hop.now_ms));
                format!("{} {} {before} to {now}", hop.step, hop.part.as_str())
            }),
        ]
    });
    aligned_table(&heading, cells.collect())
}

fn presence(name: &str, rows: &[PathChange], limit: usize) -> String {
    let heading = [(name, false), ("COUNT", true), ("/s", true), ("p95", true)];
    let cells = rows.iter().map(|row| {
        let side = row.now.as_ref().or(row.before.as_ref());
        vec![
            shortened(&row.path, limit),
            or_dash(side, |side| side.count.to_string()),
            or_dash(side, |side| rate(side.rate_per_second)),
            or_dash(side.and_then(|side| side.p95_ms), milliseconds),
        ]
    });
    aligned_table(&heading, cells.collect())
}

fn errors(name: &str, rows: &[PathChange], limit: usize) -> String {
    let heading = [
        (name, false),
        ("ERRORS BEFORE", true),
        ("NOW", true),
        ("COUNT BEFORE", true),
        ("NOW", true),
    ];
    let cells = rows.iter().map(|row| {
        let failed = |side: &Option<PathSide>| {
            or_dash(side.as_ref(), |side| failed(side.errors, side.count))
        };
        vec![
            shortened(&row.path, limit),
            failed(&row.before),
            failed(&row.now),
            count(&row.before),
            count(&row.now),
        ]
    });
    aligned_table(&heading, cells.collect())
}

fn count(side: &Option<PathSide>) -> String {
    or_dash(side.as_ref(), |side| side.count.to_string())
}

/// Whole days, hours, minutes or seconds, as they are given.
fn duration(nanos: i64) -> String {
    let seconds = (nanos + NANOS_PER_SECOND / 2) / NANOS_PER_SECOND;
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let unit = units
        .into_iter()
        .find(|(unit, _)| seconds > 0 && seconds % unit == 0);
    unit.map_or_else(
        || format!("{seconds}s"),
        |(unit, name)| format!("{}{name}", seconds / unit),
    )
}

#[cfg(test)]
mod tests;

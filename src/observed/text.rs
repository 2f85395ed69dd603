//! The state as Prometheus text, version 0.0.4.

use std::cmp::Reverse;
use std::fmt::Write;
use std::sync::Arc;

use super::paths::{BOUNDS, PathCounts};
use super::state::{Row, State, counts, nanos};
use super::table::{Family, GROUPS, Group, Kind};

pub(super) fn encode(state: &State, now: i64) -> String {
    let mut text = String::new();
    for (group, rows) in GROUPS.iter().zip(&state.groups) {
        let fresh = now.saturating_sub(nanos(group));
        let mut shown: Vec<(&Vec<Arc<str>>, &Row)> = rows.iter().collect();
        if !counts(group) && shown.len() > group.max_rows {
            // The deepest queues first: depths are the first columns.
            shown.sort_by_key(|(_, row)| Reverse(depth(row)));
            shown.truncate(group.max_rows);
        }
        shown.sort_by_key(|(labels, _)| *labels);
        let mut first = 0;
        for family in group.families {
            let columns = first..first + family.fields.len();
            first = columns.end;
            let mut lines = String::new();
            for (labels, row) in &shown {
                let values = row.get(columns.clone()).unwrap_or_default();
                family_lines(&mut lines, (group, family), labels, values, fresh);
            }
            if !lines.is_empty() {
                let kind = match family.kind {
                    Kind::Gauge => "gauge",
                    Kind::Told | Kind::Counted => "counter",
                };
                head(&mut text, family.name, kind, family.help);
                text.push_str(&lines);
            }
        }
    }
    paths(&mut text, state);
    text
}

/// Messages, ready and unacknowledged, in thousandths: floats have no order of their own.
fn depth(row: &Row) -> u64 {
    let sum: f64 = row.iter().take(2).flatten().map(|(value, _)| value).sum();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count"
    )]
    let depth = sum as u64;
    depth
}

fn family_lines(
    text: &mut String,
    (group, family): (&Group, &Family),
    labels: &[Arc<str>],
    values: &[Option<(f64, i64)>],
    fresh: i64,
) {
    for ((_, word), value) in family.fields.iter().zip(values) {
        let Some((value, at)) = value else { continue };
        if family.kind != Kind::Counted && *at <= fresh {
            continue;
        }
        let names = group.labels.iter().map(|(_, name)| *name);
        let mut pairs: Vec<(&str, &str)> = names.zip(labels.iter().map(|value| &**value)).collect();
        if !family.label.is_empty() {
            pairs.push((family.label, word));
        }
        line(text, family.name, &pairs, *value);
    }
}

type Read = fn(&PathCounts) -> u64;

/// The counters of paths: name, help, value.
pub(super) const PATH_COUNTERS: [(&str, &str, Read); 3] = [
    (
        "rabtrace_path_messages_total",
        "Messages that arrived at the end of a path.",
        |path| path.messages,
    ),
    (
        "rabtrace_path_errors_total",
        "Of these, those whose processing failed.",
        |path| path.errors,
    ),
    (
        "rabtrace_path_redelivered_total",
        "Of these, those that were delivered again.",
        |path| path.redelivered,
    ),
];

/// The histogram of paths: name, help.
pub(super) const PATH_DURATION: (&str, &str) = (
    "rabtrace_path_duration_seconds",
    "From the origin of a path to the delivery at its end, of messages that came the first time.",
);

fn paths(text: &mut String, state: &State) {
    if state.paths.0.is_empty() {
        return;
    }
    for (name, help, read) in PATH_COUNTERS {
        head(text, name, "counter", help);
        for (path, counts) in &state.paths.0 {
            line(text, name, &[("path", path)], float(read(counts)));
        }
    }
    let (name, help) = PATH_DURATION;
    head(text, name, "histogram", help);
    for (path, counts) in &state.paths.0 {
        let bucket = format!("{name}_bucket");
        for (bound, below) in BOUNDS.iter().zip(counts.below) {
            let bound = bound.to_string();
            line(
                text,
                &bucket,
                &[("path", path), ("le", &bound)],
                float(below),
            );
        }
        let count = float(counts.count);
        line(text, &bucket, &[("path", path), ("le", "+Inf")], count);
        line(
            text,
            &format!("{name}_sum"),
            &[("path", path)],
            counts.sum_seconds,
        );
        line(text, &format!("{name}_count"), &[("path", path)], count);
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus has no other numbers"
)]
fn float(count: u64) -> f64 {
    count as f64
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a text cannot fail.
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn line(text: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
    text.push_str(name);
    for (number, (label, word)) in labels.iter().enumerate() {
        let begin = if number == 0 { '{' } else { ',' };
        let _ = write!(text, "{begin}{label}=\"");
        for letter in word.chars() {
            match letter {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                _ => text.push(letter),
            }
        }
        text.push('"');
    }
    if !labels.is_empty() {
        text.push('}');
    }
    let _ = writeln!(text, " {value}");
}

//! A trace as a waterfall: a line for each span, and one for the wait in each queue.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use serde_json::Value;

use super::{milliseconds, safe};
use crate::store::{Trace, TraceSpan};

/// Characters of the time axis.
const AXIS: usize = 48;
/// Levels of indentation that are shown; deeper spans stand at the last.
const MAX_DEPTH: usize = 12;
/// Lines of one waterfall.
const MAX_LINES: usize = 400;

struct Line {
    label: String,
    from_ns: i64,
    duration_ms: f64,
    glyph: char,
    note: String,
}

/// Renders a trace; times are relative to its first span.
#[must_use]
pub fn waterfall(trace: &Trace) -> String {
    let Some(begin) = trace.spans.iter().map(|span| span.start_unix_nano).min() else {
        return format!("trace {} has no spans\n", trace.trace_id);
    };
    let end = trace.spans.iter().map(end_ns).max().unwrap_or(begin);
    let total_ms = ms(end - begin);
    let lines = lines(trace);
    let width = lines
        .iter()
        .map(|line| line.label.chars().count())
        .max()
        .unwrap_or(0)
        .min(64);
    let services: HashSet<&str> = trace
        .spans
        .iter()
        .map(|span| span.service_name.as_str())
        .collect();
    let wait: f64 = trace.spans.iter().filter_map(|span| span.queue_ms).sum();
    let mut text = format!(
        "trace {}  {}, {}, {}, {} in queues\n",
        trace.trace_id,
        milliseconds(total_ms),
        counted(trace.spans.len(), "span"),
        counted(services.len(), "service"),
        milliseconds(wait),
    );
    for line in lines.iter().take(MAX_LINES) {
        let label: String = line.label.chars().take(width).collect();
        let bar = bar(line, begin, total_ms);
        let duration = milliseconds(line.duration_ms);
        let _ = writeln!(text, "{label:<width$} {bar} {duration:>7}{}", line.note);
    }
    if lines.len() > MAX_LINES {
        let _ = writeln!(text, "… {} more lines", lines.len() - MAX_LINES);
    }
    text
}

/// The spans in the order of a tree, children by their start, with the waits between.
fn lines(trace: &Trace) -> Vec<Line> {
    let known: HashSet<&str> = trace
        .spans
        .iter()
        .map(|span| span.span_id.as_str())
        .collect();
    let mut children: HashMap<&str, Vec<&TraceSpan>> = HashMap::new();
    let mut roots = Vec::new();
    for span in &trace.spans {
        match span
            .parent_span_id
            .as_deref()
            .filter(|parent| known.contains(parent))
        {
            Some(parent) => children.entry(parent).or_default().push(span),
            None => roots.push(span),
        }
    }
    let mut lines = Vec::new();
    let mut left: Vec<(usize, &TraceSpan)> = Vec::new();
    push_sorted(&mut left, roots, 0);
    while let Some((depth, span)) = left.pop() {
        // Each span is taken out of the tree once, so that a circle of parents ends.
        let below = children.remove(span.span_id.as_str()).unwrap_or_default();
        let indent = "  ".repeat(depth.min(MAX_DEPTH));
        if let Some(wait) = span.queue_ms {
            let queue = span.destination.as_deref().unwrap_or("queue");
            lines.push(Line {
                label: format!("{indent}{} waits", safe(queue)),
                from_ns: span.start_unix_nano - nanos(wait),
                duration_ms: wait,
                glyph: '░',
                note: String::new(),
            });
        }
        lines.push(Line {
            label: format!(
                "{indent}{}  {}",
                safe(&span.service_name),
                safe(&span.span_name)
            ),
            from_ns: span.start_unix_nano,
            duration_ms: span.duration_ms,
            glyph: '█',
            note: note(span),
        });
        push_sorted(&mut left, below, depth + 1);
    }
    lines
}

/// Pushes spans so that the earliest is popped first.
fn push_sorted<'a>(
    left: &mut Vec<(usize, &'a TraceSpan)>,
    mut spans: Vec<&'a TraceSpan>,
    depth: usize,
) {
    spans.sort_by_key(|span| std::cmp::Reverse(span.start_unix_nano));
    left.extend(spans.into_iter().map(|span| (depth, span)));
}

fn note(span: &TraceSpan) -> String {
    let mut note = String::new();
    let attribute = |name: &str| span.attributes.get(name);
    match attribute("rabtrace.attempt").and_then(Value::as_i64) {
        Some(attempt) => {
            let _ = write!(note, "  attempt {attempt}");
        }
        None if span.redelivered => note.push_str("  redelivered"),
        None => {}
    }
    if let Some(reason) = attribute("rabtrace.death.reason").and_then(Value::as_str) {
        let queue = attribute("rabtrace.death.queue").and_then(Value::as_str);
        let _ = write!(note, "  {} in {}", safe(reason), safe(queue.unwrap_or("?")));
    }
    if span.status == "error" {
        let _ = write!(
            note,
            "  error {}",
            safe(span.status_message.as_deref().unwrap_or_default())
        );
    }
    note
}

fn bar(line: &Line, begin_ns: i64, total_ms: f64) -> String {
    let place = |at_ms: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "clamped to the axis"
        )]
        let place = (at_ms / total_ms.max(1e-6) * AXIS as f64)
            .round()
            .clamp(0.0, AXIS as f64) as usize;
        place
    };
    let start_ms = ms(line.from_ns - begin_ns);
    let from = place(start_ms).min(AXIS - 1);
    let to = place(start_ms + line.duration_ms).clamp(from + 1, AXIS);
    let glyphs: String = std::iter::repeat_n(line.glyph, to - from).collect();
    format!("{}{glyphs}{}", " ".repeat(from), " ".repeat(AXIS - to))
}

fn end_ns(span: &TraceSpan) -> i64 {
    span.start_unix_nano.saturating_add(nanos(span.duration_ms))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a difference of times for display"
)]
fn ms(nanos: i64) -> f64 {
    nanos as f64 / 1e6
}

#[expect(clippy::cast_possible_truncation, reason = "a duration for display")]
fn nanos(ms: f64) -> i64 {
    (ms * 1e6) as i64
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(redelivered: bool, status_message: Option<&str>, attributes: Value, expect: &str) {
        let span = json!({
            "span_id": "1", "parent_span_id": null, "trace_id": "1", "service_name": "planner",
            "span_name": "process tasks", "kind": "consumer",
            "status": if status_message.is_some() { "error" } else { "unset" },
            "status_message": status_message, "start_unix_nano": 1, "duration_ms": 1.0,
            "queue_ms": null, "destination": "tasks", "path": null, "redelivered": redelivered,
            "attributes": attributes, "events": [], "links": [], "resource": {},
        });
        let span: TraceSpan = serde_json::from_value(span).unwrap();
        assert_eq!(note(&span), expect);
    }

    #[test]
    fn a_span_tells_what_happened_to_its_message() {
        check(false, None, json!({}), "");
        check(true, None, json!({}), "  redelivered");
        check(true, None, json!({"rabtrace.attempt": 3}), "  attempt 3");
        check(false, Some("no\ttool"), json!({}), "  error no\u{fffd}tool");
        let dead = json!({
            "rabtrace.attempt": 4, "rabtrace.death.reason": "rejected",
            "rabtrace.death.queue": "work\u{1b}[31m",
        });
        check(
            false,
            None,
            dead,
            "  attempt 4  rejected in work\u{fffd}[31m",
        );
    }
}

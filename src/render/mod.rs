//! Rows as text for a person: tables, and a trace as a waterfall. Pure.

mod diff;
mod path;
mod paths;
mod table;
mod waterfall;

use std::fmt::Write as _;

use crate::api::HealthReport;
use crate::health::Status;

pub use diff::paths_diff;
pub use path::path;
pub use paths::{paths, paths_within};
pub use table::{errors, queues, slow, sql, table, traces};
pub use waterfall::waterfall;

/// The answer of `/health`.
#[must_use]
pub fn health(report: &HealthReport) -> String {
    let mut text = format!("agent is {}\n", word(report.status));
    for (name, part) in &report.components {
        let latency = part
            .latency_ms
            .map_or_else(String::new, |ms| format!("  {ms:.1} ms"));
        let why = if part.message.is_empty() {
            String::new()
        } else {
            format!("  {}", part.message)
        };
        let _ = writeln!(text, "  {name:<12} {}{latency}{why}", word(part.status));
    }
    text
}

const fn word(status: Status) -> &'static str {
    match status {
        Status::Healthy => "healthy",
        Status::Starting => "starting",
        Status::Degraded => "degraded",
        Status::Unhealthy => "unhealthy",
    }
}

/// Milliseconds with three significant digits or so, and a unit that fits.
#[must_use]
pub fn milliseconds(ms: f64) -> String {
    match ms {
        _ if ms < 1.0 => format!("{:.0}µs", ms * 1e3),
        _ if ms < 10.0 => format!("{ms:.1}ms"),
        _ if ms < 1e3 => format!("{ms:.0}ms"),
        _ if ms < 1e4 => format!("{:.2}s", ms / 1e3),
        _ => format!("{:.0}s", ms / 1e3),
    }
}

/// A rate with as many digits as it is worth.
#[must_use]
pub fn rate(per_second: f64) -> String {
    if per_second < 10.0 {
        format!("{per_second:.1}")
    } else {
        format!("{per_second:.0}")
    }
}

/// A share (0 to 1) in percent, with a digit behind the point where it is small.
#[must_use]
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent.abs() < 9.95 && percent != 0.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

/// What of a text a terminal has room for: the first `rows` lines, of each the first `columns`
/// characters.
///
/// ```
/// assert_eq!(rabtrace::render::fitted("abc\nde\nf", 2, 2), "ab\nde");
/// ```
#[must_use]
pub fn fitted(text: &str, columns: usize, rows: usize) -> String {
    let line = |line: &str| line.chars().take(columns).collect::<String>();
    text.lines()
        .take(rows)
        .map(line)
        .collect::<Vec<_>>()
        .join("\n")
}

/// A text from outside without control characters: a queue's name must not steer the terminal.
#[must_use]
pub fn safe(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{milliseconds, percent, rate, safe};

    #[test]
    fn numbers_are_short() {
        let texts = [0.04, 0.9999, 3.25, 45.4, 1500.0, 75_000.0].map(milliseconds);
        assert_eq!(texts, ["40µs", "1000µs", "3.2ms", "45ms", "1.50s", "75s"]);
        assert_eq!(
            (rate(0.25), rate(412.4)),
            ("0.2".to_owned(), "412".to_owned())
        );
        let shares = [0.0, 0.012, 0.0996, 0.71, -0.034].map(percent);
        assert_eq!(shares, ["0 %", "1.2 %", "10 %", "71 %", "-3.4 %"]);
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(safe("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}

//! One path, hop by hop.

use std::fmt::Write as _;

use super::paths::failed;
use super::table::{aligned_table, or_dash};
use super::{milliseconds, percent, rate, safe};
use crate::store::{HopRow, PathDetail, PathRow, Times};

/// Digits that are enough to know a trace by.
const SHORT_ID: usize = 8;

/// The path, its steps in order, and its slowest sampled trace.
#[must_use]
pub fn path(detail: &PathDetail) -> String {
    let row = &detail.summary;
    let mut text = format!("{}\n{}\n\n", safe(&row.path), summary(row));
    text.push_str(&table(&detail.hops));
    text.push_str("\n\n");
    text.push_str(&remainder(detail));
    if detail.hops.iter().any(|hop| hop.sampled) {
        text.push_str("* counted from sampled spans only\n");
    }
    if let Some(trace) = &row.slowest_trace_id {
        let short: String = trace.chars().take(SHORT_ID).collect();
        let took = or_dash(row.slowest_trace_ms, milliseconds);
        let _ = writeln!(
            text,
            "slowest trace {short} {took}   rabtrace trace {trace}"
        );
    }
    text
}

fn summary(row: &PathRow) -> String {
    let times = [
        ("p50", row.p50_ms),
        ("p95", row.p95_ms),
        ("p99", row.p99_ms),
        ("mean", row.mean_ms),
    ];
    let times = times.map(|(name, ms)| format!("{name} {}", or_dash(ms, milliseconds)));
    format!(
        "hash {}   {} messages, {}/s   errors {}   redelivered {}   {}",
        row.hash,
        row.count,
        rate(row.rate_per_second),
        failed(row.errors, row.count),
        row.redelivered,
        times.join("  ")
    )
}

fn table(hops: &[HopRow]) -> String {
    let heading = [
        ("STEP", false),
        ("KIND", false),
        ("MESSAGES", true),
        ("ERRORS", false),
        ("WAIT p50", true),
        ("p95", true),
        ("p99", true),
        ("WORK p50", true),
        ("p95", true),
        ("p99", true),
        ("SHARE", true),
        ("ATTEMPTS", true),
        ("SKEWED", true),
    ];
    aligned_table(&heading, hops.iter().map(cells).collect())
}

fn cells(hop: &HopRow) -> Vec<String> {
    let mut cells = vec![
        step(hop),
        hop.kind.clone(),
        hop.count.to_string(),
        errors(hop),
    ];
    for times in [hop.wait, hop.work] {
        let quantiles: [fn(Times) -> f64; 3] = [|of| of.p50_ms, |of| of.p95_ms, |of| of.p99_ms];
        cells.extend(quantiles.map(|of| or_dash(times.map(of), milliseconds)));
    }
    let part = if hop.direction == "in" {
        "wait"
    } else {
        "work"
    };
    cells.extend([
        or_dash(hop.share, |share| format!("{part} {}", percent(share))),
        match hop.max_attempt {
            0 => "-".to_owned(),
            attempts => attempts.to_string(),
        },
        hop.skewed.to_string(),
    ]);
    cells
}

/// `planner > weather_queue` for a publish, `weather_queue > weather` for a delivery.
fn step(hop: &HopRow) -> String {
    let (from, to) = if hop.direction == "in" {
        (&hop.destination, &hop.service)
    } else {
        (&hop.service, &hop.destination)
    };
    let via = hop.via.as_ref();
    let via = via.map_or_else(String::new, |via| format!(" (via {via})"));
    let mark = if hop.sampled { " *" } else { "" };
    format!("{from} > {to}{via}{mark}")
}

fn errors(hop: &HopRow) -> String {
    if hop.error_types.is_empty() {
        return hop.errors.to_string();
    }
    let types = hop.error_types.iter();
    // How often each came is known of sampled messages alone: the number in front is of all.
    let types: Vec<&str> = types.map(|known| known.error_type.as_str()).collect();
    format!("{} ({})", hop.errors, types.join(", "))
}

/// What the hops leave of the time from origin to end.
fn remainder(detail: &PathDetail) -> String {
    if detail.merges {
        return "branches merge: their shares run side by side and do not add up\n".to_owned();
    }
    let Some((rest, mean)) = detail.remainder_ms.zip(detail.summary.mean_ms) else {
        return String::new();
    };
    let mean_text = milliseconds(mean);
    if mean <= 0.0 || (rest / mean).abs() < 0.005 {
        return format!(
            "shares are of the mean from origin to end, {mean_text}, and add up to it\n"
        );
    }
    let (many, why) = if rest > 0.0 {
        (
            "short of",
            "messages that came again, or hops that are not seen",
        )
    } else {
        (
            "more than",
            "the hops hold messages that went other ways too",
        )
    };
    format!(
        "shares are of the mean from origin to end, {mean_text}; the hops are {} ({}) {many} it: {why}\n",
        milliseconds(rest.abs()),
        percent((rest / mean).abs()),
    )
}

#[cfg(test)]
mod tests;

//! What one record, or one span, adds to its window.

use crate::model::{
    AttributeValue, Direction, EdgeKind, FlowWindow, Histogram, Hop, PathMeasure, PathStep,
    PathValue, Slowest, SpanStatus,
};

/// Adds the value of a path metric.
pub(super) fn add_record(window: &mut FlowWindow, measure: PathMeasure, value: PathValue) {
    let histogram = match value {
        PathValue::Count(number) => return add_count(window, measure, number),
        PathValue::Exponential(histogram) => histogram,
        PathValue::Explicit(explicit) => match Histogram::of_explicit(&explicit) {
            Some(histogram) => histogram,
            None => return,
        },
    };
    match measure {
        PathMeasure::Edge => window.edge.merge(&histogram),
        PathMeasure::Total => window.total.merge(&histogram),
        PathMeasure::Process => window.process.merge(&histogram),
        PathMeasure::Skew => window.skewed = window.skewed.saturating_add(histogram.count()),
        PathMeasure::Attempts => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates"
            )]
            let greatest = histogram.max().round() as u64;
            window.max_attempt = window.max_attempt.max(greatest);
        }
        PathMeasure::Messages | PathMeasure::Errors => {}
    }
}

fn add_count(window: &mut FlowWindow, measure: PathMeasure, number: u64) {
    match measure {
        PathMeasure::Messages => {
            window.count = window.count.saturating_add(number);
            if is_again(window.kind) {
                window.redelivered = window.redelivered.saturating_add(number);
            }
        }
        PathMeasure::Errors => window.errors = window.errors.saturating_add(number),
        _ => {}
    }
}

/// Counts a span as the message that it is about.
pub(super) fn add_span(window: &mut FlowWindow, hop: &Hop, step: &PathStep) {
    window.count += 1;
    window.errors += u64::from(hop.span.status == SpanStatus::Error);
    window.redelivered += u64::from(is_again(step.kind));
    if let Some(edge) = step.edge {
        window.edge.record(edge.as_secs_f64());
    }
    if let Some(total) = step.total {
        window.total.record(total.as_secs_f64());
    }
    if step.direction == Direction::In {
        window.process.record(hop.span.duration().as_secs_f64());
    }
    if let Some(AttributeValue::Int(attempt)) = hop.span.attribute("rabtrace.attempt") {
        let attempt = u64::try_from(*attempt).unwrap_or(0);
        window.max_attempt = window.max_attempt.max(attempt);
    }
}

/// Keeps the trace of a span if none was slower.
pub(super) fn offer_trace(window: &mut FlowWindow, hop: &Hop, step: &PathStep) {
    window.offer(Slowest {
        trace_id: hop.span.trace_id,
        duration: step.total.unwrap_or_else(|| hop.span.duration()),
    });
}

/// Whether the broker delivered the message before.
const fn is_again(kind: EdgeKind) -> bool {
    matches!(kind, EdgeKind::Redelivery | EdgeKind::Requeue)
}

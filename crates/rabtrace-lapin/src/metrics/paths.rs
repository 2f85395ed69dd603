//! The instruments that measure paths.

use opentelemetry::metrics::{Counter, Histogram, Meter};

use crate::semconv;

/// What is measured of every path.
pub(crate) struct PathInstruments {
    pub(crate) messages: Counter<u64>,
    pub(crate) edge: Histogram<f64>,
    pub(crate) total: Histogram<f64>,
    pub(crate) process: Histogram<f64>,
    pub(crate) errors: Counter<u64>,
    pub(crate) attempts: Histogram<u64>,
    pub(crate) skew: Histogram<f64>,
}

impl PathInstruments {
    pub(crate) fn new(meter: &Meter) -> Self {
        let counter = |name, what| {
            let builder = meter.u64_counter(name).with_description(what);
            builder.with_unit("{message}").build()
        };
        let seconds = |name, what| {
            let builder = meter.f64_histogram(name).with_description(what);
            let builder = builder.with_boundaries(semconv::PATH_BOUNDARIES.to_vec());
            builder.with_unit("s").build()
        };
        let attempts = meter.u64_histogram(semconv::METRIC_PATH_ATTEMPTS);
        Self {
            messages: counter(
                semconv::METRIC_PATH_MESSAGES,
                "Messages at a checkpoint of their path.",
            ),
            edge: seconds(
                semconv::METRIC_PATH_EDGE_DURATION,
                "Time since the checkpoint before.",
            ),
            total: seconds(
                semconv::METRIC_PATH_DURATION,
                "Time since the path's origin.",
            ),
            process: seconds(
                semconv::METRIC_PATH_PROCESS_DURATION,
                "Time from a delivery to its end.",
            ),
            errors: counter(
                semconv::METRIC_PATH_ERRORS,
                "Publishes and deliveries that did not succeed.",
            ),
            attempts: attempts
                .with_description("Which attempt a delivery is, from the second on.")
                .with_unit("{attempt}")
                .with_boundaries(semconv::ATTEMPT_BOUNDARIES.to_vec())
                .build(),
            skew: seconds(
                semconv::METRIC_PATH_SKEW,
                "How much a checkpoint was before the one that it follows.",
            ),
        }
    }
}

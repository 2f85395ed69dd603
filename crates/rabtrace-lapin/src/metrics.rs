//! The metrics of a channel: the four of the messaging conventions, and those of ours beyond them.
//!
//! Input: what became of a message, its destination's series, seconds. Output: measurements in the
//! application's own meter provider. Every message is measured, sampled or not. The number of
//! series is bounded by the limit on destinations; nothing here waits or fails.
//!
//! Source: `docs/messaging/messaging-metrics.md` of the conventions v1.44.0.

pub(crate) mod bound;
mod paths;

use std::sync::OnceLock;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, UpDownCounter};

use self::bound::{CounterSeries, HistogramSeries, UpDownSeries};
pub(crate) use self::paths::PathInstruments;
use crate::operation::Operation;
use crate::outcome::PublishOutcome;
use crate::outcome::Settlement;
use crate::semconv;

/// The instruments.
pub(crate) struct Metrics {
    operation_duration: Histogram<f64>,
    process_duration: Histogram<f64>,
    sent: Counter<u64>,
    consumed: Counter<u64>,
    outcomes: Counter<u64>,
    returned: Counter<u64>,
    settlements: Counter<u64>,
    redelivered: Counter<u64>,
    open: UpDownCounter<i64>,
    queue_time: Histogram<f64>,
    shed: Counter<u64>,
    hook_panics: Counter<u64>,
    pub(crate) paths: PathInstruments,
}

impl Metrics {
    pub(crate) fn new(meter: &Meter) -> Self {
        let counter = |name, what| {
            let builder = meter.u64_counter(name).with_description(what);
            builder.with_unit("{message}").build()
        };
        let seconds = |name, what| {
            let builder = meter.f64_histogram(name).with_description(what);
            let builder = builder.with_boundaries(semconv::DURATION_BOUNDARIES.to_vec());
            builder.with_unit("s").build()
        };
        let open = meter.i64_up_down_counter(semconv::METRIC_DELIVERY_OPEN);
        Self {
            operation_duration: seconds(
                semconv::METRIC_OPERATION_DURATION,
                "Duration of messaging operation initiated by a producer or consumer client.",
            ),
            process_duration: seconds(
                semconv::METRIC_PROCESS_DURATION,
                "Duration of processing operation.",
            ),
            sent: counter(
                semconv::METRIC_SENT_MESSAGES,
                "Number of messages producer attempted to send to the broker.",
            ),
            consumed: counter(
                semconv::METRIC_CONSUMED_MESSAGES,
                "Number of messages that were delivered to the application.",
            ),
            outcomes: counter(semconv::METRIC_PUBLISH_OUTCOMES, "Publishes by outcome."),
            returned: counter(
                semconv::METRIC_PUBLISH_RETURNED,
                "Publishes that no queue took.",
            ),
            settlements: counter(
                semconv::METRIC_DELIVERY_SETTLEMENTS,
                "Deliveries by how they ended.",
            ),
            redelivered: counter(
                semconv::METRIC_DELIVERY_REDELIVERED,
                "Deliveries that were delivered before.",
            ),
            open: open
                .with_description("Deliveries that are not settled yet.")
                .with_unit("{message}")
                .build(),
            queue_time: seconds(
                semconv::METRIC_QUEUE_TIME,
                "Time from publish to first delivery.",
            ),
            shed: counter(
                semconv::METRIC_CONTEXT_SHED,
                "Trace context that did not fit into the frame.",
            ),
            hook_panics: meter
                .u64_counter(semconv::METRIC_HOOK_PANICS)
                .with_description("Hooks that panicked.")
                .with_unit("{call}")
                .build(),
            paths: PathInstruments::new(meter),
        }
    }

    pub(crate) fn shed(&self, part: &'static str) {
        let attributes = [KeyValue::new(semconv::RABTRACE_CONTEXT_PART, part)];
        self.shed.add(1, &attributes);
    }

    pub(crate) fn hook_panicked(&self) {
        self.hook_panics.add(1, &[]);
    }
}

/// The series of one destination. What every message needs is bound at once, the rest when it
/// happens first.
pub(crate) struct DestinationSeries {
    attributes: Vec<KeyValue>,
    durations: [OnceLock<HistogramSeries>; Operation::COUNT],
    sent: OnceLock<CounterSeries>,
    outcomes: [OnceLock<CounterSeries>; PublishOutcome::COUNT],
    deliveries: OnceLock<DeliverySeries>,
    settlements: [OnceLock<CounterSeries>; Settlement::COUNT],
}

/// What every delivery is measured by.
struct DeliverySeries {
    consumed: CounterSeries,
    open: UpDownSeries,
    process: HistogramSeries,
    queue_time: HistogramSeries,
}

impl DestinationSeries {
    /// `attributes` are those of the destination and the server.
    pub(crate) fn new(attributes: Vec<KeyValue>) -> Self {
        Self {
            attributes,
            durations: [const { OnceLock::new() }; Operation::COUNT],
            sent: OnceLock::new(),
            outcomes: [const { OnceLock::new() }; PublishOutcome::COUNT],
            deliveries: OnceLock::new(),
            settlements: [const { OnceLock::new() }; Settlement::COUNT],
        }
    }

    fn with(&self, more: impl IntoIterator<Item = KeyValue>) -> Vec<KeyValue> {
        let mut attributes = self.attributes.clone();
        attributes.extend(more);
        attributes
    }

    fn of(&self, operation: Operation) -> Vec<KeyValue> {
        self.with([
            KeyValue::new(semconv::MESSAGING_SYSTEM, semconv::RABBITMQ),
            KeyValue::new(semconv::MESSAGING_OPERATION_NAME, operation.name()),
        ])
    }

    /// A message was handed to the broker.
    pub(crate) fn sent(&self, metrics: &Metrics, error: Option<&'static str>) {
        match error {
            None => {
                let bind = || bound::counter(&metrics.sent, &self.of(Operation::Publish));
                self.sent.get_or_init(bind).add(1);
            }
            Some(error) => {
                let mut attributes = self.of(Operation::Publish);
                attributes.push(KeyValue::new(semconv::ERROR_TYPE, error));
                metrics.sent.add(1, &attributes);
            }
        }
    }

    /// A publish, a fetch or a settlement took so long.
    pub(crate) fn operated(
        &self,
        metrics: &Metrics,
        (operation, error): (Operation, Option<&'static str>),
        seconds: f64,
    ) {
        let attributes = || {
            let mut attributes = self.of(operation);
            let kind = operation.operation_type();
            attributes.push(KeyValue::new(semconv::MESSAGING_OPERATION_TYPE, kind));
            attributes
        };
        match (error, self.durations.get(operation.index())) {
            (None, Some(series)) => series
                .get_or_init(|| bound::histogram(&metrics.operation_duration, &attributes()))
                .record(seconds),
            (error, _) => {
                let mut attributes = attributes();
                attributes.extend(error.map(|error| KeyValue::new(semconv::ERROR_TYPE, error)));
                metrics.operation_duration.record(seconds, &attributes);
            }
        }
    }

    /// A publish ended so.
    pub(crate) fn published(&self, metrics: &Metrics, outcome: PublishOutcome) {
        if let Some(series) = self.outcomes.get(outcome.index()) {
            let bind = || {
                let value = KeyValue::new(semconv::RABTRACE_PUBLISH_OUTCOME, outcome.as_str());
                bound::counter(&metrics.outcomes, &self.with([value]))
            };
            series.get_or_init(bind).add(1);
        }
    }

    /// A publish came back.
    pub(crate) fn returned(&self, metrics: &Metrics, reason: &'static str) {
        let reason = KeyValue::new(semconv::ERROR_TYPE, reason);
        metrics.returned.add(1, &self.with([reason]));
    }

    /// A message was handed to the application. `waited` is none where that is not known; `again`
    /// if it had been delivered before.
    pub(crate) fn delivered(
        &self,
        metrics: &Metrics,
        (waited, again): (Option<f64>, bool),
        operation: Operation,
    ) {
        let series = self.deliveries(metrics);
        if operation == Operation::Process {
            series.consumed.add(1);
        } else {
            metrics.consumed.add(1, &self.of(operation));
        }
        series.open.add(1);
        if let Some(seconds) = waited {
            series.queue_time.record(seconds);
        }
        if again {
            metrics.redelivered.add(1, &self.attributes);
        }
    }

    /// A delivery ended so.
    pub(crate) fn processed(
        &self,
        metrics: &Metrics,
        (settlement, error): (Settlement, Option<&'static str>),
        seconds: f64,
    ) {
        let series = self.deliveries(metrics);
        series.open.add(-1);
        match error {
            None => series.process.record(seconds),
            Some(error) => {
                let mut attributes = self.of(Operation::Process);
                attributes.push(KeyValue::new(semconv::ERROR_TYPE, error));
                metrics.process_duration.record(seconds, &attributes);
            }
        }
        if let Some(series) = self.settlements.get(settlement.index()) {
            let bind = || {
                let value = KeyValue::new(semconv::RABTRACE_SETTLEMENT, settlement.as_str());
                bound::counter(&metrics.settlements, &self.with([value]))
            };
            series.get_or_init(bind).add(1);
        }
    }

    fn deliveries(&self, metrics: &Metrics) -> &DeliverySeries {
        self.deliveries.get_or_init(|| {
            let process = self.of(Operation::Process);
            DeliverySeries {
                consumed: bound::counter(&metrics.consumed, &process),
                open: bound::up_down(&metrics.open, &self.attributes),
                process: bound::histogram(&metrics.process_duration, &process),
                queue_time: bound::histogram(&metrics.queue_time, &self.attributes),
            }
        })
    }
}

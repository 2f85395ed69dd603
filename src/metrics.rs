//! The agent's own counters, in the format of Prometheus. One struct, shared by every part.
//!
//! Cardinality is constant: labels take fixed words only, never a name from outside. What does have
//! names, queues, services and paths, is [`Observed`], with bounds of its own.

mod edge;
mod in_flight;
mod loss;
mod maker;
mod series;
mod stage;
mod words;

use std::collections::BTreeMap;

use prometheus::core::Collector;
use prometheus::{
    Encoder, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use self::edge::Edge;
use self::in_flight::InFlight;
pub use self::loss::Loss;
use self::maker::Maker;
use self::series::SeriesFamilies;
pub use self::stage::Stage;
use self::stage::Stages;
pub use self::words::{ConnectionClosed, DeadLetterOutcome, PathPointSkipped, Refused, Reloaded};
use crate::model::{Budget, Share};
use crate::observed::Observed;

/// Counters and gauges of the agent; a clone is the same set.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// Spans that came in and were handed over.
    pub spans_received: IntCounter,
    /// Spans that are in the store.
    pub spans_stored: IntCounter,
    /// OTLP metric data points that came in and were handed over.
    pub metric_points_received: IntCounter,
    /// Data points of which the agent itself makes nothing.
    pub metric_points_unused: IntCounter,
    /// Points that a server took.
    pub points_written: IntCounter,
    /// Points that are in the store.
    pub points_stored: IntCounter,
    /// OTLP requests that the upstream took.
    pub requests_forwarded: IntCounter,
    /// Polls of the broker that gave a snapshot.
    pub polls: IntCounter,
    path_points_skipped: IntCounterVec,
    stages: Stages,
    refused: IntCounterVec,
    errors: IntCounterVec,
    edge: Edge,
    waiting: Waiting,
    in_flight: InFlight,
    series: SeriesFamilies,
    /// Queues in the newest snapshot.
    pub queues: IntGauge,
    /// What was seen of broker, services and paths.
    pub observed: Observed,
}

/// What waits for the sinks and what their servers refused, by sink.
#[derive(Clone)]
struct Waiting {
    buffered_bytes: IntGaugeVec,
    spool_bytes: IntGaugeVec,
    spool_records: IntGaugeVec,
    spool_max_bytes: IntGaugeVec,
    dead_letters: IntCounterVec,
}

impl Waiting {
    fn new(make: &Maker) -> Result<Self, prometheus::Error> {
        let dead_letters = make.family(
            "rabtrace_dead_letters_total",
            "What servers refused for good, by whether it was kept in a file.",
            &["sink", "outcome"],
        )?;
        for sink in [Stage::Influx, Stage::Forward] {
            for outcome in DeadLetterOutcome::words() {
                dead_letters.with_label_values(&[sink.name(), outcome]);
            }
        }
        Ok(Self {
            buffered_bytes: make.gauges(
                "rabtrace_buffered_bytes",
                "Bytes that wait in memory for a sink.",
                &["sink"],
            )?,
            spool_bytes: make.gauges(
                "rabtrace_spool_bytes",
                "Bytes of a sink's spool on the disk.",
                &["sink"],
            )?,
            spool_records: make.gauges(
                "rabtrace_spool_records",
                "Requests or batches that are in a sink's spool and not delivered.",
                &["sink"],
            )?,
            spool_max_bytes: make.gauges(
                "rabtrace_spool_max_bytes",
                "Size of a sink's spool at which the oldest is dropped.",
                &["sink"],
            )?,
            dead_letters,
        })
    }
}

/// CPU and memory of the process itself, as Prometheus names them.
#[cfg(target_os = "linux")]
fn watch_process(registry: &Registry) -> Result<(), prometheus::Error> {
    let process = prometheus::process_collector::ProcessCollector::for_self();
    registry.register(Box::new(process))
}

/// The library reads them on Linux alone.
#[cfg(not(target_os = "linux"))]
fn watch_process(_registry: &Registry) -> Result<(), prometheus::Error> {
    Ok(())
}

impl Metrics {
    /// A fresh set, all at zero.
    ///
    /// # Errors
    /// Never in practice: only if two of the names were equal.
    pub fn new() -> Result<Self, prometheus::Error> {
        let make = Maker(Registry::new());
        watch_process(&make.0)?;
        let info = make.gauges("rabtrace_build_info", "Version of the agent.", &["version"])?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            spans_received: make.counter(
                "rabtrace_spans_received_total",
                "Spans that came in and were handed over.",
            )?,
            spans_stored: make.counter(
                "rabtrace_spans_stored_total",
                "Spans that are in the store.",
            )?,
            metric_points_received: make.counter(
                "rabtrace_metric_points_received_total",
                "OTLP metric data points that came in and were handed over.",
            )?,
            metric_points_unused: make.counter(
                "rabtrace_metric_points_unused_total",
                "Of these, those of which the agent itself makes nothing: histograms, summaries, \
                 points without a value. An upstream gets them.",
            )?,
            points_written: make.counter(
                "rabtrace_points_written_total",
                "Points that InfluxDB took.",
            )?,
            points_stored: make.counter(
                "rabtrace_points_stored_total",
                "Points that are in the store.",
            )?,
            requests_forwarded: make.counter(
                "rabtrace_requests_forwarded_total",
                "OTLP requests that the upstream took.",
            )?,
            polls: make.counter("rabtrace_polls_total", "Polls that gave a snapshot.")?,
            path_points_skipped: make.path_points_skipped()?,
            stages: Stages::new(&make)?,
            refused: make.each(
                "rabtrace_refused_total",
                "OTLP requests that were refused.",
                "reason",
                Refused::words(),
            )?,
            errors: make.each(
                "rabtrace_errors_total",
                "Attempts that failed and were made again.",
                "stage",
                Stage::ALL.iter().map(|stage| stage.name()),
            )?,
            edge: Edge::new(&make)?,
            waiting: Waiting::new(&make)?,
            in_flight: InFlight::new(&make)?,
            series: SeriesFamilies::new(&make)?,
            queues: make.queues()?,
            observed: Observed::default(),
            registry: make.0,
        })
    }

    /// Counts what came into a stage.
    pub fn received(&self, stage: Stage, number: u64) {
        self.stages.received(stage, number);
    }

    /// Counts what went out of a stage.
    pub fn sent(&self, stage: Stage, number: u64) {
        self.stages.sent(stage, number);
    }

    /// Counts what is lost: where, and why.
    pub fn dropped(&self, loss: Loss, number: u64) {
        self.stages.dropped(loss, number);
    }

    /// What is in a stage, for as long as the answer lives.
    #[must_use]
    pub fn share(&self, stage: Stage, number: u64) -> Share {
        self.stages.share(stage, number)
    }

    /// Counts a point of a path metric that is not to be counted as messages.
    pub fn path_point_skipped(&self, reason: PathPointSkipped) {
        let family = &self.path_points_skipped;
        family.with_label_values(&[reason.word()]).inc();
    }

    /// Counts a request that was refused.
    pub fn refused(&self, reason: Refused) {
        self.refused.with_label_values(&[reason.word()]).inc();
    }

    /// Counts something that a sink's server refused for good.
    pub fn dead_letter(&self, sink: Stage, outcome: DeadLetterOutcome) {
        let family = &self.waiting.dead_letters;
        family
            .with_label_values(&[sink.name(), outcome.word()])
            .inc();
    }

    /// Counts an attempt that failed and is made again.
    pub fn error(&self, stage: Stage) {
        self.errors.with_label_values(&[stage.name()]).inc();
    }

    /// Shows from now on how much of `budget` is held; the first that is told stays.
    pub fn show_in_flight(&self, budget: &Budget) {
        self.in_flight.show(budget);
    }

    /// Adds to the connections that are open, or takes away.
    pub fn connections_changed(&self, by: i64) {
        self.edge.connections.add(by);
    }

    /// Counts a connection that was closed early.
    pub fn connection_closed(&self, reason: ConnectionClosed) {
        let family = &self.edge.connections_closed;
        family.with_label_values(&[reason.word()]).inc();
    }

    /// Counts a reload.
    pub fn config_reloaded(&self, outcome: Reloaded) {
        let family = &self.edge.config_reloads;
        family.with_label_values(&[outcome.word()]).inc();
    }

    /// Sets when the certificate of the listeners expires; without one there is no such time.
    pub fn certificate_expires(&self, unix_seconds: Option<i64>) {
        self.edge.certificate_expiry.reset();
        if let Some(seconds) = unix_seconds {
            let none: &[&str] = &[];
            self.edge
                .certificate_expiry
                .with_label_values(none)
                .set(seconds);
        }
    }

    /// Sets how many bytes wait in memory for a sink.
    pub fn buffered(&self, sink: &str, bytes: usize) {
        self.waiting
            .buffered_bytes
            .with_label_values(&[sink])
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Sets how much is in a sink's spool: bytes on the disk, records that are not delivered.
    pub fn spooled(&self, sink: &str, bytes: u64, records: u64) {
        let set = |gauges: &IntGaugeVec, value: u64| {
            gauges
                .with_label_values(&[sink])
                .set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.waiting.spool_bytes, bytes);
        set(&self.waiting.spool_records, records);
    }

    /// Sets how large a sink's spool may become.
    pub fn spool_limit(&self, sink: &str, max_bytes: u64) {
        let limit = self.waiting.spool_max_bytes.with_label_values(&[sink]);
        limit.set(i64::try_from(max_bytes).unwrap_or(i64::MAX));
    }

    /// What [`Metrics::spooled`] was last told, by sink: bytes and records.
    #[must_use]
    pub fn spools(&self) -> BTreeMap<String, (u64, u64)> {
        let mut spools = BTreeMap::new();
        for family in self.waiting.spool_bytes.collect() {
            for metric in family.get_metric() {
                let sink = metric.get_label().iter().map(|label| label.value());
                let sink: String = sink.collect();
                let read = |gauges: &IntGaugeVec| gauges.with_label_values(&[&sink]).get();
                let found = (
                    read(&self.waiting.spool_bytes).unsigned_abs(),
                    read(&self.waiting.spool_records).unsigned_abs(),
                );
                spools.insert(sink, found);
            }
        }
        spools
    }

    /// All drops so far, whatever the stage and reason.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.stages.dropped_total()
    }

    /// Drops so far at this stage and for this reason.
    #[must_use]
    pub fn dropped_by(&self, loss: Loss) -> u64 {
        self.stages.dropped_by(loss)
    }

    /// The text that `/metrics` answers with.
    ///
    /// # Errors
    /// If a family cannot be encoded.
    pub fn encode(&self) -> Result<String, prometheus::Error> {
        self.stages.refresh();
        self.in_flight.look();
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

//! The agent's own counters, in the format of Prometheus. One struct, shared by every part.
//!
//! Cardinality is constant: labels take fixed words only, never a name from outside. What does have
//! names, queues, services and paths, is [`Observed`], with bounds of its own.

mod edge;
mod in_flight;
mod loss;
mod series;
mod stage;

use std::collections::BTreeMap;

use prometheus::core::Collector;
use prometheus::{
    Encoder, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use self::edge::Edge;
use self::in_flight::InFlight;
pub use self::loss::Loss;
use self::series::SeriesFamilies;
pub use self::stage::Stage;
use self::stage::Stages;
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
            dead_letters: make.family(
                "rabtrace_dead_letters_total",
                "What servers refused for good, by whether it was kept in a file.",
                &["sink", "outcome"],
            )?,
        })
    }
}

/// Registers what it makes.
struct Maker(Registry);

impl Maker {
    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        let counter = IntCounter::new(name, help)?;
        self.0.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    fn family(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        let family = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(family.clone()))?;
        Ok(family)
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(gauges.clone()))?;
        Ok(gauges)
    }

    fn queues(&self) -> Result<IntGauge, prometheus::Error> {
        self.gauge(
            "rabtrace_queues",
            "Queues of the broker in the newest snapshot.",
        )
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        let gauge = IntGauge::new(name, help)?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
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
            path_points_skipped: make.family(
                "rabtrace_path_points_skipped_total",
                "Points of path metrics that were not counted: they came twice, or are what later \
                 points are measured from.",
                &["reason"],
            )?,
            stages: Stages::new(&make)?,
            refused: make.family(
                "rabtrace_refused_total",
                "OTLP requests that were refused.",
                &["reason"],
            )?,
            errors: make.family(
                "rabtrace_errors_total",
                "Attempts that failed and were made again.",
                &["stage"],
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
    pub fn path_point_skipped(&self, reason: &str) {
        self.path_points_skipped.with_label_values(&[reason]).inc();
    }

    /// Counts a request that was refused.
    pub fn refused(&self, reason: &str) {
        self.refused.with_label_values(&[reason]).inc();
    }

    /// Counts something that was refused for good: `kept` in the sink's file, or `not_kept`.
    pub fn dead_letter(&self, sink: &str, outcome: &str) {
        let counter = &self.waiting.dead_letters;
        counter.with_label_values(&[sink, outcome]).inc();
    }

    /// Counts an attempt that failed and is made again.
    pub fn error(&self, stage: &str) {
        self.errors.with_label_values(&[stage]).inc();
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
    pub fn connection_closed(&self, reason: &str) {
        self.edge
            .connections_closed
            .with_label_values(&[reason])
            .inc();
    }

    /// Counts a reload: `applied` or `refused`.
    pub fn config_reloaded(&self, outcome: &str) {
        self.edge.config_reloads.with_label_values(&[outcome]).inc();
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

//! How the agent is: `/health/live`, `/health/ready`, `/health`, `/status`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Api, ReloadReport};
use crate::health::{ComponentReport, Status};
use crate::metrics::Metrics;
use crate::spool::DeadLetterFile;

/// Where an agent listens; with port 0 in the configuration these are the chosen ones.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Addresses {
    /// OTLP over gRPC.
    pub grpc: SocketAddr,
    /// OTLP over HTTP.
    pub http: SocketAddr,
    /// JSON API, `/metrics`, `/health`.
    pub api: SocketAddr,
}

/// The answer of `/health`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HealthReport {
    /// The worst of all parts.
    pub status: Status,
    /// Every part by its name.
    pub components: BTreeMap<String, ComponentReport>,
}

/// The answer of `/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusReport {
    /// Version of the agent.
    pub version: String,
    /// Seconds since it started.
    pub uptime_seconds: f64,
    /// Where it listens.
    pub addresses: Addresses,
    /// The worst of all parts.
    pub health: Status,
    /// Spans that came in and were handed over.
    pub spans_received: u64,
    /// Spans in the store.
    pub spans_stored: u64,
    /// Points in the store.
    pub points_stored: u64,
    /// Points that InfluxDB took.
    pub points_written: u64,
    /// OTLP requests that the upstream took.
    pub requests_forwarded: u64,
    /// Polls of the broker.
    pub polls: u64,
    /// Everything that was dropped, for whatever reason.
    pub dropped: u64,
    /// What waits on disk, by sink.
    #[serde(default)]
    pub spools: BTreeMap<String, SpoolReport>,
    /// Reloads of the configuration.
    #[serde(default)]
    pub reloads: ReloadReport,
    /// What servers refused for good and is kept, by sink.
    #[serde(default)]
    pub dead_letters: BTreeMap<String, DeadLetterReport>,
    /// How many series each measurement has.
    #[serde(default)]
    pub series: BTreeMap<String, SeriesReport>,
}

/// The series of one measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesReport {
    /// Those to which something came in the last hour.
    pub series: u64,
    /// Times that a tag became `_other`, because there were too many, since the agent's start.
    pub folded: u64,
}

/// What one sink's server refused for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterReport {
    /// The file that has the newest of it.
    pub path: String,
    /// Bytes of it and of the file before it.
    pub bytes: u64,
    /// Lines that were written since the agent's start.
    pub letters: u64,
}

/// What waits on disk for one sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolReport {
    /// Bytes of its spool on the disk, those of what is delivered and not deleted yet included.
    pub disk_bytes: u64,
    /// Requests or batches that are not delivered.
    pub records: u64,
}

/// The process answers.
pub(super) async fn live() -> &'static str {
    "live\n"
}

/// Every part has been tried, and the store takes data.
pub(super) async fn ready(State(api): State<Api>) -> (StatusCode, &'static str) {
    let store = api
        .setup
        .health
        .reports()
        .get("store")
        .map(|report| report.status);
    match store {
        Some(Status::Healthy | Status::Degraded) => (StatusCode::OK, "ready\n"),
        Some(Status::Starting) | None => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the store has not been written yet\n",
        ),
        Some(Status::Unhealthy) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the store cannot be written\n",
        ),
    }
}

/// Every part with its state. A degraded part is no reason to restart the agent.
pub(super) async fn health(State(api): State<Api>) -> (StatusCode, Json<HealthReport>) {
    let reports = api.setup.health.reports();
    let status = api.setup.health.overall();
    let components = reports
        .into_iter()
        .map(|(name, report)| (name.to_owned(), report))
        .collect();
    let code = if status == Status::Unhealthy {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    (code, Json(HealthReport { status, components }))
}

/// Counters and addresses.
pub(super) async fn status(State(api): State<Api>) -> Json<StatusReport> {
    let metrics = &api.setup.metrics;
    Json(StatusReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: api.started.elapsed().as_secs_f64(),
        addresses: api.setup.addresses,
        health: api.setup.health.overall(),
        spans_received: metrics.spans_received.get(),
        spans_stored: metrics.spans_stored.get(),
        points_stored: metrics.points_stored.get(),
        points_written: metrics.points_written.get(),
        requests_forwarded: metrics.requests_forwarded.get(),
        polls: metrics.polls.get(),
        dropped: metrics.dropped_total(),
        spools: spools(metrics),
        reloads: api.setup.reloads.report(),
        dead_letters: dead_letters(&api.setup.dead_letters),
        series: series(metrics),
    })
}

fn dead_letters(files: &[DeadLetterFile]) -> BTreeMap<String, DeadLetterReport> {
    let report = |file: &DeadLetterFile| {
        let report = DeadLetterReport {
            path: file.path().display().to_string(),
            bytes: file.bytes(),
            letters: file.letters(),
        };
        (file.sink().to_owned(), report)
    };
    files.iter().map(report).collect()
}

fn series(metrics: &Metrics) -> BTreeMap<String, SeriesReport> {
    let report = |(measurement, (series, folded))| (measurement, SeriesReport { series, folded });
    metrics.series_counts().into_iter().map(report).collect()
}

fn spools(metrics: &Metrics) -> BTreeMap<String, SpoolReport> {
    let report = |(sink, (disk_bytes, records))| {
        let report = SpoolReport {
            disk_bytes,
            records,
        };
        (sink, report)
    };
    metrics.spools().into_iter().map(report).collect()
}

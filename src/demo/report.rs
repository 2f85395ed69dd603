//! What the demo shows: a screen each second, and the report at its end.

use std::time::Duration;

use serde::Serialize;

use super::pipeline::Totals;
use super::stamps::Stamped;
use crate::metrics::{Loss, Metrics};
use crate::render;
use crate::store::{PathRow, QueueRow, Reader, StoreError, Trace};

/// One look at the store.
pub struct Screen {
    paths: Vec<PathRow>,
    queues: Vec<QueueRow>,
    trace: Option<Trace>,
    number: u64,
    elapsed: Duration,
    spans: u64,
}

impl Screen {
    pub(super) fn read(reader: &Reader, since: i64, now: i64) -> Result<Self, StoreError> {
        Ok(Self {
            paths: reader.paths(since, now, 20)?,
            queues: reader.queues(now)?,
            trace: example(reader, since)?,
            number: 0,
            elapsed: Duration::ZERO,
            spans: 0,
        })
    }

    pub(super) fn has_paths(&self) -> bool {
        !self.paths.is_empty()
    }

    pub(super) fn describe(&mut self, number: u64, elapsed: Duration, spans: u64) {
        (self.number, self.elapsed, self.spans) = (number, elapsed, spans);
    }

    /// Whether it is the first with paths.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.number == 0
    }

    /// The screen as text, its paths shortened for a terminal of `width` columns.
    #[must_use]
    pub fn render(&self, width: Option<usize>) -> String {
        let head = format!(
            "rabtrace demo  {:.0} s, {} spans stored; Ctrl-C ends it",
            self.elapsed.as_secs_f64(),
            self.spans
        );
        let trace = self
            .trace
            .as_ref()
            .map(render::waterfall)
            .unwrap_or_default();
        format!(
            "{head}\n\n{}\n\n{}\n\n{trace}",
            render::paths_within(&self.paths, width),
            render::queues(&self.queues)
        )
    }
}

/// The newest trace that shows most: the one with most spans.
fn example(reader: &Reader, since: i64) -> Result<Option<Trace>, StoreError> {
    let traces = reader.recent_traces(since, 50)?;
    match traces.into_iter().max_by_key(|trace| trace.spans) {
        Some(row) => reader.trace(&row.trace_id),
        None => Ok(None),
    }
}

/// A path of the report.
#[derive(Debug, Serialize)]
struct ReportPath {
    path: String,
    count: u64,
    errors: u64,
    redelivered: u64,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
}

/// A queue of the report.
#[derive(Debug, Serialize)]
struct ReportQueue {
    vhost: String,
    queue: String,
    messages: Option<i64>,
    messages_ready: Option<i64>,
    messages_unack: Option<i64>,
    consumers: Option<i64>,
}

/// What the demo did. Messages are counted by the queue: a message that an exchange copies to two
/// queues counts twice. Published = consumed + queued + dead-lettered.
#[derive(Debug, Serialize)]
pub struct Report {
    schema_version: u32,
    messages_published: u64,
    messages_consumed: u64,
    messages_queued: u64,
    messages_dead_lettered: u64,
    spans_received: u64,
    spans_stored: u64,
    /// Points in the embedded store and points that InfluxDB took.
    points_written: u64,
    points_written_influxdb: u64,
    requests_forwarded: u64,
    dropped: u64,
    /// How many of `dropped` are polls that were left out because the one before took too long.
    polls_late: u64,
    paths: Vec<ReportPath>,
    queues: Vec<ReportQueue>,
    /// What the pipeline measured by stamps of its own, to compare with.
    stamped: Vec<Stamped>,
    /// A trace with many spans, for `rabtrace trace`.
    example_trace_id: Option<String>,
    #[serde(skip)]
    screen: String,
}

impl Report {
    pub(super) fn read(
        reader: &Reader,
        metrics: &Metrics,
        (totals, stamped): (Totals, Vec<Stamped>),
        (since, now): (i64, i64),
    ) -> Result<Self, StoreError> {
        let screen = Screen::read(reader, since, now)?;
        let paths = screen.paths.iter().map(|row| ReportPath {
            path: row.path.clone(),
            count: row.count,
            errors: row.errors,
            redelivered: row.redelivered,
            p50_ms: row.p50_ms,
            p95_ms: row.p95_ms,
        });
        let queues = screen.queues.iter().map(|row| ReportQueue {
            vhost: row.vhost.clone(),
            queue: row.queue.clone(),
            messages: row.messages,
            messages_ready: row.messages_ready,
            messages_unack: row.messages_unack,
            consumers: row.consumers,
        });
        let text = [
            render::paths(&screen.paths),
            render::queues(&screen.queues),
            screen
                .trace
                .as_ref()
                .map(render::waterfall)
                .unwrap_or_default(),
        ];
        Ok(Self {
            schema_version: 1,
            messages_published: totals.published,
            messages_consumed: totals.consumed,
            messages_queued: totals.queued,
            messages_dead_lettered: totals.dead_lettered,
            spans_received: metrics.spans_received.get(),
            spans_stored: metrics.spans_stored.get(),
            points_written: metrics.points_stored.get() + metrics.points_written.get(),
            points_written_influxdb: metrics.points_written.get(),
            requests_forwarded: metrics.requests_forwarded.get(),
            dropped: metrics.dropped_total(),
            polls_late: metrics.dropped_by(Loss::PollLate),
            paths: paths.collect(),
            queues: queues.collect(),
            stamped,
            example_trace_id: screen.trace.map(|trace| trace.trace_id),
            screen: text.join("\n\n"),
        })
    }

    /// The report as text: the last tables, then the sums.
    #[must_use]
    pub fn render(&self) -> String {
        format!(
            "{}\n{} messages published = {} consumed + {} queued + {} dead-lettered\n{} spans received, {} stored; {} points written; {} dropped{}",
            self.screen,
            self.messages_published,
            self.messages_consumed,
            self.messages_queued,
            self.messages_dead_lettered,
            self.spans_received,
            self.spans_stored,
            self.points_written,
            self.dropped,
            match self.polls_late {
                0 => String::new(),
                late => format!(" ({late} of them polls that came late)"),
            },
        )
    }
}

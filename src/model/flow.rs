//! What the flow hands to the store: hops, points, and path statistics of closed windows.

use std::sync::Arc;
use std::time::Duration;

use super::{Direction, EdgeKind, Held, Histogram, Hop, Point, Receipt, Share, TraceId};

/// The slowest sampled message of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slowest {
    /// Its trace.
    pub trace_id: TraceId,
    /// Since the origin of its path; the span's own duration where that is not known.
    pub duration: Duration,
}

/// The statistics of one checkpoint in one window of time, or a part of them: those of one window
/// and checkpoint add up.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowWindow {
    /// Start of the window; nanoseconds since the Unix epoch.
    pub start_unix_nano: i64,
    /// Its width.
    pub width: Duration,
    /// Hash of the path up to this checkpoint.
    pub hash: u64,
    /// The service at the checkpoint.
    pub service: Arc<str>,
    /// Exchange or queue.
    pub destination: Arc<str>,
    /// Published or delivered.
    pub direction: Direction,
    /// What led to the checkpoint.
    pub kind: EdgeKind,
    /// Messages that passed.
    pub count: u64,
    /// Of these, those whose publish or processing failed.
    pub errors: u64,
    /// Of these, those that were delivered again.
    pub redelivered: u64,
    /// Of these, those that were stamped before the checkpoint that they follow.
    pub skewed: u64,
    /// The greatest number of an attempt; zero where no message came twice.
    pub max_attempt: u64,
    /// Since the checkpoint before, in seconds.
    pub edge: Histogram,
    /// Since the origin of the path, in seconds.
    pub total: Histogram,
    /// From hand-out of a delivery to its end, in seconds.
    pub process: Histogram,
    /// The slowest sampled message; none if none was sampled.
    pub slowest: Option<Slowest>,
    /// Whether sampled spans were counted, because the service sends no path metrics.
    pub sampled: bool,
}

impl FlowWindow {
    /// An empty window of `width` that begins at `start_unix_nano`.
    #[must_use]
    pub fn new(checkpoint: Checkpoint, start_unix_nano: i64, width: Duration) -> Self {
        let Checkpoint {
            hash,
            kind,
            service,
            direction,
            destination,
            sampled,
        } = checkpoint;
        Self {
            start_unix_nano,
            width,
            hash,
            service,
            destination,
            direction,
            kind,
            count: 0,
            errors: 0,
            redelivered: 0,
            skewed: 0,
            max_attempt: 0,
            edge: Histogram::default(),
            total: Histogram::default(),
            process: Histogram::default(),
            slowest: None,
            sampled,
        }
    }

    /// Which checkpoint it is about.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            hash: self.hash,
            kind: self.kind,
            service: Arc::clone(&self.service),
            direction: self.direction,
            destination: Arc::clone(&self.destination),
            sampled: self.sampled,
        }
    }

    /// Adds what another window counted; time, width and checkpoint stay.
    pub fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.errors = self.errors.saturating_add(other.errors);
        self.redelivered = self.redelivered.saturating_add(other.redelivered);
        self.skewed = self.skewed.saturating_add(other.skewed);
        self.max_attempt = self.max_attempt.max(other.max_attempt);
        self.edge.merge(&other.edge);
        self.total.merge(&other.total);
        self.process.merge(&other.process);
        if let Some(slowest) = other.slowest {
            self.offer(slowest);
        }
    }

    /// Keeps the slower of the two messages.
    pub fn offer(&mut self, slowest: Slowest) {
        if self
            .slowest
            .is_none_or(|known| known.duration < slowest.duration)
        {
            self.slowest = Some(slowest);
        }
    }
}

/// What statistics are kept for: where on which path, and what led there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// Hash of the path up to it.
    pub hash: u64,
    /// What led to it.
    pub kind: EdgeKind,
    /// The service at it.
    pub service: Arc<str>,
    /// Published or delivered.
    pub direction: Direction,
    /// Exchange or queue.
    pub destination: Arc<str>,
    /// Whether sampled spans are counted.
    pub sampled: bool,
}

/// One step of a path, as the book of paths keeps it over restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRow {
    /// Hash of the path with this step.
    pub hash: u64,
    /// Hash of the path before it; a step that merges messages has a row for each of them.
    pub parent: Option<u64>,
    /// The service at it.
    pub service: Arc<str>,
    /// Published or delivered.
    pub direction: Direction,
    /// Exchange or queue.
    pub destination: Arc<str>,
    /// The name under which a delivered message came in, where that is not the queue.
    pub via: Option<Arc<str>>,
    /// Whether the broker moved messages here from a queue that gave them up.
    pub dead_letter: bool,
}

/// The text of a path, as far as it is known; a later one with the same hash replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathText {
    /// Hash of the path.
    pub hash: u64,
    /// `gateway > planner_queue > planner`; begins with `?` while a parent is unknown.
    pub text: Arc<str>,
    /// Whether a step of it is a delivery: paths end where something was delivered.
    pub ends_in_delivery: bool,
}

/// Stands for one series of a path metric: instance, instrument and attributes.
pub type SeriesKey = [u8; 16];

/// The newest point of a series: by it one that comes twice is known, and what came since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesState {
    /// The series.
    pub key: SeriesKey,
    /// Stands for the process that sends it.
    pub instance: u64,
    /// Start of the newest point, by the sender's clock; nanoseconds since the Unix epoch.
    pub start_unix_nano: i64,
    /// End of the newest point, likewise.
    pub end_unix_nano: i64,
    /// When it came in, by the agent's clock.
    pub seen_unix_nano: i64,
    /// Its value, if it is cumulative.
    pub value: Option<Arc<[u8]>>,
}

/// What the flow goes on from after a restart.
#[derive(Clone, Debug, Default)]
pub struct Resume {
    /// Steps of paths, those that are used least recently first.
    pub steps: Vec<StepRow>,
    /// Newest points of series of path metrics.
    pub series: Vec<SeriesState>,
    /// Parts of the windows that are open or not in InfluxDB yet.
    pub windows: Vec<FlowWindow>,
    /// When the newest of the series came in; zero if there are none.
    pub stored_unix_nano: i64,
}

/// What is stored in one go.
#[derive(Clone, Debug, Default)]
pub struct StoreBatch {
    /// Spans with what messaging adds to them.
    pub hops: Vec<Hop>,
    /// Rows of measurements.
    pub points: Vec<Point>,
    /// Path statistics: parts of windows that are open, or windows that were closed.
    pub windows: Vec<FlowWindow>,
    /// Steps of paths that are new.
    pub steps: Vec<StepRow>,
    /// Newest points of series of path metrics.
    pub series: Vec<SeriesState>,
    /// Series that nothing came of for long.
    pub forgotten: Vec<SeriesKey>,
    /// All windows that end until then are in InfluxDB, or given up.
    pub closed_until: Option<i64>,
    /// To be confirmed when it is stored.
    pub receipts: Vec<Receipt>,
    /// Room of the request that it was made of, until it is stored.
    pub held: Option<Arc<Held>>,
    /// Texts of paths that are new or better known.
    pub paths: Vec<PathText>,
    /// That it waits for the store.
    pub share: Option<Share>,
}

impl StoreBatch {
    /// How many rows it is: what the store counts.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.hops.len() + self.points.len() + self.windows.len() + self.series.len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            hops,
            points,
            windows,
            steps,
            series,
            forgotten,
            closed_until,
            receipts,
            held: _,
            paths,
            share: _,
        } = self;
        let rows = hops.is_empty() && points.is_empty() && windows.is_empty();
        let state = steps.is_empty() && series.is_empty() && forgotten.is_empty();
        rows && state && closed_until.is_none() && receipts.is_empty() && paths.is_empty()
    }
}

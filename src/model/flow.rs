//! What the flow hands to the store: hops, points, and path statistics of closed windows.

use std::sync::Arc;
use std::time::Duration;

use super::{Direction, Histogram, Hop, Point};

/// The statistics of one checkpoint in one window of time.
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
    /// Messages that passed.
    pub count: u64,
    /// Of these, those whose publish or processing failed.
    pub errors: u64,
    /// Of these, those that were delivered again.
    pub redelivered: u64,
    /// Since the checkpoint before, in seconds.
    pub edge: Histogram,
    /// Since the origin of the path, in seconds.
    pub total: Histogram,
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

/// What is stored in one go.
#[derive(Clone, Debug, Default)]
pub struct StoreBatch {
    /// Spans with what messaging adds to them.
    pub hops: Vec<Hop>,
    /// Rows of measurements.
    pub points: Vec<Point>,
    /// Path statistics of closed windows.
    pub windows: Vec<FlowWindow>,
    /// Texts of paths that are new or better known.
    pub paths: Vec<PathText>,
}

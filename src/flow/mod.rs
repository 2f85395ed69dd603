//! What the agent makes of spans: hops with their path, path statistics per window, and the
//! points of the data model. Pure: no I/O, no clock; `now` is an argument.
//!
//! Input: [`Batch`]es from the receiver and [`BrokerSnapshot`]s from the monitor. Output:
//! [`StoreBatch`]es; what InfluxDB gets follows from them, by [`Flow::influx_points`]. The state is bounded: [`PathBook`] holds at most
//! 10,000 paths, [`Windows`] the paths of one window; nothing is kept per trace.

mod book;
mod hop;
mod platform;
mod points;
mod run;
mod windows;

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Batch, BrokerSnapshot, Hop, Point, StoreBatch};

pub use book::PathBook;
pub use hop::hop;
pub use platform::Platform;
pub use run::{FlowTask, Sinks};
pub use windows::Windows;

/// The whole state of the flow.
pub struct Flow {
    book: PathBook,
    windows: Windows,
    platform: Platform,
}

impl Flow {
    /// An empty flow whose windows are `window` wide.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self {
            book: PathBook::default(),
            windows: Windows::new(window),
            platform: Platform::default(),
        }
    }

    /// Takes an OTLP request in.
    pub fn take_batch(&mut self, batch: Batch) -> StoreBatch {
        let mut hops: Vec<Hop> = batch.spans.into_iter().map(hop).collect();
        let mut paths = Vec::new();
        for hop in &hops {
            if let Some(step) = &hop.step {
                paths.extend(self.book.learn(&hop.span.service, step));
            }
        }
        let mut points = Vec::new();
        for hop in &mut hops {
            hop.path = hop.step.as_ref().and_then(|step| self.book.text(step.hash));
            self.windows.count(hop);
            points.extend(self.platform.take_hop(hop));
        }
        self.platform.take_metrics(&batch.metrics);
        StoreBatch {
            hops,
            points,
            paths,
            ..StoreBatch::default()
        }
    }

    /// Takes the points of a poll in; the snapshot itself tells the depth of each queue.
    pub fn take_snapshot(&mut self, snapshot: &BrokerSnapshot, points: Vec<Point>) -> StoreBatch {
        self.platform.take_snapshot(snapshot);
        StoreBatch {
            points,
            ..StoreBatch::default()
        }
    }

    /// Closes the window that ended at `end_unix_nano`.
    pub fn close_window(&mut self, end_unix_nano: i64) -> StoreBatch {
        StoreBatch {
            points: self.platform.close(end_unix_nano),
            windows: self.windows.close(end_unix_nano),
            ..StoreBatch::default()
        }
    }

    /// A batch as InfluxDB gets it: a point for each span and each window, and its own points.
    #[must_use]
    pub fn influx_points(&self, batch: &StoreBatch) -> Vec<Point> {
        let text = |hash| {
            self.book
                .text(hash)
                .unwrap_or_else(|| Arc::from(book::UNKNOWN))
        };
        let mut points: Vec<Point> = batch.hops.iter().map(points::span).collect();
        let windows = windows::merged(&batch.windows, text);
        points.extend(
            windows
                .into_iter()
                .map(|(window, text)| points::message_flow(&window, text)),
        );
        points.extend(batch.points.iter().cloned());
        points
    }
}

#[cfg(test)]
mod tests;

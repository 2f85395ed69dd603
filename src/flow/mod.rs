//! What the agent makes of spans: hops with their path, path statistics per window, and the
//! points of the data model. Pure: no I/O, no clock; `now` is an argument.
//!
//! Input: [`Batch`]es from the receiver and [`BrokerSnapshot`]s from the monitor. Output:
//! [`Yield`]s for the store and the sinks. The state is bounded: [`PathBook`] holds at most
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

/// What one input gives.
#[derive(Debug, Default)]
pub struct Yield {
    /// For the store.
    pub store: StoreBatch,
    /// For InfluxDB.
    pub points: Vec<Point>,
}

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
    pub fn take_batch(&mut self, batch: Batch) -> Yield {
        let mut hops: Vec<Hop> = batch.spans.into_iter().map(hop).collect();
        let mut paths = Vec::new();
        for hop in &hops {
            if let Some(step) = &hop.step {
                paths.extend(self.book.learn(&hop.span.service, step));
            }
        }
        let mut points = Vec::with_capacity(hops.len());
        let mut own = Vec::new();
        for hop in &mut hops {
            hop.path = hop.step.as_ref().and_then(|step| self.book.text(step.hash));
            self.windows.count(hop);
            own.extend(self.platform.take_hop(hop));
            points.push(points::span(hop));
        }
        self.platform.take_metrics(&batch.metrics);
        points.extend(own.iter().cloned());
        Yield {
            store: StoreBatch {
                hops,
                points: own,
                windows: Vec::new(),
                paths,
            },
            points,
        }
    }

    /// Takes the points of a poll in; the snapshot itself tells the depth of each queue.
    pub fn take_snapshot(&mut self, snapshot: &BrokerSnapshot, points: Vec<Point>) -> Yield {
        self.platform.take_snapshot(snapshot);
        Yield {
            store: StoreBatch {
                points: points.clone(),
                ..StoreBatch::default()
            },
            points,
        }
    }

    /// Closes the window that ended at `end_unix_nano`.
    pub fn close_window(&mut self, end_unix_nano: i64) -> Yield {
        let windows = self.windows.close(end_unix_nano);
        let own = self.platform.close(end_unix_nano);
        let text = |hash| {
            self.book
                .text(hash)
                .unwrap_or_else(|| Arc::from(book::UNKNOWN))
        };
        let mut points: Vec<Point> = windows::merged(&windows, text)
            .into_iter()
            .map(|(window, text)| points::message_flow(&window, text))
            .collect();
        points.extend(own.iter().cloned());
        Yield {
            store: StoreBatch {
                points: own,
                windows,
                ..StoreBatch::default()
            },
            points,
        }
    }
}

#[cfg(test)]
mod tests;

//! Path statistics of the window that is open now.
//!
//! A message counts in the window in which its span arrived, so a closed window never changes:
//! InfluxDB would overwrite the earlier row. Rows of the same path add up as histograms.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{AttributeValue, Direction, FlowWindow, Histogram, Hop, SpanStatus};

/// The window that is open.
pub struct Windows {
    width: Duration,
    open: HashMap<u64, FlowWindow>,
}

impl Windows {
    /// No window yet; each will be `width` wide.
    #[must_use]
    pub fn new(width: Duration) -> Self {
        Self {
            width,
            open: HashMap::new(),
        }
    }

    /// Counts a hop that has a step.
    pub fn count(&mut self, hop: &Hop) {
        let Some(step) = &hop.step else { return };
        let window = self.open.entry(step.hash).or_insert_with(|| FlowWindow {
            start_unix_nano: 0,
            width: self.width,
            hash: step.hash,
            service: Arc::clone(&hop.span.service),
            destination: Arc::clone(&step.destination),
            direction: step.direction,
            count: 0,
            errors: 0,
            redelivered: 0,
            edge: Histogram::default(),
            total: Histogram::default(),
        });
        window.count += 1;
        window.errors += u64::from(hop.span.status == SpanStatus::Error);
        let again = redelivered(hop);
        window.redelivered += u64::from(again);
        // The wait of a redelivery contains the attempts before it: it would blur the hop's own.
        if !again || step.direction == Direction::Out {
            if let Some(edge) = step.edge {
                window.edge.record(edge.as_secs_f64());
            }
            if let Some(total) = step.total {
                window.total.record(total.as_secs_f64());
            }
        }
    }

    /// Closes the window that ends at `end_unix_nano`.
    pub fn close(&mut self, end_unix_nano: i64) -> Vec<FlowWindow> {
        let width = i64::try_from(self.width.as_nanos()).unwrap_or(i64::MAX);
        let closed = self.open.drain().map(|(_, window)| FlowWindow {
            start_unix_nano: end_unix_nano.saturating_sub(width),
            ..window
        });
        closed.collect()
    }
}

fn redelivered(hop: &Hop) -> bool {
    hop.span.attribute("rabtrace.redelivered") == Some(&AttributeValue::Bool(true))
}

//! Path statistics of the window that is open now.
//!
//! A message counts in the window in which its span arrived, so a closed window never changes:
//! InfluxDB would overwrite the earlier row. Rows of the same path add up as histograms.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{AttributeValue, Checkpoint, Direction, EdgeKind, FlowWindow, Hop, SpanStatus};

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

    /// Counts a hop that has a step; those whose path found no place in the book count as one path,
    /// so that what is open stays bounded.
    pub fn count(&mut self, hop: &Hop) {
        let Some(step) = &hop.step else { return };
        let known = hop.path.is_some();
        let name = |name: &Arc<str>| {
            if known {
                Arc::clone(name)
            } else {
                Arc::from("_other")
            }
        };
        let hash = if known {
            step.hash
        } else {
            others(step.direction)
        };
        let window = self.open.entry(hash).or_insert_with(|| {
            let checkpoint = Checkpoint {
                hash,
                kind: EdgeKind::Forward,
                service: name(&hop.span.service),
                destination: name(&step.destination),
                direction: step.direction,
                sampled: true,
            };
            FlowWindow::new(checkpoint, 0, self.width)
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

/// What stands for the hash of every path that is not in the book.
const fn others(direction: Direction) -> u64 {
    match direction {
        Direction::Out => 0,
        Direction::In => 1,
    }
}

/// Windows whose points would have the same tags, added up: InfluxDB would keep the last alone.
///
/// Different paths have the same text while what they begin with is not known.
pub(super) fn merged(
    windows: &[FlowWindow],
    text: impl Fn(u64) -> Arc<str>,
) -> Vec<(FlowWindow, Arc<str>)> {
    let mut sums: Vec<(FlowWindow, Arc<str>)> = Vec::new();
    let mut places = HashMap::new();
    for window in windows {
        let text = text(window.hash);
        let (service, destination) = (&window.service, &window.destination);
        let tags = (Arc::clone(&text), service, destination, window.direction);
        match places.entry(tags) {
            Entry::Vacant(place) => {
                place.insert(sums.len());
                sums.push((window.clone(), text));
            }
            Entry::Occupied(place) => {
                if let Some((sum, _)) = sums.get_mut(*place.get()) {
                    sum.merge(window);
                }
            }
        }
    }
    sums
}

fn redelivered(hop: &Hop) -> bool {
    hop.span.attribute("rabtrace.redelivered") == Some(&AttributeValue::Bool(true))
}

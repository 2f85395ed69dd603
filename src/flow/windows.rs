//! Path statistics of the windows that are open.
//!
//! A message counts in the window in which its record arrived, so a closed window never changes:
//! InfluxDB would overwrite the earlier row. What comes of path metrics is handed to the store at
//! once, as parts of the window that add up there; what is counted from spans when the window
//! closes. Bounded: what comes in here was capped before.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Checkpoint, FlowWindow, Resume};

/// One checkpoint in one window.
#[derive(Default)]
struct Cell {
    /// What the store has, or was handed.
    handed: Option<FlowWindow>,
    /// What it was not handed yet.
    kept: Option<FlowWindow>,
}

/// Windows that were closed.
#[derive(Debug, Default)]
pub(super) struct Closed {
    /// What the store was not handed before.
    pub(super) kept: Vec<FlowWindow>,
    /// All of them, whole.
    pub(super) whole: Vec<FlowWindow>,
    /// When the newest of them ended; none if there was none.
    pub(super) until: Option<i64>,
}

/// The windows that are open, by their start.
pub struct Windows {
    width: Duration,
    open: BTreeMap<i64, HashMap<Checkpoint, Cell>>,
    /// When the newest window ended that was closed.
    closed_until: i64,
}

/// Windows by which the clock may go back without one being opened again.
const MAX_STEP_BACK: i64 = 60;

impl Windows {
    /// Windows of `width`, with what was stored of those that are to be closed.
    #[must_use]
    pub fn resume(width: Duration, resume: &mut Resume) -> Self {
        let mut windows = Self {
            width,
            open: BTreeMap::new(),
            closed_until: 0,
        };
        for window in resume.windows.drain(..) {
            windows.add_handed(window);
        }
        windows
    }

    /// How wide each is.
    pub(super) const fn width(&self) -> Duration {
        self.width
    }

    /// Start of the window that is open at that time.
    pub(super) fn start_at(&self, unix_nano: i64) -> i64 {
        let width = i64::try_from(self.width.as_nanos()).unwrap_or(i64::MAX);
        let start = unix_nano - unix_nano.rem_euclid(width.max(1));
        // The clock may have been set back: what is closed stays so.
        let back = self.closed_until.saturating_sub(start);
        if back > 0 && back <= width.saturating_mul(MAX_STEP_BACK) {
            self.closed_until
        } else {
            start
        }
    }

    /// Adds a part that the store is handed as well.
    pub(super) fn add_handed(&mut self, part: FlowWindow) {
        let cells = self.open.entry(part.start_unix_nano).or_default();
        match &mut cells.entry(part.checkpoint()).or_default().handed {
            Some(handed) => handed.merge(&part),
            empty => *empty = Some(part),
        }
    }

    /// The part of a window that the store gets when it closes.
    pub(super) fn kept(&mut self, start: i64, checkpoint: Checkpoint) -> &mut FlowWindow {
        let cells = self.open.entry(start).or_default();
        let cell = cells.entry(checkpoint.clone()).or_default();
        cell.kept
            .get_or_insert_with(|| FlowWindow::new(checkpoint, start, self.width))
    }

    /// Closes the windows that ended by `unix_nano`; all of them for `i64::MAX`.
    pub(super) fn close(&mut self, unix_nano: i64) -> Closed {
        let mut closed = Closed::default();
        let width = i64::try_from(self.width.as_nanos()).unwrap_or(i64::MAX);
        while let Some(first) = self.open.first_entry() {
            let end = first.key().saturating_add(width);
            if end > unix_nano {
                break;
            }
            closed.until = Some(end);
            self.closed_until = end;
            for cell in first.remove().into_values() {
                closed.kept.extend(cell.kept.clone());
                closed.whole.extend(match (cell.handed, cell.kept) {
                    (Some(mut handed), Some(kept)) => {
                        handed.merge(&kept);
                        Some(handed)
                    }
                    (handed, kept) => handed.or(kept),
                });
            }
        }
        closed
    }
}

/// Windows whose points would have the same tags, added up: InfluxDB would keep the last alone.
///
/// Different paths have the same text while what they begin with is not known, and where a text
/// leaves out how often a loop was gone through.
pub(super) fn merged(
    windows: &[FlowWindow],
    text: impl Fn(u64) -> Arc<str>,
) -> Vec<(FlowWindow, Arc<str>)> {
    let mut sums: Vec<(FlowWindow, Arc<str>)> = Vec::new();
    let mut places = HashMap::new();
    // One that only brings a trace is no point: nothing of it was counted.
    let counted = |window: &&FlowWindow| {
        let counts = [
            window.count,
            window.errors,
            window.skewed,
            window.max_attempt,
        ];
        let histograms = [&window.edge, &window.total, &window.process];
        counts.iter().any(|count| *count > 0) || histograms.iter().any(|of| of.count() > 0)
    };
    for window in windows.iter().filter(counted) {
        let text = text(window.hash);
        let tags = (
            Arc::clone(&text),
            (&window.service, &window.destination),
            (window.direction, window.kind),
            window.start_unix_nano,
        );
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

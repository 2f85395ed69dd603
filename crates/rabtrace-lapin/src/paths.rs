//! The edges of paths that a process sees: their measurements, and what spans say of them.
//!
//! Input: checkpoints as they are passed, and how publishes and deliveries end. Output:
//! measurements in the application's own meter provider, where there is one, at once and for every
//! message. The table is of fixed size and has no locks; all channels of one configuration share
//! it. Edges that find no room add up as [`OTHER_PATHS`], and so do the paths that go on from
//! there.

mod series;
mod table;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;

use self::series::{Edge, Series};
use self::table::Table;
use crate::destination::Known;
use crate::fixed::Fixed;
use crate::metrics::{Metrics, PathInstruments};
use crate::path::{Checkpoint, Direction, EdgeKind, Merge, Merged, mix};
use crate::semconv;

/// Where the series of an edge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeriesPlace {
    Own(usize),
    Other(Direction),
    /// Of the deliveries that went into a message.
    OtherMerge,
}

/// A checkpoint that was passed.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) place: SeriesPlace,
    /// The deliveries that went into the message, if that was several.
    merged: Box<[(SeriesPlace, Merged)]>,
}

/// How long something took, or how much clocks disagree.
#[derive(Clone, Copy)]
struct Durations {
    edge: Option<Duration>,
    total: Option<Duration>,
    skew: Option<Duration>,
}

/// The table.
pub(crate) struct Paths {
    metrics: Option<Arc<Metrics>>,
    table: Table<Series>,
    other_out: Series,
    other_in: Series,
    other_merge: Series,
}

impl Paths {
    /// Room for `limit` edges; without `metrics` nothing is measured.
    pub(crate) fn new(limit: usize, metrics: Option<Arc<Metrics>>) -> Self {
        Self {
            metrics,
            table: Table::new(limit),
            other_out: Series::new(Edge::other(Direction::Out, EdgeKind::Forward)),
            other_in: Series::new(Edge::other(Direction::In, EdgeKind::Forward)),
            other_merge: Series::new(Edge::other(Direction::Out, EdgeKind::Merge)),
        }
    }

    /// How many edges are told apart.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// A checkpoint at a destination, reached in a way of that kind; a step that the path held
    /// already is a repeat, if the broker did not bring it again.
    pub(crate) fn pass(
        &self,
        mut checkpoint: Checkpoint,
        (known, kind): (&Known, EdgeKind),
    ) -> Passed {
        let kind = match kind {
            EdgeKind::Forward | EdgeKind::Reply if checkpoint.is_repeat => EdgeKind::Repeat,
            kind => kind,
        };
        let hash = checkpoint.context.hash();
        let place = self.find(known, (hash, checkpoint.parent_hash), kind);
        if matches!(place, SeriesPlace::Other(_)) {
            checkpoint.context = checkpoint.context.into_other();
        }
        Passed {
            checkpoint,
            place,
            merged: Box::default(),
        }
    }

    /// A checkpoint of a message that is made of several deliveries.
    pub(crate) fn pass_merged(&self, merge: Merge, (known, kind): (&Known, EdgeKind)) -> Passed {
        let passed = self.pass(merge.checkpoint, (known, kind));
        let hash = merge.checkpoint.context.hash();
        let has_room = passed.checkpoint.context.hash() == hash;
        let merged = merge.edges.into_iter().map(|edge| {
            let hashes = (hash, Some(edge.parent_hash));
            let own = has_room.then(|| self.find(known, hashes, EdgeKind::Merge));
            (own.unwrap_or(SeriesPlace::OtherMerge), edge)
        });
        Passed {
            merged: merged.collect(),
            ..passed
        }
    }

    fn find(
        &self,
        known: &Known,
        (hash, parent): (u64, Option<u64>),
        kind: EdgeKind,
    ) -> SeriesPlace {
        // A repeat has the hash of the path, wherever it is; a merge has several parents.
        let whence = parent.unwrap_or(0).rotate_left(17);
        let how = (kind as u64).rotate_left(29);
        let key = mix(hash ^ known.node().hash.rotate_left(32) ^ whence ^ how);
        let make = || {
            Series::new(Edge {
                hash,
                parent,
                kind,
                direction: known.direction(),
                destination: known.place(),
                via: known.via(),
            })
        };
        let place = self.table.place(key, make);
        match place {
            Some(place) => SeriesPlace::Own(place),
            None if kind == EdgeKind::Merge => SeriesPlace::OtherMerge,
            None => SeriesPlace::Other(known.direction()),
        }
    }

    fn series(&self, place: SeriesPlace) -> &Series {
        let own = match place {
            SeriesPlace::Own(place) => self.table.at(place),
            SeriesPlace::Other(Direction::Out) => None,
            SeriesPlace::Other(Direction::In) => return &self.other_in,
            SeriesPlace::OtherMerge => return &self.other_merge,
        };
        own.unwrap_or(&self.other_out)
    }

    fn measured(&self, place: SeriesPlace) -> Option<(&Series, &PathInstruments)> {
        let metrics = self.metrics.as_ref()?;
        Some((self.series(place), &metrics.paths))
    }

    /// Counts the message, and how long it took to here.
    pub(crate) fn record(&self, passed: &Passed) {
        let Checkpoint {
            edge, total, skew, ..
        } = passed.checkpoint;
        self.count(passed.place, Durations { edge, total, skew });
        for (place, merged) in &passed.merged {
            let durations = Durations {
                edge: merged.edge,
                total: merged.total,
                skew: merged.skew,
            };
            self.count(*place, durations);
        }
    }

    fn count(&self, place: SeriesPlace, took: Durations) {
        let Some((series, instruments)) = self.measured(place) else {
            return;
        };
        series.message(instruments);
        if let Some(edge) = took.edge {
            series.edge(instruments, edge);
        }
        if let Some(total) = took.total {
            series.total(instruments, total);
        }
        if let Some(skew) = took.skew {
            series.skew(instruments, skew);
        }
    }

    /// A delivery ended after that time.
    pub(crate) fn processed(&self, place: SeriesPlace, took: Duration) {
        if let Some((series, instruments)) = self.measured(place) {
            series.process(instruments, took);
        }
    }

    /// A publish or a delivery did not succeed.
    pub(crate) fn failed(&self, place: SeriesPlace, error_type: &'static str) {
        if let Some((series, instruments)) = self.measured(place) {
            series.error(instruments, error_type);
        }
    }

    /// A delivery is that attempt at its message; the first is not told.
    pub(crate) fn attempted(&self, place: SeriesPlace, number: u64) {
        if let Some((series, instruments)) = self.measured(place).filter(|_| number > 1) {
            series.attempt(instruments, number);
        }
    }

    /// Adds what a span says of a checkpoint.
    pub(crate) fn add_to(&self, attributes: &mut Vec<KeyValue>, passed: &Passed) {
        let own = self.series(passed.place).own();
        attributes.extend(own.iter().map(Fixed::attribute));
        let seconds = [
            (semconv::RABTRACE_PATH_EDGE_DURATION, passed.checkpoint.edge),
            (semconv::RABTRACE_PATH_DURATION, passed.checkpoint.total),
        ];
        for (key, duration) in seconds {
            if let Some(value) = duration {
                attributes.push(KeyValue::new(key, value.as_secs_f64()));
            }
        }
    }
}

//! What the agent makes of spans and path metrics: hops with their path, path statistics per
//! window, and the points of the data model. Pure: no I/O, no clock; `now` is an argument.
//!
//! Input: [`Batch`]es from the receiver and [`BrokerSnapshot`]s from the monitor. Output:
//! [`Output`]: a [`StoreBatch`], and windows that were closed; what InfluxDB gets follows from
//! them, by [`Flow::influx_points`]. The state is bounded: [`PathBook`] holds at most 10,000
//! steps, [`Series`] 200,000 series; of spans the last 28,000 are known, so that their children
//! find their path. What finds no place is counted. Each measurement has at most
//! [`FlowSetup::max_series`] series; what is beyond shares some whose tags are `_other`.
//!
//! Durability: a batch with path records carries the receipt of its request on to the store, with
//! everything by which a restarted agent goes on where this one was.

mod ancestry;
mod book;
mod caps;
mod count;
mod hop;
mod platform;
mod points;
mod run;
mod series;
mod windows;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    Batch, BrokerSnapshot, Checkpoint, EdgeKind, FlowWindow, Hop, OTHER, PathRecord, PathStep,
    Point, Resume, StepRow, StoreBatch,
};

pub use book::PathBook;
pub use caps::SeriesCount;
use caps::{Capped, Caps};
pub use hop::hop;
use platform::Platform;
pub use run::{FlowTask, InfluxQueue, Sinks};
pub use series::{Series, Skipped};
pub use windows::Windows;

/// What a flow begins with.
pub struct FlowSetup {
    /// Width of a window, 10 s in the agent.
    pub window: Duration,
    /// Series of each measurement at most.
    pub max_series: usize,
    /// Name of the agent: two side by side write points of their own.
    pub instance: Arc<str>,
    /// What it goes on from.
    pub resume: Resume,
    /// When it begins; nanoseconds since the Unix epoch.
    pub now_unix_nano: i64,
}

/// What came of one input.
#[derive(Debug, Default)]
pub struct Output {
    /// For the store.
    pub store: StoreBatch,
    /// Windows that were closed, each whole.
    pub closed: Vec<FlowWindow>,
    /// When the newest of these ended.
    pub closed_until: Option<i64>,
    /// Points of path metrics that were not counted, and why.
    pub skipped: Vec<Skipped>,
    /// Spans and data points of which something was made.
    pub counted: u64,
}

const NANOS_PER_HOUR: i64 = 3_600_000_000_000;

/// The whole state of the flow.
pub struct Flow {
    book: PathBook,
    series: Series,
    windows: Windows,
    platform: Platform,
    caps: Caps,
    ancestry: ancestry::Ancestry,
    instance: Arc<str>,
}

impl Flow {
    /// A flow that goes on from `setup.resume`.
    #[must_use]
    pub fn new(setup: FlowSetup) -> Self {
        let mut resume = setup.resume;
        let mut book = PathBook::default();
        for step in resume.steps.drain(..) {
            book.learn(&step, 0);
        }
        Self {
            book,
            series: Series::resume(&mut resume, setup.now_unix_nano),
            windows: Windows::resume(setup.window, &mut resume),
            platform: Platform::default(),
            caps: Caps::new(setup.max_series),
            ancestry: ancestry::Ancestry::default(),
            instance: setup.instance,
        }
    }

    /// Takes an OTLP request in that came at `now_unix_nano`.
    pub fn take_batch(&mut self, batch: Batch, now_unix_nano: i64) -> Output {
        let mut output = Output::default();
        self.caps.at(now_unix_nano);
        self.take_spans(batch.spans, now_unix_nano, &mut output);
        self.platform.take_metrics(&batch.metrics, &mut self.caps);
        output.counted += batch.metrics.len() as u64;
        self.take_records(batch.paths, now_unix_nano, &mut output);
        output.store.receipts.extend(batch.receipt);
        output.store.held = batch.held;
        output
    }

    fn take_spans(
        &mut self,
        spans: Vec<crate::model::Span>,
        now_unix_nano: i64,
        output: &mut Output,
    ) {
        let mut hops: Vec<Hop> = spans.into_iter().map(hop).collect();
        for hop in &mut hops {
            if let Some(step) = &mut hop.step {
                step.hash = self.path_of(step.hash);
                let step = of_span(&hop.span.service, step);
                self.learn(step, now_unix_nano, &mut output.store);
            }
        }
        for hop in &mut hops {
            hop.path = hop.step.as_ref().and_then(|step| self.book.text(step.hash));
        }
        self.ancestry.trace(&mut hops);
        let start = self.windows.start_at(now_unix_nano);
        for hop in &mut hops {
            if let Some(step) = &hop.step {
                // Where a service measures its paths every message is counted already.
                let sampled = !hop.span.paths_measured;
                let checkpoint = self.checkpoint(Checkpoint {
                    hash: step.hash,
                    kind: step.kind,
                    service: Arc::clone(&hop.span.service),
                    direction: step.direction,
                    destination: Arc::clone(&step.destination),
                    sampled,
                });
                let window = self.windows.kept(start, checkpoint);
                if sampled {
                    count::add_span(window, hop, step);
                }
                count::offer_trace(window, hop, step);
            }
            let points = self.platform.take_hop(hop, &mut self.caps);
            output.store.points.extend(points);
            self.fold_hop(hop);
        }
        output.counted += hops.len() as u64;
        output.store.hops = hops;
    }

    /// Makes the tags of a span `_other` that are beyond the cap, when all else is made of it.
    fn fold_hop(&mut self, hop: &mut Hop) {
        let span = &hop.span;
        let destination = hop.destination.as_deref().unwrap_or_default();
        let tags = [&*span.service, &*span.name, destination].map(str::as_bytes);
        let words = (span.kind, span.status);
        let folded = self.caps.fold(Capped::Spans, (tags, words));
        if folded.is_folded() {
            let (id, time) = (span.span_id, hop.point_unix_nano);
            hop.point_unix_nano = self.caps.own_time(folded, time, id);
            hop::fold(hop, folded.others);
        }
    }

    /// The path itself, or what stands for those beyond the cap.
    fn path_of(&mut self, hash: u64) -> u64 {
        let of = Capped::MessageFlow;
        let is_other = hash == book::OTHER_HASH || !self.caps.admits(of, &hash.to_be_bytes());
        if is_other { book::OTHER_HASH } else { hash }
    }

    fn take_records(&mut self, records: Vec<PathRecord>, now_unix_nano: i64, output: &mut Output) {
        let start = self.windows.start_at(now_unix_nano);
        let mut parts: HashMap<Checkpoint, FlowWindow> = HashMap::new();
        for mut record in records {
            let (outcome, state) = self.series.take(&record, now_unix_nano);
            output.store.series.extend(state);
            record.hash = self.path_of(record.hash);
            // Where it stands is known even if its value does not count.
            self.learn(of_record(&record), now_unix_nano, &mut output.store);
            let checkpoint = self.checkpoint(Checkpoint {
                hash: record.hash,
                kind: record.kind,
                service: record.service,
                direction: record.direction,
                destination: record.destination,
                sampled: false,
            });
            let value = match outcome {
                Ok(value) => value,
                Err(skipped) => {
                    output.skipped.push(skipped);
                    continue;
                }
            };
            let part = match parts.entry(checkpoint) {
                Entry::Occupied(part) => part.into_mut(),
                Entry::Vacant(place) => {
                    let checkpoint = place.key().clone();
                    let width = self.windows.width();
                    place.insert(FlowWindow::new(checkpoint, start, width))
                }
            };
            count::add_record(part, record.measure, value);
            output.counted += 1;
        }
        for part in parts.into_values() {
            self.windows.add_handed(part.clone());
            output.store.windows.push(part);
        }
    }

    /// Takes the depth of each queue from a poll.
    pub fn take_snapshot(&mut self, snapshot: &BrokerSnapshot) {
        self.platform.take_snapshot(snapshot);
    }

    /// Closes the windows that ended by `now_unix_nano`.
    pub fn close_windows(&mut self, now_unix_nano: i64) -> Output {
        self.close(now_unix_nano, now_unix_nano)
    }

    /// Closes every window, also one that has not ended: the agent stops. After a restart the
    /// window goes on.
    pub fn finish(&mut self, now_unix_nano: i64) -> Output {
        self.close(i64::MAX, now_unix_nano)
    }

    fn close(&mut self, end_unix_nano: i64, now_unix_nano: i64) -> Output {
        self.caps.at(now_unix_nano).forget();
        let closed = self.windows.close(end_unix_nano);
        let store = StoreBatch {
            points: self.platform.close(now_unix_nano),
            windows: closed.kept,
            forgotten: self.series.forget(now_unix_nano),
            ..StoreBatch::default()
        };
        Output {
            store,
            closed: closed.whole,
            closed_until: closed.until,
            ..Output::default()
        }
    }

    /// What came of an input as InfluxDB gets it: a point for each span and each closed window,
    /// and its own points.
    #[must_use]
    pub fn influx_points(&self, output: &Output) -> Vec<Point> {
        let mut points: Vec<Point> = output.store.hops.iter().map(points::span).collect();
        for (window, text) in self.closed_windows(output) {
            points.push(points::message_flow(&window, text, &self.instance));
        }
        points.extend(output.store.points.iter().cloned());
        points
    }

    /// The windows that were closed, each with the text of its path.
    fn closed_windows(&self, output: &Output) -> Vec<(FlowWindow, Arc<str>)> {
        windows::merged(&output.closed, |hash| {
            let known = self.book.text(hash);
            known.unwrap_or_else(|| Arc::from(book::UNKNOWN))
        })
    }

    fn learn(&mut self, step: StepRow, now_unix_nano: i64, batch: &mut StoreBatch) {
        let hour = now_unix_nano.div_euclid(NANOS_PER_HOUR);
        let (texts, is_new) = self.book.learn(&step, hour);
        batch.paths.extend(texts);
        if is_new {
            batch.steps.push(step);
        }
    }

    /// An edge that is gone again counts where the path has it; what is beyond the cap as `_other`.
    fn checkpoint(&mut self, checkpoint: Checkpoint) -> Checkpoint {
        let edge = (
            &*checkpoint.service,
            checkpoint.direction,
            &*checkpoint.destination,
        );
        let hash = self.book.with_edge(checkpoint.hash, edge);
        let path = hash.to_be_bytes();
        let path = match hash {
            book::OTHER_HASH => OTHER.as_bytes(),
            _ => &path,
        };
        let (service, direction, destination) = edge;
        let tags = [path, service.as_bytes(), destination.as_bytes()];
        let words = (direction, checkpoint.kind, checkpoint.sampled);
        let [path, service, destination] =
            self.caps.fold(Capped::MessageFlow, (tags, words)).others;
        let name = |name: Arc<str>, is_other| match is_other {
            true => Arc::from(OTHER),
            false => name,
        };
        Checkpoint {
            hash: if path { book::OTHER_HASH } else { hash },
            service: name(checkpoint.service, service),
            destination: name(checkpoint.destination, destination),
            ..checkpoint
        }
    }

    /// How many series each measurement has.
    pub fn series_counts(&self) -> impl Iterator<Item = SeriesCount> {
        self.caps.counts()
    }
}

fn of_span(service: &Arc<str>, step: &PathStep) -> StepRow {
    StepRow {
        hash: step.hash,
        parent: step.parent,
        service: Arc::clone(service),
        direction: step.direction,
        destination: Arc::clone(&step.destination),
        via: step.via.clone(),
        dead_letter: step.kind == EdgeKind::DeadLetter,
    }
}

fn of_record(record: &PathRecord) -> StepRow {
    StepRow {
        hash: record.hash,
        parent: record.parent,
        service: Arc::clone(&record.service),
        direction: record.direction,
        destination: Arc::clone(&record.destination),
        via: record.via.clone(),
        dead_letter: record.kind == EdgeKind::DeadLetter,
    }
}

#[cfg(test)]
mod tests;

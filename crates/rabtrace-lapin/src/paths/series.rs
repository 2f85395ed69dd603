//! What adds up under one edge of one path.
//!
//! Input: what happens at a checkpoint. Output: measurements, with the attributes of the edge, and
//! what a span says of it. What every message needs is bound when it happens first; the rest is
//! looked up by the SDK each time.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::{KeyValue, StringValue};

use crate::fixed::Fixed;
use crate::hex;
use crate::metrics::PathInstruments;
use crate::metrics::bound::{self, CounterSeries, HistogramSeries};
use crate::path::{Direction, EdgeKind, OTHER_PATHS};
use crate::semconv::{self, OTHER_DESTINATION};

/// One edge of one path: where it leads to and how.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) hash: u64,
    pub(super) parent: Option<u64>,
    pub(super) kind: EdgeKind,
    pub(super) direction: Direction,
    pub(super) destination: Arc<str>,
    pub(super) via: Option<Arc<str>>,
}

impl Edge {
    /// All the edges that found no room.
    pub(super) fn other(direction: Direction, kind: EdgeKind) -> Self {
        Self {
            hash: OTHER_PATHS,
            parent: None,
            kind,
            direction,
            destination: OTHER_DESTINATION.into(),
            via: None,
        }
    }
}

pub(super) struct Series {
    /// Of its measurements.
    attributes: Vec<KeyValue>,
    /// Of its spans.
    own: Vec<Fixed>,
    messages: OnceLock<CounterSeries>,
    edge: OnceLock<HistogramSeries>,
    total: OnceLock<HistogramSeries>,
    process: OnceLock<HistogramSeries>,
}

impl Series {
    pub(super) fn new(edge: Edge) -> Self {
        let hash = hex::text(edge.hash);
        let mut own = vec![Fixed::text(semconv::RABTRACE_PATH_HASH, hash)];
        if let Some(parent) = edge.parent.map(hex::text) {
            own.push(Fixed::text(semconv::RABTRACE_PATH_PARENT, parent));
        }
        if edge.kind != EdgeKind::Forward {
            let kind = edge.kind.as_str();
            own.push(Fixed::constant(semconv::RABTRACE_EDGE_KIND, kind));
        }
        if let Some(via) = edge.via {
            own.push(Fixed::text(semconv::RABTRACE_PATH_VIA, via));
        }
        let mut attributes: Vec<KeyValue> = own.iter().map(Fixed::attribute).collect();
        let direction = edge.direction.as_str();
        let destination = StringValue::from(edge.destination);
        attributes.push(KeyValue::new(semconv::RABTRACE_DIRECTION, direction));
        let name = semconv::MESSAGING_DESTINATION_NAME;
        attributes.push(KeyValue::new(name, destination));
        Self {
            attributes,
            own,
            messages: OnceLock::new(),
            edge: OnceLock::new(),
            total: OnceLock::new(),
            process: OnceLock::new(),
        }
    }

    /// What a span says of the edge.
    pub(super) fn own(&self) -> &[Fixed] {
        &self.own
    }

    pub(super) fn message(&self, instruments: &PathInstruments) {
        let bind = || bound::counter(&instruments.messages, &self.attributes);
        self.messages.get_or_init(bind).add(1);
    }

    pub(super) fn edge(&self, instruments: &PathInstruments, took: Duration) {
        let bind = || bound::histogram(&instruments.edge, &self.attributes);
        self.edge.get_or_init(bind).record(took.as_secs_f64());
    }

    pub(super) fn total(&self, instruments: &PathInstruments, took: Duration) {
        let bind = || bound::histogram(&instruments.total, &self.attributes);
        self.total.get_or_init(bind).record(took.as_secs_f64());
    }

    pub(super) fn process(&self, instruments: &PathInstruments, took: Duration) {
        let bind = || bound::histogram(&instruments.process, &self.attributes);
        self.process.get_or_init(bind).record(took.as_secs_f64());
    }

    pub(super) fn skew(&self, instruments: &PathInstruments, skew: Duration) {
        instruments
            .skew
            .record(skew.as_secs_f64(), &self.attributes);
    }

    pub(super) fn attempt(&self, instruments: &PathInstruments, number: u64) {
        instruments.attempts.record(number, &self.attributes);
    }

    pub(super) fn error(&self, instruments: &PathInstruments, error_type: &'static str) {
        let mut attributes = self.attributes.clone();
        attributes.push(KeyValue::new(semconv::ERROR_TYPE, error_type));
        instruments.errors.add(1, &attributes);
    }
}

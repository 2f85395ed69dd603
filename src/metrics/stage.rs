//! What goes through the parts of the agent: in, out, and what waits in between.
//!
//! For each stage `received = sent + dropped + waiting`, whenever nothing moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use prometheus::{IntCounter, IntGaugeVec};

use super::{Loss, Maker};
use crate::model::Share;

macro_rules! stages {
    ($($name:ident: $label:literal, $unit:literal, $received:literal, $sent:literal, $waiting:literal;)*) => {
        /// A part of the agent that things go through; what counts as one differs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Stage {
            $(#[doc = $received] $name,)*
            /// Tags and fields of the store's rows, which are dropped without their row.
            StoreColumns,
        }

        impl Stage {
            /// Those that things go through.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The label `stage`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                    Self::StoreColumns => "store_columns",
                }
            }

            /// What is counted, and what is received, sent and waiting there.
            #[must_use]
            pub const fn described(self) -> [&'static str; 4] {
                match self {
                    $(Self::$name => [$unit, $received, $sent, $waiting],)*
                    Self::StoreColumns => ["tags and fields", "", "", ""],
                }
            }
        }
    };
}

stages! {
    Monitor: "monitor", "polls",
        "Polls that were due.", "Handed to the flow.", "";
    Receiver: "receiver", "spans and data points",
        "Of requests that were taken; what is refused stays with its sender.",
        "Handed to the flow, or of no use to the agent itself (`rabtrace_metric_points_unused_total`).", "";
    Flow: "flow", "spans and data points",
        "Put into its queue.",
        "Made into rows, measurements and newest values, or known not to count (`rabtrace_path_points_skipped_total`).",
        "In its queue.";
    Store: "store", "rows",
        "Handed over by the flow: spans, points, parts of windows, newest points of series.",
        "Committed.", "On the way to the disk.";
    Influx: "influx", "lines",
        "Points handed over by the flow, and what the spool had at the start.",
        "Taken by the server.", "In memory before the spool, and in the spool.";
    Forward: "forward", "spans and data points",
        "Put into the spool or dropped before it, and what it had at the start.",
        "Taken by the upstream.", "In the spool.";
}

/// The counters of one stage.
#[derive(Clone)]
struct Flowing {
    received: IntCounter,
    sent: IntCounter,
    waiting: Arc<AtomicI64>,
}

/// The counters of all stages, and of everything that is dropped.
#[derive(Clone)]
pub(super) struct Stages {
    flowing: Vec<Flowing>,
    dropped: Vec<IntCounter>,
    waiting: IntGaugeVec,
}

impl Stages {
    /// Every series is there from the beginning: what is not is no zero to Prometheus.
    pub(super) fn new(make: &Maker) -> Result<Self, prometheus::Error> {
        let received = make.family(
            "rabtrace_items_received_total",
            "What came into a part of the agent; the unit depends on the stage.",
            &["stage"],
        )?;
        let sent = make.family(
            "rabtrace_items_sent_total",
            "What went out of a part of the agent, where it should.",
            &["stage"],
        )?;
        let waiting = make.gauges(
            "rabtrace_items_waiting",
            "What is in a part of the agent, in memory or on its disk.",
            &["stage"],
        )?;
        let dropped = make.family(
            "rabtrace_dropped_total",
            "What was dropped, in the unit of its stage; see the table of reasons.",
            &["stage", "reason"],
        )?;
        let flowing = |stage: &Stage| Flowing {
            received: received.with_label_values(&[stage.name()]),
            sent: sent.with_label_values(&[stage.name()]),
            waiting: Arc::default(),
        };
        let pair = |loss: &Loss| dropped.with_label_values(&[loss.stage().name(), loss.reason()]);
        Ok(Self {
            flowing: Stage::ALL.iter().map(flowing).collect(),
            dropped: Loss::ALL.iter().map(pair).collect(),
            waiting,
        })
    }

    fn of(&self, stage: Stage) -> Option<&Flowing> {
        self.flowing.get(stage as usize)
    }

    pub(super) fn received(&self, stage: Stage, number: u64) {
        if let Some(flowing) = self.of(stage) {
            flowing.received.inc_by(number);
        }
    }

    pub(super) fn sent(&self, stage: Stage, number: u64) {
        if let Some(flowing) = self.of(stage) {
            flowing.sent.inc_by(number);
        }
    }

    pub(super) fn share(&self, stage: Stage, number: u64) -> Share {
        let sum = self.of(stage).map(|flowing| Arc::clone(&flowing.waiting));
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        Share::new(&sum.unwrap_or_default(), number)
    }

    pub(super) fn dropped(&self, loss: Loss, number: u64) {
        if let Some(counter) = self.dropped.get(loss as usize) {
            counter.inc_by(number);
        }
    }

    pub(super) fn dropped_by(&self, loss: Loss) -> u64 {
        self.dropped.get(loss as usize).map_or(0, IntCounter::get)
    }

    pub(super) fn dropped_total(&self) -> u64 {
        self.dropped.iter().map(IntCounter::get).sum()
    }

    /// Puts what waits into its gauge.
    pub(super) fn refresh(&self) {
        for (stage, flowing) in Stage::ALL.iter().zip(&self.flowing) {
            let waiting = flowing.waiting.load(Ordering::Relaxed);
            self.waiting.with_label_values(&[stage.name()]).set(waiting);
        }
    }
}

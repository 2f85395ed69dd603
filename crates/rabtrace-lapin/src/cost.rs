//! Checkpoints by themselves, for the benchmark that says what they cost. Not for applications.
//!
//! Input: a configuration, then paths and times. Output: what a publish and a delivery do for
//! their path, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use crate::config::TraceConfig;
use crate::destination::Known;
use crate::path::{Before, EdgeKind, PathContext, advance};
use crate::paths::Passed;
use crate::semconv::Destination;
use crate::telemetry::Telemetry;

/// The checkpoints of one queue.
pub struct Checkpoints {
    telemetry: Telemetry,
    out: Arc<Known>,
    taken: Arc<Known>,
}

impl Checkpoints {
    /// Of messages to and from `queue`, over the default exchange.
    #[must_use]
    pub fn new(config: &TraceConfig, queue: &str) -> Self {
        let telemetry = Telemetry::new(config);
        let known = |queue_of_delivery| {
            telemetry.destinations.find(&Destination {
                exchange: "",
                routing_key: queue,
                queue: queue_of_delivery,
            })
        };
        let (out, taken) = (known(None), known(Some(queue)));
        Self {
            out,
            taken,
            telemetry,
        }
    }

    /// A message is published; the path that it carries.
    #[must_use]
    pub fn publish(&self, parent: Option<&PathContext>, now_us: u64) -> PathContext {
        let before = parent.map_or(Before::Nothing, Before::Path);
        self.pass(&self.out, before, now_us).checkpoint.context
    }

    /// It is delivered.
    #[must_use]
    pub fn deliver(&self, path: &PathContext, now_us: u64) -> PathContext {
        let passed = self.pass(&self.taken, Before::Path(path), now_us);
        passed.checkpoint.context
    }

    /// It is delivered, and handled in `took`.
    #[must_use]
    pub fn handle(&self, path: &PathContext, now_us: u64, took: Duration) -> PathContext {
        let passed = self.pass(&self.taken, Before::Path(path), now_us);
        self.telemetry.paths.processed(passed.place, took);
        passed.checkpoint.context
    }

    fn pass(&self, known: &Known, before: Before<'_>, now_us: u64) -> Passed {
        let paths = &self.telemetry.paths;
        let checkpoint = advance(before, known.node(), now_us);
        let passed = paths.pass(checkpoint, (known, EdgeKind::Forward));
        paths.record(&passed);
        passed
    }
}

impl std::fmt::Debug for Checkpoints {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Checkpoints")
            .finish_non_exhaustive()
    }
}

/// The member of `tracestate` that says a path.
#[must_use]
pub fn write(path: &PathContext) -> Vec<u8> {
    path.member()
}

//! Families and single metrics, registered as they are made.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::PathPointSkipped;

/// Registers what it makes.
pub(super) struct Maker(pub(super) Registry);

impl Maker {
    pub(super) fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        let counter = IntCounter::new(name, help)?;
        self.0.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    pub(super) fn family(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        let family = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(family.clone()))?;
        Ok(family)
    }

    /// A family with one label, whose every value is there from the beginning.
    pub(super) fn each(
        &self,
        name: &str,
        help: &str,
        label: &str,
        words: impl Iterator<Item = &'static str>,
    ) -> Result<IntCounterVec, prometheus::Error> {
        let family = self.family(name, help, &[label])?;
        for word in words {
            family.with_label_values(&[word]);
        }
        Ok(family)
    }

    pub(super) fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(gauges.clone()))?;
        Ok(gauges)
    }

    pub(super) fn path_points_skipped(&self) -> Result<IntCounterVec, prometheus::Error> {
        self.each(
            "rabtrace_path_points_skipped_total",
            "Points of path metrics that were not counted: they came twice, or are what later \
             points are measured from.",
            "reason",
            PathPointSkipped::words(),
        )
    }

    pub(super) fn queues(&self) -> Result<IntGauge, prometheus::Error> {
        self.gauge(
            "rabtrace_queues",
            "Queues of the broker in the newest snapshot.",
        )
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        let gauge = IntGauge::new(name, help)?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }
}

//! How many series each measurement has, and what was folded.

use std::collections::BTreeMap;

use prometheus::core::Collector;
use prometheus::{IntCounterVec, IntGaugeVec};

use super::{Maker, Metrics};

/// Series and folded points, by measurement.
#[derive(Clone)]
pub(super) struct SeriesFamilies {
    series: IntGaugeVec,
    folded: IntCounterVec,
}

impl SeriesFamilies {
    pub(super) fn new(make: &Maker) -> Result<Self, prometheus::Error> {
        Ok(Self {
            series: make.gauges(
                "rabtrace_series",
                "Series of a measurement to which something came in the last hour.",
                &["measurement"],
            )?,
            folded: make.family(
                "rabtrace_series_folded_total",
                "Times that a tag became _other because its measurement has too many series.",
                &["measurement"],
            )?,
        })
    }
}

impl Metrics {
    /// Sets how many series a measurement has, and how often something was folded so far.
    pub fn series(&self, measurement: &str, series: usize, folded: u64) {
        let gauge = self.series.series.with_label_values(&[measurement]);
        gauge.set(i64::try_from(series).unwrap_or(i64::MAX));
        let counter = self.series.folded.with_label_values(&[measurement]);
        counter.inc_by(folded.saturating_sub(counter.get()));
    }

    /// What [`Metrics::series`] was last told, by measurement: series, and what was folded.
    #[must_use]
    pub fn series_counts(&self) -> BTreeMap<String, (u64, u64)> {
        let mut counts = BTreeMap::new();
        for family in self.series.series.collect() {
            for metric in family.get_metric() {
                let name: String = metric
                    .get_label()
                    .iter()
                    .map(|label| label.value())
                    .collect();
                let series = self.series.series.with_label_values(&[&name]).get();
                let folded = self.series.folded.with_label_values(&[&name]).get();
                counts.insert(name, (series.unsigned_abs(), folded));
            }
        }
        counts
    }
}

//! An instrument together with the attributes of its series.
//!
//! With the feature `bound-metrics` the SDK resolves the attributes once. Without it they are
//! looked up at every measurement: dearer, but right with every SDK. An SDK
//! that is built without bound instruments drops what is measured through them; the feature
//! therefore switches them on in `opentelemetry_sdk` as well.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, UpDownCounter};

#[cfg(feature = "bound-metrics")]
mod series {
    use opentelemetry::metrics::{BoundCounter, BoundHistogram, BoundUpDownCounter};

    pub(crate) struct CounterSeries(pub(super) BoundCounter<u64>);
    pub(crate) struct HistogramSeries(pub(super) BoundHistogram<f64>);
    pub(crate) struct UpDownSeries(pub(super) BoundUpDownCounter<i64>);

    impl CounterSeries {
        pub(crate) fn add(&self, value: u64) {
            self.0.add(value);
        }
    }

    impl HistogramSeries {
        pub(crate) fn record(&self, value: f64) {
            self.0.record(value);
        }
    }

    impl UpDownSeries {
        pub(crate) fn add(&self, value: i64) {
            self.0.add(value);
        }
    }
}

#[cfg(not(feature = "bound-metrics"))]
mod series {
    use opentelemetry::KeyValue;
    use opentelemetry::metrics::{Counter, Histogram, UpDownCounter};

    pub(crate) struct CounterSeries(pub(super) Counter<u64>, pub(super) Box<[KeyValue]>);
    pub(crate) struct HistogramSeries(pub(super) Histogram<f64>, pub(super) Box<[KeyValue]>);
    pub(crate) struct UpDownSeries(pub(super) UpDownCounter<i64>, pub(super) Box<[KeyValue]>);

    impl CounterSeries {
        pub(crate) fn add(&self, value: u64) {
            self.0.add(value, &self.1);
        }
    }

    impl HistogramSeries {
        pub(crate) fn record(&self, value: f64) {
            self.0.record(value, &self.1);
        }
    }

    impl UpDownSeries {
        pub(crate) fn add(&self, value: i64) {
            self.0.add(value, &self.1);
        }
    }
}

pub(crate) use series::{CounterSeries, HistogramSeries, UpDownSeries};

#[cfg(feature = "bound-metrics")]
pub(crate) fn counter(counter: &Counter<u64>, attributes: &[KeyValue]) -> CounterSeries {
    CounterSeries(counter.bind(attributes))
}

#[cfg(feature = "bound-metrics")]
pub(crate) fn histogram(histogram: &Histogram<f64>, attributes: &[KeyValue]) -> HistogramSeries {
    HistogramSeries(histogram.bind(attributes))
}

#[cfg(feature = "bound-metrics")]
pub(crate) fn up_down(counter: &UpDownCounter<i64>, attributes: &[KeyValue]) -> UpDownSeries {
    UpDownSeries(counter.bind(attributes))
}

#[cfg(not(feature = "bound-metrics"))]
pub(crate) fn counter(counter: &Counter<u64>, attributes: &[KeyValue]) -> CounterSeries {
    CounterSeries(counter.clone(), attributes.into())
}

#[cfg(not(feature = "bound-metrics"))]
pub(crate) fn histogram(histogram: &Histogram<f64>, attributes: &[KeyValue]) -> HistogramSeries {
    HistogramSeries(histogram.clone(), attributes.into())
}

#[cfg(not(feature = "bound-metrics"))]
pub(crate) fn up_down(counter: &UpDownCounter<i64>, attributes: &[KeyValue]) -> UpDownSeries {
    UpDownSeries(counter.clone(), attributes.into())
}

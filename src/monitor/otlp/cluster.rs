//! The cluster as a whole, and how it was polled since the agent began.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Histogram, HistogramDataPoint, ResourceMetrics,
};

use super::encode::{Resourced, Times, count_point, text};
use super::metrics as of;
use crate::model::BrokerSnapshot;

/// Bounds of the histogram of polls, in seconds: those that the conventions advise for durations.
const BOUNDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Polls of one source.
#[derive(Clone, Debug, Default)]
struct Durations {
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
}

/// How the polls went, since the agent began.
#[derive(Debug, Default)]
pub(super) struct Polls {
    durations: BTreeMap<&'static str, Durations>,
    errors: BTreeMap<(&'static str, &'static str), u64>,
    bad_rows: u64,
}

impl Polls {
    /// Counts a poll.
    pub(super) fn take(&mut self, snapshot: &BrokerSnapshot) {
        let poll = &snapshot.poll;
        let seconds = poll.duration.as_secs_f64();
        let durations = self.durations.entry(poll.source.as_str()).or_default();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        if let Some(count) = durations.counts.get_mut(bucket) {
            *count += 1;
        }
        durations.sum += seconds;
        self.bad_rows = self.bad_rows.saturating_add(poll.bad_rows);
        for peer in &poll.peers {
            if let Some(error) = peer.error {
                let count = self.errors.entry((peer.source.as_str(), error));
                *count.or_default() += 1;
            }
        }
    }

    /// The cluster and its polls, at the end of the poll that was counted last.
    pub(super) fn cluster(
        &self,
        snapshot: &BrokerSnapshot,
        times: Times,
    ) -> Option<ResourceMetrics> {
        let mut metrics = Resourced::new(&snapshot.cluster);
        if !snapshot.poll.of_watched {
            tell(&mut metrics, snapshot, times);
        }
        metrics.push(&of::POLL_DURATION, self.histogram(times));
        let errors = self.errors.iter().map(|((source, error), count)| {
            let attributes = vec![text("source", source), text("error.type", error)];
            count_point(times, *count, attributes)
        });
        metrics.points(&of::POLL_ERRORS, errors);
        metrics.count(&of::POLL_BAD_ROWS, times, Some(self.bad_rows));
        metrics.done()
    }

    fn histogram(&self, times: Times) -> Data {
        let points = self
            .durations
            .iter()
            .map(|(source, durations)| HistogramDataPoint {
                attributes: vec![text("source", source)],
                start_time_unix_nano: times.start,
                time_unix_nano: times.now,
                count: durations.counts.iter().sum(),
                sum: Some(durations.sum),
                bucket_counts: durations.counts.to_vec(),
                explicit_bounds: BOUNDS.to_vec(),
                ..HistogramDataPoint::default()
            });
        Data::Histogram(Histogram {
            data_points: points.collect(),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
        })
    }
}

/// What a poll of all queues says of the cluster and of itself.
fn tell(metrics: &mut Resourced, snapshot: &BrokerSnapshot, times: Times) {
    let (overview, poll) = (&snapshot.overview, &snapshot.poll);
    for (metric, count) in [
        (&of::CONNECTIONS, overview.connections),
        (&of::CHANNELS, overview.channels),
        (&of::ALL_CONSUMERS, overview.consumers),
        (&of::EXCHANGES, overview.exchanges),
        (&of::QUEUES, overview.queues),
        (&of::POLL_UP, Some(u64::from(poll.up))),
        (&of::SERIES_CUT, Some(poll.series_cut)),
        (&of::EXCHANGES_CUT, Some(poll.exchanges_cut)),
    ] {
        metrics.count(metric, times, count);
    }
    metrics.seconds(&of::POLL_STALENESS, times, Some(poll.staleness));
}

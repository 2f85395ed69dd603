//! A snapshot as requests, each small enough for a receiver of gRPC.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;

use super::cluster::Polls;
use super::encode::Times;
use super::exchange::exchange;
use super::node::node;
use super::queue::queue;
use crate::model::BrokerSnapshot;

/// Queues, or exchanges, in one request: below 3.5 MiB if all is known of them, where a receiver of
/// gRPC takes 4 MiB by default.
const MOST: usize = 2_000;

/// Makes requests of snapshots, and counts the polls meanwhile.
#[derive(Debug)]
pub struct OtlpMetrics {
    started_unix_nano: u64,
    polls: Polls,
}

impl OtlpMetrics {
    /// Begins to count polls; what the broker counts has beginnings of its own.
    #[must_use]
    pub fn new(started_unix_nano: u64) -> Self {
        Self {
            started_unix_nano,
            polls: Polls::default(),
        }
    }

    /// A snapshot: 2,000 queues or exchanges in a request at most, then the nodes and the cluster.
    pub fn requests<'a>(
        &'a mut self,
        snapshot: &'a BrokerSnapshot,
    ) -> impl Iterator<Item = ExportMetricsServiceRequest> + 'a {
        self.polls.take(snapshot);
        let times = Times {
            start: self.started_unix_nano,
            now: u64::try_from(snapshot.time_unix_nano).unwrap_or_default(),
        };
        let times = Times {
            start: times.start.min(times.now),
            ..times
        };
        let cluster = &snapshot.cluster;
        let queues = snapshot.queues.chunks(MOST).map(move |some| {
            let metrics = some.iter();
            request(metrics.filter_map(|sample| queue(cluster, sample, times)))
        });
        let exchanges = snapshot.exchanges.chunks(MOST).map(move |some| {
            let metrics = some.iter();
            request(metrics.filter_map(|sample| exchange(cluster, sample, times)))
        });
        let polls = &self.polls;
        let rest = std::iter::once_with(move || {
            let nodes = snapshot.nodes.iter();
            let nodes = nodes.filter_map(|sample| node(snapshot, sample, times));
            request(nodes.chain(polls.cluster(snapshot, times)))
        });
        let all = queues.chain(exchanges).chain(rest);
        all.filter(|request| !request.resource_metrics.is_empty())
    }
}

fn request(metrics: impl Iterator<Item = ResourceMetrics>) -> ExportMetricsServiceRequest {
    ExportMetricsServiceRequest {
        resource_metrics: metrics.collect(),
    }
}

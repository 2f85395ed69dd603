//! The rows of the listings of one round, put together.

use super::history::COUNTERS;
use super::lane::{Outcome, Reply};
use super::management::QueueList;
use super::per_name::PerName;
use super::round::Round;
use crate::model::QueueSample;

/// The reply of a source that was asked and answered.
pub(super) fn reply<T>(outcome: Option<&Outcome<T>>) -> Option<&Reply<T>> {
    outcome?.as_ref().ok()
}

/// The rows of all listings of a round. Depths are newer than statistics, and say better what is
/// still there.
pub(super) fn listed(round: &Round) -> Vec<QueueSample> {
    fn rows(list: &Option<Outcome<QueueList>>) -> Option<&[QueueSample]> {
        reply(list.as_ref()).map(|reply| &*reply.value.queues)
    }
    let Some(totals) = rows(&round.totals) else {
        let statistics = rows(&round.queues).unwrap_or_default();
        let names = rows(&round.names).unwrap_or_default();
        // A broker that has just started says "down" of every queue there.
        let named = names.iter().map(|row| QueueSample {
            state: None,
            ..row.clone()
        });
        return statistics.iter().cloned().chain(named).collect();
    };
    let statistics = Listed::of(reply(round.queues.as_ref()));
    let with_rest = |total: &QueueSample| match statistics.row(total) {
        Some(row) => QueueSample {
            messages: total.messages.or(row.messages),
            messages_ready: total.messages_ready.or(row.messages_ready),
            messages_unack: total.messages_unack.or(row.messages_unack),
            ..row.clone()
        },
        None => total.clone(),
    };
    totals.iter().map(with_rest).collect()
}

/// The rows of the listing with statistics, by name.
pub(super) struct Listed<'a>(PerName<&'a QueueSample>);

impl<'a> Listed<'a> {
    pub(super) fn of(statistics: Option<&'a Reply<QueueList>>) -> Self {
        let mut rows = PerName::default();
        for row in statistics.iter().flat_map(|reply| &reply.value.queues) {
            rows.insert(&row.vhost, &row.queue, row);
        }
        Self(rows)
    }

    pub(super) fn row(&self, sample: &QueueSample) -> Option<&'a QueueSample> {
        self.0.get(&sample.vhost, &sample.queue).copied()
    }
}

/// The counters of a row.
pub(super) fn listed_counts(row: &QueueSample) -> [Option<u64>; COUNTERS] {
    [
        row.messages_publish,
        row.messages_deliver_get,
        row.messages_ack,
        row.messages_redeliver,
        row.messages_get_empty,
        row.messages_deliver_no_ack,
    ]
}

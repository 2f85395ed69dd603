//! What was acknowledged against what arrived.

use super::{Oracle, Sink};

/// What the judge found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Spans that were acknowledged.
    pub(crate) acknowledged: u64,
    /// Spans that arrived, each counted once.
    pub(crate) delivered: u64,
    /// Acknowledged, and not arrived.
    pub(crate) lost: u64,
    /// Arrivals of a span that had arrived before.
    pub(crate) again: u64,
    /// Requests to the sink with a span that had arrived before.
    pub(crate) batches_again: u64,
    /// Arrived, and never sent.
    pub(crate) invented: u64,
}

/// Compares.
pub(crate) fn judge(oracle: &Oracle, sink: &Sink) -> Verdict {
    let arrivals = sink.arrivals();
    let mut verdict = Verdict {
        batches_again: sink.batches_again(),
        ..Verdict::default()
    };
    let times = |id: u64| {
        let index = usize::try_from(id).unwrap();
        arrivals.get(index).copied().unwrap_or(0)
    };
    oracle.acknowledged(|ids| {
        for id in ids {
            verdict.acknowledged += 1;
            verdict.lost += u64::from(times(id) == 0);
        }
    });
    for (id, times) in arrivals.iter().enumerate().filter(|(_, times)| **times > 0) {
        verdict.delivered += 1;
        verdict.again += u64::from(*times - 1);
        verdict.invented += u64::from(u64::try_from(id).unwrap() > oracle.last_id());
    }
    verdict
}

//! What was acknowledged against what arrived.

use std::path::Path;

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
    Verdict {
        batches_again: sink.batches_again(),
        ..compare(oracle, &sink.arrivals())
    }
}

/// The same with the store below the folder of an agent, which need not run.
pub(crate) fn judge_store(oracle: &Oracle, folder: &Path) -> Verdict {
    let file = folder.join("state/store/rabtrace.db");
    let database = rusqlite::Connection::open(file).unwrap();
    let mut statement = database.prepare("SELECT span_id FROM spans").unwrap();
    let ids = statement.query_map([], |row| row.get::<_, String>(0));
    let mut arrivals = Vec::<u8>::new();
    for id in ids.unwrap() {
        let id = u64::from_str_radix(&id.unwrap(), 16).unwrap();
        let index = usize::try_from(id).unwrap();
        arrivals.resize(arrivals.len().max(index + 1), 0);
        arrivals[index] += 1;
    }
    compare(oracle, &arrivals)
}

fn compare(oracle: &Oracle, arrivals: &[u8]) -> Verdict {
    let mut verdict = Verdict::default();
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

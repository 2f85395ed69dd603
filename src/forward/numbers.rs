//! The monitor's numbers on their way into the spool: nobody waits for them.
//!
//! Input: requests from a bounded channel. Output: records in the spool. What the spool does not
//! take is dropped and counted: the monitor polls again soon.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::metrics::Metrics;
use crate::model::Signal;
use crate::spool::Writer;

/// Puts what comes from `requests` into `spool`, until all of its senders are gone.
pub async fn spool_numbers(
    mut requests: mpsc::Receiver<(Signal, Bytes)>,
    spool: Writer,
    metrics: Metrics,
) {
    while let Some((signal, payload)) = requests.recv().await {
        if spool.append(signal.code(), 1, payload).await.is_err() {
            metrics.dropped("forward", "not_spooled", 1);
        }
    }
}

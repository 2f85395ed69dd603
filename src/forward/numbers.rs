//! The monitor's numbers on their way into the spool: nobody waits for them.
//!
//! Input: requests from a bounded channel, each with the number of its data points. Output: records in the spool. What the spool does not
//! take is dropped and counted: the monitor polls again soon.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::metrics::{Loss, Metrics, Stage};
use crate::model::Signal;
use crate::spool::Writer;

/// Puts what comes from `requests` into `spool`, until all of its senders are gone.
pub async fn spool_numbers(
    mut requests: mpsc::Receiver<(u32, Bytes)>,
    spool: Writer,
    metrics: Metrics,
) {
    let kind = Signal::Metrics.code();
    while let Some((items, payload)) = requests.recv().await {
        if spool.append(kind, items, payload).await.is_err() {
            metrics.received(Stage::Forward, items.into());
            metrics.dropped(Loss::ForwardNotSpooled, items.into());
        }
    }
}

//! The search for the rows that the database itself refuses: only they are lost, and it is said once.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Writer;
use crate::metrics::{Loss, Stage};
use crate::model::{FlowWindow, Hop, Point, Receipt, SeriesState, StoreBatch};

/// What the database refused of the batches that are written together.
pub(super) struct Refused {
    rows: u64,
    /// What it said first.
    why: String,
}

impl Writer {
    /// The database refused something of what is written: the search for it begins, or goes on.
    pub(super) fn note_refused(&mut self, error: &rusqlite::Error) {
        if self.refused.is_none() {
            self.metrics.error(Stage::Store);
            let why = error.to_string();
            self.refused = Some(Refused { rows: 0, why });
        }
    }

    /// Says what was refused, once, however many rows it was.
    pub(super) fn tell_refused(&mut self) {
        let Some(Refused { rows, why }) = self.refused.take() else {
            return;
        };
        if rows == 0 {
            tracing::warn!(
                error = why,
                "the database refused rows together, and none of them alone"
            );
            return;
        }
        tracing::error!(
            rows,
            error = why,
            "the database refused rows: they are lost"
        );
        let reason = Loss::StoreRefused.reason();
        self.component
            .unhealthy(&format!("{rows} rows were dropped: {reason}: {why}"));
    }

    /// Writes each batch alone, and of one alone both halves, so that only the row is lost that the
    /// database refuses. Who waits for a receipt gets it all the same: to send it again would mend
    /// nothing.
    pub(super) async fn write_parts(
        &mut self,
        batches: &[StoreBatch],
        stop: &CancellationToken,
    ) -> bool {
        let [batch] = batches else {
            let mut done = true;
            for batch in batches {
                let alone = Arc::new(vec![batch.clone()]);
                done &= Box::pin(self.write(alone, stop)).await;
            }
            return done;
        };
        let mut done = true;
        if batch.rows() > 1 {
            for half in halves(batch) {
                done &= Box::pin(self.write(Arc::new(vec![half]), stop)).await;
            }
        } else {
            let rows = batch.rows() as u64;
            self.metrics.dropped(Loss::StoreRefused, rows);
            if let Some(refused) = &mut self.refused {
                refused.rows += rows;
            }
        }
        if done {
            batch.receipts.iter().for_each(Receipt::confirm);
        }
        done
    }
}

/// Both halves of a batch's rows, without its receipts. What is not rows is the same in both:
/// writing it twice changes nothing.
fn halves(batch: &StoreBatch) -> [StoreBatch; 2] {
    let mut left = batch.rows() / 2;
    let mut cut = |length: usize| {
        let at = length.min(left);
        left -= at;
        at
    };
    let hops = batch.hops.split_at(cut(batch.hops.len()));
    let points = batch.points.split_at(cut(batch.points.len()));
    let windows = batch.windows.split_at(cut(batch.windows.len()));
    let series = batch.series.split_at(cut(batch.series.len()));
    let half = |hops: &[Hop], points: &[Point], windows: &[FlowWindow], series: &[SeriesState]| {
        StoreBatch {
            hops: hops.to_vec(),
            points: points.to_vec(),
            windows: windows.to_vec(),
            series: series.to_vec(),
            steps: batch.steps.clone(),
            paths: batch.paths.clone(),
            forgotten: batch.forgotten.clone(),
            closed_until: batch.closed_until,
            ..StoreBatch::default()
        }
    };
    [
        half(hops.0, points.0, windows.0, series.0),
        half(hops.1, points.1, windows.1, series.1),
    ]
}

//! The task that drives the flow: takes batches and snapshots, closes windows, feeds the sinks.
//!
//! The store is waited for, so that it holds the receiver back when it is slow; the sinks take at
//! once and bound their own memory.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use prost::Message;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Flow;
use crate::model::{Batch, BrokerSnapshot, Point, Signal, StoreBatch, unix_nano};
use crate::monitor;

/// Where the flow's results go; a sink that is off is none.
pub struct Sinks {
    /// The store.
    pub store: Sender<StoreBatch>,
    /// InfluxDB.
    pub influx: Option<Sender<Vec<Point>>>,
    /// The upstream.
    pub forward: Option<Sender<(Signal, Bytes)>>,
}

/// The flow as a task. It ends when both inputs are closed, or `stop` is told, and they are empty;
/// after that the last window is closed.
pub struct FlowTask {
    /// OTLP requests.
    pub batches: Receiver<Batch>,
    /// Polls of the broker.
    pub polls: Receiver<BrokerSnapshot>,
    /// Where the results go.
    pub sinks: Sinks,
    /// Width of a window, 10 s in the agent.
    pub window: Duration,
    /// The wall clock.
    pub clock: fn() -> SystemTime,
    /// Closes both inputs: a sender's request that never ends must not hold the flow up.
    pub stop: CancellationToken,
}

impl FlowTask {
    /// Runs until both inputs are closed, by their senders or by `stop`, and empty.
    pub async fn run(mut self) {
        let mut flow = Flow::new(self.window);
        let mut window = tokio::time::interval_at(self.first_end(), self.window);
        window.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let started = u64::try_from(unix_nano((self.clock)())).unwrap_or_default();
        let (mut batches_open, mut polls_open) = (true, true);
        let mut stopping = false;
        while batches_open || polls_open {
            let result = tokio::select! {
                batch = self.batches.recv(), if batches_open => match batch {
                    Some(batch) => {
                        self.forward(batch.signal, batch.payload.clone()).await;
                        flow.take_batch(batch)
                    }
                    None => {
                        batches_open = false;
                        continue;
                    }
                },
                polled = self.polls.recv(), if polls_open => match polled {
                    Some(snapshot) => {
                        self.forward_snapshot(&snapshot, started).await;
                        flow.take_snapshot(&snapshot, monitor::points(&snapshot))
                    }
                    None => {
                        polls_open = false;
                        continue;
                    }
                },
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    self.batches.close();
                    self.polls.close();
                    continue;
                }
                _ = window.tick() => flow.close_window(unix_nano((self.clock)())),
            };
            self.hand_over(&flow, result).await;
        }
        let last = flow.close_window(unix_nano((self.clock)()));
        self.hand_over(&flow, last).await;
    }

    /// When the first window ends: windows end at whole multiples of their width.
    fn first_end(&self) -> tokio::time::Instant {
        let since = (self.clock)()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let width = self.window.as_nanos().max(1);
        let left = u64::try_from(width - since.as_nanos() % width).unwrap_or_default();
        tokio::time::Instant::now() + Duration::from_nanos(left)
    }

    async fn forward(&self, signal: Signal, payload: Bytes) {
        if let Some(forward) = self.sinks.forward.as_ref().filter(|_| !payload.is_empty()) {
            let _ = forward.send((signal, payload)).await;
        }
    }

    /// The monitor's own numbers go to the upstream as OTLP metrics.
    async fn forward_snapshot(&self, snapshot: &BrokerSnapshot, started_unix_nano: u64) {
        if self.sinks.forward.is_some() {
            let request = monitor::otlp_metrics(snapshot, started_unix_nano);
            self.forward(Signal::Metrics, Bytes::from(request.encode_to_vec()))
                .await;
        }
    }

    async fn hand_over(&self, flow: &Flow, batch: StoreBatch) {
        // A closed channel means that the agent stops on an error; the task that failed told it.
        if let Some(influx) = &self.sinks.influx {
            let points = flow.influx_points(&batch);
            if !points.is_empty() {
                let _ = influx.send(points).await;
            }
        }
        let _ = self.sinks.store.send(batch).await;
    }
}

//! The flow as a task: takes batches and polls in, hands results to the sinks, closes windows.
//!
//! Input: two bounded channels. Output: the sinks' channels; a sink that is slow holds the flow
//! back, which makes the receiver refuse. Series that find no place are dropped and counted.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use prost::Message;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio_util::sync::CancellationToken;

use super::{Flow, FlowSetup, NANOS_PER_HOUR, Output, SeriesCount, Skipped};
use crate::metrics::{Loss, Metrics, PathPointSkipped, Stage};
use crate::model::{
    Batch, BrokerSnapshot, Point, PointBatch, Receipt, Resume, StoreBatch, unix_nano,
};
use crate::monitor::{self, OtlpMetrics};

/// Points of a poll that are held at once.
const POINTS: usize = 2_000;

/// The way to InfluxDB.
pub struct InfluxQueue {
    /// Takes points.
    pub points: Sender<PointBatch>,
    /// How many of the messages that were sent are durable or given up, all before them included.
    pub done: Arc<AtomicU64>,
}

/// Where the flow's results go; a sink that is off is none.
pub struct Sinks {
    /// The store.
    pub store: Sender<StoreBatch>,
    /// Whether it gets spans.
    pub stores_spans: bool,
    /// InfluxDB.
    pub influx: Option<InfluxQueue>,
    /// The upstream: takes the monitor's numbers, how many they are and the request; what came by
    /// OTLP is in its spool already.
    pub forward: Option<Sender<(u32, Bytes)>>,
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
    /// Series of each measurement at most.
    pub max_series: usize,
    /// Name of the agent.
    pub instance: Arc<str>,
    /// What it goes on from.
    pub resume: Resume,
    /// Counts what is dropped and skipped.
    pub metrics: Metrics,
    /// The wall clock.
    pub clock: fn() -> SystemTime,
    /// Closes both inputs: a sender's request that never ends must not hold the flow up.
    pub stop: CancellationToken,
}

/// Windows that were handed to InfluxDB.
#[derive(Default)]
struct Handed {
    /// Messages that were sent.
    messages: u64,
    /// The message with which a window went, and when that ended.
    windows: VecDeque<(u64, i64)>,
    /// Of the request whose points are handed over next.
    receipt: Option<Receipt>,
}

/// What was told of measurements that have too many series.
#[derive(Default)]
struct Folding(HashMap<&'static str, (u64, Option<i64>)>);

impl Folding {
    /// Warns of a measurement of which something was folded, for the first time in an hour.
    fn tell(&mut self, counts: impl Iterator<Item = SeriesCount>, now_unix_nano: i64) {
        for count in counts {
            let (folded, last) = self.0.entry(count.measurement).or_default();
            if std::mem::replace(folded, count.folded) == count.folded {
                continue;
            }
            let before = last.replace(now_unix_nano);
            if before.is_none_or(|before| now_unix_nano - before >= NANOS_PER_HOUR) {
                tracing::warn!(
                    measurement = count.measurement,
                    series = count.series,
                    "tags have too many values: further ones are written as _other; fix: look for ids in \
                     names, or raise limits.series"
                );
            }
        }
    }
}

impl FlowTask {
    /// Runs until both inputs are closed, by their senders or by `stop`, and empty.
    pub async fn run(mut self) {
        let mut flow = Flow::new(FlowSetup {
            window: self.window,
            max_series: self.max_series,
            instance: Arc::clone(&self.instance),
            resume: std::mem::take(&mut self.resume),
            now_unix_nano: self.now(),
        });
        let mut otlp = OtlpMetrics::new(self.now().unsigned_abs());
        let (mut handed, mut folding) = (Handed::default(), Folding::default());
        let (mut batches_open, mut polls_open) = (true, true);
        let mut stopping = false;
        // Windows that ended while no agent ran are closed at once.
        let mut next_end = tokio::time::Instant::now();
        while batches_open || polls_open {
            let mut receipt = None;
            let output = tokio::select! {
                batch = self.batches.recv(), if batches_open => match batch {
                    Some(mut batch) => {
                        receipt = batch.points_receipt.take();
                        flow.take_batch(batch, self.now())
                    }
                    None => {
                        batches_open = false;
                        continue;
                    }
                },
                polled = self.polls.recv(), if polls_open => match polled {
                    Some(snapshot) => {
                        self.forward_snapshot(&snapshot, &mut otlp);
                        flow.take_snapshot(&snapshot);
                        self.hand_over_points(&flow, &snapshot, &mut handed).await
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
                () = tokio::time::sleep_until(next_end) => {
                    let output = flow.close_windows(self.now());
                    folding.tell(flow.series_counts(), self.now());
                    next_end = tokio::time::Instant::now() + self.until_end();
                    output
                }
            };
            handed.receipt = receipt;
            self.hand_over(&flow, output, &mut handed).await;
        }
        let last = flow.finish(self.now());
        self.hand_over(&flow, last, &mut handed).await;
    }

    fn now(&self) -> i64 {
        unix_nano((self.clock)())
    }

    /// Until the window ends that is open: windows end at whole multiples of their width.
    fn until_end(&self) -> Duration {
        let since = (self.clock)()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let width = self.window.as_nanos().max(1);
        let left = u64::try_from(width - since.as_nanos() % width).unwrap_or_default();
        Duration::from_nanos(left)
    }

    /// The monitor's own numbers go to the upstream as OTLP metrics. It polls again soon: numbers
    /// that find no place are dropped.
    fn forward_snapshot(&self, snapshot: &BrokerSnapshot, otlp: &mut OtlpMetrics) {
        let Some(forward) = &self.sinks.forward else {
            return;
        };
        for request in otlp.requests(snapshot) {
            let items = monitor::data_points(&request);
            let payload = Bytes::from(request.encode_to_vec());
            if forward.try_send((items, payload)).is_err() {
                self.metrics.received(Stage::Forward, items.into());
                self.metrics.dropped(Loss::ForwardQueueFull, items.into());
            }
        }
    }

    /// Hands the points of a poll over, [`POINTS`] at once, and gives the last of them.
    async fn hand_over_points(
        &self,
        flow: &Flow,
        snapshot: &BrokerSnapshot,
        handed: &mut Handed,
    ) -> Output {
        let mut points = monitor::points(snapshot);
        loop {
            let some: Vec<Point> = points.by_ref().take(POINTS).collect();
            let is_last = some.len() < POINTS;
            let store = StoreBatch {
                points: some,
                ..StoreBatch::default()
            };
            let output = Output {
                store,
                ..Output::default()
            };
            if is_last {
                return output;
            }
            self.hand_over(flow, output, handed).await;
        }
    }

    async fn hand_over(&self, flow: &Flow, mut output: Output, handed: &mut Handed) {
        self.metrics.sent(Stage::Flow, output.counted);
        self.count(&output.skipped);
        for of in flow.series_counts() {
            self.metrics.series(of.measurement, of.series, of.folded);
        }
        let observed = &self.metrics.observed;
        observed.take_points(&output.store.points, self.now());
        for (window, path) in flow.closed_windows(&output) {
            observed.take_window(&path, &window);
        }
        // A closed channel means that the agent stops on an error; the task that failed told it.
        if let Some(influx) = &self.sinks.influx {
            let receipt = handed.receipt.take();
            let held = output.store.held.clone();
            let batch = PointBatch {
                points: flow.influx_points(&output),
                receipt,
                held,
                share: None,
            };
            if self.send_points(influx, batch).await {
                handed.messages += 1;
            }
            let until = output.closed_until;
            handed
                .windows
                .extend(until.map(|until| (handed.messages, until)));
            output.store.closed_until = handed.done(influx.done.load(Ordering::Acquire));
        } else {
            output.store.closed_until = output.closed_until;
        }
        if !self.sinks.stores_spans {
            output.store.hops = Vec::new();
        }
        if output.store.is_empty() {
            return;
        }
        let rows = output.store.rows() as u64;
        self.metrics.received(Stage::Store, rows);
        output.store.share = Some(self.metrics.share(Stage::Store, rows));
        if self.sinks.store.send(output.store).await.is_err() {
            self.metrics.dropped(Loss::StoreStop, rows);
        }
    }

    /// Whether there was something to hand over, and somebody to take it.
    async fn send_points(&self, influx: &InfluxQueue, batch: PointBatch) -> bool {
        if batch.points.is_empty() && batch.receipt.is_none() {
            return false;
        }
        let lines = batch.points.len() as u64;
        self.metrics.received(Stage::Influx, lines);
        let share = Some(self.metrics.share(Stage::Influx, lines));
        let batch = PointBatch { share, ..batch };
        let sent = influx.points.send(batch).await.is_ok();
        if !sent {
            self.metrics.dropped(Loss::InfluxNotSpooled, lines);
        }
        sent
    }

    fn count(&self, skipped: &[Skipped]) {
        for skipped in skipped {
            let reason = match skipped {
                Skipped::Retransmitted => PathPointSkipped::Retransmitted,
                Skipped::Baseline => PathPointSkipped::Baseline,
                Skipped::Full => {
                    self.metrics.dropped(Loss::Series, 1);
                    continue;
                }
            };
            self.metrics.path_point_skipped(reason);
            self.metrics.sent(Stage::Flow, 1);
        }
    }
}

impl Handed {
    /// When the newest window ended that went with one of the first `messages`, and all before it.
    fn done(&mut self, messages: u64) -> Option<i64> {
        let mut until = None;
        while let Some((message, end)) = self.windows.front()
            && *message <= messages
        {
            until = Some(*end);
            self.windows.pop_front();
        }
        until
    }
}

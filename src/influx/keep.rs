//! Points on their way into the spool: lines that are encoded once, and acknowledged when they are
//! durable.
//!
//! - Input: points over a bounded channel, which is always emptied.
//! - Output: records of whole lines, each as large as one request at most.
//! - Disk full or failing: lines wait in memory up to `influx.buffer_bytes`; beyond it the newest
//!   are dropped and counted (`not_spooled`), and so is at the stop what the disk still refuses.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::line_protocol::encode;
use crate::config;
use crate::metrics::{Loss, Metrics, Stage};
use crate::model::{PointBatch, Receipt, Share};
use crate::spool::{SpoolError, Writer};

/// Time between two attempts at a disk that refuses.
const PAUSE: Duration = Duration::from_millis(500);

/// What a [`Keeper`] is made of.
pub struct KeeperSetup {
    /// How large requests are, and how much waits in memory.
    pub config: config::Influx,
    /// Where lines go.
    pub spool: Writer,
    /// Counts what is dropped.
    pub metrics: Metrics,
}

/// Lines of one record, and what to tell when they are durable.
#[derive(Default)]
struct Piece {
    text: Vec<u8>,
    lines: u32,
    receipts: Vec<Receipt>,
    /// How many messages end with this piece or before it; none if none ends with it.
    messages: Option<u64>,
}

/// Puts points into the spool; see the module.
pub struct Keeper {
    setup: KeeperSetup,
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// Lines of all pieces.
    lines: i64,
    share: Share,
    line: Vec<u8>,
    received: u64,
    done: Arc<AtomicU64>,
}

impl Keeper {
    /// One that has nothing yet.
    #[must_use]
    pub fn new(setup: KeeperSetup) -> Self {
        Self {
            share: setup.metrics.share(Stage::Influx, 0),
            setup,
            pieces: VecDeque::new(),
            bytes: 0,
            lines: 0,
            line: Vec::new(),
            received: 0,
            done: Arc::default(),
        }
    }

    /// How many of the messages that it was sent are durable or given up, all before them
    /// included. It counts up.
    #[must_use]
    pub fn done(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.done)
    }

    /// Runs until the senders of `points` are gone and everything is in the spool.
    pub async fn run(mut self, mut points: mpsc::Receiver<PointBatch>) {
        let mut open = true;
        while open || !self.pieces.is_empty() {
            if self.pieces.is_empty() {
                open = self.receive(&mut points).await;
            } else if !self.append().await {
                if !open {
                    break;
                }
                open = self.wait(&mut points).await;
            }
        }
        let left: u64 = self.pieces.iter().map(|piece| u64::from(piece.lines)).sum();
        self.drop_lines(Loss::InfluxNotSpooled, left);
    }

    /// Takes in what is there, about as much as a record takes; whether senders are left.
    async fn receive(&mut self, points: &mut mpsc::Receiver<PointBatch>) -> bool {
        let Some(message) = points.recv().await else {
            return false;
        };
        self.take_in(message, usize::MAX);
        while self.bytes < self.setup.config.batch_bytes
            && let Ok(message) = points.try_recv()
        {
            self.take_in(message, usize::MAX);
        }
        true
    }

    /// Takes messages in until it is time to try again; whether senders are left.
    async fn wait(&mut self, points: &mut mpsc::Receiver<PointBatch>) -> bool {
        let again = Instant::now() + PAUSE;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(again) => return true,
                message = points.recv() => match message {
                    Some(message) => self.take_in(message, self.setup.config.buffer_bytes),
                    None => return false,
                },
            }
        }
    }

    /// Encodes lines as long as all that wait take at most `limit` bytes.
    fn take_in(&mut self, message: PointBatch, limit: usize) {
        let (mut without_fields, mut dropped) = (0, 0);
        for point in &message.points {
            let mut line = std::mem::take(&mut self.line);
            line.clear();
            if !encode(point, &mut line) {
                without_fields += 1;
            } else if self.bytes.saturating_add(line.len()) > limit {
                dropped += 1;
            } else {
                self.push(&line);
            }
            self.line = line;
        }
        self.share.set(self.lines);
        self.drop_lines(Loss::InfluxNoFields, without_fields);
        self.drop_lines(Loss::InfluxNotSpooled, dropped);
        self.received += 1;
        // Who sent what was dropped hears that it was not kept.
        let receipt = message.receipt.filter(|_| dropped == 0);
        match self.pieces.back_mut() {
            Some(piece) => {
                piece.receipts.extend(receipt);
                piece.messages = Some(self.received);
            }
            None => self.settle(receipt.into_iter().collect(), Some(self.received)),
        }
    }

    /// Adds a line to the newest piece, or to one of its own.
    fn push(&mut self, line: &[u8]) {
        let config = &self.setup.config;
        let most = config.batch_bytes.min(self.setup.spool.largest());
        let fits = |piece: &Piece| {
            piece.text.len() + line.len() <= most && (piece.lines as usize) < config.batch_lines
        };
        if !self.pieces.back().is_some_and(fits) {
            self.pieces.push_back(Piece::default());
        }
        if let Some(piece) = self.pieces.back_mut() {
            piece.text.extend_from_slice(line);
            piece.lines += 1;
            self.lines += 1;
            self.bytes += line.len();
        }
    }

    /// Puts the oldest piece into the spool; whether that is not to be tried again.
    async fn append(&mut self) -> bool {
        let Some(mut piece) = self.pieces.pop_front() else {
            return true;
        };
        let text = Bytes::from(std::mem::take(&mut piece.text));
        let size = text.len();
        let result = self.setup.spool.append(0, piece.lines, text.clone()).await;
        match result {
            Ok(()) => self.settle(piece.receipts, piece.messages),
            Err(SpoolError::TooLarge { .. }) => {
                self.drop_lines(Loss::InfluxTooLarge, piece.lines.into());
                self.settle(piece.receipts, piece.messages);
            }
            Err(_) => {
                piece.text = Vec::from(text);
                self.pieces.push_front(piece);
                return false;
            }
        }
        self.bytes -= size;
        self.lines -= i64::from(piece.lines);
        self.share.set(self.lines);
        true
    }

    fn settle(&self, receipts: Vec<Receipt>, messages: Option<u64>) {
        for receipt in receipts {
            receipt.confirm();
        }
        if let Some(messages) = messages {
            self.done.store(messages, Ordering::Release);
        }
    }

    fn drop_lines(&self, loss: Loss, lines: u64) {
        self.setup.metrics.dropped(loss, lines);
    }
}

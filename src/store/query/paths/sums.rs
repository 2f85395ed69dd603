//! Rows of checkpoints, summed: one pass over the tables of the hours for all spans asked for.

use std::collections::HashMap;

use rusqlite::Row;

use super::super::Snapshot;
use super::book::Book;
use super::span::{PIECE_NANOS, Reading, Span, reading};
use crate::model::{Direction, Histogram};
use crate::store::schema::Kind;

/// The columns in the order in which [`add`] reads them.
const COLUMNS: &str = "time, width, checkpoint, count, errors, redelivered, skewed, max_attempt, \
                       sampled, edge, total, process, slowest_trace, slowest_ms";

/// How much is made of the times of each step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// The histogram of the whole path alone, where something was delivered.
    Ends,
    /// Means of the steps, and the histogram of the whole path where something was delivered.
    Means,
    /// Every histogram.
    Histograms,
}

/// Sum and number of times, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    pub(super) fn of(sum: f64, count: u64) -> Self {
        Self { sum, count }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.sum += other.sum;
        self.count = self.count.saturating_add(other.count);
    }

    /// In milliseconds; none if nothing was measured.
    pub(super) fn ms(self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "shown to a person")]
        let count = self.count as f64;
        (self.count > 0).then(|| self.sum / count * 1e3)
    }
}

/// What one checkpoint counted in one span.
#[derive(Clone, Default)]
pub(super) struct Sum {
    pub(super) count: u64,
    pub(super) errors: u64,
    pub(super) redelivered: u64,
    pub(super) skewed: u64,
    pub(super) max_attempt: u64,
    pub(super) sampled: bool,
    pub(super) edge: Mean,
    pub(super) edges: Histogram,
    pub(super) total: Histogram,
    pub(super) process: Histogram,
    pub(super) slowest: Option<([u8; 16], f64)>,
    pub(super) last_seen: i64,
}

impl Sum {
    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.errors += other.errors;
        self.redelivered += other.redelivered;
        self.skewed += other.skewed;
        self.max_attempt = self.max_attempt.max(other.max_attempt);
        self.sampled |= other.sampled;
        self.edge.merge(other.edge);
        self.edges.merge(&other.edges);
        self.total.merge(&other.total);
        self.process.merge(&other.process);
        self.offer(other.slowest);
        self.last_seen = self.last_seen.max(other.last_seen);
    }

    /// Keeps the slower of two traces.
    pub(super) fn offer(&mut self, slowest: Option<([u8; 16], f64)>) {
        let slower = |known: ([u8; 16], f64)| slowest.is_some_and(|other| other.1 > known.1);
        if self.slowest.is_none_or(slower) {
            self.slowest = slowest.or(self.slowest);
        }
    }
}

/// The sums of one span, by checkpoint.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) by_checkpoint: HashMap<i64, Sum>,
    /// Start of the first window; none if there is none.
    pub(super) first: Option<i64>,
}

/// Sums the rows of each span.
pub(super) fn gather<const N: usize>(
    snapshot: &Snapshot,
    book: &Book,
    asked: [(Span, Depth); N],
) -> rusqlite::Result<[Sums; N]> {
    let mut gathered = std::array::from_fn(|_| Sums::default());
    let spans = asked.map(|(span, _)| span);
    let catalogue = &snapshot.catalogue;
    for hour in &catalogue.flow {
        let has_sums = catalogue.flow_sums.contains(hour);
        for query in queries(*hour, reading(*hour, has_sums, &spans)) {
            let mut statement = snapshot.database.prepare(&query)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (time, width) = (row.get(0)?, row.get(1)?);
                let held = asked.iter().zip(&mut gathered);
                for ((_, depth), sums) in held.filter(|((span, _), _)| span.holds(time, width)) {
                    add(sums, row, book, *depth)?;
                }
            }
        }
    }
    Ok(gathered)
}

/// The statements that read an hour.
fn queries(hour: i64, reading: Option<Reading>) -> Vec<String> {
    let select = |kind: Kind<'_>, rest: &str| {
        format!("SELECT {COLUMNS} FROM \"{}\" {rest}", kind.table(hour))
    };
    match reading {
        None => Vec::new(),
        Some(Reading::Windows) => vec![select(Kind::Flow, "")],
        Some(Reading::Sums { cut }) if cut.is_empty() => vec![select(Kind::FlowSums, "")],
        Some(Reading::Sums { cut }) => {
            let list: Vec<String> = cut.iter().map(i64::to_string).collect();
            let list = list.join(", ");
            let piece = format!("time - (time % {PIECE_NANOS} + {PIECE_NANOS}) % {PIECE_NANOS}");
            vec![
                select(Kind::FlowSums, &format!("WHERE time NOT IN ({list})")),
                select(Kind::Flow, &format!("WHERE {piece} IN ({list})")),
            ]
        }
    }
}

fn add(sums: &mut Sums, row: &Row<'_>, book: &Book, depth: Depth) -> rusqlite::Result<()> {
    let (time, width): (i64, i64) = (row.get(0)?, row.get(1)?);
    let checkpoint: i64 = row.get(2)?;
    sums.first = Some(sums.first.map_or(time, |first| first.min(time)));
    let sum = sums.by_checkpoint.entry(checkpoint).or_default();
    let number = |place: usize| row.get::<_, i64>(place).map(i64::unsigned_abs);
    sum.count = sum.count.saturating_add(number(3)?);
    sum.errors = sum.errors.saturating_add(number(4)?);
    sum.redelivered = sum.redelivered.saturating_add(number(5)?);
    sum.skewed = sum.skewed.saturating_add(number(6)?);
    sum.max_attempt = sum.max_attempt.max(number(7)?);
    sum.sampled |= row.get::<_, bool>(8)?;
    sum.last_seen = sum.last_seen.max(time.saturating_add(width));
    let edge = row.get_ref(9)?.as_blob()?;
    if depth != Depth::Ends
        && let Some((of, count)) = Histogram::encoded_sum(edge)
    {
        sum.edge.merge(Mean::of(of, count));
    }
    let ends = book.direction(checkpoint) == Some(Direction::In);
    if ends || depth == Depth::Histograms {
        sum.total.merge_encoded(row.get_ref(10)?.as_blob()?);
    }
    if depth == Depth::Histograms {
        sum.edges.merge_encoded(edge);
        sum.process.merge_encoded(row.get_ref(11)?.as_blob()?);
    }
    let slowest: Option<[u8; 16]> = row.get(12)?;
    sum.offer(slowest.zip(row.get(13)?));
    Ok(())
}

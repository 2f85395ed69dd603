//! Every path of a span, with what changed since an hour before.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::super::{Snapshot, hex, seconds};
use super::book::Book;
use super::groups::{Filter, Group, groups};
use super::rows::PathRow;
use super::span::Span;
use super::steps::Steps;
use super::sums::{Depth, gather};
use crate::store::{Reader, StoreError};

/// How long ago the span is with which the list compares.
const HOUR_NANOS: i64 = 3600 * 1_000_000_000;
/// Values of which a 95th percentile is more than the greatest of them.
pub(super) const MIN_VALUES: u64 = 20;

/// By what paths are sorted: the greatest first, `path` by the alphabet.
///
/// ```
/// use rabtrace::store::PathSort;
///
/// assert_eq!(PathSort::named("p95"), Some(PathSort::P95));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are named as the columns")]
pub enum PathSort {
    Rate,
    #[default]
    Count,
    Errors,
    Redelivered,
    P50,
    P95,
    P99,
    Share,
    Change,
    Path,
}

impl PathSort {
    /// Every order.
    pub const ALL: [Self; 10] = [
        Self::Rate,
        Self::Count,
        Self::Errors,
        Self::Redelivered,
        Self::P50,
        Self::P95,
        Self::P99,
        Self::Share,
        Self::Change,
        Self::Path,
    ];

    /// Its name on the command line and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Count => "count",
            Self::Errors => "errors",
            Self::Redelivered => "redelivered",
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::Share => "share",
            Self::Change => "change",
            Self::Path => "path",
        }
    }

    /// The order of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sort| sort.as_str() == name)
    }

    /// The order of two rows; what is not known comes last.
    fn compare(self, a: &PathRow, b: &PathRow) -> Ordering {
        let by = |value: fn(&PathRow) -> Option<f64>| {
            let value = |row| value(row).unwrap_or(f64::NEG_INFINITY);
            value(b).total_cmp(&value(a))
        };
        let order = match self {
            Self::Rate => by(|row| Some(row.rate_per_second)),
            Self::Count => b.count.cmp(&a.count),
            Self::Errors => b.errors.cmp(&a.errors),
            Self::Redelivered => b.redelivered.cmp(&a.redelivered),
            Self::P50 => by(|row| row.p50_ms),
            Self::P95 => by(|row| row.p95_ms),
            Self::P99 => by(|row| row.p99_ms),
            Self::Share => by(|row| row.slowest_hop.as_ref().map(|hop| hop.share)),
            Self::Change => by(|row| row.p95_change),
            Self::Path => Ordering::Equal,
        };
        order.then_with(|| a.path.cmp(&b.path))
    }
}

/// Which paths are asked for.
#[derive(Clone, Debug, Default)]
pub struct PathsAsked {
    /// The oldest time; nanoseconds since the Unix epoch.
    pub since_unix_nano: i64,
    /// The present.
    pub now_unix_nano: i64,
    /// Their order.
    pub sort: PathSort,
    /// Texts of which each must be part of the path's, in whatever case.
    pub filters: Vec<String>,
    /// Rows at most.
    pub limit: usize,
}

impl Reader {
    /// The busiest paths since then, `limit` at most.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn paths(
        &self,
        since_unix_nano: i64,
        now_unix_nano: i64,
        limit: usize,
    ) -> Result<Vec<PathRow>, StoreError> {
        self.paths_asked(&PathsAsked {
            since_unix_nano,
            now_unix_nano,
            limit,
            ..PathsAsked::default()
        })
    }

    /// The paths that are asked for: those that ended in a delivery, those that were published
    /// and received by nobody who is traced, and those whose messages came to no queue.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn paths_asked(&self, asked: &PathsAsked) -> Result<Vec<PathRow>, StoreError> {
        let snapshot = self.snapshot()?;
        let book = Book::read(&snapshot.database)?;
        let listed = Listed::read(&snapshot, &book, asked, Depth::Means)?;
        let mut rows = listed.rows();
        rows.sort_by(|a, b| asked.sort.compare(a, b));
        rows.truncate(asked.limit);
        Ok(rows)
    }
}

/// The paths of a span, and those of the span an hour before.
pub(super) struct Listed<'a> {
    pub(super) steps: Steps<'a>,
    pub(super) groups: Vec<Group>,
    before: HashMap<String, Group>,
    /// Whether anything was recorded an hour before.
    knows_before: bool,
    seconds: f64,
}

impl<'a> Listed<'a> {
    pub(super) fn read(
        snapshot: &Snapshot,
        book: &'a Book,
        asked: &PathsAsked,
        depth: Depth,
    ) -> rusqlite::Result<Self> {
        let now = Span::open(asked.since_unix_nano);
        let before = Span {
            since: asked.since_unix_nano.saturating_sub(HOUR_NANOS),
            until: asked.now_unix_nano.saturating_sub(HOUR_NANOS),
        };
        let [now, before] = gather(snapshot, book, [(now, depth), (before, Depth::Ends)])?;
        let first = now.first.unwrap_or(i64::MAX).max(asked.since_unix_nano);
        let filter = Filter::new(&asked.filters);
        let steps = Steps::new(book, now);
        let knows_before = before.first.is_some();
        let before = groups(&Steps::new(book, before), &filter);
        Ok(Self {
            groups: groups(&steps, &filter),
            steps,
            before: before
                .into_iter()
                .map(|group| (group.text.clone(), group))
                .collect(),
            knows_before,
            // At least a second: the first message of a young agent is no storm.
            seconds: seconds(asked.now_unix_nano.saturating_sub(first)).max(1.0),
        })
    }

    pub(super) fn rows(&self) -> Vec<PathRow> {
        self.groups.iter().map(|group| self.row(group)).collect()
    }

    pub(super) fn row(&self, group: &Group) -> PathRow {
        let before = self.before.get(&group.text);
        let quantile = |group: &Group, at| group.total.quantile(at).map(|seconds| seconds * 1e3);
        let p95_ms = quantile(group, 0.95);
        let p95_before_ms = before.and_then(|before| quantile(before, 0.95));
        let enough = |group: &Group| group.total.count() >= MIN_VALUES;
        #[expect(clippy::cast_precision_loss, reason = "shown to a person")]
        let count = group.count as f64;
        PathRow {
            path: group.text.clone(),
            hash: format!("{:016x}", group.hash()),
            end: group.end,
            count: group.count,
            rate_per_second: count / self.seconds,
            errors: group.errors,
            redelivered: group.redelivered,
            p50_ms: quantile(group, 0.5),
            p95_ms,
            p99_ms: quantile(group, 0.99),
            max_ms: (group.total.count() > 0).then(|| group.total.max() * 1e3),
            mean_ms: group.mean_ms(),
            slowest_hop: self.steps.slowest(group.hash(), group.mean_ms()),
            p95_before_ms,
            p95_change: if enough(group) && before.is_some_and(enough) {
                change(p95_before_ms, p95_ms)
            } else {
                None
            },
            is_new: self.knows_before && before.is_none(),
            sampled: group.sampled,
            slowest_trace_id: group.slowest.map(|(trace, _)| hex(&trace)),
            slowest_trace_ms: group.slowest.map(|(_, ms)| ms),
            last_seen_unix_nano: group.last_seen,
        }
    }
}

/// By which share the later of two times is longer.
pub(super) fn change(before: Option<f64>, now: Option<f64>) -> Option<f64> {
    let (before, now) = before.zip(now)?;
    (before > 0.0).then(|| now / before - 1.0)
}

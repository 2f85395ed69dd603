//! What changed between two spans of time.

use std::collections::{HashMap, HashSet};

use super::super::seconds;
use super::book::Book;
use super::groups::{Filter, Group, groups};
use super::list::{MIN_VALUES, change};
use super::rows::{Compared, HopChange, PathChange, PathSide, PathsDiff};
use super::span::Span;
use super::steps::Steps;
use super::sums::{Depth, gather};
use crate::model::Histogram;
use crate::store::{Reader, StoreError};

/// Share by which a 95th percentile differs at least.
const MIN_CHANGE: f64 = 0.1;
/// Standard errors between what chance explains and what it does not.
const SIGMAS: f64 = 3.0;
/// Messages of a path at least whose absence says something.
const MIN_VANISHED: u64 = 10;

/// The rules, for a person.
const RULES: [&str; 3] = [
    "slower, faster: p95 differs by 10 % or more, by more than the histograms' error and than \
     chance (three standard errors of each), of at least 20 messages in both spans",
    "appeared, vanished: messages in one span alone; vanished of at least 10",
    "errors: the share that failed differs by more than chance (three standard errors), of at \
     least 20 messages in both spans",
];

/// Which spans are compared.
#[derive(Clone, Debug, Default)]
pub struct DiffAsked {
    /// Beginning of the later span; nanoseconds since the Unix epoch.
    pub since_unix_nano: i64,
    /// Its end: the present.
    pub now_unix_nano: i64,
    /// How much earlier the other span is, in nanoseconds; it is as long.
    pub earlier_nanos: i64,
    /// Texts of which each must be part of the path's, in whatever case.
    pub filters: Vec<String>,
}

impl Reader {
    /// Which paths got slower or faster, appeared or vanished, fail more or less.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn paths_diff(&self, asked: &DiffAsked) -> Result<PathsDiff, StoreError> {
        let snapshot = self.snapshot()?;
        let book = Book::read(&snapshot.database)?;
        let now = Span {
            since: asked.since_unix_nano,
            until: asked.now_unix_nano,
        };
        let before = Span {
            since: now.since.saturating_sub(asked.earlier_nanos),
            until: now.until.saturating_sub(asked.earlier_nanos),
        };
        let open = Span::open(now.since);
        let [now_sums, before_sums] = gather(
            &snapshot,
            &book,
            [open, before].map(|span| (span, Depth::Means)),
        )?;
        let filter = Filter::new(&asked.filters);
        let side = |span: Span, sums: super::sums::Sums| {
            let first = sums.first.unwrap_or(span.since).max(span.since);
            let steps = Steps::new(&book, sums);
            Side {
                groups: by_text(groups(&steps, &filter)),
                steps,
                seconds: seconds(span.until.saturating_sub(first)).max(1.0),
                span,
            }
        };
        let (now, before) = (side(now, now_sums), side(before, before_sums));
        Ok(compare(&before, &now))
    }
}

struct Side<'a> {
    span: Span,
    groups: HashMap<String, Group>,
    steps: Steps<'a>,
    seconds: f64,
}

impl Side<'_> {
    fn of(&self, group: &Group) -> PathSide {
        let ms = |quantile| group.total.quantile(quantile).map(|seconds| seconds * 1e3);
        PathSide {
            count: group.count,
            rate_per_second: float(group.count) / self.seconds,
            errors: group.errors,
            redelivered: group.redelivered,
            p50_ms: ms(0.5),
            p95_ms: ms(0.95),
            p99_ms: ms(0.99),
        }
    }

    fn compared(&self) -> Compared {
        Compared {
            since_unix_nano: self.span.since,
            until_unix_nano: self.span.until,
            count: self.groups.values().map(|group| group.count).sum(),
        }
    }
}

fn by_text(groups: Vec<Group>) -> HashMap<String, Group> {
    let named = groups.into_iter().map(|group| (group.text.clone(), group));
    named.collect()
}

/// What happened to a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Same,
    Higher,
    Lower,
}

fn compare(before: &Side<'_>, now: &Side<'_>) -> PathsDiff {
    let mut diff = PathsDiff {
        rules: RULES.map(str::to_owned).into(),
        before: before.compared(),
        now: now.compared(),
        slower: Vec::new(),
        faster: Vec::new(),
        appeared: Vec::new(),
        vanished: Vec::new(),
        more_errors: Vec::new(),
        fewer_errors: Vec::new(),
        unchanged: 0,
    };
    let texts: HashSet<&String> = before.groups.keys().chain(now.groups.keys()).collect();
    for text in texts {
        let pair = (before.groups.get(text), now.groups.get(text));
        let row = || path_change((before, pair.0), (now, pair.1));
        let (was, is) = match pair {
            (Some(was), Some(is)) => (was, is),
            (None, _) if diff.before.count > 0 => {
                diff.appeared.push(row());
                continue;
            }
            (Some(was), None) if was.count >= MIN_VANISHED => {
                diff.vanished.push(row());
                continue;
            }
            _ => {
                diff.unchanged += 1;
                continue;
            }
        };
        let (latency, errors) = (latency(&was.total, &is.total), failures(was, is));
        match latency {
            Verdict::Higher => diff.slower.push(row()),
            Verdict::Lower => diff.faster.push(row()),
            Verdict::Same => {}
        }
        match errors {
            Verdict::Higher => diff.more_errors.push(row()),
            Verdict::Lower => diff.fewer_errors.push(row()),
            Verdict::Same => {}
        }
        diff.unchanged += u64::from((latency, errors) == (Verdict::Same, Verdict::Same));
    }
    sort(&mut diff);
    diff
}

fn path_change(
    (before, was): (&Side<'_>, Option<&Group>),
    (now, is): (&Side<'_>, Option<&Group>),
) -> PathChange {
    let group = is.or(was);
    let p95 = |group: Option<&Group>| group.and_then(|group| group.total.quantile(0.95));
    let p95_change = change(p95(was), p95(is));
    let hop = group.filter(|_| was.is_some() && is.is_some());
    PathChange {
        path: group.map_or_else(String::new, |group| group.text.clone()),
        hash: format!("{:016x}", group.map_or(0, Group::hash)),
        before: was.map(|group| before.of(group)),
        now: is.map(|group| now.of(group)),
        p95_change,
        hop: hop.and_then(|group| {
            let grown = p95_change.unwrap_or(0.0) >= 0.0;
            hop_change(before, now, group.hash(), grown)
        }),
    }
}

/// The hop whose mean changed most, in the direction of the path's change.
fn hop_change(before: &Side<'_>, now: &Side<'_>, hash: u64, grown: bool) -> Option<HopChange> {
    let earlier = before.steps.means(hash);
    let changes = now.steps.means(hash).into_iter().filter_map(|later| {
        let same = |mean: &&super::steps::StepMean<'_>| mean.hash == later.hash;
        let before_ms = earlier.iter().find(same)?.mean_ms;
        Some((later, before_ms))
    });
    let growth = |change: &(super::steps::StepMean<'_>, f64)| {
        let growth = change.0.mean_ms - change.1;
        if grown { growth } else { -growth }
    };
    let (later, before_ms) = changes
        .filter(|change| growth(change) > 0.0)
        .max_by(|a, b| growth(a).total_cmp(&growth(b)))?;
    Some(HopChange {
        step: later.step.to_owned(),
        part: later.part,
        before_ms,
        now_ms: later.mean_ms,
    })
}

/// Whether the 95th percentile is another one: by a share that matters, beyond the histograms'
/// error, and beyond chance. The standard error of a percentile is that of its rank.
fn latency(was: &Histogram, is: &Histogram) -> Verdict {
    let p95 = |histogram: &Histogram| histogram.quantile(0.95);
    let (Some(before), Some(now)) = (p95(was), p95(is)) else {
        return Verdict::Same;
    };
    if was.count().min(is.count()) < MIN_VALUES {
        return Verdict::Same;
    }
    let lowest = |histogram: &Histogram| border(histogram, -SIGMAS, -1.0);
    let highest = |histogram: &Histogram| border(histogram, SIGMAS, 1.0);
    if now >= before * (1.0 + MIN_CHANGE) && lowest(is) > highest(was) {
        Verdict::Higher
    } else if now <= before * (1.0 - MIN_CHANGE) && highest(is) < lowest(was) {
        Verdict::Lower
    } else {
        Verdict::Same
    }
}

/// A border of the 95th percentile: so many standard errors away, and the histogram's error.
fn border(histogram: &Histogram, sigmas: f64, error: f64) -> f64 {
    let rank = 0.95 + sigmas * (0.95 * 0.05 / float(histogram.count().max(1))).sqrt();
    let value = histogram.quantile(rank).unwrap_or_default();
    value * (1.0 + error * histogram.relative_error())
}

/// Whether another share fails, by the test of two proportions.
fn failures(was: &Group, is: &Group) -> Verdict {
    if was.count.min(is.count) < MIN_VALUES {
        return Verdict::Same;
    }
    let (before, now) = (float(was.count), float(is.count));
    let (failed_before, failed_now) = (float(was.errors), float(is.errors));
    let pooled = (failed_before + failed_now) / (before + now);
    let spread = (pooled * (1.0 - pooled).max(0.0) * (1.0 / before + 1.0 / now)).sqrt();
    let difference = failed_now / now - failed_before / before;
    if difference > SIGMAS * spread && difference > 0.0 {
        Verdict::Higher
    } else if -difference > SIGMAS * spread && difference < 0.0 {
        Verdict::Lower
    } else {
        Verdict::Same
    }
}

fn sort(diff: &mut PathsDiff) {
    let by = |rows: &mut Vec<PathChange>, key: fn(&PathChange) -> f64| {
        rows.sort_by(|a, b| key(b).total_cmp(&key(a)).then_with(|| a.path.cmp(&b.path)));
    };
    let size = |row: &PathChange| row.p95_change.unwrap_or_default().abs();
    let count = |row: &PathChange| {
        let side = row.now.as_ref().or(row.before.as_ref());
        side.map_or(0.0, |side| float(side.count))
    };
    let failing = |row: &PathChange| {
        let share = |side: &Option<PathSide>| {
            side.as_ref()
                .map_or(0.0, |side| float(side.errors) / float(side.count.max(1)))
        };
        (share(&row.now) - share(&row.before)).abs()
    };
    by(&mut diff.slower, size);
    by(&mut diff.faster, size);
    by(&mut diff.appeared, count);
    by(&mut diff.vanished, count);
    by(&mut diff.more_errors, failing);
    by(&mut diff.fewer_errors, failing);
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
fn float(number: u64) -> f64 {
    number as f64
}

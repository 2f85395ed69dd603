//! One path, hop by hop.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::{Snapshot, may_hold};
use super::book::Book;
use super::groups::Group;
use super::list::{Listed, PathsAsked};
use super::rows::{ErrorType, HopRow, PathDetail, Times};
use super::steps::{Steps, mean_ms};
use super::sums::{Depth, Mean, Sum};
use crate::model::{Direction, EdgeKind, Histogram};
use crate::store::schema::Kind;
use crate::store::{Reader, StoreError};

/// Paths that are named at most where several fit.
const MAX_CANDIDATES: usize = 20;
/// Digits of a hash that are enough to name it.
const MIN_DIGITS: usize = 4;

impl Reader {
    /// The path whose text is `wanted`, or the only one that ends with it, or the only one with that
    /// part in its text, or the one whose hash begins so (4 digits at least); none if there is none
    /// since then.
    ///
    /// # Errors
    /// [`StoreError::AmbiguousPath`] if several fit; else if the file cannot be read.
    pub fn path(
        &self,
        wanted: &str,
        since_unix_nano: i64,
        now_unix_nano: i64,
    ) -> Result<Option<PathDetail>, StoreError> {
        let snapshot = self.snapshot()?;
        let book = Book::read(&snapshot.database)?;
        let asked = PathsAsked {
            since_unix_nano,
            now_unix_nano,
            ..PathsAsked::default()
        };
        let listed = Listed::read(&snapshot, &book, &asked, Depth::Histograms)?;
        let Some(group) = find(&listed.groups, wanted)? else {
            return Ok(None);
        };
        let hops = in_order(&listed.steps, group);
        let errors = Errors::read(&snapshot, &book, &hops, since_unix_nano)?;
        Ok(Some(detail(&listed, group, &hops, &errors)))
    }
}

fn find<'a>(groups: &'a [Group], wanted: &str) -> Result<Option<&'a Group>, StoreError> {
    let wanted = wanted.trim();
    let lower = wanted.to_lowercase();
    let whole = |group: &&Group| group.text.to_lowercase() == lower;
    if let Some(group) = groups.iter().find(whole) {
        return Ok(Some(group));
    }
    let is_hash = wanted.len() >= MIN_DIGITS && wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
    let fits = |group: &&Group| {
        let hash = |(hash, _): &(u64, u64)| format!("{hash:016x}").starts_with(&lower);
        group.text.to_lowercase().contains(&lower) || is_hash && group.hashes.iter().any(hash)
    };
    let mut fitting: Vec<&Group> = groups.iter().filter(fits).collect();
    // `planner` means the path that ends there rather than all that go on from it.
    let at_end = |group: &&&Group| group.text.to_lowercase().ends_with(&format!("> {lower}"));
    if let [ending] = fitting.iter().filter(at_end).collect::<Vec<_>>()[..] {
        return Ok(Some(ending));
    }
    if fitting.len() > 1 {
        fitting.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.text.cmp(&b.text)));
        return Err(StoreError::AmbiguousPath {
            wanted: wanted.to_owned(),
            number: fitting.len(),
            candidates: fitting
                .into_iter()
                .take(MAX_CANDIDATES)
                .map(|group| group.text.clone())
                .collect(),
        });
    }
    Ok(fitting.pop())
}

/// A step of one or several hashes.
struct Hop<'a> {
    hashes: Vec<u64>,
    direction: Direction,
    service: &'a str,
    destination: &'a str,
    via: Option<&'a str>,
    kinds: BTreeMap<EdgeKind, Sum>,
}

impl Hop<'_> {
    fn mean_ms(&self) -> Option<f64> {
        mean_ms(&self.kinds)
    }
}

/// The steps of a path, the origin first. Hashes of the same text have the same steps, as far as
/// the text tells them.
fn in_order<'a>(steps: &'a Steps<'_>, group: &Group) -> Vec<Hop<'a>> {
    let mut hops: Vec<Hop<'a>> = Vec::new();
    let mut places = HashMap::new();
    let mut seen = HashSet::new();
    for (end, _) in &group.hashes {
        for hash in steps.book.steps_to(*end) {
            let Some(hop) = hop(steps, hash).filter(|_| seen.insert(hash)) else {
                continue;
            };
            let text = steps.book.text(hash);
            let place = *places
                .entry((text, hop.direction, hop.service, hop.destination))
                .or_insert(hops.len());
            match hops.get_mut(place) {
                None => hops.push(hop),
                Some(known) => {
                    known.hashes.push(hash);
                    for (kind, sum) in hop.kinds {
                        known.kinds.entry(kind).or_default().merge(&sum);
                    }
                }
            }
        }
    }
    hops
}

fn hop<'a>(steps: &'a Steps<'_>, hash: u64) -> Option<Hop<'a>> {
    let counted = steps.at(hash);
    let step = steps.book.step(hash).first();
    let (direction, service, destination) = match (step, counted) {
        (Some(step), _) => (step.direction, &step.service, &step.destination),
        (None, Some((direction, counted))) => (direction, &counted.service, &counted.destination),
        (None, None) => return None,
    };
    Some(Hop {
        hashes: vec![hash],
        direction,
        service,
        destination,
        via: step.and_then(|step| step.via.as_deref()),
        kinds: counted.map_or_else(BTreeMap::new, |(_, counted)| counted.kinds.clone()),
    })
}

fn detail(listed: &Listed<'_>, group: &Group, hops: &[Hop<'_>], errors: &Errors) -> PathDetail {
    let total_ms = group.mean_ms();
    let hashes: Vec<u64> = hops.iter().flat_map(|hop| hop.hashes.clone()).collect();
    let merges = listed.steps.book.merges(&hashes);
    let means: f64 = hops.iter().filter_map(Hop::mean_ms).sum();
    PathDetail {
        summary: listed.row(group),
        merges,
        remainder_ms: total_ms
            .filter(|_| !merges)
            .map(|total_ms| total_ms - means),
        hops: hops
            .iter()
            .flat_map(|hop| rows(listed.steps.book, hop, total_ms, errors))
            .collect(),
    }
}

/// A row for each kind of edge that leads to the step; one even if nothing was counted.
fn rows(book: &Book, hop: &Hop<'_>, total_ms: Option<f64>, errors: &Errors) -> Vec<HopRow> {
    let nothing = BTreeMap::from([(EdgeKind::Forward, Sum::default())]);
    let kinds = if hop.kinds.is_empty() {
        &nothing
    } else {
        &hop.kinds
    };
    let mut rows: Vec<HopRow> = kinds
        .iter()
        .map(|(kind, sum)| row(book, hop, *kind, sum))
        .collect();
    let share = hop.mean_ms().zip(total_ms.filter(|total| *total > 0.0));
    if let Some(first) = rows.first_mut() {
        first.share = share.map(|(mean, total)| mean / total);
        first.error_types = errors.of(&hop.hashes);
    }
    rows
}

fn row(book: &Book, hop: &Hop<'_>, kind: EdgeKind, sum: &Sum) -> HopRow {
    let hash = hop.hashes.first().copied().unwrap_or(0);
    let is_delivery = hop.direction == Direction::In;
    let edge = times(&sum.edges);
    HopRow {
        hash: format!("{hash:016x}"),
        path: book.text(hash).to_owned(),
        direction: hop.direction.as_str().to_owned(),
        service: hop.service.to_owned(),
        destination: hop.destination.to_owned(),
        via: hop.via.map(str::to_owned),
        kind: kind.as_str().to_owned(),
        count: sum.count,
        errors: sum.errors,
        error_types: Vec::new(),
        wait: edge.filter(|_| is_delivery),
        work: if is_delivery {
            times(&sum.process)
        } else {
            edge
        },
        share: None,
        max_attempt: sum.max_attempt,
        skewed: sum.skewed,
        sampled: sum.sampled,
    }
}

fn times(histogram: &Histogram) -> Option<Times> {
    let ms = |quantile| histogram.quantile(quantile).map(|seconds| seconds * 1e3);
    Some(Times {
        p50_ms: ms(0.5)?,
        p95_ms: ms(0.95)?,
        p99_ms: ms(0.99)?,
        max_ms: histogram.max() * 1e3,
        mean_ms: Mean::of(histogram.sum(), histogram.count()).ms()?,
        count: histogram.count(),
    })
}

/// Types of failures by path, the most frequent first.
struct Errors(HashMap<u64, Vec<ErrorType>>);

impl Errors {
    /// Reads the failed spans of these steps.
    fn read(
        snapshot: &Snapshot,
        book: &Book,
        hops: &[Hop<'_>],
        since: i64,
    ) -> rusqlite::Result<Self> {
        let hashes = hops.iter().flat_map(|hop| &hop.hashes);
        let paths: HashMap<i64, u64> = hashes
            .filter_map(|hash| Some((book.path_id(*hash)?, *hash)))
            .collect();
        let list: Vec<String> = paths.keys().map(i64::to_string).collect();
        let list = list.join(", ");
        let mut found: HashMap<u64, Vec<ErrorType>> = HashMap::new();
        for hour in snapshot.catalogue.spans.keys() {
            if !may_hold(*hour, since) {
                continue;
            }
            let mut statement = snapshot.database.prepare(&format!(
                "SELECT s.path, json_extract(d.attributes, '$.\"error.type\"') AS type, count(*) \
                 FROM \"{}\" s JOIN \"{}\" d ON d.id = s.id \
                 WHERE s.status = 2 AND s.start >= ?1 AND s.path IN ({list}) \
                 GROUP BY s.path, type HAVING typeof(type) = 'text'",
                Kind::Spans.table(*hour),
                Kind::Details.table(*hour)
            ))?;
            let mut rows = statement.query([since])?;
            while let Some(row) = rows.next()? {
                let Some(hash) = paths.get(&row.get(0)?) else {
                    continue;
                };
                let spans = row.get::<_, i64>(2)?.unsigned_abs();
                add(found.entry(*hash).or_default(), row.get(1)?, spans);
            }
        }
        Ok(Self(found))
    }

    fn of(&self, hashes: &[u64]) -> Vec<ErrorType> {
        let mut types = Vec::new();
        let known = hashes.iter().filter_map(|hash| self.0.get(hash));
        for known in known.flatten() {
            add(&mut types, known.error_type.clone(), known.spans);
        }
        types.sort_by(|a, b| {
            b.spans
                .cmp(&a.spans)
                .then_with(|| a.error_type.cmp(&b.error_type))
        });
        types
    }
}

fn add(types: &mut Vec<ErrorType>, error_type: String, spans: u64) {
    match types
        .iter_mut()
        .find(|known| known.error_type == error_type)
    {
        Some(known) => known.spans += spans,
        None => types.push(ErrorType { error_type, spans }),
    }
}

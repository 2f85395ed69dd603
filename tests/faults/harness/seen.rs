//! What a sink has taken, and which of it came again.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::time::Instant;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

/// What the tags are that would be too many.
const OTHER: &str = "=_other";

#[derive(Default)]
pub(super) struct Seen {
    /// By id, how often it arrived.
    pub(super) arrivals: Vec<u8>,
    /// Spans that arrived, each counted once.
    pub(super) arrived: u64,
    pub(super) batches_again: u64,
    pub(super) requests: u64,
    /// Lines, or spans and data points, that it took.
    pub(super) taken: u64,
    /// Lines of the measurements that are kept, with when they came.
    pub(super) kept: Vec<(Instant, String)>,
    pub(super) keeps: Option<&'static str>,
    /// Fields with a number below zero, the first ones of them.
    pub(super) below_zero: Vec<String>,
    /// Hashes of measurements with their tags.
    pub(super) series: HashSet<u64>,
    /// The same with their times: InfluxDB has one point of each.
    pub(super) points: HashSet<u64>,
    /// Lines of spans with [`OTHER`] among their tags.
    pub(super) others: u64,
    /// A word that no request may have, and how many had it.
    pub(super) forbidden: Option<&'static str>,
    pub(super) with_forbidden: u64,
    /// The first request of each life of the agent.
    lives: Vec<u64>,
    /// By id, the request in which it came last; while lives are counted.
    came_in: Vec<u64>,
    /// Requests that were taken, and of which something came again later.
    came_again: BTreeSet<u64>,
}

impl Seen {
    /// From now on the agent is another one.
    pub(super) fn begin_life(&mut self) {
        self.lives.push(self.requests + 1);
    }

    /// Requests of one life that came again, in whole or in part: the most of any life.
    pub(super) fn most_again_in_a_life(&self) -> usize {
        let life = |request: &u64| self.lives.partition_point(|first| first <= request);
        let lives: Vec<usize> = self.came_again.iter().map(life).collect();
        lives
            .chunk_by(|one, other| one == other)
            .map(<[_]>::len)
            .max()
            .unwrap_or(0)
    }

    pub(super) fn take(&mut self, ids: &[u64]) {
        let mut again = false;
        for id in ids {
            let index = usize::try_from(*id).unwrap();
            if self.arrivals.len() <= index {
                self.arrivals.resize(index + 1, 0);
            }
            let times = &mut self.arrivals[index];
            self.arrived += u64::from(*times == 0);
            again |= *times > 0;
            *times = times.saturating_add(1);
            if !self.lives.is_empty() {
                self.remember(index);
            }
        }
        self.batches_again += u64::from(again);
    }

    fn remember(&mut self, index: usize) {
        if self.came_in.len() <= index {
            self.came_in.resize(index + 1, 0);
        }
        let last = std::mem::replace(&mut self.came_in[index], self.requests);
        if last > 0 {
            self.came_again.insert(last);
        }
    }

    /// Searches a request for the word that none may have.
    pub(super) fn search(&mut self, body: &[u8]) {
        let Some(word) = self.forbidden else { return };
        let has = body.windows(word.len()).any(|part| part == word.as_bytes());
        self.with_forbidden += u64::from(has);
    }

    /// Keeps what is wanted of lines.
    pub(super) fn keep(&mut self, body: &[u8]) {
        let text = String::from_utf8_lossy(body);
        let below_zero = text.lines().flat_map(below_zero);
        self.below_zero.extend(below_zero.take(100));
        let hash = BuildHasherDefault::<DefaultHasher>::default();
        for line in text.lines() {
            let Some(series) = series(line) else { continue };
            let time = line.rsplit(' ').next();
            self.series.insert(hash.hash_one(series));
            self.points.insert(hash.hash_one((series, time)));
            self.others += u64::from(series.contains(OTHER));
        }
        if let Some(prefix) = self.keeps {
            let lines = text.lines().filter(|line| line.starts_with(prefix));
            let now = Instant::now();
            self.kept.extend(lines.map(|line| (now, line.to_owned())));
        }
    }
}

/// The fields of a line that have a number below zero: no field of the agent's has one.
pub(crate) fn below_zero(line: &str) -> impl Iterator<Item = String> {
    let signs = line.match_indices("=-");
    signs.filter_map(|(at, _)| {
        let (before, after) = (line.get(..at)?, line.get(at + 2..)?);
        // Text has quotes around it: what stands in it is no field.
        let quotes = before.replace("\\\"", "").matches('"').count();
        let is_number = after.starts_with(|first: char| first.is_ascii_digit());
        let name = before.rsplit([',', ' ']).next()?;
        (is_number && quotes.is_multiple_of(2)).then(|| name.to_owned())
    })
}

/// The part of a line before the first blank that is not escaped: measurement and tags.
fn series(line: &str) -> Option<&str> {
    let mut blanks = line.match_indices(' ');
    let end = blanks.find(|(at, _)| !line[..*at].ends_with('\\'))?.0;
    line.get(..end)
        .filter(|series| series.starts_with("spans,"))
}

/// Ids of the lines that are spans.
pub(super) fn line_ids(body: &[u8]) -> Vec<u64> {
    let lines = body.split(|byte| *byte == b'\n');
    let id = |line: &[u8]| {
        // The trace's id stands before it, and both are hexadecimal digits.
        let line = line.strip_prefix(b"spans,")?;
        let line = std::str::from_utf8(line).ok()?;
        let (_, rest) = line.split_once(",span_id=\"")?;
        u64::from_str_radix(rest.get(..16)?, 16).ok()
    };
    lines.filter_map(id).collect()
}

/// Ids of the spans of a request.
pub(super) fn span_ids(body: &[u8]) -> Vec<u64> {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return Vec::new();
    };
    let resources = request.resource_spans.into_iter();
    let scopes = resources.flat_map(|resource| resource.scope_spans);
    let spans = scopes.flat_map(|scope| scope.spans);
    spans
        .filter_map(|span| Some(u64::from_be_bytes(span.span_id.try_into().ok()?)))
        .collect()
}

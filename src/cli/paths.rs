//! `rabtrace paths`: every path, one path hop by hop, or what changed.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::FINDINGS;
use super::ask::{back, now};
use super::output::{self, Format};
use super::source::{Source, SourceError};
use crate::config::{Loaded, parse_duration};
use crate::render;
use crate::store::{DiffAsked, PathDetail, PathRow, PathSort, PathsAsked, PathsDiff, Reader};

/// Arguments of `rabtrace paths`.
#[derive(Args)]
pub(super) struct Paths {
    /// One path, hop by hop: its text, a part of it, or its hash.
    #[arg(long, value_name = "TEXT|HASH", conflicts_with_all = ["diff", "filter", "sort", "limit"])]
    path: Option<String>,
    /// What changed against the span that long ago: 1h, 1d. Exits with 10 if a path got slower
    /// or vanished.
    #[arg(long, value_name = "AGO", value_parser = parse_duration, conflicts_with_all = ["sort", "limit"])]
    diff: Option<Duration>,
    /// Order of the paths, the greatest first.
    #[arg(long, default_value = "count", value_parser = sort_parser())]
    sort: PathSort,
    /// Part of a path's text, in whatever case; of several, all must hold.
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// How far back: 10m, 2h, 1d.
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    since: Duration,
    /// Rows at most.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// How rows are printed.
    #[arg(long, value_enum, default_value = "table")]
    output: Format,
}

fn sort_parser() -> impl TypedValueParser<Value = PathSort> {
    PossibleValuesParser::new(PathSort::ALL.map(PathSort::as_str))
        .map(|name| PathSort::named(&name).unwrap_or_default())
}

impl Paths {
    pub(super) async fn run(&self, loaded: &Loaded) -> anyhow::Result<ExitCode> {
        let source = Source::open(loaded).await?;
        match (&self.path, self.diff) {
            (Some(path), _) => self.one(source, path).await,
            (None, Some(ago)) => self.compare(source, ago).await,
            (None, None) => self.list(source).await,
        }
    }

    async fn list(&self, source: Source) -> anyhow::Result<ExitCode> {
        let mut query = self.query();
        query.push(("limit", self.limit.to_string()));
        query.push(("sort", self.sort.as_str().to_owned()));
        let asked = PathsAsked {
            since_unix_nano: back(self.since),
            now_unix_nano: now(),
            sort: self.sort,
            filters: self.filter.clone(),
            limit: self.limit,
        };
        let read = move |reader: &Reader| reader.paths_asked(&asked);
        let rows: Vec<PathRow> = source.rows("/api/v1/paths", &query, read).await?;
        output::rows(self.output, &rows, |rows| {
            render::paths_within(rows, output::width())
        })?;
        Ok(ExitCode::SUCCESS)
    }

    async fn one(&self, source: Source, path: &str) -> anyhow::Result<ExitCode> {
        let detail: PathDetail = match source {
            Source::Agent(agent) => {
                let mut query = self.query();
                query.push(("path", path.to_owned()));
                agent.get("/api/v1/paths/one", &query).await?
            }
            Source::File(reader) => reader
                .path(path, back(self.since), now())
                .map_err(SourceError::from)?
                .ok_or_else(|| absent(path))?,
        };
        match self.output {
            Format::Table => output::text(&render::path(&detail)),
            Format::Json => output::object(&detail)?,
            Format::Ndjson => output::rows(Format::Ndjson, &detail.hops, |_| String::new())?,
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn compare(&self, source: Source, ago: Duration) -> anyhow::Result<ExitCode> {
        let diff: PathsDiff = match source {
            Source::Agent(agent) => {
                let mut query = self.query();
                query.push(("ago_seconds", ago.as_secs().to_string()));
                agent.get("/api/v1/paths/diff", &query).await?
            }
            Source::File(reader) => reader
                .paths_diff(&DiffAsked {
                    since_unix_nano: back(self.since),
                    now_unix_nano: now(),
                    earlier_nanos: i64::try_from(ago.as_nanos()).unwrap_or(i64::MAX),
                    filters: self.filter.clone(),
                })
                .map_err(SourceError::from)?,
        };
        match self.output {
            Format::Table => output::text(&render::paths_diff(&diff, output::width())),
            Format::Json => output::object(&diff)?,
            Format::Ndjson => output::rows(Format::Ndjson, &changes(&diff), |_| String::new())?,
        }
        let found = !diff.slower.is_empty() || !diff.vanished.is_empty();
        Ok(if found {
            ExitCode::from(FINDINGS)
        } else {
            ExitCode::SUCCESS
        })
    }

    /// The query that every question about paths takes.
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = vec![("since_seconds", self.since.as_secs().to_string())];
        query.extend(self.filter.iter().map(|text| ("filter", text.clone())));
        query
    }
}

fn absent(path: &str) -> SourceError {
    SourceError::NotFound(format!(
        "no path in this time fits {path:?}\n  fix   rabtrace paths    lists them; --since looks \
         farther back"
    ))
}

/// A path that changed, and how.
#[derive(serde::Serialize)]
struct Change<'a> {
    change: &'static str,
    path: &'a crate::store::PathChange,
}

/// All lists in one, for a line each.
fn changes(diff: &PathsDiff) -> Vec<Change<'_>> {
    let lists = [
        ("slower", &diff.slower),
        ("faster", &diff.faster),
        ("appeared", &diff.appeared),
        ("vanished", &diff.vanished),
        ("more_errors", &diff.more_errors),
        ("fewer_errors", &diff.fewer_errors),
    ];
    let rows = lists
        .into_iter()
        .flat_map(|(change, paths)| paths.iter().map(move |path| Change { change, path }));
    rows.collect()
}

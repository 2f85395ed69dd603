//! The commands that ask: `queues`, `trace`, `slow`, `errors`, `sql`.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::output::{self, Format};
use super::source::{Source, SourceError};
use crate::api::SqlRequest;
use crate::config::{Loaded, parse_duration};
use crate::model::unix_nano;
use crate::render;
use crate::store::{QueueRow, SqlLimits, SqlResult};

/// What most of these commands take.
#[derive(Args)]
struct Span {
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

impl Span {
    fn query(&self) -> [(&'static str, String); 2] {
        [
            ("since_seconds", self.since.as_secs().to_string()),
            ("limit", self.limit.to_string()),
        ]
    }
}

/// Arguments of `rabtrace queues`.
#[derive(Args)]
pub(super) struct Queues {
    /// How rows are printed.
    #[arg(long, value_enum, default_value = "table")]
    output: Format,
}

impl Queues {
    pub(super) async fn run(&self, loaded: &Loaded) -> anyhow::Result<ExitCode> {
        let now = now();
        let read = move |reader: &crate::store::Reader| reader.queues(now);
        let rows: Vec<QueueRow> = Source::open(loaded)
            .await?
            .rows("/api/v1/queues", &[], read)
            .await?;
        output::rows(self.output, &rows, render::queues)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Arguments of `rabtrace slow`.
#[derive(Args)]
pub(super) struct Slow {
    #[command(flatten)]
    span: Span,
}

impl Slow {
    pub(super) async fn run(&self, loaded: &Loaded) -> anyhow::Result<ExitCode> {
        let (since, limit) = (back(self.span.since), self.span.limit);
        let read = move |reader: &crate::store::Reader| reader.slow(since, limit);
        let rows = Source::open(loaded)
            .await?
            .rows("/api/v1/slow", &self.span.query(), read)
            .await?;
        output::rows(self.span.output, &rows, render::slow)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Arguments of `rabtrace errors`.
#[derive(Args)]
pub(super) struct Errors {
    #[command(flatten)]
    span: Span,
}

impl Errors {
    pub(super) async fn run(&self, loaded: &Loaded) -> anyhow::Result<ExitCode> {
        let (since, limit) = (back(self.span.since), self.span.limit);
        let read = move |reader: &crate::store::Reader| reader.errors(since, limit);
        let rows = Source::open(loaded)
            .await?
            .rows("/api/v1/errors", &self.span.query(), read)
            .await?;
        output::rows(self.span.output, &rows, render::errors)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Arguments of `rabtrace trace`.
#[derive(Args)]
pub(super) struct Trace {
    /// Trace id, or its first digits; without one, the newest traces are listed.
    id: Option<String>,
    #[command(flatten)]
    span: Span,
}

impl Trace {
    pub(super) async fn run(&self, loaded: &Loaded) -> anyhow::Result<ExitCode> {
        let source = Source::open(loaded).await?;
        let Some(id) = &self.id else {
            let (since, limit) = (back(self.span.since), self.span.limit);
            let read = move |reader: &crate::store::Reader| reader.recent_traces(since, limit);
            let rows = source
                .rows("/api/v1/traces", &self.span.query(), read)
                .await?;
            output::rows(self.span.output, &rows, render::traces)?;
            return Ok(ExitCode::SUCCESS);
        };
        let trace = match source {
            Source::Agent(agent) => {
                let id: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
                agent.get(&format!("/api/v1/traces/{id}"), &[]).await?
            }
            Source::File(reader) => reader.trace(id).map_err(SourceError::from)?.ok_or_else(|| {
                SourceError::NotFound(format!("there is no trace {id} in the store\n  fix   rabtrace trace    lists the newest"))
            })?,
        };
        match self.span.output {
            Format::Table => output::text(&render::waterfall(&trace)),
            Format::Json => output::object(&trace)?,
            Format::Ndjson => output::rows(Format::Ndjson, &trace.spans, |_| String::new())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Arguments of `rabtrace sql`.
#[derive(Args)]
pub(super) struct Sql {
    /// One statement, for instance: SELECT * FROM message_flow LIMIT 5
    statement: String,
    /// Rows at most.
    #[arg(long, default_value_t = 10_000)]
    limit: usize,
    /// How rows are printed.
    #[arg(long, value_enum, default_value = "table")]
    output: Format,
}

impl Sql {
    pub(super) async fn run(&self, loaded: &Loaded) -> anyhow::Result<ExitCode> {
        let result = ask_store(loaded, &self.statement, self.limit).await?;
        output::rows(self.output, &objects(&result), |_| render::sql(&result))?;
        if result.truncated {
            output::remark("there are more rows: raise --limit, or ask for less");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The answer of the agent, or of the store's file, to one statement.
pub(super) async fn ask_store(
    loaded: &Loaded,
    statement: &str,
    rows: usize,
) -> anyhow::Result<SqlResult> {
    match Source::open(loaded).await? {
        Source::Agent(agent) => {
            let request = SqlRequest {
                statement: statement.to_owned(),
                limit: Some(rows),
            };
            Ok(agent.post("/api/v1/sql", &request).await?)
        }
        Source::File(reader) => {
            let limits = SqlLimits {
                rows,
                ..SqlLimits::default()
            };
            let result = reader.sql(statement, limits);
            Ok(result.map_err(SourceError::from)?)
        }
    }
}

/// The rows as objects by column.
pub(super) fn objects(result: &SqlResult) -> Vec<serde_json::Map<String, serde_json::Value>> {
    let object = |row: &Vec<serde_json::Value>| {
        result
            .columns
            .iter()
            .cloned()
            .zip(row.iter().cloned())
            .collect()
    };
    result.rows.iter().map(object).collect()
}

pub(super) fn now() -> i64 {
    unix_nano(SystemTime::now())
}

pub(super) fn back(since: Duration) -> i64 {
    now().saturating_sub(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

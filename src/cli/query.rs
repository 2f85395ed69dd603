//! `query`: the questions that ship with rabtrace, to InfluxDB or to the embedded store.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::ask::{ask_store, objects};
use super::output::{self, Format};
use super::source::SourceError;
use crate::app::http_client;
use crate::config::{Loaded, parse_duration};
use crate::influx::{self, QueryError};
use crate::questions::{QUESTIONS, Question, question};
use crate::render;
use crate::store::{SqlResult, StoreError};

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Against {
    /// The embedded store.
    Store,
    /// InfluxDB 2 or 3, of `influx.url`.
    Influx,
}

/// Arguments of `rabtrace query`.
#[derive(Args)]
pub(super) struct Query {
    /// Name of the question; without one, all are listed with what they answer.
    name: Option<String>,
    /// Who is asked.
    #[arg(long, value_enum, default_value = "store")]
    against: Against,
    /// How far back: 10m, 2h, 1d.
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    since: Duration,
    /// How rows are printed.
    #[arg(long, value_enum, default_value = "table")]
    output: Format,
}

impl Query {
    pub(super) async fn run(&self, loaded: &Loaded) -> anyhow::Result<ExitCode> {
        let Some(name) = &self.name else {
            return self.list();
        };
        let question = question(name).ok_or_else(|| {
            SourceError::NotFound(format!(
                "there is no question {name:?}\n  fix   rabtrace query    lists them"
            ))
        })?;
        let asked = match self.against {
            Against::Store => self.ask_store(loaded, question).await?,
            Against::Influx => self.ask_influx(loaded, question).await?,
        };
        let rows = asked.unwrap_or_default();
        let result = SqlResult {
            columns: question.columns.iter().map(|&name| name.into()).collect(),
            rows,
            truncated: false,
        };
        output::rows(self.output, &objects(&result), |_| render::sql(&result))?;
        Ok(ExitCode::SUCCESS)
    }

    fn list(&self) -> anyhow::Result<ExitCode> {
        let row = |question: &Question| json!({ "name": question.name, "answers": question.answers(), "columns": question.columns });
        let rows: Vec<_> = QUESTIONS.iter().map(row).collect();
        output::rows(self.output, &rows, |_| {
            let row = |question: &Question| vec![question.name.into(), question.answers().into()];
            render::sql(&SqlResult {
                columns: vec!["QUESTION".to_owned(), "ANSWERS".to_owned()],
                rows: QUESTIONS.iter().map(row).collect(),
                truncated: false,
            })
        })?;
        Ok(ExitCode::SUCCESS)
    }

    /// The rows; none if nothing of the kind was recorded, which is said.
    async fn ask_store(
        &self,
        loaded: &Loaded,
        question: &Question,
    ) -> anyhow::Result<Option<Vec<influx::Row>>> {
        let asked = ask_store(loaded, &question.store(self.since), usize::MAX).await;
        let why = match asked {
            Ok(result) => return Ok(Some(result.rows)),
            Err(error) => match error.downcast_ref::<SourceError>() {
                Some(SourceError::Store(StoreError::Sql(why))) => why.clone(),
                Some(SourceError::Refused { error: why, .. }) => why.clone(),
                _ => return Err(error),
            }
            .lines()
            .next()
            .filter(|why| why.starts_with("no such table") || why.starts_with("no such column"))
            .map(str::to_owned)
            .ok_or(error)?,
        };
        nothing(&why);
        Ok(None)
    }

    async fn ask_influx(
        &self,
        loaded: &Loaded,
        question: &Question,
    ) -> anyhow::Result<Option<Vec<influx::Row>>> {
        let config = &loaded.config.influx;
        if config.url.is_none() {
            return Err(SourceError::NotFound(
                "no InfluxDB is configured\n  fix   set influx.url (INFLUX_HOST), influx.bucket and influx.token"
                    .to_owned(),
            )
            .into());
        }
        match influx::query(config, &http_client()?, question, self.since).await {
            Ok(rows) => Ok(Some(rows)),
            Err(QueryError::NothingRecorded(why)) => {
                nothing(&why);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn nothing(why: &str) {
    output::remark(&format!(
        "nothing was recorded for this question yet: {why}"
    ));
}

//! A question to InfluxDB and its answer: Flux on 2.x, SQL on 3.x.
//!
//! Input: a [`Question`]. Output: its rows, a value for each of the question's columns, `null` for
//! what the server does not have. A refusal says why and what to do.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION};
use serde_json::{Map, Value, json};

use super::csv::{CsvError, rows};
use super::exchange::exchange;
use super::failure::Trouble;
use super::identify::identify;
use super::response::{Answer, reason};
use super::server::{Api, Server, address, below, shown};
use crate::config;
use crate::health::Failure;
use crate::questions::Question;

/// A value for each column of the question.
pub type Row = Vec<Value>;

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Nobody answers.
    #[error(
        "InfluxDB does not answer: {0}\n  fix   start it there, or mend influx.url (INFLUX_HOST)"
    )]
    Unreachable(String),
    /// The server refuses, or cannot be asked.
    #[error("{}\n  fix   {}", .0.why, .0.fix)]
    Refused(Failure),
    /// Nothing of the kind was written yet.
    #[error("nothing was recorded for this question yet: {0}")]
    NothingRecorded(String),
}

/// The rows of `question` over the time `since`.
///
/// # Errors
/// [`QueryError`]; 1.x has neither language and is refused.
pub async fn query(
    config: &config::Influx,
    client: &reqwest::Client,
    question: &Question,
    since: Duration,
) -> Result<Vec<Row>, QueryError> {
    let server = identify(config, client).await.map_err(of_trouble)?;
    let address = address(config).map_err(QueryError::Refused)?;
    let request = match server.api {
        Api::V1 => return Err(QueryError::Refused(too_old(config))),
        Api::V2 => {
            let mut url = below(&address.url, "api/v2/query");
            url.query_pairs_mut().append_pair("org", &config.org);
            let body = json!({
                "query": question.flux(&config.bucket, since),
                "type": "flux",
                "dialect": { "header": true, "annotations": ["datatype"] },
            });
            client
                .post(url)
                .header(ACCEPT, "application/csv")
                .json(&body)
        }
        Api::V3 => {
            let url = below(&address.url, "api/v3/query_sql");
            let body = json!({ "db": config.bucket, "q": question.sql(since), "format": "json" });
            client.post(url).json(&body)
        }
    };
    let request = match &server.authorization {
        Some(authorization) => request.header(AUTHORIZATION, authorization.clone()),
        None => request,
    };
    let answer = exchange(config, request).await.map_err(of_trouble)?;
    if answer.status != 200 {
        return Err(refused(config, &server, &answer));
    }
    let objects = match server.api {
        Api::V3 => serde_json::from_str(&answer.body).map_err(|error| error.to_string()),
        Api::V1 | Api::V2 => match rows(&answer.body) {
            Ok(objects) => Ok(objects),
            Err(CsvError::Server(told)) => return Err(failed(config, &told)),
            Err(CsvError::Strange(why)) => Err(why),
        },
    };
    let objects: Vec<Map<String, Value>> = objects.map_err(|why| strange(config, &why))?;
    let row = |mut object: Map<String, Value>| {
        let columns = question.columns.iter();
        columns
            .map(|column| object.remove(*column).unwrap_or(Value::Null))
            .collect()
    };
    Ok(objects.into_iter().map(row).collect())
}

fn of_trouble(trouble: Trouble) -> QueryError {
    match trouble {
        Trouble::Passing { why, .. } => QueryError::Unreachable(why),
        Trouble::Lasting(failure) => QueryError::Refused(failure),
    }
}

fn too_old(config: &config::Influx) -> Failure {
    Failure {
        why: format!(
            "{} is InfluxDB 1.x, which has neither Flux nor SQL",
            shown(config)
        ),
        fix: "ask the agent's own store with --against store, or use InfluxDB 2 or 3".to_owned(),
    }
}

fn refused(config: &config::Influx, server: &Server, answer: &Answer) -> QueryError {
    let told = reason(answer);
    if server.api == Api::V3 && told.contains("not found") && told.contains("table") {
        return QueryError::NothingRecorded(told);
    }
    let (url, bucket) = (shown(config), &config.bucket);
    let fix = match (answer.status, server.api) {
        (401 | 403, _) => "set influx.token (INFLUX_TOKEN) to one that may read".to_owned(),
        (404, Api::V2) => {
            "mend influx.url, influx.org, influx.bucket: is it an InfluxDB 2?".to_owned()
        }
        (404, _) => format!("mend influx.bucket: there is no database {bucket:?}"),
        _ => "see the log of InfluxDB; the text that was asked is in influx/".to_owned(),
    };
    QueryError::Refused(Failure {
        why: format!("{url} refuses the question to {bucket:?}: {told}"),
        fix,
    })
}

/// An error that came inside of an answer that began well.
fn failed(config: &config::Influx, told: &str) -> QueryError {
    QueryError::Refused(Failure {
        why: format!("{} could not answer: {told}", shown(config)),
        fix: "ask over less time with --since, or see the log of InfluxDB".to_owned(),
    })
}

fn strange(config: &config::Influx, why: &str) -> QueryError {
    QueryError::Refused(Failure {
        why: format!(
            "{} answers what is no answer to a question: {why}",
            shown(config)
        ),
        fix: "see that influx.url is the address of an InfluxDB, not of something before it"
            .to_owned(),
    })
}

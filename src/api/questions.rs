//! The questions: each is asked of the store on a thread that may block.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Api, ApiError};
use crate::model::unix_nano;
use crate::store::{
    ErrorRow, QueueRow, Reader, RecentTrace, SlowRow, SqlLimits, SqlResult, StoreError, Trace,
};

/// Rows that one answer has at most.
pub(super) const MAX_ROWS: usize = 10_000;

/// The answer to a question for rows.
#[derive(Debug, Serialize, Deserialize)]
pub struct Rows<T> {
    /// The rows, in the order of the command line's tables.
    pub rows: Vec<T>,
}

/// The body of `POST /api/v1/sql`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlRequest {
    /// One read-only statement.
    pub statement: String,
    /// Rows at most.
    pub limit: Option<usize>,
}

/// How far back, and how many rows.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Span {
    since_seconds: Option<u64>,
    limit: Option<usize>,
}

type Asked = Result<Query<Span>, QueryRejection>;
pub(super) type Answer<T> = Result<Json<T>, ApiError>;

impl Span {
    /// Beginning and end of the span, and the limit.
    fn resolve(&self, api: &Api) -> (i64, i64, usize) {
        let now = unix_nano((api.setup.clock)());
        let back = Duration::from_secs(self.since_seconds.unwrap_or(3600));
        let since = now.saturating_sub(i64::try_from(back.as_nanos()).unwrap_or(i64::MAX));
        (since, now, self.limit.unwrap_or(50).min(MAX_ROWS))
    }
}

pub(super) async fn queues(State(api): State<Api>) -> Answer<Rows<QueueRow>> {
    let (_, now, _) = Span::default().resolve(&api);
    ask(&api, move |reader| reader.queues(now)).await
}

pub(super) async fn traces(State(api): State<Api>, asked: Asked) -> Answer<Rows<RecentTrace>> {
    let (since, _, limit) = span(asked)?.resolve(&api);
    ask(&api, move |reader| reader.recent_traces(since, limit)).await
}

pub(super) async fn slow(State(api): State<Api>, asked: Asked) -> Answer<Rows<SlowRow>> {
    let (since, _, limit) = span(asked)?.resolve(&api);
    ask(&api, move |reader| reader.slow(since, limit)).await
}

pub(super) async fn errors(State(api): State<Api>, asked: Asked) -> Answer<Rows<ErrorRow>> {
    let (since, _, limit) = span(asked)?.resolve(&api);
    ask(&api, move |reader| reader.errors(since, limit)).await
}

pub(super) async fn trace(State(api): State<Api>, Path(id): Path<String>) -> Answer<Trace> {
    let wanted = id.clone();
    let found = blocking(&api, move |reader| reader.trace(&wanted)).await?;
    let absent = || {
        let id: String = id.chars().take(64).collect();
        let fix = "`rabtrace trace` lists the newest; older ones went with retention, and with store.spans = false there are none";
        ApiError::new(
            StatusCode::NOT_FOUND,
            format!("there is no trace {id} in the store"),
            fix,
        )
    };
    found.map(Json).ok_or_else(absent)
}

pub(super) async fn sql(
    State(api): State<Api>,
    body: Result<Json<SqlRequest>, JsonRejection>,
) -> Answer<SqlResult> {
    let Json(request) = body.map_err(|error| {
        let fix = r#"send {"statement": "SELECT …"} as application/json"#;
        ApiError::new(error.status(), error.body_text(), fix)
    })?;
    let rows = request.limit.unwrap_or(MAX_ROWS).min(MAX_ROWS);
    let limits = SqlLimits {
        rows,
        ..SqlLimits::default()
    };
    blocking(&api, move |reader| reader.sql(&request.statement, limits))
        .await
        .map(Json)
}

fn span(asked: Asked) -> Result<Span, ApiError> {
    asked.map(|Query(span)| span).map_err(|error| {
        let fix = "the query takes since_seconds and limit, both whole numbers";
        ApiError::new(StatusCode::BAD_REQUEST, error.body_text(), fix)
    })
}

pub(super) async fn ask<T, F>(api: &Api, read: F) -> Answer<Rows<T>>
where
    T: Send + 'static,
    F: FnOnce(&Reader) -> Result<Vec<T>, StoreError> + Send + 'static,
{
    blocking(api, read).await.map(|rows| Json(Rows { rows }))
}

/// Asks on a thread that may block.
pub(super) async fn blocking<T, F>(api: &Api, read: F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
{
    let reader = api.setup.reader.clone();
    match tokio::task::spawn_blocking(move || read(&reader)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(refusal(&error)),
        Err(error) => Err(ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            error.to_string(),
            "the agent's log says more",
        )),
    }
}

fn refusal(error: &StoreError) -> ApiError {
    let status = match error {
        StoreError::AmbiguousPath { .. } => StatusCode::CONFLICT,
        StoreError::NoTraceId(_) | StoreError::AmbiguousTrace { .. } | StoreError::Sql(_) => {
            StatusCode::BAD_REQUEST
        }
        StoreError::SqlTimeout(_) => StatusCode::REQUEST_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    ApiError::new(status, error.to_string(), "")
}

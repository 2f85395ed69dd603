//! `/metrics`: the agent's counters, then what it saw of broker, services and paths, as Prometheus
//! text.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::{Api, ApiError};
use crate::model::unix_nano;

pub(super) async fn metrics(State(api): State<Api>) -> Result<Response, ApiError> {
    let metrics = &api.setup.metrics;
    let own = metrics.encode().map_err(|error| failed(&error))?;
    let seen = metrics.observed.encode(unix_nano((api.setup.clock)()));
    Ok((
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        own + &seen,
    )
        .into_response())
}

fn failed(error: &prometheus::Error) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), "")
}

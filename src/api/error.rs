//! An answer that says what failed and what to do next.

use axum::Json;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

/// The body of an answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    #[serde(skip)]
    status: StatusCode,
    /// What failed, and why.
    pub error: String,
    /// The next step; may be empty.
    pub fix: String,
}

impl ApiError {
    /// An error with the status of its answer.
    pub fn new(status: StatusCode, error: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
            fix: fix.into(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}

/// The answer to a path that is no route.
pub(super) async fn not_found(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(80).collect();
    let fix = "the routes are /api/v1/{paths,paths/one,paths/diff,queues,traces,slow,errors,sql}, /metrics, /health, /status";
    ApiError::new(StatusCode::NOT_FOUND, format!("there is no {path}"), fix)
}

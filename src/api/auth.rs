//! Who may ask, and how long.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{Api, ApiError};

/// How long a request may take, its body included.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The one route that asks for no token: the probe of a container has none.
const OPEN: &str = "/health/live";

/// Lets a request through if no token is asked for or it carries the right one.
pub(super) async fn check(State(api): State<Api>, request: Request, next: Next) -> Response {
    let is_open = request.uri().path() == OPEN;
    if !is_open && !api.setup.access.token().allows(request.headers()) {
        let error = ApiError::new(
            StatusCode::UNAUTHORIZED,
            "this agent asks for a token",
            "send `Authorization: Bearer …` with the value of api.token (RABTRACE_API_TOKEN)",
        );
        let mut response = error.into_response();
        let bearer = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
        return response;
    }
    let answer = tokio::time::timeout(TIMEOUT, next.run(request));
    answer.await.unwrap_or_else(|_| {
        let error = "the request did not come, or was not answered, within a minute";
        ApiError::new(StatusCode::REQUEST_TIMEOUT, error, "").into_response()
    })
}

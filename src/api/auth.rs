//! The bearer token.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{Api, ApiError};

/// Lets a request through if no token is asked for or it carries the right one.
pub(super) async fn check(State(api): State<Api>, request: Request, next: Next) -> Response {
    let wanted = api.setup.token.expose();
    if wanted.is_empty() {
        return next.run(request).await;
    }
    let given = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let given = given
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    if same(given.as_bytes(), wanted.as_bytes()) {
        return next.run(request).await;
    }
    let error = ApiError::new(
        StatusCode::UNAUTHORIZED,
        "this agent asks for a token",
        "send `Authorization: Bearer …` with the value of api.token (RABTRACE_API_TOKEN)",
    );
    error.into_response()
}

/// Compares every byte whatever the first differences are, so that time tells nothing but the length.
fn same(one: &[u8], other: &[u8]) -> bool {
    let differences = one
        .iter()
        .zip(other)
        .fold(0, |differences, (a, b)| differences | (a ^ b));
    one.len() == other.len() && std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn only_the_same_token_is_the_same() {
        assert!(same(b"token", b"token"));
        for wrong in [&b""[..], b"tokem", b"token ", b"toke"] {
            assert!(!same(wrong, b"token"), "{wrong:?}");
        }
    }
}

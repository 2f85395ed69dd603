//! OTLP over HTTP: POST `/v1/traces` and `/v1/metrics`, protobuf or JSON, plain or gzip.
//!
//! The body is read behind decompression, up to the limit; what comes beyond is read and thrown
//! away for a while, so that the sender sees the 413 and not a broken connection. Answers have
//! the content type of the request; errors carry a `google.rpc.Status`.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde_json::json;
use tower_http::decompression::RequestDecompressionLayer;

use super::intake::{Accepted, Encoding, Intake, Refusal};
use super::{READ_TIMEOUT, grpc};
use crate::model::Signal;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";
/// A body beyond the limit is read on for this many times the limit, and this long.
const DISCARD_FACTOR: usize = 8;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn router(intake: Intake) -> Router {
    Router::new()
        .route("/v1/traces", post(traces))
        .route("/v1/metrics", post(metrics))
        .layer(RequestDecompressionLayer::new())
        .layer(middleware::from_fn_with_state(intake.clone(), check))
        .with_state(intake)
}

/// Lets a request through that carries the token, if one is asked for.
async fn check(State(intake): State<Intake>, request: Request, next: Next) -> Response {
    if intake.access().token().allows(request.headers()) {
        return next.run(request).await;
    }
    intake.count_refusal(&Refusal::Unauthorized);
    let encoding = encoding(request.headers()).unwrap_or(Encoding::Json);
    let mut response = refuse(encoding, &Refusal::Unauthorized);
    let bearer = HeaderValue::from_static("Bearer");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, bearer);
    response
}

async fn traces(State(intake): State<Intake>, request: Request) -> Response {
    export(&intake, Signal::Traces, request).await
}

async fn metrics(State(intake): State<Intake>, request: Request) -> Response {
    export(&intake, Signal::Metrics, request).await
}

async fn export(intake: &Intake, signal: Signal, request: Request) -> Response {
    let Some(encoding) = encoding(request.headers()) else {
        intake.count_refusal(&Refusal::UnsupportedType);
        return refuse(Encoding::Json, &Refusal::UnsupportedType);
    };
    let body = match read(request.into_body(), intake.max_body_bytes()).await {
        Ok(body) => body,
        Err(refusal) => {
            intake.count_refusal(&refusal);
            return refuse(encoding, &refusal);
        }
    };
    match intake.accept(signal, encoding, body).await {
        Ok(accepted) => answer(
            encoding,
            StatusCode::OK,
            accept(encoding, signal, &accepted),
        ),
        Err(refusal) => refuse(encoding, &refusal),
    }
}

fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    match media_type {
        _ if media_type.eq_ignore_ascii_case(PROTOBUF) => Some(Encoding::Protobuf),
        _ if media_type.eq_ignore_ascii_case(JSON) => Some(Encoding::Json),
        _ => None,
    }
}

/// Reads a body of at most `limit` bytes.
async fn read(body: Body, limit: usize) -> Result<Bytes, Refusal> {
    let mut chunks = body.into_data_stream();
    let collect = async {
        let mut collected = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| Refusal::Malformed(error.to_string()))?;
            if collected.len() + chunk.len() > limit {
                return Err(Refusal::TooLarge { limit });
            }
            collected.extend_from_slice(&chunk);
        }
        Ok(collected.freeze())
    };
    let outcome = tokio::time::timeout(READ_TIMEOUT, collect).await;
    let outcome = outcome.unwrap_or(Err(Refusal::TooSlow));
    if matches!(outcome, Err(Refusal::TooLarge { .. })) {
        let discard = async {
            let mut left = limit.saturating_mul(DISCARD_FACTOR);
            while let Some(Ok(chunk)) = chunks.next().await {
                left = left.saturating_sub(chunk.len());
                if left == 0 {
                    break;
                }
            }
        };
        // Whether the rest came or not, the answer is the same.
        let _ = tokio::time::timeout(DISCARD_TIMEOUT, discard).await;
    }
    outcome
}

/// The `Export…ServiceResponse` in the encoding of the request.
fn accept(encoding: Encoding, signal: Signal, accepted: &Accepted) -> Bytes {
    match (encoding, signal) {
        (Encoding::Protobuf, _) => grpc::encode(signal, accepted),
        (Encoding::Json, _) if accepted.rejected == 0 => Bytes::from_static(b"{}"),
        (Encoding::Json, Signal::Traces) => partial_success("rejectedSpans", accepted),
        (Encoding::Json, Signal::Metrics) => partial_success("rejectedDataPoints", accepted),
    }
}

/// Protobuf's JSON has integers of 64 bits as texts.
fn partial_success(name: &str, accepted: &Accepted) -> Bytes {
    let answer = json!({ "partialSuccess": {
        name: accepted.rejected.to_string(),
        "errorMessage": accepted.message(),
    } });
    answer.to_string().into()
}

fn refuse(encoding: Encoding, refusal: &Refusal) -> Response {
    let (status, retry_after) = match refusal {
        Refusal::Malformed(_) | Refusal::TooManyElements(_) => (StatusCode::BAD_REQUEST, None),
        Refusal::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, None),
        Refusal::UnsupportedType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, None),
        Refusal::Unauthorized => (StatusCode::UNAUTHORIZED, None),
        Refusal::TooSlow => (StatusCode::REQUEST_TIMEOUT, None),
        Refusal::QueueFull | Refusal::NotStored | Refusal::NotSpooled(_) | Refusal::Stopping => {
            (StatusCode::SERVICE_UNAVAILABLE, Some("1"))
        }
    };
    let code = grpc::status(refusal).code() as i32;
    let message = refusal.to_string();
    let body = match encoding {
        Encoding::Protobuf => rpc_status(code, &message),
        Encoding::Json => json!({ "code": code, "message": message })
            .to_string()
            .into(),
    };
    let mut response = answer(encoding, status, body);
    if let Some(seconds) = retry_after {
        let seconds = HeaderValue::from_static(seconds);
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

/// `google.rpc.Status`: field 1 is the code, field 2 the message.
fn rpc_status(code: i32, message: &str) -> Bytes {
    let mut bytes = BytesMut::new();
    prost::encoding::int32::encode(1, &code, &mut bytes);
    prost::encoding::string::encode(2, &message.to_owned(), &mut bytes);
    bytes.freeze()
}

fn answer(encoding: Encoding, status: StatusCode, body: Bytes) -> Response {
    let content_type = match encoding {
        Encoding::Protobuf => PROTOBUF,
        Encoding::Json => JSON,
    };
    (status, [(header::CONTENT_TYPE, content_type)], body).into_response()
}

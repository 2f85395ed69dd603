//! OTLP over HTTP: POST `/v1/traces` and `/v1/metrics`, protobuf or JSON, plain or gzip.
//!
//! What is refused is answered at once. What the sender still has of such a body is read and thrown
//! away for a while beside that, as it comes, not inflated: so the sender sees the answer and not a
//! broken connection. Answers have the content type of the request; errors carry a
//! `google.rpc.Status`.

use std::time::Duration;

use axum::Router;
use axum::body::BodyDataStream;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde_json::json;

use super::body::{Arrived, Arriving, Chunks, Kind};
use super::grpc::{self, RETRY_DELAY};
use super::intake::{Accepted, Encoding, Intake};
use super::refusal::Refusal;
use crate::model::Signal;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";
/// A refused body is read on for this many times the limit, and this long.
const DISCARD_FACTOR: usize = 8;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn router(intake: Intake) -> Router {
    Router::new()
        .route("/v1/traces", post(traces))
        .route("/v1/metrics", post(metrics))
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
    let refused = |encoding, refusal: &Refusal| {
        intake.count_refusal(refusal);
        refuse(encoding, refusal)
    };
    let headers = request.headers();
    let Some(encoding) = encoding(headers) else {
        return refused(Encoding::Json, &Refusal::UnsupportedType);
    };
    let Some(is_gzip) = is_gzip(headers) else {
        return refused(encoding, &Refusal::UnsupportedCompression);
    };
    let kind = Kind {
        signal,
        encoding,
        is_gzip,
        told: number(headers, &header::CONTENT_LENGTH),
    };
    let body = match read(intake, kind, request).await {
        Ok(body) => body,
        Err(refusal) => return refused(encoding, &refusal),
    };
    match intake.take(signal, encoding, body).await {
        Ok(accepted) => answer(
            encoding,
            StatusCode::OK,
            accept(encoding, signal, &accepted),
        ),
        Err(refusal) => refused(encoding, &refusal),
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

/// Whether the body is compressed by gzip; none if it is by something else.
fn is_gzip(headers: &HeaderMap) -> Option<bool> {
    let Some(encoding) = headers.get(header::CONTENT_ENCODING) else {
        return Some(false);
    };
    match encoding.as_bytes().trim_ascii() {
        coding if coding.eq_ignore_ascii_case(b"gzip") => Some(true),
        coding if coding.eq_ignore_ascii_case(b"identity") => Some(false),
        _ => None,
    }
}

fn number(headers: &HeaderMap, name: &header::HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// Reads a body. What is left of one that is refused is thrown away beside the answer.
async fn read(intake: &Intake, kind: Kind, request: Request) -> Result<Arrived, Refusal> {
    // Over HTTP/2 an answer may come before the end of a request, and who waits for a 100 Continue
    // sends nothing.
    let goes_on_sending =
        request.version() < Version::HTTP_2 && !request.headers().contains_key(header::EXPECT);
    let stream = request.into_body().into_data_stream();
    let mut chunks = Chunks::new(stream, intake.budget().clone());
    let outcome = collect(intake, kind, &mut chunks).await;
    if goes_on_sending && outcome.is_err() {
        tokio::spawn(discard(chunks.stream, intake.max_body_bytes()));
    }
    outcome
}

async fn collect(intake: &Intake, kind: Kind, chunks: &mut Chunks) -> Result<Arrived, Refusal> {
    intake.admit()?;
    let mut arriving = Arriving::new(kind, intake.max_body_bytes(), intake.budget())?;
    while let Some(chunk) = chunks.next().await? {
        arriving.push(&chunk).await?;
    }
    arriving.finish()
}

/// Reads on without keeping anything. Whether the rest comes or not, the answer is the same.
async fn discard(mut rest: BodyDataStream, limit: usize) {
    let read = async {
        let mut left = limit.saturating_mul(DISCARD_FACTOR);
        while let Some(Ok(chunk)) = rest.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, read).await;
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
    let status = match refusal {
        Refusal::Malformed(_) | Refusal::TooManyElements(_) => StatusCode::BAD_REQUEST,
        Refusal::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::UnsupportedType | Refusal::UnsupportedCompression => {
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        }
        Refusal::Unauthorized => StatusCode::UNAUTHORIZED,
        Refusal::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Refusal::NoRoom
        | Refusal::QueueFull
        | Refusal::NotStored
        | Refusal::NotSpooled(_)
        | Refusal::Stopping => StatusCode::SERVICE_UNAVAILABLE,
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
    let headers = response.headers_mut();
    if refusal.is_retryable() {
        headers.insert(header::RETRY_AFTER, RETRY_DELAY.as_secs().into());
    }
    if matches!(refusal, Refusal::UnsupportedCompression) {
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
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

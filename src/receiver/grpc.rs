//! OTLP over gRPC: axum carries HTTP/2, tonic encodes answers and status codes.
//!
//! The one message of a request is taken out of its frame here and not by tonic, which inflates a
//! message before anybody could say whether there is room for it, and keeps it until the client ends
//! its stream. A body that is too large is RESOURCE_EXHAUSTED without a delay, which OTLP does not
//! retry; where a request may come again, RetryInfo says when.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::{Buf, Bytes};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use tonic::codec::{EncodeBody, SingleMessageCompressionOverride};
use tonic::metadata::GRPC_CONTENT_TYPE;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::body::{Arrived, Arriving, Chunks, Kind};
use super::codec::RawCodec;
use super::intake::{Accepted, Encoding, Intake};
use super::refusal::Refusal;
use super::{GRPC_METRICS, GRPC_TRACES};
use crate::model::Signal;

/// After this time a request may come again that found the agent full.
pub(super) const RETRY_DELAY: Duration = Duration::from_secs(1);
/// How long the end of a request may come after its message before it is answered all the same.
const END_TIMEOUT: Duration = Duration::from_millis(500);
/// A message is framed by a flag, whether it is compressed, and four bytes of its length.
const FRAME_BYTES: usize = 5;

pub(super) fn router(intake: Intake) -> Router {
    Router::new()
        .route(GRPC_TRACES, post(traces))
        .route(GRPC_METRICS, post(metrics))
        .fallback(unimplemented)
        .layer(middleware::from_fn_with_state(intake.clone(), check))
        .with_state(intake)
}

/// Lets a request through that carries the token, if one is asked for.
async fn check(State(intake): State<Intake>, request: Request, next: Next) -> Response {
    if intake.access().token().allows(request.headers()) {
        return next.run(request).await;
    }
    intake.count_refusal(&Refusal::Unauthorized);
    refuse(&Refusal::Unauthorized)
}

async fn traces(State(intake): State<Intake>, request: Request) -> Response {
    export(intake, Signal::Traces, request).await
}

async fn metrics(State(intake): State<Intake>, request: Request) -> Response {
    export(intake, Signal::Metrics, request).await
}

async fn unimplemented() -> Response {
    Status::unimplemented("only OTLP traces and metrics are taken here")
        .into_http::<Body>()
        .into_response()
}

async fn export(intake: Intake, signal: Signal, request: Request) -> Response {
    let is_gzip = is_gzip(request.headers());
    let stream = request.into_body().into_data_stream();
    let mut chunks = Chunks::new(stream, intake.budget().clone());
    let outcome = async {
        let message = read(&intake, signal, is_gzip?, &mut chunks).await?;
        let taken = intake.take(signal, Encoding::Protobuf, message);
        let end = tokio::time::timeout(END_TIMEOUT, chunks.next());
        let (taken, _) = tokio::join!(taken, end);
        taken
    };
    match outcome.await {
        Ok(accepted) => answer(encode(signal, &accepted)),
        Err(refusal) => {
            intake.count_refusal(&refusal);
            refuse(&refusal)
        }
    }
}

/// Whether messages are compressed by gzip, if they say that they are compressed.
fn is_gzip(headers: &HeaderMap) -> Result<bool, Refusal> {
    match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(false),
        Some(b"gzip") => Ok(true),
        Some(_) => Err(Refusal::UnsupportedCompression),
    }
}

/// Reads the request's message, and nothing of what comes after it.
async fn read(
    intake: &Intake,
    signal: Signal,
    is_gzip: bool,
    chunks: &mut Chunks,
) -> Result<Arrived, Refusal> {
    intake.admit()?;
    let cut_off = || Refusal::Malformed("the gRPC message is cut off".to_owned());
    let (mut frame, mut filled) = ([0; FRAME_BYTES], 0);
    let mut chunk = Bytes::new();
    while filled < FRAME_BYTES {
        if chunk.is_empty() {
            chunk = chunks.next().await?.ok_or_else(cut_off)?;
        }
        let some = chunk.len().min(FRAME_BYTES - filled);
        chunk.copy_to_slice(&mut frame[filled..filled + some]);
        filled += some;
    }
    let [flag, length @ ..] = frame;
    let is_gzip = match flag {
        0 => false,
        1 if is_gzip => true,
        flag => {
            let why = format!("gRPC's flag of compression is {flag}, and grpc-encoding names none");
            return Err(Refusal::Malformed(why));
        }
    };
    let length = u32::from_be_bytes(length);
    let kind = Kind {
        signal,
        encoding: Encoding::Protobuf,
        is_gzip,
        told: Some(length.into()),
    };
    let mut arriving = Arriving::new(kind, intake.max_body_bytes(), intake.budget())?;
    let mut left = length as usize;
    loop {
        chunk.truncate(left);
        left -= chunk.len();
        arriving.push(&chunk).await?;
        if left == 0 {
            return arriving.finish();
        }
        chunk = chunks.next().await?.ok_or_else(cut_off)?;
    }
}

/// The response of a request that was taken.
fn answer(message: Bytes) -> Response {
    let messages = futures_util::stream::once(std::future::ready(Ok(message)));
    let whole = SingleMessageCompressionOverride::Disable;
    let body = EncodeBody::new_server(RawCodec, messages, None, whole, None);
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
    response
}

fn refuse(refusal: &Refusal) -> Response {
    let mut response = status(refusal).into_http::<Body>();
    if matches!(refusal, Refusal::UnsupportedCompression) {
        let understood = HeaderValue::from_static("gzip,identity");
        let headers = response.headers_mut();
        headers.insert("grpc-accept-encoding", understood);
    }
    response.into_response()
}

/// The `Export…ServiceResponse` of `signal`; empty if nothing was rejected.
pub(super) fn encode(signal: Signal, accepted: &Accepted) -> Bytes {
    if accepted.rejected == 0 {
        return Bytes::new();
    }
    let rejected = i64::try_from(accepted.rejected).unwrap_or(i64::MAX);
    let error_message = accepted.message();
    let bytes = match signal {
        Signal::Traces => ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess {
                rejected_spans: rejected,
                error_message,
            }),
        }
        .encode_to_vec(),
        Signal::Metrics => ExportMetricsServiceResponse {
            partial_success: Some(ExportMetricsPartialSuccess {
                rejected_data_points: rejected,
                error_message,
            }),
        }
        .encode_to_vec(),
    };
    bytes.into()
}

/// The gRPC status of a refusal; HTTP's `google.rpc.Status` bodies carry the same code.
pub(super) fn status(refusal: &Refusal) -> Status {
    let code = match refusal {
        Refusal::Malformed(_) | Refusal::TooManyElements(_) | Refusal::UnsupportedType => {
            Code::InvalidArgument
        }
        Refusal::UnsupportedCompression => Code::Unimplemented,
        Refusal::TooLarge { .. } => Code::ResourceExhausted,
        Refusal::Unauthorized => Code::Unauthenticated,
        Refusal::TooSlow => Code::DeadlineExceeded,
        Refusal::NoRoom
        | Refusal::QueueFull
        | Refusal::NotStored
        | Refusal::NotSpooled(_)
        | Refusal::Stopping => Code::Unavailable,
    };
    if refusal.is_retryable() {
        let details = ErrorDetails::with_retry_info(Some(RETRY_DELAY));
        return Status::with_error_details(code, refusal.to_string(), details);
    }
    Status::new(code, refusal.to_string())
}

#[cfg(test)]
mod tests {
    use super::{RETRY_DELAY, Refusal, StatusExt, status};
    use std::time::Duration;

    #[test]
    fn who_may_come_again_is_told_when() {
        let delay = |refusal: &Refusal| {
            let details = status(refusal).get_error_details();
            details.retry_info().and_then(|info| info.retry_delay)
        };
        for refusal in [Refusal::NoRoom, Refusal::QueueFull, Refusal::NotStored] {
            assert_eq!(delay(&refusal), Some(RETRY_DELAY), "{refusal}");
        }
        let never = Refusal::TooLarge { limit: 1 };
        assert_eq!(delay(&never), None);
        assert_eq!(RETRY_DELAY, Duration::from_secs(1), "as Retry-After says");
    }
}

//! OTLP over gRPC: axum carries HTTP/2, tonic does framing, compression and status codes.
//!
//! Messages stay bytes up to the [`Intake`] (see [`RawCodec`]). A body that is too large is
//! RESOURCE_EXHAUSTED without a delay, which OTLP does not retry; tonic's OUT_OF_RANGE it would.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::codegen::Service;
use tonic::{Code, Status};

use super::codec::RawCodec;
use super::intake::{Accepted, Encoding, Intake, Refusal};
use super::{GRPC_METRICS, GRPC_TRACES, READ_TIMEOUT};
use crate::model::Signal;

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
    let refused = status(&Refusal::Unauthorized).into_http::<Body>();
    refused.into_response()
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
    let limit = intake.max_body_bytes();
    let mut grpc = tonic::server::Grpc::new(RawCodec)
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(limit);
    let service = Export {
        intake: intake.clone(),
        signal,
    };
    let answer = tokio::time::timeout(READ_TIMEOUT, grpc.unary(service, request)).await;
    let Ok(answer) = answer else {
        intake.count_refusal(&Refusal::TooSlow);
        return status(&Refusal::TooSlow)
            .into_http::<Body>()
            .into_response();
    };
    let mut answer = answer.map(Body::new);
    if let Some(code) = answer.headers_mut().get_mut(Status::GRPC_STATUS)
        && Code::from_bytes(code.as_bytes()) == Code::OutOfRange
    {
        *code = HeaderValue::from(Code::ResourceExhausted as i32);
        intake.count_refusal(&Refusal::TooLarge { limit });
    }
    answer
}

/// The handler of one call, as tonic calls it.
struct Export {
    intake: Intake,
    signal: Signal,
}

type Answer = Result<tonic::Response<Bytes>, Status>;

impl Service<tonic::Request<Bytes>> for Export {
    type Response = tonic::Response<Bytes>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let body = request.into_inner();
        let (intake, signal) = (self.intake.clone(), self.signal);
        Box::pin(async move {
            match intake.accept(signal, Encoding::Protobuf, body).await {
                Ok(accepted) => Ok(tonic::Response::new(encode(signal, &accepted))),
                Err(refusal) => Err(status(&refusal)),
            }
        })
    }
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
        Refusal::TooLarge { .. } => Code::ResourceExhausted,
        Refusal::Unauthorized => Code::Unauthenticated,
        Refusal::TooSlow => Code::DeadlineExceeded,
        Refusal::QueueFull | Refusal::NotStored | Refusal::NotSpooled(_) | Refusal::Stopping => {
            Code::Unavailable
        }
    };
    Status::new(code, refusal.to_string())
}

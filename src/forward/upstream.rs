//! One attempt: a request's bytes to the upstream, over gRPC or HTTP, and what came of it.
//!
//! What may be sent again is the OTLP specification's list:
//! <https://opentelemetry.io/docs/specs/otlp/#failures> and `#failures-1`. By that list a refused login
//! is final; here what waits is kept, since a token that was rotated must not empty the spool.

mod grpc;
mod http;

use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use self::grpc::Grpc;
use self::http::Http;
use crate::config::{self, Protocol};
use crate::model::Signal;
use crate::tls::TlsError;

/// What the upstream did with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It took the request, except for this many spans or data points.
    Taken { rejected: u64 },
    /// It may take the request later; it may have said when.
    Retry {
        why: String,
        after: Option<Duration>,
    },
    /// It refuses the login: a person must mend it, and the request waits.
    Login { why: String },
    /// It will never take the request.
    Refused { why: String },
}

/// A configuration that cannot work.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SetupError {
    /// There is no endpoint.
    #[error("forward.endpoint is empty")]
    NoEndpoint,
    /// The endpoint is no URL, or TLS could not be set up for it.
    #[error("forward.endpoint {url} cannot be used: {why}")]
    Endpoint {
        /// The endpoint without its password.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// A file of certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A header's name or value has characters that headers cannot have.
    #[error("forward.headers: {name:?} is not a header, or its value has invalid characters")]
    Header {
        /// Name of the header; its value may be a secret.
        name: String,
    },
}

/// The way to the upstream.
pub(super) enum Upstream {
    Grpc(Grpc),
    Http(Box<Http>),
}

impl Upstream {
    /// Connects to nothing yet. For gRPC a runtime must be there.
    pub(super) fn new(
        config: &config::Forward,
        client: &reqwest::Client,
    ) -> Result<Self, SetupError> {
        Ok(match config.protocol {
            Protocol::Grpc => Self::Grpc(Grpc::new(config)?),
            Protocol::HttpProtobuf => Self::Http(Box::new(Http::new(config, client)?)),
        })
    }

    /// Sends one request and waits for the answer.
    pub(super) async fn send(&self, signal: Signal, payload: Bytes) -> Outcome {
        match self {
            Self::Grpc(grpc) => grpc.send(signal, payload).await,
            Self::Http(http) => http.send(signal, payload).await,
        }
    }
}

/// The endpoint, and what stands for it in messages.
fn endpoint(config: &config::Forward) -> Result<(&str, String), SetupError> {
    let endpoint = config.endpoint.as_ref().ok_or(SetupError::NoEndpoint)?;
    Ok((endpoint.expose(), config::mask_url(endpoint.expose())))
}

/// Reads an `Export…ServiceResponse`: those of traces and metrics are alike on the wire.
fn taken(answer: &[u8]) -> Outcome {
    let partial = ExportTraceServiceResponse::decode(answer)
        .ok()
        .and_then(|answer| answer.partial_success);
    let rejected = partial.map_or(0, |partial| partial.rejected_spans);
    Outcome::Taken {
        rejected: u64::try_from(rejected).unwrap_or(0),
    }
}

/// An error with its causes: the outermost one seldom says what happened.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

//! One attempt at the upstream, for `rabtrace check`: an empty export request.

use std::time::Instant;

use bytes::Bytes;

use super::upstream::{Outcome, SetupError, Upstream};
use crate::config::{self, Protocol, mask_url};
use crate::health::{Failure, Finding};
use crate::model::Signal;

/// Whether the upstream of `config` can be sent to at all; it connects to nothing.
///
/// # Errors
/// If the endpoint, a header or a file of certificates cannot be used.
pub fn usable(config: &config::Forward, client: &reqwest::Client) -> Result<(), SetupError> {
    Upstream::new(config, client).map(drop)
}

/// Sends an empty request for traces to the upstream; `None` if there is none configured.
pub async fn check(config: &config::Forward, client: &reqwest::Client) -> Option<Finding> {
    let url = mask_url(config.endpoint.as_ref()?.expose());
    let outcome = match Upstream::new(config, client) {
        Ok(upstream) => attempt(&upstream, config.protocol).await,
        Err(error) => Err(setup_failure(&error)),
    };
    Some(Finding {
        name: "upstream OTLP",
        url,
        outcome,
    })
}

/// What mends a refused login.
pub(super) const LOGIN: &str = "mend the login in forward.headers (OTEL_EXPORTER_OTLP_HEADERS)";

async fn attempt(upstream: &Upstream, protocol: Protocol) -> Result<String, Failure> {
    let (name, other) = match protocol {
        Protocol::Grpc => ("gRPC", "http/protobuf, often on port 4318"),
        Protocol::HttpProtobuf => ("HTTP", "grpc, often on port 4317"),
    };
    let begun = Instant::now();
    match upstream.send(Signal::Traces, Bytes::new()).await {
        Outcome::Taken { .. } => Ok(format!("takes OTLP over {name}, {:.0?}", begun.elapsed())),
        Outcome::Retry { why, .. } => Err(Failure {
            why,
            fix: format!(
                "start the upstream, or set forward.endpoint (OTEL_EXPORTER_OTLP_ENDPOINT); \
                 if it listens, its protocol may be the other one: \
                 forward.protocol = {other}"
            ),
        }),
        Outcome::Login { why } => Err(Failure {
            why,
            fix: LOGIN.to_owned(),
        }),
        Outcome::Refused { why } => Err(Failure {
            why,
            fix: format!(
                "check forward.headers (OTEL_EXPORTER_OTLP_HEADERS) for the login, and \
                 forward.protocol: the other one is {other}"
            ),
        }),
    }
}

fn setup_failure(error: &SetupError) -> Failure {
    let fix = match error {
        SetupError::NoEndpoint | SetupError::Endpoint { .. } => {
            "set forward.endpoint to a URL such as \"http://127.0.0.1:4317\""
        }
        SetupError::Tls(error) => &error.fix,
        SetupError::Header { .. } => "write forward.headers as name=value, with commas between",
    };
    Failure {
        why: error.to_string(),
        fix: fix.to_owned(),
    }
}

//! Where and how to send: what the builder was told, then the environment, then the defaults.
//!
//! The variables, their order and their defaults are those of the SDK's own exporter over HTTP. The
//! environment comes as a function, so that nothing here reads it.
//!
//! Source: <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>.

use std::time::Duration;

use ureq::http::{HeaderMap, Uri};

use crate::headers;
use crate::{BuildError, Compression, ExporterBuilder, Protocol};

const DEFAULT_ENDPOINT: &str = "http://localhost:4318";
const PATH: &str = "/v1/traces";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const HTTP_PROTOBUF: &str = "http/protobuf";

/// An environment: the value of a variable, if it is set.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Everything that an exporter needs to know.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) endpoint: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) timeout: Duration,
    pub(crate) compression: Option<Compression>,
}

impl Settings {
    pub(crate) fn resolve(
        builder: &ExporterBuilder,
        environment: Environment<'_>,
    ) -> Result<Self, BuildError> {
        // A variable that is set to nothing counts as not set.
        let lookup = |name: &str| environment(name).filter(|value| !value.is_empty());
        protocol(builder, &lookup)?;
        Ok(Self {
            endpoint: endpoint(builder, &lookup)?,
            headers: all_headers(builder, &lookup),
            timeout: timeout(builder, &lookup),
            compression: compression(builder, &lookup),
        })
    }
}

/// The names of a setting for traces and for all signals, in the order in which they count.
fn names(what: &str) -> [String; 2] {
    ["OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"].map(|start| start.to_owned() + what)
}

fn protocol(builder: &ExporterBuilder, lookup: Environment<'_>) -> Result<(), BuildError> {
    if let Some(Protocol::HttpBinary) = builder.protocol {
        return Ok(());
    }
    let set = names("PROTOCOL")
        .into_iter()
        .find_map(|name| Some((lookup(&name)?, name)));
    match set {
        Some((protocol, origin)) if protocol != HTTP_PROTOBUF => {
            Err(BuildError::Protocol { origin, protocol })
        }
        _ => Ok(()),
    }
}

fn endpoint(builder: &ExporterBuilder, lookup: Environment<'_>) -> Result<Uri, BuildError> {
    if let Some(endpoint) = builder.endpoint.as_deref().filter(|text| !text.is_empty()) {
        return parsed(endpoint, "with_endpoint");
    }
    let [of_traces, of_all] = names("ENDPOINT");
    if let Some(endpoint) = lookup(&of_traces) {
        return parsed(&endpoint, &of_traces);
    }
    let base = lookup(&of_all).unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
    let base = base.strip_suffix('/').unwrap_or(&base);
    parsed(&(base.to_owned() + PATH), &of_all)
}

fn parsed(endpoint: &str, origin: &str) -> Result<Uri, BuildError> {
    let error = |reason: String| BuildError::Endpoint {
        origin: origin.to_owned(),
        reason,
    };
    let uri: Uri = endpoint
        .parse()
        .map_err(|reason: ureq::http::uri::InvalidUri| error(reason.to_string()))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        Some(other) => return Err(error(format!("its scheme is {other}"))),
        None => return Err(error("it has no scheme".to_owned())),
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(error("it has no host".to_owned()));
    }
    Ok(uri)
}

/// `endpoint` without its user, password and query: they may be secret.
pub(crate) fn shown(endpoint: &Uri) -> String {
    let scheme = endpoint.scheme_str().unwrap_or_default();
    let host = endpoint.host().unwrap_or_default();
    let port = endpoint
        .port_u16()
        .map_or_else(String::new, |port| format!(":{port}"));
    format!("{scheme}://{host}{port}{}", endpoint.path())
}

fn all_headers(builder: &ExporterBuilder, lookup: Environment<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &builder.headers {
        if !headers::insert(&mut headers, name, value) {
            tracing::warn!(name, "not a header, left out");
        }
    }
    let set = names("HEADERS")
        .into_iter()
        .find_map(|name| Some((lookup(&name)?, name)));
    if let Some((text, origin)) = set {
        headers::insert_all(&mut headers, &origin, &text);
    }
    headers
}

/// In milliseconds; what is no number is left out.
fn timeout(builder: &ExporterBuilder, lookup: Environment<'_>) -> Duration {
    let of = |name: String| match lookup(&name)?.trim().parse() {
        Ok(milliseconds) => Some(Duration::from_millis(milliseconds)),
        Err(_) => {
            tracing::warn!(variable = name, "not a number of milliseconds, left out");
            None
        }
    };
    builder
        .timeout
        .or_else(|| names("TIMEOUT").into_iter().find_map(of))
        .unwrap_or(DEFAULT_TIMEOUT)
}

/// `gzip` or `none`, in any case; what is neither is left out.
fn compression(builder: &ExporterBuilder, lookup: Environment<'_>) -> Option<Compression> {
    let of = |name: String| match lookup(&name)?.to_ascii_lowercase().as_str() {
        "gzip" => Some(Some(Compression::Gzip)),
        "none" => Some(None),
        _ => {
            tracing::warn!(variable = name, "neither gzip nor none, left out");
            None
        }
    };
    builder
        .compression
        .or_else(|| names("COMPRESSION").into_iter().find_map(of).flatten())
}

#[cfg(test)]
mod tests;

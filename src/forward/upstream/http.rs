//! OTLP over HTTP with protobuf bodies.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use reqwest::{Response, StatusCode, Url};

use super::{Outcome, SetupError, chain, endpoint, taken};
use crate::config;
use crate::model::Signal;
use crate::retry::retry_after;

/// As much of an answer is read; what comes beyond it is of no use here.
const LONGEST_ANSWER: usize = 64 << 10;

pub(in crate::forward) struct Http {
    client: reqwest::Client,
    traces: Url,
    metrics: Url,
    headers: HeaderMap,
    timeout: Duration,
}

impl Http {
    pub(super) fn new(
        config: &config::Forward,
        client: &reqwest::Client,
    ) -> Result<Self, SetupError> {
        let (base, masked) = endpoint(config)?;
        let url = |path: &str| {
            let url = format!("{}{path}", base.trim_end_matches('/'));
            Url::parse(&url).map_err(|error| SetupError::Endpoint {
                url: masked.clone(),
                why: error.to_string(),
            })
        };
        Ok(Self {
            client: client.clone(),
            traces: url("/v1/traces")?,
            metrics: url("/v1/metrics")?,
            headers: headers(config)?,
            timeout: config.timeout,
        })
    }

    pub(super) async fn send(&self, signal: Signal, payload: Bytes) -> Outcome {
        let url = match signal {
            Signal::Traces => self.traces.clone(),
            Signal::Metrics => self.metrics.clone(),
        };
        let body = match gzip(&payload) {
            Ok(body) => body,
            Err(error) => {
                return Outcome::Refused {
                    why: error.to_string(),
                };
            }
        };
        let request = self.client.post(url).headers(self.headers.clone());
        let sent = request.timeout(self.timeout).body(body).send().await;
        match sent {
            Ok(answer) => outcome(answer).await,
            Err(error) => Outcome::Retry {
                why: chain(&error.without_url()),
                after: None,
            },
        }
    }
}

fn headers(config: &config::Forward) -> Result<HeaderMap, SetupError> {
    let mut headers = HeaderMap::new();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-protobuf"),
    );
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    for (name, value) in &config.headers {
        let invalid = || SetupError::Header { name: name.clone() };
        let key = HeaderName::try_from(name).map_err(|_| invalid())?;
        let mut value = HeaderValue::try_from(value.expose()).map_err(|_| invalid())?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

fn gzip(payload: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(payload)?;
    encoder.finish()
}

async fn outcome(mut answer: Response) -> Outcome {
    let status = answer.status();
    let header = |name| answer.headers().get(name)?.to_str().ok();
    let after = header(RETRY_AFTER).and_then(|value| retry_after(value, header(DATE)));
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_ANSWER {
            break;
        }
    }
    if status.is_success() {
        return taken(&body);
    }
    let why = format!("{status}: {}", readable(&body));
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Outcome::Retry { why, after },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Outcome::Login { why },
        _ => Outcome::Refused { why },
    }
}

/// The beginning of a body as one line of text.
fn readable(body: &[u8]) -> String {
    String::from_utf8_lossy(body)
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(200)
        .collect::<String>()
        .trim()
        .to_owned()
}

//! OTLP over HTTP with protobuf bodies.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use flate2::{Compress, CompressError, Compression, FlushCompress, Status};
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
/// The largest window that gzip knows.
const WINDOW_BITS: u8 = 15;
/// Room for what is packed at least, head and checksum included.
const LEAST_ROOM: usize = 64;

pub(in crate::forward) struct Http {
    client: reqwest::Client,
    traces: Url,
    metrics: Url,
    headers: HeaderMap,
    timeout: Duration,
    /// Its memory is several times what it packs: it is made once.
    gzip: Mutex<Compress>,
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
            gzip: Mutex::new(Compress::new_gzip(Compression::fast(), WINDOW_BITS)),
        })
    }

    pub(super) async fn send(&self, signal: Signal, payload: Bytes) -> Outcome {
        let url = match signal {
            Signal::Traces => self.traces.clone(),
            Signal::Metrics => self.metrics.clone(),
        };
        let body = match self.pack(&payload) {
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

    fn pack(&self, payload: &[u8]) -> Result<Vec<u8>, CompressError> {
        let mut gzip = self.gzip.lock().unwrap_or_else(PoisonError::into_inner);
        gzip.reset();
        let mut packed = Vec::with_capacity(payload.len() / 4 + LEAST_ROOM);
        loop {
            let taken = usize::try_from(gzip.total_in()).unwrap_or(usize::MAX);
            let rest = payload.get(taken..).unwrap_or_default();
            let status = gzip.compress_vec(rest, &mut packed, FlushCompress::Finish)?;
            if status == Status::StreamEnd {
                return Ok(packed);
            }
            packed.reserve(packed.capacity());
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

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::Http;
    use crate::config::{Config, Forward, Secret};

    #[test]
    fn requests_are_packed_one_after_the_other() {
        let config = Forward {
            endpoint: Some(Secret::new("http://localhost")),
            ..Config::default().forward
        };
        let client = crate::tls::builder().build().unwrap();
        let http = Http::new(&config, &client).unwrap();
        let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
            .take(300_000)
            .collect();
        for payload in [&b""[..], b"short", &noise, &[7; 500_000], &noise[..70_000]] {
            let packed = http.pack(payload).unwrap();
            let mut unpacked = Vec::new();
            let mut decoder = flate2::read::GzDecoder::new(&packed[..]);
            decoder.read_to_end(&mut unpacked).unwrap();
            assert_eq!(unpacked, payload);
        }
    }
}

//! One HTTP request at a time, on the thread that asks for it; no runtime.
//!
//! Input: a body. Output: the server's answer, or why there is none and whether another attempt may
//! help. Redirects are not followed, so that no header goes to another server; TLS is rustls with
//! ring and the certificates that the operating system trusts. Of an answer's body 64 KiB are read.

use std::sync::Arc;
use std::time::Duration;

use ureq::http::{HeaderMap, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Error};

const USER_AGENT: &str = concat!("rabtrace-otlp/", env!("CARGO_PKG_VERSION"));
const CONTENT_TYPE: &str = "application/x-protobuf";
const MAX_ANSWER: u64 = 64 * 1024;

/// A server's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    /// Empty if it could not be read: the status alone says whether the request was taken.
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) struct NoAnswer {
    pub(crate) reason: String,
    pub(crate) retryable: bool,
}

/// A client for one endpoint, with its connection.
pub(crate) struct Transport {
    agent: Agent,
    endpoint: Uri,
    headers: HeaderMap,
}

impl Transport {
    pub(crate) fn new(endpoint: Uri, headers: HeaderMap) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(USER_AGENT)
            .tls_config(tls)
            .build();
        Self {
            agent: config.new_agent(),
            endpoint,
            headers,
        }
    }

    pub(crate) fn endpoint(&self) -> &Uri {
        &self.endpoint
    }

    /// The names of the headers; their values are secret.
    pub(crate) fn header_names(&self) -> Vec<&str> {
        self.headers.keys().map(|name| name.as_str()).collect()
    }

    /// Posts `body`, compressed as `encoding` says, and waits for the answer, at most `timeout`.
    pub(crate) fn post(
        &self,
        body: &[u8],
        encoding: Option<&'static str>,
        timeout: Duration,
    ) -> Result<Answer, NoAnswer> {
        let mut request = self
            .agent
            .post(&self.endpoint)
            .config()
            .timeout_global(Some(timeout))
            .build();
        if let Some(headers) = request.headers_mut() {
            // Headers of the configuration count more than those of this function.
            headers.extend(self.headers.clone());
            let own = [
                ("content-type", Some(CONTENT_TYPE)),
                ("content-encoding", encoding),
            ];
            for (name, value) in own {
                if let Some(value) = value {
                    headers
                        .entry(name)
                        .or_insert(ureq::http::HeaderValue::from_static(value));
                }
            }
        }
        let response = request.send(body).map_err(|error| no_answer(&error))?;
        let (head, mut body) = response.into_parts();
        let retry_after = head.headers.get("retry-after");
        let retry_after = retry_after.and_then(|value| value.to_str().ok());
        Ok(Answer {
            status: head.status.as_u16(),
            retry_after: retry_after.map(str::to_owned),
            body: body
                .with_config()
                .limit(MAX_ANSWER)
                .read_to_vec()
                .unwrap_or_default(),
        })
    }
}

/// Connections fail and heal; a bad certificate or URL stays as it is.
fn no_answer(error: &Error) -> NoAnswer {
    let retryable = match error {
        Error::Io(error) => !is_bad_certificate(error),
        Error::Timeout(_)
        | Error::HostNotFound
        | Error::ConnectionFailed
        | Error::ConnectProxyFailed(_)
        | Error::Protocol(_) => true,
        _ => false,
    };
    let reason = match error {
        // The text of these holds the URL, and so may hold a secret.
        Error::BadUri(_) => "the endpoint has no host".to_owned(),
        Error::ConnectProxyFailed(_) => "the proxy does not connect".to_owned(),
        other => other.to_string(),
    };
    NoAnswer { reason, retryable }
}

/// TLS runs within the connection's reads and writes, and so fails as one of them.
fn is_bad_certificate(error: &std::io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustls::CertificateError::UnknownIssuer;

    use super::*;

    #[test]
    fn bad_certificates_stay_and_connections_heal() {
        let retryable = |error: io::Error| no_answer(&Error::Io(error)).retryable;
        let bad = rustls::Error::InvalidCertificate(UnknownIssuer);
        assert!(!retryable(io::Error::new(io::ErrorKind::InvalidData, bad)));
        assert!(retryable(io::ErrorKind::ConnectionRefused.into()));
        assert!(retryable(io::Error::other(rustls::Error::DecryptError)));
    }

    #[test]
    fn reasons_hold_no_url() {
        let errors = [
            Error::BadUri("http://user:hunter2@".into()),
            Error::ConnectProxyFailed("http://user:hunter2@proxy".into()),
        ];
        for error in errors {
            assert!(!no_answer(&error).reason.contains("hunter2"));
        }
    }
}

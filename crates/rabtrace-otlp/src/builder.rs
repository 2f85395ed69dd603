//! How an exporter is made: the options of the SDK's own exporter, under the same names.

use std::collections::HashMap;
use std::time::Duration;

use crate::settings::Settings;
use crate::{BuildError, Exporter, RetryPolicy};

/// Most bytes of a request, before compression: what the specification recommends.
const MAX_REQUEST_BODY_SIZE: usize = 64 * 1024 * 1024;

/// How requests are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// With gzip, at its fastest level: spans repeat themselves.
    Gzip,
}

/// How requests are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// Protobuf over HTTP, `http/protobuf` in the environment.
    HttpBinary,
}

/// Options of an [`Exporter`]. What is not set comes from the environment, as for the SDK's own
/// exporter, and then from the defaults.
///
/// | method | environment, for traces first | default |
/// |---|---|---|
/// | `with_endpoint` | `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` as it is, `OTEL_EXPORTER_OTLP_ENDPOINT` and `/v1/traces` | `http://localhost:4318/v1/traces` |
/// | `with_headers` | `OTEL_EXPORTER_OTLP_TRACES_HEADERS`, `OTEL_EXPORTER_OTLP_HEADERS`: added | none |
/// | `with_timeout` | `OTEL_EXPORTER_OTLP_TRACES_TIMEOUT`, `OTEL_EXPORTER_OTLP_TIMEOUT`, in milliseconds | 10 s |
/// | `with_compression` | `OTEL_EXPORTER_OTLP_TRACES_COMPRESSION`, `OTEL_EXPORTER_OTLP_COMPRESSION`: `gzip`, `none` | none |
/// | `with_protocol` | `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL`, `OTEL_EXPORTER_OTLP_PROTOCOL`: `http/protobuf` alone | `http/protobuf` |
/// | `with_retry_policy` | | until the timeout |
/// | `with_max_request_body_size` | | 64 MiB |
///
/// Source: <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>.
///
/// ```
/// use std::time::Duration;
/// use rabtrace_otlp::{Compression, Exporter};
///
/// # fn main() -> Result<(), rabtrace_otlp::BuildError> {
/// let exporter = Exporter::builder()
///     .with_endpoint("https://collector.example.org/v1/traces")
///     .with_headers([("authorization".to_owned(), "Bearer secret".to_owned())].into())
///     .with_compression(Compression::Gzip)
///     .with_timeout(Duration::from_secs(5))
///     .build()?;
/// assert!(!format!("{exporter:?}").contains("secret"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct ExporterBuilder {
    pub(crate) endpoint: Option<String>,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) compression: Option<Compression>,
    pub(crate) protocol: Option<Protocol>,
    retry_policy: RetryPolicy,
    max_request_body_size: Option<usize>,
}

impl std::fmt::Debug for ExporterBuilder {
    /// Without the endpoint and the headers' values, which may be secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ExporterBuilder")
            .field("headers", &self.headers.keys())
            .field("timeout", &self.timeout)
            .field("compression", &self.compression)
            .field("protocol", &self.protocol)
            .field("retry_policy", &self.retry_policy)
            .finish_non_exhaustive()
    }
}

impl ExporterBuilder {
    /// The URL that is posted to, as it is: nothing is added to its path.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Headers of every request; one of the environment with the same name counts more.
    #[must_use]
    pub fn with_headers(mut self, headers: HashMap<String, String>) -> Self {
        self.headers.extend(headers);
        self
    }

    /// The time for an export with all its attempts.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How requests are compressed.
    #[must_use]
    pub fn with_compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }

    /// How requests are written, whatever the environment says.
    #[must_use]
    pub fn with_protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// When a request is sent again.
    #[must_use]
    pub fn with_retry_policy(mut self, policy: RetryPolicy) -> Self {
        self.retry_policy = policy;
        self
    }

    /// Most bytes of a request, before compression; a larger one is not sent and its spans are lost.
    #[must_use]
    pub fn with_max_request_body_size(mut self, bytes: usize) -> Self {
        self.max_request_body_size = Some(bytes);
        self
    }

    /// The exporter. It connects when it exports.
    ///
    /// # Errors
    /// An endpoint that is no URL, or a protocol of the environment that is not `http/protobuf`.
    pub fn build(self) -> Result<Exporter, BuildError> {
        let settings = Settings::resolve(&self, &|name| std::env::var(name).ok())?;
        let max_body = self.max_request_body_size.unwrap_or(MAX_REQUEST_BODY_SIZE);
        Ok(Exporter::new(settings, self.retry_policy, max_body))
    }
}

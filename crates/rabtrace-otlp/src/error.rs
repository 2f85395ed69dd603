//! What can be wrong with an exporter's configuration.

/// Why no exporter could be built.
///
/// No text of it holds a header's value, or the user and password of a URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The endpoint is not a URL that can be posted to.
    #[error(
        "{origin}: the endpoint must be a URL such as http://localhost:4318/v1/traces, and is not: {reason}"
    )]
    Endpoint {
        /// The environment's variable that it came from, or `with_endpoint`.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A protocol that this exporter does not speak.
    #[error(
        "{origin}: protocol {protocol:?} is not spoken here; set {origin}=http/protobuf and an endpoint of OTLP over HTTP (port 4318), call with_protocol(Protocol::HttpBinary) to ignore the variable, or use the exporter of opentelemetry-otlp"
    )]
    Protocol {
        /// The environment's variable that it came from.
        origin: String,
        /// What stands there.
        protocol: String,
    },
}

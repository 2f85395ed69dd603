//! Why requests are not taken: what the sender is told, and what is counted.

use super::json::JsonError;
use super::scan::ScanError;
use crate::metrics::Refused;
use crate::model::NoRoom;

/// Why a request was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The body is not an OTLP request. Sending it again does not help.
    #[error("{0}")]
    Malformed(String),
    /// It would take too much memory when decoded. Sending it again does not help.
    #[error("{0} (receiver.max_in_flight_bytes); send fewer at once")]
    TooManyElements(ScanError),
    /// The body is larger than allowed. Sending it again does not help.
    #[error("the request is larger than {limit} bytes after decompression; send less at once")]
    TooLarge {
        /// How many bytes are allowed.
        limit: usize,
    },
    /// The body is neither protobuf nor JSON.
    #[error("the content type is neither application/x-protobuf nor application/json")]
    UnsupportedType,
    /// It is compressed by something else than gzip. Sending it again does not help.
    #[error("the only compression that is understood is gzip")]
    UnsupportedCompression,
    /// It does not carry the token. Sending it again does not help.
    #[error(
        "this agent asks for a token: send `authorization: Bearer TOKEN` with the value of its \
             receiver.token; OpenTelemetry SDKs take it from OTEL_EXPORTER_OTLP_HEADERS"
    )]
    Unauthorized,
    /// The body did not arrive in time.
    #[error("the request did not arrive in time")]
    TooSlow,
    /// Other requests take the memory that there is for them. Send it again later.
    #[error(
        "the agent holds as many requests as it may (receiver.max_in_flight_bytes); send again later"
    )]
    NoRoom,
    /// The queue to the flow is full. Send it again later.
    #[error("the agent's queue is full; send again later")]
    QueueFull,
    /// The store did not write it in time, or lost it. Send it again later.
    #[error("the agent's store did not write it in time; send again later")]
    NotStored,
    /// The spool of the upstream or of InfluxDB did not take it. Send it again later.
    #[error("the agent cannot keep it for those it goes to: {0}; send again later")]
    NotSpooled(String),
    /// The agent stops. Send it again later.
    #[error("the agent is stopping; send again later")]
    Stopping,
}

impl Refusal {
    /// The label of the counter.
    #[must_use]
    pub const fn reason(&self) -> Refused {
        match self {
            Self::Malformed(_) => Refused::Malformed,
            Self::TooManyElements(_) => Refused::TooManyElements,
            Self::TooLarge { .. } => Refused::TooLarge,
            Self::UnsupportedType => Refused::UnsupportedType,
            Self::UnsupportedCompression => Refused::UnsupportedCompression,
            Self::Unauthorized => Refused::Unauthorized,
            Self::TooSlow => Refused::TooSlow,
            Self::NoRoom => Refused::NoRoom,
            Self::QueueFull => Refused::QueueFull,
            Self::NotStored => Refused::NotStored,
            Self::NotSpooled(_) => Refused::NotSpooled,
            Self::Stopping => Refused::Stopping,
        }
    }

    /// Whether it may be taken when it is sent again.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::NoRoom | Self::QueueFull | Self::NotStored | Self::NotSpooled(_) | Self::Stopping
        )
    }
}

impl From<NoRoom> for Refusal {
    fn from(_: NoRoom) -> Self {
        Self::NoRoom
    }
}

impl From<ScanError> for Refusal {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Malformed(malformed) => Self::Malformed(malformed.to_string()),
            error @ ScanError::TooManyElements { .. } => Self::TooManyElements(error),
        }
    }
}

impl From<JsonError> for Refusal {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Scan(error) => error.into(),
            error => Self::Malformed(error.to_string()),
        }
    }
}

impl From<prost::DecodeError> for Refusal {
    fn from(error: prost::DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}

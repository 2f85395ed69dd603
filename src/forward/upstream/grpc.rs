//! OTLP over gRPC, on one connection that tonic opens when it is needed and opens again.

use std::str::FromStr;
use std::time::Duration;

use axum::http::uri::PathAndQuery;
use bytes::Bytes;
use tonic::codec::CompressionEncoding;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::{Outcome, SetupError, chain, endpoint, taken};
use crate::config;
use crate::model::Signal;
use crate::receiver::{Fields, GRPC_METRICS, GRPC_TRACES, RawCodec, Value};
use crate::tls::Material;

pub(in crate::forward) struct Grpc {
    channel: Channel,
    metadata: MetadataMap,
    timeout: Duration,
}

impl Grpc {
    pub(super) fn new(config: &config::Forward) -> Result<Self, SetupError> {
        let (url, masked) = endpoint(config)?;
        let unusable = |error: tonic::transport::Error| SetupError::Endpoint {
            url: masked.clone(),
            why: chain(&error),
        };
        let mut endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(unusable)?
            .connect_timeout(config.timeout)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(config.timeout);
        if url.starts_with("https://") {
            let material = Material::read(&config.tls)?;
            endpoint = endpoint.tls_config(material.grpc()).map_err(unusable)?;
        }
        Ok(Self {
            channel: endpoint.connect_lazy(),
            metadata: metadata(config)?,
            timeout: config.timeout,
        })
    }

    pub(super) async fn send(&self, signal: Signal, payload: Bytes) -> Outcome {
        match tokio::time::timeout(self.timeout, self.call(signal, payload)).await {
            Ok(Ok(answer)) => taken(&answer),
            Ok(Err(status)) => outcome(&status),
            Err(_) => Outcome::Retry {
                why: format!("no answer within {:?}", self.timeout),
                after: None,
            },
        }
    }

    async fn call(&self, signal: Signal, payload: Bytes) -> Result<Bytes, Status> {
        let path = PathAndQuery::from_static(match signal {
            Signal::Traces => GRPC_TRACES,
            Signal::Metrics => GRPC_METRICS,
        });
        let mut client = tonic::client::Grpc::new(self.channel.clone())
            .send_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Gzip);
        client
            .ready()
            .await
            .map_err(|error| Status::unavailable(chain(&error)))?;
        let mut request = Request::new(payload);
        *request.metadata_mut() = self.metadata.clone();
        let answer = client.unary(request, path, RawCodec).await?;
        Ok(answer.into_inner())
    }
}

fn metadata(config: &config::Forward) -> Result<MetadataMap, SetupError> {
    let mut metadata = MetadataMap::new();
    for (name, value) in &config.headers {
        let invalid = || SetupError::Header { name: name.clone() };
        let key = AsciiMetadataKey::from_str(&name.to_ascii_lowercase()).map_err(|_| invalid())?;
        let mut value = AsciiMetadataValue::try_from(value.expose()).map_err(|_| invalid())?;
        value.set_sensitive(true);
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn outcome(status: &Status) -> Outcome {
    let mut why = format!("{:?}: {}", status.code(), status.message());
    if let Some(source) = std::error::Error::source(status) {
        why = format!("{why}: {}", chain(source));
    }
    let after = retry_delay(status.details());
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Outcome::Retry { why, after },
        Code::ResourceExhausted if after.is_some() => Outcome::Retry { why, after },
        Code::Unauthenticated | Code::PermissionDenied => Outcome::Login { why },
        _ => Outcome::Refused { why },
    }
}

/// `google.rpc.RetryInfo.retry_delay` in the details of a `google.rpc.Status`.
fn retry_delay(details: &[u8]) -> Option<Duration> {
    let mut status = Fields::new(details, 0);
    while let Some((number, value)) = status.next().ok()? {
        let (3, Value::Bytes(any)) = (number, value) else {
            continue;
        };
        let is_retry_info = bytes_field(any, 1)?.ends_with(b"/google.rpc.RetryInfo");
        if is_retry_info {
            return duration(bytes_field(bytes_field(any, 2)?, 1)?);
        }
    }
    None
}

/// `google.protobuf.Duration`.
fn duration(message: &[u8]) -> Option<Duration> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut fields = Fields::new(message, 0);
    while let Some(field) = fields.next().ok()? {
        match field {
            (1, Value::Varint(value)) => seconds = value,
            (2, Value::Varint(value)) => nanos = u32::try_from(value).ok()?,
            _ => {}
        }
    }
    // A negative number has the highest bit set: no delay.
    i64::try_from(seconds).ok()?;
    Some(Duration::from_secs(seconds) + Duration::from_nanos(nanos.into()))
}

fn bytes_field(message: &[u8], wanted: u32) -> Option<&[u8]> {
    let mut fields = Fields::new(message, 0);
    while let Some((number, value)) = fields.next().ok()? {
        match value {
            Value::Bytes(bytes) if number == wanted => return Some(bytes),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Outcome, outcome};
    use std::time::Duration;
    use tonic::{Code, Status};

    /// `google.rpc.Status` with a `RetryInfo` of 1.5 s, as `protoc` encodes it.
    fn retry_info() -> Vec<u8> {
        let mut delay = vec![0x08, 1, 0x10];
        delay.extend([0x80, 0xca, 0xb5, 0xee, 0x01]);
        let mut info = vec![0x0a, u8::try_from(delay.len()).unwrap()];
        info.extend(delay);
        let url = b"type.googleapis.com/google.rpc.RetryInfo";
        let mut any = vec![0x0a, u8::try_from(url.len()).unwrap()];
        any.extend(url);
        any.extend([0x12, u8::try_from(info.len()).unwrap()]);
        any.extend(info);
        let mut status = vec![0x08, 8, 0x1a, u8::try_from(any.len()).unwrap()];
        status.extend(any);
        status
    }

    fn retried(status: &Status) -> Option<Option<Duration>> {
        match outcome(status) {
            Outcome::Retry { after, .. } => Some(after),
            _ => None,
        }
    }

    #[test]
    fn codes_are_retried_as_the_specification_says() {
        for code in 1..=16 {
            let code = Code::from(code);
            let expected = matches!(
                code,
                Code::Cancelled
                    | Code::DeadlineExceeded
                    | Code::Aborted
                    | Code::OutOfRange
                    | Code::Unavailable
                    | Code::DataLoss
            );
            let status = Status::new(code, "");
            assert_eq!(retried(&status).is_some(), expected, "{code:?}");
            let is_login = matches!(code, Code::Unauthenticated | Code::PermissionDenied);
            let waits = matches!(outcome(&status), Outcome::Login { .. });
            assert_eq!(waits, is_login, "{code:?}");
        }
        let details = retry_info().into();
        let status = Status::with_details(Code::ResourceExhausted, "", details);
        assert_eq!(retried(&status), Some(Some(Duration::from_millis(1_500))));
    }
}

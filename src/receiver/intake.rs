//! What both front ends do with a body: scan, decode, hand over.
//!
//! Input: the decompressed bytes of an OTLP request. Output: a [`Batch`] in the queue to the
//! flow, and only then an acknowledgement; of spans and path records only when the store has them. Where
//! there is an upstream, its spool has the request before the flow does. A full
//! queue or disk refuses retryably, so the sender keeps what the agent cannot take; nothing is dropped
//! here but spans with invalid ids and path records that cannot be read, which are counted. Every refusal is counted by its
//! reason.

use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tokio::sync::mpsc;

pub use super::accepted::{Accepted, Encoding};
use super::decode;
use super::json::{self, JsonError};
use super::scan::{self, ScanError, scan};
use super::unsure::{Handed, Unsure};
use crate::metrics::{Loss, Metrics, Stage};
use crate::model::{Batch, Receipt, Signal, Span};
use crate::serve::Access;
use crate::spool::{Spool, SpoolError, Writer};

/// How long the store may take to write a request.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);
/// A request may take this many times the largest body when it is decoded.
const DECODED_PER_BODY: u64 = 16;

/// Why a request was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The body is not an OTLP request. Sending it again does not help.
    #[error("{0}")]
    Malformed(String),
    /// It would take too much memory when decoded. Sending it again does not help.
    #[error("{0}; send fewer at once")]
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
    /// It does not carry the token. Sending it again does not help.
    #[error(
        "this agent asks for a token: send `authorization: Bearer TOKEN` with the value of its \
             receiver.token; OpenTelemetry SDKs take it from OTEL_EXPORTER_OTLP_HEADERS"
    )]
    Unauthorized,
    /// The body did not arrive in time.
    #[error("the request did not arrive in time")]
    TooSlow,
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
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::TooManyElements(_) => "too_many_elements",
            Self::TooLarge { .. } => "too_large",
            Self::UnsupportedType => "unsupported_type",
            Self::Unauthorized => "unauthorized",
            Self::TooSlow => "too_slow",
            Self::QueueFull => "queue_full",
            Self::NotStored => "not_stored",
            Self::NotSpooled(_) => "not_spooled",
            Self::Stopping => "stopping",
        }
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

/// A request that is decoded and not handed over yet.
struct Decoded {
    batch: Batch,
    /// Spans or data points in the payload.
    items: u64,
    rejected: u64,
    /// Data points of path metrics that could not be read.
    unreadable: u64,
    /// Data points of which the agent makes nothing.
    unused: u64,
}

/// The way into the agent; a clone leads to the same queue.
#[derive(Clone)]
pub struct Intake {
    sender: mpsc::Sender<Batch>,
    max_body_bytes: usize,
    /// How long the store may take to write a request, and the spool to take it.
    store_timeout: Duration,
    /// Where requests wait for the upstream, if there is one.
    spool: Option<Writer>,
    /// Where points wait for InfluxDB, if there is one.
    points: Option<Spool>,
    /// Whether spans have to be in the store, as path records have to.
    waits_for_spans: bool,
    unsure: Unsure,
    access: Access,
    metrics: Metrics,
}

impl Intake {
    /// Hands batches to `sender`, and takes bodies of at most `max_body_bytes`.
    #[must_use]
    pub fn new(sender: mpsc::Sender<Batch>, max_body_bytes: usize, metrics: Metrics) -> Self {
        Self {
            sender,
            max_body_bytes,
            store_timeout: STORE_TIMEOUT,
            spool: None,
            points: None,
            waits_for_spans: false,
            unsure: Unsure::default(),
            access: Access::default(),
            metrics,
        }
    }

    /// The same, and every request goes into `spool` before anything else has it.
    #[must_use]
    pub fn with_spool(self, spool: Option<Writer>) -> Self {
        Self { spool, ..self }
    }

    /// The same, and a request is acknowledged only when its points are in `points`. While that
    /// spool takes nothing, neither does this.
    #[must_use]
    pub fn with_points(self, points: Option<Spool>) -> Self {
        Self { points, ..self }
    }

    /// The same, and a request is acknowledged only when the store has its spans.
    #[must_use]
    pub fn with_stored_spans(self) -> Self {
        Self {
            waits_for_spans: true,
            ..self
        }
    }

    /// The same, and requests come in as `access` says.
    #[must_use]
    pub fn with_access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// Who comes in, and how.
    #[must_use]
    pub const fn access(&self) -> &Access {
        &self.access
    }

    /// Bytes of the largest body, after decompression.
    #[must_use]
    pub const fn max_body_bytes(&self) -> usize {
        self.max_body_bytes
    }

    /// Scans and decodes `body`, waits until the spool has it, if there is one, and hands it over;
    /// waits until the store has its spans and path records, if it has any. A request without content
    /// is taken and goes nowhere.
    ///
    /// # Errors
    /// A [`Refusal`], which is counted.
    pub async fn accept(
        &self,
        signal: Signal,
        encoding: Encoding,
        body: Bytes,
    ) -> Result<Accepted, Refusal> {
        let outcome = match self.hand_over(signal, encoding, body).await {
            Ok((accepted, handed)) => match handed.stored(self.store_timeout).await {
                Some(true) => Ok(accepted),
                Some(false) | None => Err(Refusal::NotStored),
            },
            Err(refusal) => Err(refusal),
        };
        outcome.inspect_err(|refusal| self.count_refusal(refusal))
    }

    /// Counts a request that a front end refused by itself.
    pub(super) fn count_refusal(&self, refusal: &Refusal) {
        self.metrics.refused(refusal.reason());
    }

    async fn hand_over(
        &self,
        signal: Signal,
        encoding: Encoding,
        body: Bytes,
    ) -> Result<(Accepted, Handed), Refusal> {
        use mpsc::error::TrySendError;
        if body.len() > self.max_body_bytes {
            return Err(Refusal::TooLarge {
                limit: self.max_body_bytes,
            });
        }
        let failing = self.points.as_ref().and_then(|spool| spool.stats().failing);
        if let Some(why) = failing {
            return Err(Refusal::NotSpooled(why));
        }
        // The place in the queue comes first: a body that finds none is not worth decoding.
        let place = self.sender.try_reserve().map_err(|error| match error {
            TrySendError::Full(()) => Refusal::QueueFull,
            TrySendError::Closed(()) => Refusal::Stopping,
        })?;
        let budget = self.max_body_bytes as u64 * DECODED_PER_BODY;
        let decoded = match signal {
            Signal::Traces => decode_traces(encoding, body, budget)?,
            Signal::Metrics => decode_metrics(encoding, body, budget)?,
        };
        let accepted = Accepted {
            rejected: decoded.rejected,
        };
        let payload = decoded.batch.payload.clone();
        if let Some(handed) = self.unsure.again(signal, &payload) {
            return Ok((accepted, handed));
        }
        // What the spool refuses nobody has, so that nothing counts twice when it comes again.
        self.keep(&decoded).await?;
        self.count(&decoded);
        let for_flow = decoded.batch.items();
        let mut batch = decoded.batch;
        let mut waiting = Vec::new();
        let mut receipt = |is_needed: bool| {
            is_needed.then(|| {
                let (receipt, pending) = Receipt::pair();
                waiting.push(pending);
                receipt
            })
        };
        let has_spans = self.waits_for_spans && !batch.spans.is_empty();
        batch.receipt = receipt(has_spans || !batch.paths.is_empty());
        batch.points_receipt = receipt(self.points.is_some() && decoded.items > 0);
        if decoded.items > 0 {
            self.metrics.received(Stage::Flow, for_flow);
            batch.share = Some(self.metrics.share(Stage::Flow, for_flow));
            place.send(batch);
        }
        Ok((accepted, self.unsure.handed(signal, payload, waiting)))
    }

    /// Counts a request that is taken.
    fn count(&self, decoded: &Decoded) {
        let metrics = &self.metrics;
        match decoded.batch.signal {
            Signal::Traces => metrics.spans_received.inc_by(decoded.items),
            Signal::Metrics => metrics.metric_points_received.inc_by(decoded.items),
        }
        metrics.metric_points_unused.inc_by(decoded.unused);
        metrics.received(Stage::Receiver, decoded.items + decoded.rejected);
        metrics.sent(Stage::Receiver, decoded.batch.items() + decoded.unused);
        metrics.dropped(Loss::InvalidId, decoded.rejected);
        metrics.dropped(Loss::PathRecord, decoded.unreadable);
    }

    /// Waits until the spool has the request.
    async fn keep(&self, decoded: &Decoded) -> Result<(), Refusal> {
        let Some(spool) = self.spool.as_ref().filter(|_| decoded.items > 0) else {
            return Ok(());
        };
        let items = u32::try_from(decoded.items).unwrap_or(u32::MAX);
        let (code, payload) = (decoded.batch.signal.code(), &decoded.batch.payload);
        let kept = spool.append(code, items, payload.clone());
        match tokio::time::timeout(self.store_timeout, kept).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(SpoolError::TooLarge { limit, .. })) => Err(Refusal::TooLarge { limit }),
            Ok(Err(SpoolError::Closed)) => Err(Refusal::Stopping),
            Ok(Err(error)) => Err(Refusal::NotSpooled(error.to_string())),
            Err(_) => Err(Refusal::NotSpooled("the disk is too slow".to_owned())),
        }
    }
}

fn decode_traces(encoding: Encoding, body: Bytes, budget: u64) -> Result<Decoded, Refusal> {
    if encoding == Encoding::Protobuf
        && let Some(spans) = decode::spans_of_bytes(&body, budget)
    {
        return Ok(traces(body, spans, 0));
    }
    let mut request: ExportTraceServiceRequest = match encoding {
        Encoding::Protobuf => {
            scan(Signal::Traces, &body, budget)?;
            ExportTraceServiceRequest::decode(body.clone())?
        }
        Encoding::Json => json::decode(&body, budget)?,
    };
    let rejected = decode::reject_invalid_spans(&mut request);
    // Without the rejected spans it is another payload; so the upstream gets what was accepted.
    let payload = match (encoding, rejected) {
        (Encoding::Protobuf, 0) => body,
        _ => request.encode_to_vec().into(),
    };
    Ok(traces(payload, decode::spans(request), rejected))
}

fn traces(payload: Bytes, spans: Vec<Span>, rejected: u64) -> Decoded {
    Decoded {
        items: spans.len() as u64,
        rejected,
        unreadable: 0,
        unused: 0,
        batch: Batch {
            signal: Signal::Traces,
            payload,
            spans,
            metrics: Vec::new(),
            paths: Vec::new(),
            receipt: None,
            points_receipt: None,
            share: None,
        },
    }
}

fn decode_metrics(encoding: Encoding, body: Bytes, budget: u64) -> Result<Decoded, Refusal> {
    let (request, payload) = match encoding {
        Encoding::Protobuf => (None, body),
        Encoding::Json => {
            let request: ExportMetricsServiceRequest = json::decode(&body, budget)?;
            let payload = request.encode_to_vec().into();
            (Some(request), payload)
        }
    };
    let scan::Counts { items, .. } = scan(Signal::Metrics, &payload, budget)?;
    let request = match request {
        Some(request) => request,
        None => ExportMetricsServiceRequest::decode(payload.clone())?,
    };
    let numbers = decode::numbers(request);
    Ok(Decoded {
        items,
        rejected: 0,
        unreadable: numbers.paths.unreadable,
        unused: numbers.unused,
        batch: Batch {
            signal: Signal::Metrics,
            payload,
            spans: Vec::new(),
            metrics: numbers.points,
            paths: numbers.paths.records,
            receipt: None,
            points_receipt: None,
            share: None,
        },
    })
}

#[cfg(test)]
mod tests;

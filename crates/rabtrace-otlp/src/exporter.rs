//! The exporter: batches of the SDK in, requests of OTLP over HTTP out.
//!
//! An export runs on the thread that polls it and blocks it, as the SDK's batch processor wants it:
//! no runtime is needed, and none should poll it. It is over after the timeout at the latest. A
//! batch that was not taken by then is lost, counted, and told once until one is taken again.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use flate2::write::GzEncoder;
use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use crate::response::partial_success;
use crate::retry::{Backoff, is_retryable, retry_after};
use crate::settings::{Settings, shown};
use crate::transport::{Answer, Transport};
use crate::{Compression, Encoder, ExporterBuilder, RetryPolicy, Statistics};

/// Longest text of a server that is logged, in characters.
const MAX_TEXT: usize = 256;

/// Exports spans by OTLP over HTTP, encoded by hand. See [`ExporterBuilder`] for its options.
///
/// ```
/// use opentelemetry_sdk::trace::SdkTracerProvider;
/// use rabtrace_otlp::{BatchProcessor, Exporter};
///
/// # fn main() -> Result<(), rabtrace_otlp::BuildError> {
/// let exporter = Exporter::builder().build()?;
/// let provider = SdkTracerProvider::builder()
///     .with_span_processor(BatchProcessor::new(exporter))
///     .build();
/// # Ok(())
/// # }
/// ```
pub struct Exporter {
    transport: Transport,
    compression: Option<Compression>,
    timeout: Duration,
    retry_policy: RetryPolicy,
    max_body: usize,
    statistics: Statistics,
    work: Mutex<Work>,
    stopped: Mutex<bool>,
    stop: Condvar,
}

/// What is used again from one export to the next.
struct Work {
    encoder: Encoder,
    compressed: Vec<u8>,
    failing: bool,
    rejection: String,
}

impl fmt::Debug for Exporter {
    /// Without what may be secret: values of headers, user, password and query of the endpoint.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Exporter")
            .field("endpoint", &shown(self.transport.endpoint()))
            .field("headers", &self.transport.header_names())
            .field("compression", &self.compression)
            .field("timeout", &self.timeout)
            .field("retry_policy", &self.retry_policy)
            .field("statistics", &self.statistics)
            .finish_non_exhaustive()
    }
}

impl Exporter {
    /// An exporter with the environment's configuration, which the builder's methods override.
    #[must_use]
    pub fn builder() -> ExporterBuilder {
        ExporterBuilder::default()
    }

    pub(crate) fn new(settings: Settings, retry_policy: RetryPolicy, max_body: usize) -> Self {
        Self {
            transport: Transport::new(settings.endpoint, settings.headers),
            compression: settings.compression,
            timeout: settings.timeout,
            retry_policy,
            max_body,
            statistics: Statistics::default(),
            work: Mutex::new(Work {
                encoder: Encoder::new(&Resource::builder_empty().build()),
                compressed: Vec::new(),
                failing: false,
                rejection: String::new(),
            }),
            stopped: Mutex::new(false),
            stop: Condvar::new(),
        }
    }

    /// What became of the spans so far, and of those to come.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.statistics.clone()
    }

    fn export_now(&self, batch: &[SpanData]) -> OTelSdkResult {
        // A client that is traced itself must not feed what it sends.
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        if *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) {
            self.statistics.count_failed(batch.len());
            return Err(OTelSdkError::AlreadyShutdown);
        }
        if batch.is_empty() {
            return Ok(());
        }
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = self.encode_and_send(&mut work, batch);
        match &outcome {
            Ok(answer) => self.note_taken(&mut work, batch.len(), answer),
            Err(reason) => self.note_failed(&mut work, batch.len(), reason),
        }
        outcome.map(drop).map_err(|reason| {
            let endpoint = shown(self.transport.endpoint());
            OTelSdkError::InternalFailure(format!("no export to {endpoint}: {reason}"))
        })
    }

    fn encode_and_send(&self, work: &mut Work, batch: &[SpanData]) -> Result<Answer, String> {
        let request = work.encoder.encode(batch);
        if request.len() > self.max_body {
            return Err(format!(
                "the request has {} bytes and may have {}; make the batches smaller",
                request.len(),
                self.max_body
            ));
        }
        match self.compression {
            Some(Compression::Gzip) => {
                work.compressed.clear();
                let level = flate2::Compression::fast();
                let mut gzip = GzEncoder::new(&mut work.compressed, level);
                let written = gzip.write_all(request).and_then(|()| gzip.try_finish());
                written.map_err(|error| error.to_string())?;
                drop(gzip);
                self.send(&work.compressed, Some("gzip"))
            }
            None => self.send(request, None),
        }
    }

    /// Sends `body` until it is taken, refused for good, or the time is over.
    fn send(&self, body: &[u8], encoding: Option<&'static str>) -> Result<Answer, String> {
        let deadline = Instant::now() + self.timeout;
        let mut backoff = Backoff::new(&self.retry_policy);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let (reason, asked) = match self.transport.post(body, encoding, left) {
                Ok(answer) if (200..300).contains(&answer.status) => return Ok(answer),
                Ok(answer) if is_retryable(answer.status) => {
                    let asked = answer.retry_after.as_deref();
                    let asked = asked.and_then(|value| retry_after(value, SystemTime::now()));
                    (format!("status {}", answer.status), asked)
                }
                Ok(answer) => return Err(format!("status {}", answer.status)),
                Err(none) if none.retryable => (none.reason, None),
                Err(none) => return Err(none.reason),
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(pause) = backoff.pause(asked, chance(), left) else {
                return Err(reason);
            };
            if self.wait(pause, &reason) {
                return Err(format!("{reason}; shut down before the next attempt"));
            }
            self.statistics.count_retry();
        }
    }

    /// Waits for `pause`, or for the shutdown; says whether that came.
    fn wait(&self, pause: Duration, reason: &str) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        // Told under the lock: a shutdown that follows it finds the wait begun.
        tracing::debug!(reason, ?pause, "request waits for its next attempt");
        let (stopped, _) = self
            .stop
            .wait_timeout_while(stopped, pause, |stopped| !*stopped)
            .unwrap_or_else(PoisonError::into_inner);
        *stopped
    }

    fn note_taken(&self, work: &mut Work, spans: usize, answer: &Answer) {
        if std::mem::take(&mut work.failing) {
            tracing::info!("spans are exported again");
        }
        let partial = partial_success(&answer.body).unwrap_or_default();
        self.statistics.count_taken(spans, partial.rejected);
        let text: String = partial.message.chars().take(MAX_TEXT).collect();
        // The same words for every batch are told once.
        if (partial.rejected > 0 || !text.is_empty()) && work.rejection != text {
            tracing::warn!(
                rejected = partial.rejected,
                message = text,
                "the server did not take all spans, or warns"
            );
        }
        work.rejection = text;
    }

    fn note_failed(&self, work: &mut Work, spans: usize, reason: &str) {
        self.statistics.count_failed(spans);
        if !std::mem::replace(&mut work.failing, true) {
            let endpoint = shown(self.transport.endpoint());
            tracing::error!(spans, endpoint, reason, "spans are lost");
        }
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.export_now(&batch)
    }

    /// Ends a wait between two attempts; a request under way runs until its answer or the timeout.
    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *stopped, true) {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        self.stop.notify_all();
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        let work = self.work.get_mut().unwrap_or_else(PoisonError::into_inner);
        work.encoder = Encoder::new(resource);
    }
}

/// A number from 0 to 1, from the keys that the standard library draws for its hash maps.
fn chance() -> f64 {
    let [byte, ..] = RandomState::new().hash_one(Instant::now()).to_le_bytes();
    f64::from(byte) / 255.0
}

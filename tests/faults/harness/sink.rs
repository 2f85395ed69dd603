//! InfluxDB and an OTLP back end in one, that fail on demand and know which spans arrived how often.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use rabtrace::model::Signal;
use rabtrace::receiver::scan;
use tokio::runtime::Runtime;

use super::seen::{Seen, line_ids, span_ids};
use super::slowly::{Rate, Slowly};

/// How it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Takes everything.
    #[default]
    Take,
    /// Answers with this status, and takes nothing.
    Refuse(u16),
    /// Takes whole requests without lines of an id that this divides; of others it takes nothing,
    /// and says 400 without naming a line.
    RefuseEvery(u64),
    /// Takes every OTLP request but for so many of its spans or data points, and says so.
    Reject(u64),
    /// Takes everything, and reads so many bytes a second of each connection.
    Slow(u64),
    /// Takes everything, and answers so many milliseconds later.
    Late(u64),
    /// Says that it took what it throws away: what it says is false, and a judge has to find out.
    Lie,
}

/// What kind of sink it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// InfluxDB 1.8, or an upstream.
    #[default]
    Ordinary,
    /// InfluxDB 3.
    Influx3,
    /// The kernel takes next to nothing for it in advance.
    Narrow,
}

#[derive(Default)]
struct Inside {
    kind: Kind,
    mode: Mutex<Mode>,
    rate: Rate,
    seen: Mutex<Seen>,
}

/// The server; it is down when dropped.
pub(crate) struct Sink {
    address: SocketAddr,
    inside: Arc<Inside>,
    runtime: Option<Runtime>,
}

impl Sink {
    /// One that is up.
    pub(crate) fn start() -> Self {
        Self::of(Kind::Ordinary)
    }

    /// One of this kind that is up.
    pub(crate) fn of(kind: Kind) -> Self {
        let inside = Inside {
            kind,
            ..Inside::default()
        };
        let mut sink = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            inside: Arc::new(inside),
            runtime: None,
        };
        sink.up();
        sink
    }

    /// One that keeps the lines that begin so.
    pub(crate) fn keeping(prefix: &'static str) -> Self {
        let sink = Self::start();
        sink.seen(|seen| seen.keeps = Some(prefix));
        sink
    }

    /// One that searches what it gets for a word.
    pub(crate) fn searching(word: &'static str) -> Self {
        let sink = Self::start();
        sink.seen(|seen| seen.forbidden = Some(word));
        sink
    }

    fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.inside.seen.lock().unwrap())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Listens again, on the address that it had.
    pub(crate) fn up(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&self.inside))
            .layer(DefaultBodyLimit::disable());
        let listener = {
            let _entered = runtime.enter();
            let is_narrow = self.inside.kind == Kind::Narrow;
            Slowly::listen(self.address, Arc::clone(&self.inside.rate), is_narrow)
        };
        self.address = axum::serve::Listener::local_addr(&listener).unwrap();
        runtime.spawn(async move { axum::serve(listener, app).await });
        self.runtime = Some(runtime);
    }

    /// Closes its listener and cuts every connection.
    pub(crate) fn down(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub(crate) fn answer_by(&self, mode: Mode) {
        *self.inside.mode.lock().unwrap() = mode;
        let rate = if let Mode::Slow(rate) = mode { rate } else { 0 };
        self.inside.rate.store(rate, Ordering::SeqCst);
    }

    pub(crate) fn arrivals(&self) -> Vec<u8> {
        self.seen(|seen| seen.arrivals.clone())
    }

    /// Spans that arrived, each counted once.
    pub(crate) fn arrived(&self) -> u64 {
        self.seen(|seen| seen.arrived)
    }

    /// Requests with a span that had come before.
    pub(crate) fn batches_again(&self) -> u64 {
        self.seen(|seen| seen.batches_again)
    }

    /// From now on the agent is another one.
    pub(crate) fn begin_life(&self) {
        self.seen(Seen::begin_life);
    }

    /// Requests of one life of the agent that came again, in whole or in part: the most of any.
    pub(crate) fn most_again_in_a_life(&self) -> usize {
        self.seen(|seen| seen.most_again_in_a_life())
    }

    /// Fields whose number was below zero, the first ones of them.
    pub(crate) fn below_zero(&self) -> Vec<String> {
        self.seen(|seen| seen.below_zero.clone())
    }

    /// Requests that had the word for which it searches.
    pub(crate) fn with_forbidden(&self) -> u64 {
        self.seen(|seen| seen.with_forbidden)
    }

    /// Requests that it answered.
    pub(crate) fn requests(&self) -> u64 {
        self.seen(|seen| seen.requests)
    }

    /// Lines, or spans and data points, that it took.
    pub(crate) fn taken(&self) -> u64 {
        self.seen(|seen| seen.taken)
    }

    /// Counts them from zero again.
    pub(crate) fn forget_taken(&self) {
        self.seen(|seen| seen.taken = 0);
    }

    /// Series of spans that came.
    pub(crate) fn series(&self) -> usize {
        self.seen(|seen| seen.series.len())
    }

    /// Points of spans that InfluxDB would have: of one series and time the last.
    pub(crate) fn points(&self) -> usize {
        self.seen(|seen| seen.points.len())
    }

    /// Points of spans of which a tag became `_other`.
    pub(crate) fn others(&self) -> u64 {
        self.seen(|seen| seen.others)
    }

    /// Drops the lines that it kept so far.
    pub(crate) fn forget(&self) {
        self.seen(|seen| seen.kept.clear());
    }

    /// The lines that it keeps, and when each came.
    pub(crate) fn kept(&self) -> Vec<(Instant, String)> {
        self.seen(|seen| seen.kept.clone())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.down();
    }
}

async fn answer(
    State(inside): State<Arc<Inside>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if method == Method::GET {
        let version = match inside.kind {
            Kind::Influx3 => "3.4.0",
            _ => "1.8.10",
        };
        return (StatusCode::NO_CONTENT, [("x-influxdb-version", version)]).into_response();
    }
    let body = match headers.get("content-encoding") {
        Some(encoding) if encoding == "gzip" => unpack(&body),
        _ => body.to_vec(),
    };
    let is_otlp = uri.path().starts_with("/v1/");
    let mode = *inside.mode.lock().unwrap();
    let ids = match is_otlp {
        true => span_ids(&body),
        false => line_ids(&body),
    };
    let status = {
        let mut seen = inside.seen.lock().unwrap();
        seen.requests += 1;
        seen.search(&body);
        let refused = match mode {
            Mode::Refuse(status) => Some(status),
            Mode::RefuseEvery(number) if ids.iter().any(|id| id % number == 0) => Some(400),
            Mode::Lie => Some(204),
            _ => None,
        };
        if refused.is_none() {
            seen.take(&ids);
            if !is_otlp {
                seen.keep(&body);
            }
            seen.taken += match is_otlp {
                true => items(uri.path(), &body),
                false => body.iter().filter(|byte| **byte == b'\n').count() as u64,
            };
        }
        refused.unwrap_or(if is_otlp { 200 } else { 204 })
    };
    if let Mode::Late(milliseconds) = mode {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
    if let (Mode::Reject(number), 200) = (mode, status) {
        let rejected = number.min(items(uri.path(), &body));
        inside.seen.lock().unwrap().taken -= rejected;
        return partial(rejected).into_response();
    }
    StatusCode::from_u16(status).unwrap().into_response()
}

/// Spans or data points of a request.
fn items(path: &str, body: &[u8]) -> u64 {
    let signal = match path {
        "/v1/traces" => Signal::Traces,
        _ => Signal::Metrics,
    };
    scan(signal, body, u64::MAX).unwrap().items
}

/// The answer that so many were left out.
fn partial(rejected: u64) -> Vec<u8> {
    let partial = ExportTracePartialSuccess {
        rejected_spans: i64::try_from(rejected).unwrap(),
        error_message: "no room".to_owned(),
    };
    ExportTraceServiceResponse {
        partial_success: Some(partial),
    }
    .encode_to_vec()
}

fn unpack(body: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(body);
    decoder.read_to_end(&mut text).unwrap();
    text
}

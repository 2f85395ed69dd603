//! InfluxDB and an OTLP back end in one, that fail on demand and know which spans arrived how often.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use rabtrace::model::Signal;
use rabtrace::receiver::scan;
use tokio::runtime::Runtime;

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
    /// Reads so many bytes a second.
    Slow(u64),
    /// Says that it took what it throws away: what it says is false, and a judge has to find out.
    Lie,
}

#[derive(Default)]
struct Seen {
    mode: Mode,
    /// By id, how often it arrived.
    arrivals: Vec<u8>,
    batches_again: u64,
    requests: u64,
    /// Lines, or spans and data points, that it took.
    taken: u64,
    /// Lines of the measurements that are kept, with when they came.
    kept: Vec<(Instant, String)>,
    keeps: Option<&'static str>,
    negative_durations: u64,
    /// Hashes of measurements with their tags.
    series: HashSet<u64>,
    /// The same with their times: InfluxDB has one point of each.
    points: HashSet<u64>,
    /// Lines of spans with [`OTHER`] among their tags.
    others: u64,
}

/// What the tags are that would be too many.
const OTHER: &str = "=_other";

type Shared = Arc<Mutex<Seen>>;

/// The server; it is down when dropped.
pub(crate) struct Sink {
    address: SocketAddr,
    shared: Shared,
    runtime: Option<Runtime>,
}

impl Sink {
    /// One that is up.
    pub(crate) fn start() -> Self {
        let mut sink = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            shared: Shared::default(),
            runtime: None,
        };
        sink.up();
        sink
    }

    /// One that keeps the lines that begin so.
    pub(crate) fn keeping(prefix: &'static str) -> Self {
        let sink = Self::start();
        sink.shared.lock().unwrap().keeps = Some(prefix);
        sink
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Listens again, on the address that it had.
    pub(crate) fn up(&mut self) {
        let listener = std::net::TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&self.shared))
            .layer(DefaultBodyLimit::disable());
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, app).await
        });
        self.runtime = Some(runtime);
    }

    /// Closes its listener and cuts every connection.
    pub(crate) fn down(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub(crate) fn answer_by(&self, mode: Mode) {
        self.shared.lock().unwrap().mode = mode;
    }

    pub(crate) fn arrivals(&self) -> Vec<u8> {
        self.shared.lock().unwrap().arrivals.clone()
    }

    /// Requests with a span that had come before.
    pub(crate) fn batches_again(&self) -> u64 {
        self.shared.lock().unwrap().batches_again
    }

    /// Spans whose duration was below zero.
    pub(crate) fn negative_durations(&self) -> u64 {
        self.shared.lock().unwrap().negative_durations
    }

    /// Requests that it answered.
    pub(crate) fn requests(&self) -> u64 {
        self.shared.lock().unwrap().requests
    }

    /// Lines, or spans and data points, that it took.
    pub(crate) fn taken(&self) -> u64 {
        self.shared.lock().unwrap().taken
    }

    /// Counts them from zero again.
    pub(crate) fn forget_taken(&self) {
        self.shared.lock().unwrap().taken = 0;
    }

    /// Series of spans that came.
    pub(crate) fn series(&self) -> usize {
        self.shared.lock().unwrap().series.len()
    }

    /// Points of spans that InfluxDB would have: of one series and time the last.
    pub(crate) fn points(&self) -> usize {
        self.shared.lock().unwrap().points.len()
    }

    /// Points of spans with [`OTHER`] among their tags.
    pub(crate) fn others(&self) -> u64 {
        self.shared.lock().unwrap().others
    }

    /// Drops the lines that it kept so far.
    pub(crate) fn forget(&self) {
        self.shared.lock().unwrap().kept.clear();
    }

    /// The lines that it keeps, and when each came.
    pub(crate) fn kept(&self) -> Vec<(Instant, String)> {
        self.shared.lock().unwrap().kept.clone()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.down();
    }
}

async fn answer(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if method == Method::GET {
        let version = [("x-influxdb-version", "1.8.10")];
        return (StatusCode::NO_CONTENT, version).into_response();
    }
    let size = body.len();
    let body = match headers.get("content-encoding") {
        Some(encoding) if encoding == "gzip" => unpack(&body),
        _ => body.to_vec(),
    };
    let is_otlp = uri.path().starts_with("/v1/");
    let mode = shared.lock().unwrap().mode;
    if let Mode::Slow(rate) = mode {
        let time = Duration::from_secs_f64(size as f64 / rate as f64);
        tokio::time::sleep(time.min(Duration::from_secs(30))).await;
    }
    let ids = match is_otlp {
        true => span_ids(&body),
        false => line_ids(&body),
    };
    let mut seen = shared.lock().unwrap();
    seen.requests += 1;
    let status = match mode {
        Mode::Refuse(status) => status,
        Mode::RefuseEvery(number) if ids.iter().any(|id| id % number == 0) => 400,
        Mode::Lie => 204,
        _ => {
            seen.take(&ids);
            if !is_otlp {
                seen.keep(&body);
            }
            seen.taken += match is_otlp {
                true => items(uri.path(), &body),
                false => body.iter().filter(|byte| **byte == b'\n').count() as u64,
            };
            if is_otlp { 200 } else { 204 }
        }
    };
    if let (Mode::Reject(number), 200) = (mode, status) {
        let rejected = number.min(items(uri.path(), &body));
        seen.taken -= rejected;
        return partial(rejected).into_response();
    }
    StatusCode::from_u16(status).unwrap().into_response()
}

impl Seen {
    fn take(&mut self, ids: &[u64]) {
        let mut again = false;
        for id in ids {
            let index = usize::try_from(*id).unwrap();
            if self.arrivals.len() <= index {
                self.arrivals.resize(index + 1, 0);
            }
            let times = &mut self.arrivals[index];
            again |= *times > 0;
            *times = times.saturating_add(1);
        }
        self.batches_again += u64::from(again);
    }

    fn keep(&mut self, body: &[u8]) {
        let text = String::from_utf8_lossy(body);
        self.negative_durations += text.matches("duration_ms=-").count() as u64;
        let hash = BuildHasherDefault::<DefaultHasher>::default();
        for line in text.lines() {
            let Some(series) = series(line) else { continue };
            let time = line.rsplit(' ').next();
            self.series.insert(hash.hash_one(series));
            self.points.insert(hash.hash_one((series, time)));
            self.others += u64::from(series.contains(OTHER));
        }
        if let Some(prefix) = self.keeps {
            let lines = text.lines().filter(|line| line.starts_with(prefix));
            let now = Instant::now();
            self.kept.extend(lines.map(|line| (now, line.to_owned())));
        }
    }
}

/// The part of a line before the first blank that is not escaped: measurement and tags.
fn series(line: &str) -> Option<&str> {
    let mut blanks = line.match_indices(' ');
    let end = blanks.find(|(at, _)| !line[..*at].ends_with('\\'))?.0;
    line.get(..end)
        .filter(|series| series.starts_with("spans,"))
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

/// Ids of the lines that are spans.
fn line_ids(body: &[u8]) -> Vec<u64> {
    let lines = body.split(|byte| *byte == b'\n');
    let id = |line: &[u8]| {
        // The trace's id stands before it, and both are hexadecimal digits.
        let line = line.strip_prefix(b"spans,")?;
        let line = std::str::from_utf8(line).ok()?;
        let (_, rest) = line.split_once(",span_id=\"")?;
        u64::from_str_radix(rest.get(..16)?, 16).ok()
    };
    lines.filter_map(id).collect()
}

fn span_ids(body: &[u8]) -> Vec<u64> {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return Vec::new();
    };
    let resources = request.resource_spans.into_iter();
    let scopes = resources.flat_map(|resource| resource.scope_spans);
    let spans = scopes.flat_map(|scope| scope.spans);
    spans
        .filter_map(|span| Some(u64::from_be_bytes(span.span_id.try_into().ok()?)))
        .collect()
}

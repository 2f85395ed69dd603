//! OTLP requests whose spans have ids of their own, and what was acknowledged of them.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the spans are called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// All alike.
    Alike,
    /// Each span has a name of its own.
    Distinct,
}

/// Which requests were acknowledged; a clone is the same.
#[derive(Clone)]
pub(crate) struct Oracle(Arc<Told>);

struct Told {
    per_request: u64,
    next: AtomicU64,
    acknowledged: Mutex<Vec<u64>>,
}

impl Oracle {
    fn ids(&self, request: u64) -> RangeInclusive<u64> {
        request * self.0.per_request + 1..=(request + 1) * self.0.per_request
    }

    /// The ids of every request that was acknowledged.
    pub(crate) fn acknowledged(&self, mut each: impl FnMut(RangeInclusive<u64>)) {
        for request in self.0.acknowledged.lock().unwrap().iter() {
            each(self.ids(*request));
        }
    }

    /// Spans that were acknowledged.
    pub(crate) fn spans(&self) -> u64 {
        self.0.acknowledged.lock().unwrap().len() as u64 * self.0.per_request
    }

    /// The greatest id that was sent.
    pub(crate) fn last_id(&self) -> u64 {
        self.0.next.load(Ordering::SeqCst) * self.0.per_request
    }
}

/// Sends, and keeps what was acknowledged.
#[derive(Clone)]
pub(crate) struct Load {
    /// What was acknowledged so far.
    pub(crate) oracle: Oracle,
    names: Names,
    client: reqwest::Client,
    refused: Arc<AtomicU64>,
}

impl Load {
    /// Requests of so many spans.
    pub(crate) fn new(per_request: u64) -> Self {
        let told = Told {
            per_request,
            next: AtomicU64::new(0),
            acknowledged: Mutex::default(),
        };
        let client = rabtrace::app::direct_http_client();
        Self {
            oracle: Oracle(Arc::new(told)),
            names: Names::Alike,
            client: client.unwrap(),
            refused: Arc::default(),
        }
    }

    /// The same with spans called so.
    pub(crate) fn with_names(self, names: Names) -> Self {
        Self { names, ..self }
    }

    /// Answers that told the sender to come again.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::SeqCst)
    }

    /// Sends one request; the status, or none without an answer.
    pub(crate) async fn send_one(&self, otlp: &str) -> Option<u16> {
        let request = self.oracle.0.next.fetch_add(1, Ordering::SeqCst);
        self.send(otlp, request).await
    }

    /// The body of the next request, which somebody else sends.
    pub(crate) fn next_body(&self) -> Vec<u8> {
        let request = self.oracle.0.next.fetch_add(1, Ordering::SeqCst);
        body(self.oracle.ids(request), self.names)
    }

    async fn send(&self, otlp: &str, request: u64) -> Option<u16> {
        let body = body(self.oracle.ids(request), self.names);
        let post = self
            .client
            .post(format!("{otlp}/v1/traces"))
            .header("content-type", "application/x-protobuf")
            .timeout(PATIENCE);
        let answer = post.body(body).send().await.ok()?;
        let status = answer.status().as_u16();
        match status {
            200 => self.oracle.0.acknowledged.lock().unwrap().push(request),
            _ => _ = self.refused.fetch_add(1, Ordering::SeqCst),
        }
        Some(status)
    }

    /// Sends on so many lanes until `stop`, at most `rate` spans a second, and what was refused
    /// again. A lane ends where nobody answers.
    pub(crate) async fn run(&self, otlp: &str, lanes: usize, rate: Option<u64>, stop: &AtomicBool) {
        let begun = Instant::now();
        let first = self.oracle.last_id();
        let lane = async || {
            while !stop.load(Ordering::SeqCst) {
                let request = self.oracle.0.next.fetch_add(1, Ordering::SeqCst);
                if let Some(rate) = rate {
                    let due = (*self.oracle.ids(request).start() - first) as f64 / rate as f64;
                    tokio::time::sleep_until((begun + Duration::from_secs_f64(due)).into()).await;
                }
                loop {
                    match self.send(otlp, request).await {
                        None => return,
                        Some(429 | 503) if !stop.load(Ordering::SeqCst) => {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                        Some(200 | 429 | 503) => break,
                        Some(status) => panic!("an answer of {status}"),
                    }
                }
            }
        };
        futures_util::future::join_all((0..lanes).map(|_| lane())).await;
    }

    /// The same for a while; spans that were acknowledged in a second.
    pub(crate) async fn run_for(
        &self,
        otlp: &str,
        lanes: usize,
        rate: Option<u64>,
        time: Duration,
    ) -> f64 {
        let (stop, before, begun) = (AtomicBool::new(false), self.oracle.spans(), Instant::now());
        let timer = async {
            tokio::time::sleep(time).await;
            stop.store(true, Ordering::SeqCst);
        };
        tokio::join!(self.run(otlp, lanes, rate, &stop), timer);
        (self.oracle.spans() - before) as f64 / begun.elapsed().as_secs_f64()
    }
}

/// An attribute.
pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

fn span(id: u64, names: Names) -> Span {
    let start = 4_000_000_000_000_000_000 + id * 1_000;
    Span {
        trace_id: (u128::from(id / 8) + 1).to_be_bytes().to_vec(),
        span_id: id.to_be_bytes().to_vec(),
        name: match names {
            Names::Alike => "process jobs".to_owned(),
            Names::Distinct => format!("process jobs {id}"),
        },
        kind: 5,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 5_000_000,
        attributes: vec![
            text("messaging.system", "rabbitmq"),
            text("messaging.operation.type", "process"),
            text("messaging.destination.name", "jobs"),
        ],
        ..Span::default()
    }
}

fn body(ids: RangeInclusive<u64>, names: Names) -> Vec<u8> {
    let scope = ScopeSpans {
        spans: ids.map(|id| span(id, names)).collect(),
        ..ScopeSpans::default()
    };
    let resource = Resource {
        attributes: vec![text("service.name", "worker")],
        ..Resource::default()
    };
    let resource_spans = vec![ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![scope],
        ..ResourceSpans::default()
    }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

//! OTLP with real peers: the Python SDK and grpcio send to the receiver, rotel (a collector in
//! Rust) and a second receiver take what the forwarder sends.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod exporter;
mod forward;
mod frames;
mod kept;
mod receive;
mod refuse;
mod room;

use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use rabtrace::metrics::Metrics;
use rabtrace::model::{Batch, Budget};
use rabtrace::receiver::{Intake, serve_grpc, serve_http};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::python;

/// Largest body that the receivers of these tests take.
const MAX_BODY: usize = 4 << 20;

/// A receiver on free ports, stopped when dropped.
struct Receiver {
    grpc: SocketAddr,
    http: SocketAddr,
    batches: mpsc::Receiver<Batch>,
    metrics: Metrics,
    budget: Budget,
    _stop: DropGuard,
}

impl Receiver {
    /// With `places` in its queue.
    async fn start(places: usize) -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap(), places).await
    }

    /// With both protocols' ports free, or gRPC on `grpc` if that names one.
    async fn start_on(grpc: SocketAddr, places: usize) -> Self {
        let (sender, batches) = mpsc::channel(places);
        let metrics = Metrics::new().unwrap();
        let budget = Budget::new(8 * MAX_BODY as u64);
        metrics.show_in_flight(&budget);
        let intake = Intake::new(sender, MAX_BODY, metrics.clone()).with_budget(budget.clone());
        let stop = CancellationToken::new();
        let grpc = TcpListener::bind(grpc).await.unwrap();
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            grpc: grpc.local_addr().unwrap(),
            http: http.local_addr().unwrap(),
            batches,
            metrics,
            budget,
            _stop: stop.clone().drop_guard(),
        };
        tokio::spawn(serve_grpc(grpc, intake.clone(), stop.clone()));
        tokio::spawn(serve_http(http, intake, stop));
        receiver
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }
}

/// An HTTP client; the process needs a TLS provider even for plain HTTP.
fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/real/otlp")
        .join(name)
}

/// A Python process of the tests' virtual environment that runs one of the scripts here.
fn run_python(name: &str) -> Command {
    let mut command = Command::new(python());
    command.arg(script(name)).kill_on_drop(true);
    command
}

/// What a process printed; panics if it failed.
async fn output(mut command: Command) -> String {
    let output = command.output().await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// A request with spans of these ids, and a name of `padding` bytes.
fn request(ids: &[u64], padding: usize) -> Bytes {
    let span = |id: &u64| Span {
        trace_id: vec![7; 16],
        span_id: id.to_be_bytes().to_vec(),
        name: "n".repeat(padding),
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_000_000_500,
        ..Span::default()
    };
    let scope = ScopeSpans {
        spans: ids.iter().map(span).collect(),
        ..ScopeSpans::default()
    };
    let resource = ResourceSpans {
        resource: Some(Resource::default()),
        scope_spans: vec![scope],
        ..ResourceSpans::default()
    };
    let resource_spans = vec![resource];
    ExportTraceServiceRequest { resource_spans }
        .encode_to_vec()
        .into()
}

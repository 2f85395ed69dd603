//! An upstream that takes OTLP over HTTP and remembers the spans, or hangs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

/// What it took: how often each span, by its id.
#[derive(Clone, Default)]
pub(crate) struct Upstream {
    spans: Arc<Mutex<HashMap<Vec<u8>, u64>>>,
    hangs: Arc<AtomicBool>,
    /// The header `x-key` of the newest request.
    pub(crate) key: Arc<Mutex<String>>,
}

impl Upstream {
    /// Starts one: its address.
    pub(crate) async fn start(&self) -> String {
        let router = Router::new()
            .route("/v1/traces", post(take))
            .route("/v1/metrics", post(async || ""))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    pub(crate) fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::SeqCst);
    }

    /// Spans by their ids, and how many of them came more than once.
    pub(crate) fn taken(&self) -> (usize, usize) {
        let spans = self.spans.lock().unwrap();
        (
            spans.len(),
            spans.values().filter(|times| **times > 1).count(),
        )
    }
}

async fn take(State(upstream): State<Upstream>, headers: HeaderMap, body: Bytes) -> &'static str {
    if upstream.hangs.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*body), &mut plain).unwrap();
    let request = ExportTraceServiceRequest::decode(&*plain).unwrap();
    let key = headers
        .get("x-key")
        .map(|key| key.to_str().unwrap().to_owned());
    *upstream.key.lock().unwrap() = key.unwrap_or_default();
    let mut spans = upstream.spans.lock().unwrap();
    for resource in request.resource_spans {
        for span in resource
            .scope_spans
            .into_iter()
            .flat_map(|scope| scope.spans)
        {
            *spans.entry(span.span_id).or_default() += 1;
        }
    }
    ""
}

//! Servers that fail, and what the exporter makes of it.

use std::io::Read;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::SpanExporter;
use prost::Message;
use rabtrace_otlp::{Compression, RetryPolicy};

use crate::server::{Reply, Server};
use crate::{builder_to, export, span};

fn quick() -> RetryPolicy {
    RetryPolicy::default()
        .with_initial_delay(Duration::from_millis(1))
        .with_max_jitter(Duration::ZERO)
}

#[test]
fn a_batch_arrives_with_its_headers() {
    let server = Server::start(vec![]);
    let headers = [("x-key".to_owned(), "secret".to_owned())];
    let exporter = builder_to(&server)
        .with_headers(headers.into())
        .build()
        .unwrap();
    export(&exporter, vec![span("one"), span("two")]).unwrap();
    let request = server.request();
    assert_eq!(request.path, "/v1/traces");
    assert_eq!(
        request.header("content-type"),
        Some("application/x-protobuf")
    );
    assert_eq!(request.header("content-encoding"), None);
    assert_eq!(request.header("x-key"), Some("secret"));
    assert!(
        request
            .header("user-agent")
            .unwrap()
            .starts_with("rabtrace-otlp/")
    );
    assert_eq!(request.span_names(), ["one", "two"]);
    assert_eq!(exporter.statistics().exported(), 2);
    assert!(!format!("{exporter:?}").contains("secret"));
    assert!(format!("{exporter:?}").contains("x-key"));
}

#[test]
fn an_empty_batch_is_not_sent() {
    let server = Server::start(vec![]);
    let exporter = builder_to(&server).build().unwrap();
    export(&exporter, vec![]).unwrap();
    export(&exporter, vec![span("one")]).unwrap();
    assert_eq!(server.request().span_names(), ["one"]);
}

#[test]
fn gzip_is_undone_by_its_reader() {
    let server = Server::start(vec![]);
    let exporter = builder_to(&server)
        .with_compression(Compression::Gzip)
        .build()
        .unwrap();
    for name in ["one", "two"] {
        export(&exporter, vec![span(name); 100]).unwrap();
        let mut request = server.request();
        assert_eq!(request.header("content-encoding"), Some("gzip"));
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(request.body.as_slice())
            .read_to_end(&mut plain)
            .unwrap();
        assert!(plain.len() > 5 * request.body.len());
        request.body = plain;
        assert_eq!(request.span_names(), vec![name; 100]);
    }
}

#[test]
fn what_may_pass_is_sent_again() {
    let mut script: Vec<Reply> = [429, 502, 503, 504].map(Reply::status).into();
    script.push(Reply::HangUp);
    let server = Server::start(script);
    let exporter = builder_to(&server)
        .with_retry_policy(quick())
        .build()
        .unwrap();
    export(&exporter, vec![span("one")]).unwrap();
    let requests: Vec<_> = (0..6).map(|_| server.request()).collect();
    assert!(requests.iter().all(|one| one.body == requests[0].body));
    assert!(server.rest().is_empty());
    let statistics = exporter.statistics();
    assert_eq!((statistics.exported(), statistics.retries()), (1, 5));
    assert_eq!(statistics.failed(), 0);
}

#[test]
fn what_does_not_pass_is_not_sent_again() {
    for status in [301, 400, 401, 404, 413, 500, 501] {
        let moved: &[&str] = &["location: http://127.0.0.1:1/elsewhere"];
        let server = Server::start(vec![Reply::Answer(status, moved, Vec::new())]);
        let exporter = builder_to(&server).build().unwrap();
        let error = export(&exporter, vec![span("one"); 3])
            .unwrap_err()
            .to_string();
        assert!(error.contains(&format!("status {status}")), "{error}");
        assert!(error.contains(&server.url()), "{error}");
        server.request();
        assert!(server.rest().is_empty());
        assert_eq!(exporter.statistics().failed(), 3);
    }
}

#[test]
fn a_server_that_asks_for_time_gets_it() {
    let asks: &[&str] = &["retry-after: 1"];
    let server = Server::start(vec![Reply::Answer(503, asks, Vec::new())]);
    let exporter = builder_to(&server)
        .with_retry_policy(quick())
        .build()
        .unwrap();
    export(&exporter, vec![span("one")]).unwrap();
    let (first, second) = (server.request(), server.request());
    assert!(second.at - first.at >= Duration::from_secs(1));
}

#[test]
fn more_time_than_there_is_ends_at_once() {
    let asks: &[&str] = &["retry-after: 3600"];
    let server = Server::start(vec![Reply::Answer(429, asks, Vec::new())]);
    let exporter = builder_to(&server).build().unwrap();
    let start = Instant::now();
    export(&exporter, vec![span("one")]).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(9));
    assert_eq!(exporter.statistics().retries(), 0);
}

#[test]
fn a_silent_server_costs_the_timeout() {
    let (_keep, end) = channel();
    let server = Server::start(vec![Reply::Silence(end)]);
    let timeout = Duration::from_millis(300);
    let exporter = builder_to(&server).with_timeout(timeout).build().unwrap();
    let start = Instant::now();
    let error = export(&exporter, vec![span("one")])
        .unwrap_err()
        .to_string();
    let took = start.elapsed();
    assert!(took >= timeout && took < Duration::from_secs(5), "{took:?}");
    assert!(error.contains("timeout"), "{error}");
    assert_eq!(exporter.statistics().failed(), 1);
}

#[test]
fn a_port_where_nobody_listens_is_tried_until_the_timeout() {
    let exporter = rabtrace_otlp::Exporter::builder()
        .with_endpoint("http://user:hunter2@127.0.0.1:1/v1/traces")
        .with_timeout(Duration::from_millis(500))
        .with_retry_policy(quick())
        .build()
        .unwrap();
    let error = export(&exporter, vec![span("one")])
        .unwrap_err()
        .to_string();
    assert!(error.contains("127.0.0.1:1"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    assert!(exporter.statistics().retries() > 0);
}

#[test]
fn a_partial_success_is_counted_and_not_sent_again() {
    let partial_success = Some(ExportTracePartialSuccess {
        rejected_spans: 2,
        error_message: "two are too old".into(),
    });
    let body = ExportTraceServiceResponse { partial_success }.encode_to_vec();
    let server = Server::start(vec![Reply::Answer(200, &[], body)]);
    let exporter = builder_to(&server).build().unwrap();
    export(&exporter, vec![span("one"); 5]).unwrap();
    server.request();
    assert!(server.rest().is_empty());
    let statistics = exporter.statistics();
    assert_eq!((statistics.exported(), statistics.rejected()), (3, 2));
}

#[test]
fn a_request_that_is_too_large_is_not_sent() {
    let server = Server::start(vec![]);
    let exporter = builder_to(&server)
        .with_max_request_body_size(100)
        .build()
        .unwrap();
    let error = export(&exporter, vec![span("one"); 9])
        .unwrap_err()
        .to_string();
    assert!(error.contains("may have 100"), "{error}");
    export(&exporter, vec![span("one")]).unwrap();
    assert_eq!(server.request().span_names().len(), 1);
}

#[test]
fn a_shutdown_ends_the_wait_and_the_exporter() {
    let asks: &[&str] = &["retry-after: 60"];
    let server = Server::start(vec![Reply::Answer(503, asks, Vec::new())]);
    let exporter = builder_to(&server).with_timeout(Duration::from_secs(120));
    let exporter = Arc::new(exporter.build().unwrap());
    let (sender, waits) = channel();
    let waiting = {
        let exporter = Arc::clone(&exporter);
        let log = Log(Arc::new(Witness {
            waits: Some(sender),
            ..Witness::default()
        }));
        let work = move || export(&exporter, vec![span("one")]);
        std::thread::spawn(move || tracing::subscriber::with_default(log, work))
    };
    server.request();
    waits.recv_timeout(Duration::from_secs(30)).unwrap();
    let start = Instant::now();
    exporter.shutdown().unwrap();
    waiting.join().unwrap().unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(30));
    let after = export(&exporter, vec![span("two")]);
    assert!(matches!(after, Err(OTelSdkError::AlreadyShutdown)));
    assert!(matches!(
        exporter.shutdown(),
        Err(OTelSdkError::AlreadyShutdown)
    ));
    assert_eq!(exporter.statistics().failed(), 2);
}

/// Notes, for every event of this crate, whether telemetry was suppressed; keeps their text, and says
/// when a wait begins.
#[derive(Default)]
struct Witness {
    waits: Option<Sender<()>>,
    suppressed: AtomicU8,
    text: Mutex<String>,
}

struct Log(Arc<Witness>);

impl tracing::field::Visit for Log {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let mut text = self.0.text.lock().unwrap();
        *text += &format!("{field}={value:?} ");
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("rabtrace_otlp")
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let suppressed = opentelemetry::Context::is_current_telemetry_suppressed();
        let mark = if suppressed { 1 } else { 2 };
        self.0.suppressed.fetch_or(mark, Ordering::AcqRel);
        event.record(&mut Log(Arc::clone(&self.0)));
        let text = self.0.text.lock().unwrap();
        if let Some(waits) = &self.0.waits
            && text.contains("waits for its next attempt")
        {
            let _ = waits.send(());
        }
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn losses_are_told_once_and_with_telemetry_suppressed() {
    let script = [400, 400, 200, 400].map(Reply::status).into();
    let server = Server::start(script);
    let exporter = builder_to(&server).build().unwrap();
    let witness = Arc::new(Witness::default());
    tracing::subscriber::with_default(Log(Arc::clone(&witness)), || {
        for _ in 0..4 {
            let _ = export(&exporter, vec![span("one")]);
        }
    });
    assert_eq!(witness.suppressed.load(Ordering::Acquire), 1);
    assert!(!opentelemetry::Context::is_current_telemetry_suppressed());
    let text = witness.text.lock().unwrap();
    assert_eq!(text.matches("spans are lost").count(), 2, "{text}");
    assert_eq!(text.matches("exported again").count(), 1, "{text}");
}

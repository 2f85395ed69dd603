//! OTLP into the agent: 512 spans as a library sends them, into the agent's own; the steps of what is
//! left to prost; the intake; and HTTP on loopback.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, span::SpanKind};
use prost::Message;
use rabtrace::metrics::Metrics;
use rabtrace::model::{Batch, Signal};
use rabtrace::receiver::{Encoding, Intake, scan, serve_http, spans, spans_of_bytes};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const SPANS: u64 = 512;
const MAX_BODY: usize = 16 << 20;

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn span(index: u64) -> Span {
    Span {
        trace_id: (u128::from(index) + 1).to_be_bytes().to_vec(),
        span_id: (index + 1).to_be_bytes().to_vec(),
        parent_span_id: (index + 2).to_be_bytes().to_vec(),
        name: "publish planner_queue".to_owned(),
        kind: SpanKind::Producer as i32,
        start_time_unix_nano: 1_700_000_000_000_000_000 + index,
        end_time_unix_nano: 1_700_000_000_000_500_000 + index,
        attributes: vec![
            text("messaging.system", "rabbitmq"),
            text("messaging.operation.name", "publish"),
            text("messaging.operation.type", "send"),
            text("messaging.destination.name", "planner_queue"),
            text("messaging.message.id", &format!("message-{index}")),
            text("server.address", "rabbit"),
            attribute("server.port", Value::IntValue(5672)),
            attribute("messaging.message.body.size", Value::IntValue(512)),
        ],
        ..Span::default()
    }
}

fn body() -> Bytes {
    let scope = ScopeSpans {
        spans: (0..SPANS).map(span).collect(),
        ..ScopeSpans::default()
    };
    let resource = ResourceSpans {
        resource: Some(Resource {
            attributes: vec![text("service.name", "gateway"), text("host.name", "host")],
            ..Resource::default()
        }),
        scope_spans: vec![scope],
        ..ResourceSpans::default()
    };
    let resource_spans = vec![resource];
    ExportTraceServiceRequest { resource_spans }
        .encode_to_vec()
        .into()
}

/// An intake whose batches go nowhere.
fn intake(runtime: &tokio::runtime::Runtime) -> Option<Intake> {
    let (sender, mut batches) = mpsc::channel::<Batch>(1_024);
    runtime.spawn(async move { while batches.recv().await.is_some() {} });
    Some(Intake::new(sender, MAX_BODY, Metrics::new().ok()?))
}

fn steps(criterion: &mut Criterion) {
    let body = body();
    let mut group = criterion.benchmark_group("otlp_ingest");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("scan", |bencher| {
        bencher.iter(|| scan(Signal::Traces, black_box(&body), u64::MAX));
    });
    group.throughput(Throughput::Elements(SPANS));
    group.bench_function("read", |bencher| {
        bencher.iter(|| spans_of_bytes(black_box(&body), u64::MAX));
    });
    group.bench_function("prost_decode", |bencher| {
        bencher.iter(|| ExportTraceServiceRequest::decode(black_box(body.clone())));
    });
    group.bench_function("to_model", |bencher| {
        let decode = || ExportTraceServiceRequest::decode(body.clone()).unwrap_or_default();
        bencher.iter_batched(decode, spans, BatchSize::SmallInput);
    });
    group.finish();
}

fn whole(criterion: &mut Criterion) {
    let body = body();
    let Ok(runtime) = tokio::runtime::Runtime::new() else {
        return;
    };
    let mut group = criterion.benchmark_group("otlp_ingest");
    group.throughput(Throughput::Elements(SPANS));
    let Some(direct) = intake(&runtime) else {
        return;
    };
    group.bench_function("intake", |bencher| {
        bencher.iter(|| {
            runtime.block_on(direct.accept(Signal::Traces, Encoding::Protobuf, body.clone()))
        });
    });
    let Some(served) = intake(&runtime) else {
        return;
    };
    let Ok(listener) = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")) else {
        return;
    };
    let Ok(address) = listener.local_addr() else {
        return;
    };
    let stop = CancellationToken::new();
    runtime.spawn(serve_http(listener, served, stop.clone()));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    let url = format!("http://{address}/v1/traces");
    group.bench_function("http_loopback", |bencher| {
        bencher.iter(|| {
            let request = client
                .post(&url)
                .header("content-type", "application/x-protobuf")
                .body(body.clone());
            runtime.block_on(async { request.send().await.map(|answer| answer.status()) })
        });
    });
    group.finish();
    stop.cancel();
}

criterion_group!(benches, steps, whole);
criterion_main!(benches);

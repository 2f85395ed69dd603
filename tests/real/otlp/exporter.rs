//! The receiver takes what the exporter of `rabtrace-otlp` sends, plain and compressed.

use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, SpanKind, Tracer, TracerProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use rabtrace_otlp::{BatchProcessor, Compression, Exporter};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takes_what_the_exporter_by_hand_sends() {
    let mut receiver = super::Receiver::start(4).await;
    for compression in [None, Some(Compression::Gzip)] {
        let mut builder = Exporter::builder().with_endpoint(receiver.url("/v1/traces"));
        if let Some(compression) = compression {
            builder = builder.with_compression(compression);
        }
        let exporter = builder.build().unwrap();
        let statistics = exporter.statistics();
        tokio::task::spawn_blocking(move || send(exporter))
            .await
            .unwrap();
        assert_eq!((statistics.exported(), statistics.failed()), (1, 0));
        let batch = receiver.batches.recv().await.unwrap();
        let text = format!("{batch:?}");
        for part in [
            "publish planner_queue",
            "gateway",
            "planner_queue",
            "rabbitmq",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
    }
}

fn send(exporter: Exporter) {
    let provider = SdkTracerProvider::builder()
        .with_resource(Resource::builder().with_service_name("gateway").build())
        .with_span_processor(BatchProcessor::new(exporter))
        .build();
    let mut span = provider
        .tracer("test")
        .span_builder("publish planner_queue")
        .with_kind(SpanKind::Producer)
        .with_attributes([
            KeyValue::new("messaging.system", "rabbitmq"),
            KeyValue::new("messaging.operation.type", "send"),
            KeyValue::new("messaging.destination.name", "planner_queue"),
        ])
        .start(&provider.tracer("test"));
    span.end();
    provider.shutdown().unwrap();
}

//! The exporter behind the SDK's batch processor: what ends arrives, or shows as lost.

use std::sync::mpsc::channel;
use std::time::Duration;

use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, SdkTracerProvider};
use rabtrace_otlp::{BatchProcessor, RetryPolicy};

use crate::builder_to;
use crate::server::{Reply, Server};

fn provider(processor: BatchProcessor) -> SdkTracerProvider {
    SdkTracerProvider::builder()
        .with_resource(Resource::builder().with_service_name("planner").build())
        .with_span_processor(processor)
        .build()
}

#[test]
fn as_many_as_the_recommended_queue_holds_arrive() {
    const SPANS: u64 = 60_000;
    let server = Server::start(vec![]);
    let exporter = builder_to(&server).build().unwrap();
    let statistics = exporter.statistics();
    let provider = provider(BatchProcessor::new(exporter));
    let tracer = provider.tracer("test");
    for _ in 0..SPANS {
        tracer.in_span("work", |_| {});
    }
    provider
        .shutdown_with_timeout(Duration::from_secs(60))
        .unwrap();
    assert_eq!(statistics.ended(), SPANS);
    assert_eq!(statistics.exported(), SPANS);
    assert_eq!(statistics.outstanding(), 0);
    let requests = server.rest();
    let arrived: usize = requests.iter().map(|one| one.span_names().len()).sum();
    assert_eq!(arrived as u64, SPANS);
    assert!(requests.iter().all(|one| one.span_names().len() <= 2_048));
    let resource = b"service.name";
    let named = |body: &[u8]| body.windows(resource.len()).any(|part| part == resource);
    assert!(requests.iter().all(|one| named(&one.body)));
}

#[test]
fn drops_of_the_queue_show() {
    let (release, end) = channel();
    let server = Server::start(vec![Reply::Silence(end)]);
    let soon = RetryPolicy::default().with_initial_delay(Duration::from_millis(1));
    let exporter = builder_to(&server).with_retry_policy(soon).build().unwrap();
    let statistics = exporter.statistics();
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(8)
        .with_max_export_batch_size(8)
        .with_scheduled_delay(Duration::from_secs(600))
        .build();
    let provider = provider(BatchProcessor::with_config(exporter, config));
    let tracer = provider.tracer("test");
    let work = |count| (0..count).for_each(|_| tracer.in_span("work", |_| {}));
    work(8);
    // The first batch is under way: eight more have a place, the others none.
    server.request();
    work(100);
    assert_eq!(statistics.outstanding(), 108);
    drop(release);
    provider.force_flush().unwrap();
    assert_eq!(statistics.exported(), 16);
    assert_eq!(statistics.outstanding(), 92);
    provider.shutdown().unwrap();
}

//! Applications that trace with `tracing` and tracing-opentelemetry.

use opentelemetry::Context;
use opentelemetry::trace::TracerProvider;
use tracing_subscriber::layer::SubscriberExt;

use super::Service;

#[test]
fn a_publish_inside_a_tracing_span_is_its_child() {
    let service = Service::new("gateway");
    let tracer = service.provider.tracer("application");
    let layer = tracing_opentelemetry::layer().with_tracer(tracer);
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        tracing::info_span!("request").in_scope(|| {
            service.publish(("", "tasks"), &Context::current());
        });
    });
    let spans = service.spans();
    let [publish, request] = spans.as_slice() else {
        panic!("{spans:?}");
    };
    assert_eq!(request.name, "request");
    assert_eq!(publish.parent_span_id, request.span_context.span_id());
    assert_eq!(
        publish.span_context.trace_id(),
        request.span_context.trace_id()
    );
}

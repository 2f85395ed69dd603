//! One trace, one path and one baggage from Rust through Python and Node.js to Rust.

use opentelemetry::trace::FutureExt;
use rabtrace_lapin::lapin::options::BasicAckOptions;
use rabtrace_lapin::lapin::types::FieldTable;
use rabtrace_lapin::path::{Direction, Step, checkpoint};

use super::peer::Peer;
use super::request;
use crate::lapin::service::{Service, attribute, broker, next};

#[tokio::test]
async fn one_trace_from_rust_through_python_and_node_to_rust() {
    let broker = broker().await;
    let gateway = Service::confirming(&broker, "gateway").await;
    for queue in ["first", "second", "third"] {
        gateway.queue(queue, FieldTable::default()).await;
    }
    let publish = gateway
        .publish("", "first")
        .with_context(request::context());
    publish.await.unwrap().await.unwrap();
    let publish = gateway.take_one();
    let python = ["consume", "first", "1", "second"];
    let python = Peer::Pika.run(&broker, &python).await;
    let node = ["consume", "second", "1", "third"];
    let node = Peer::Amqplib.run(&broker, &node).await;
    let archive = Service::connect(&broker, "archive").await;
    let mut consumer = archive.consume("third").await;
    let delivery = next(&mut consumer).await;
    let context = delivery.context();
    delivery.ack(BasicAckOptions::default()).await.unwrap();
    let spans = archive.take();
    let [_ack, process] = spans.as_slice() else {
        panic!("{spans:#?}");
    };

    // Each program's outermost span continues what the one before sent.
    let mut last = publish.span_context.span_id().to_string();
    for report in [&python, &node] {
        let sent = report.innermost();
        let handled = report.outermost(sent);
        assert_eq!((&*handled.kind, &*sent.kind), ("consumer", "producer"));
        assert_eq!(handled.parent.as_ref(), Some(&last), "{report:#?}");
        assert_eq!(
            (&*handled.trace, &*sent.trace),
            (request::TRACE, request::TRACE)
        );
        last.clone_from(&sent.span);
    }
    assert_eq!(process.parent_span_id.to_string(), last);
    assert_eq!(process.span_context.trace_id().to_string(), request::TRACE);

    // The others hand on the path that the first hop wrote, unchanged.
    let written = &python.message().headers["tracestate"];
    assert_eq!(&node.message().headers["tracestate"], written);
    let first = request::path(written);
    let path = request::path_of(&delivery);
    // As the path's own rules have it: continued from the beginning's hash.
    let step = Step::new("archive", Direction::In, "third");
    let expect = checkpoint(Some(&first), &step, path.last_us());
    assert_eq!(path, expect.context);
    let text = |name: &str| attribute(process, name);
    assert_eq!(text("rabtrace.path.hash"), request::hash(&path));
    let beginning = attribute(&publish, "rabtrace.path.hash");
    assert_eq!(beginning, request::hash(&first));
    assert_eq!(text("rabtrace.path.parent"), beginning);
    let seconds: f64 = text("rabtrace.path.duration").unwrap().parse().unwrap();
    assert!(seconds > 0.0, "{seconds}");

    assert_eq!(python.message().baggage, request::whole_baggage());
    let behind_python = request::baggage_behind(Peer::Pika);
    assert_eq!(node.message().baggage, behind_python);
    assert_eq!(request::read(&context), behind_python);
}

//! One program text on lapin and on the traced channel: it sees the same, and only one leaves spans.

use std::time::Duration;

use lapin::{Connection, ConnectionProperties};
use tokio::time::timeout;

use super::service::{Service, attribute, broker};

#[path = "../../../crates/rabtrace-lapin/tests/support/program.rs"]
#[macro_use]
mod program;

program!(on_lapin, lapin);
program!(on_traced, rabtrace_lapin::traced);

const PATIENCE: Duration = Duration::from_secs(40);

/// What the program does to messages, by its text: publishes, and deliveries that it was handed.
const PUBLISHES: usize = 23;
const DELIVERIES: usize = 18;

#[tokio::test]
async fn a_program_sees_the_same_with_and_without_tracing() {
    let broker = broker().await;
    let (url, options) = (broker.amqp_url(), ConnectionProperties::default());
    let raw = Connection::connect(&url, options).await.unwrap();
    let expect = Box::pin(timeout(PATIENCE, on_lapin::run(&raw, "raw")));
    let expect = expect.await.expect("lapin hangs").unwrap();
    assert!(expect.len() > 25, "{expect:#?}");

    let service = Service::connect(&broker, "program").await;
    let seen = Box::pin(timeout(
        PATIENCE,
        on_traced::run(&service.connection, "traced"),
    ));
    assert_eq!(
        seen.await.expect("only the traced one hangs").unwrap(),
        expect
    );

    let spans = service.take();
    let count = |operation: &str| {
        let named =
            |span: &&_| attribute(span, "messaging.operation.name").as_deref() == Some(operation);
        spans.iter().filter(named).count()
    };
    assert_eq!(
        (count("publish"), count("process")),
        (PUBLISHES, DELIVERIES)
    );
}

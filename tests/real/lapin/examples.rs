//! lapin's own examples and tests run with the traced channel in lapin's place.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures_util::StreamExt;
use rabtrace::demo::broker::Broker;

use super::service::{Service, broker};
use crate::support::{Process, eventually, output};

#[path = "../../../crates/rabtrace-lapin/tests/support/package.rs"]
mod package;

use package::Package;

const PATIENCE: Duration = Duration::from_secs(30);

/// The queue that most examples use; it is the broker's, so that it is kept between them.
const QUEUE: &str = "hello";

/// lapin's examples add to the virtual host's name.
fn address(broker: &Broker) -> String {
    format!("{}/%2f", broker.amqp_url())
}

fn example(package: &Package, broker: &Broker, name: &str) -> Command {
    let mut command = Command::new(package.program(name));
    command.env("AMQP_ADDR", address(broker));
    command.env("RUST_LOG", "info").env("NO_COLOR", "1");
    command
}

/// How often a line of the example's output has `text` in it.
fn lines(log: &Path, text: &str) -> usize {
    let written = std::fs::read_to_string(log).unwrap();
    assert!(!written.contains("panicked"), "{written}");
    written.lines().filter(|line| line.contains(text)).count()
}

#[tokio::test]
async fn lapins_examples_run() {
    let package = Package::lay_out(env!("CARGO_TARGET_TMPDIR"));
    package.build(&["--bins"]);
    let broker = broker().await;
    let service = Service::confirming(&broker, "peer").await;
    publisher_confirms(&package, &broker);
    consumer(&package, &broker, &service).await;
    pubsub(&package, &broker, &service).await;
}

/// Publishes, waits for confirms, and gets an unroutable message back as it was.
fn publisher_confirms(package: &Package, broker: &Broker) {
    let (code, out, err) = output(&mut example(package, broker, "publisher_confirms"));
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("Enabled publisher-confirms"), "{out}");
}

/// Runs for ever: it takes what it is sent and acknowledges it.
async fn consumer(package: &Package, broker: &Broker, service: &Service) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("consumer.log");
    let mut example = Process::start(&mut example(package, broker, "consumer"), &log);
    eventually("the example's consumer", PATIENCE, || async {
        (lines(&log, "will consume") > 0).then_some(())
    })
    .await;
    let before = lines(&log, "received message");
    for _ in 0..3 {
        let confirm = service.publish("", QUEUE).await.unwrap();
        assert!(confirm.await.unwrap().is_ack());
    }
    eventually("three messages", PATIENCE, || async {
        (lines(&log, "received message") >= before + 3).then_some(())
    })
    .await;
    // Acknowledged is what does not come back when the consumer goes.
    eventually("three acknowledgements", PATIENCE, || async {
        let queues = broker.rabbitmqctl(&["-q", "list_queues", "name", "messages"]);
        let queues = queues.await.unwrap();
        let empty = |line: &str| line.split_whitespace().eq([QUEUE, "0"]);
        queues.lines().any(empty).then_some(())
    })
    .await;
    assert_eq!(example.stop(), None, "it ended by the signal");
}

/// Publishes a million and a half messages: a consumer beside its own takes its share of them.
async fn pubsub(package: &Package, broker: &Broker, service: &Service) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("pubsub.log");
    let mut example = Process::start(&mut example(package, broker, "pubsub"), &log);
    let mut consumer = service.consume(QUEUE).await;
    for _ in 0..500 {
        let delivery = tokio::time::timeout(PATIENCE, consumer.next());
        let delivery = delivery.await.expect("no message").unwrap().unwrap();
        assert_eq!(delivery.data, b"Hello world!");
        assert!(delivery.ack(Default::default()).await.unwrap());
    }
    assert_eq!(lines(&log, "will consume"), 1);
    assert_eq!(example.stop(), None, "it ended by the signal");
}

/// What two of lapin's tests say when a thousand acknowledgements were through before the broker
/// closed the channel: then there was no race to look at, and they are run again.
const NO_RACE: &str = "the close never cut into the acks";

/// Whether tests failed for want of a race, and for nothing else.
fn missed_the_race(out: &str) -> bool {
    let missed = out.matches(NO_RACE).count();
    missed > 0 && out.matches(" panicked at ").count() == missed
}

/// lapin's tests that need a broker, from their own text.
#[tokio::test]
async fn lapins_tests_pass() {
    let package = Package::lay_out(env!("CARGO_TARGET_TMPDIR"));
    package.build(&["--tests"]);
    let broker = broker().await;
    let run = |which: &[&str]| {
        let mut tests = package.command("test");
        tests.args(["--offline", "--no-fail-fast"]).args(which);
        tests.env("AMQP_ADDR", address(&broker));
        output(tests.env("NO_COLOR", "1"))
    };
    let (mut code, mut out, mut err) = run(&["--tests"]);
    let mut last = out.clone();
    for _ in 0..10 {
        if !missed_the_race(&last) {
            break;
        }
        (code, last, err) = run(&["--test", "ack_after_close"]);
        out.push_str(&last);
    }
    assert_eq!(code, 0, "{out}{err}");
    let passed = out
        .lines()
        .filter(|line| line.starts_with("test ") && line.ends_with("... ok"));
    assert!(passed.count() >= package.tests.len(), "{out}");
}

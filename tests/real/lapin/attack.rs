//! Headers nested 2,000 deep: what they do to lapin, and what they do behind the guard.

mod raw;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use futures_util::StreamExt;
use rabtrace::demo::broker::{Broker, Options};
use rabtrace_lapin::guard;
use rabtrace_lapin::lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, QueueDeclareOptions,
};
use rabtrace_lapin::lapin::tcp::OwnedTLSConfig;
use rabtrace_lapin::lapin::types::{AMQPValue, FieldArray, FieldTable};
use rabtrace_lapin::lapin::{BasicProperties, Connection, ConnectionProperties};

use super::service::{Service, attribute, broker, next};
use crate::support::eventually;
use raw::{CERTIFICATE, Client, Server, deep_table};

const LEVELS: usize = 2_000;
const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN_ID: &str = "b7ad6b7169203331";
/// The child's work, if this process is one: the URL of the broker that attacks it.
const VICTIM: &str = "RABTRACE_TEST_VICTIM";
const SIGABRT: i32 = 6;
const OVERFLOW: &str = "has overflowed its stack";

fn traceparent() -> String {
    format!("00-{TRACE_ID}-{SPAN_ID}-01")
}

/// Runs `test` of this binary again, in a process that may die, of 32 GiB of addresses at most.
fn victim(test: &str, url: &str, environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new("sh");
    let limited = r#"ulimit -v 33554432 && exec "$@""#;
    command
        .args(["-c", limited, "sh"])
        .arg(std::env::current_exe().unwrap());
    let test = format!("lapin::attack::{test}");
    command.args(["--exact", &test, "--nocapture"]);
    command.env_remove("RUST_MIN_STACK").env(VICTIM, url);
    let command = command.envs(environment.iter().copied());
    command.stdin(Stdio::null()).output().unwrap()
}

fn assert_aborted(victim: &Output, why: &str) {
    let said = String::from_utf8_lossy(&victim.stderr);
    assert_eq!(victim.status.signal(), Some(SIGABRT), "{said}");
    assert!(said.contains(why), "{said}");
}

async fn messages_in(service: &Service, queue: &str) -> u32 {
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let arguments = FieldTable::default();
    let declared = service
        .channel
        .queue_declare(queue.into(), options, arguments);
    declared.await.unwrap().message_count()
}

async fn wait_for_messages_in(service: &Service, queue: &str, count: u32) {
    let probe = async || (messages_in(service, queue).await == count).then_some(());
    eventually(
        "the messages are in the queue",
        Duration::from_secs(20),
        probe,
    )
    .await;
}

/// A consumer of lapin's own, as anybody would write it.
async fn consume_one(connection: Connection) {
    let channel = connection.create_channel().await.unwrap();
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = channel.basic_consume("poisoned".into(), "".into(), options, arguments);
    let delivery = consumer.await.unwrap().next().await.unwrap().unwrap();
    assert_eq!(delivery.data, b"poison");
}

#[tokio::test]
async fn a_deep_message_aborts_lapin_and_passes_the_guard() {
    if let Ok(url) = std::env::var(VICTIM) {
        let properties = ConnectionProperties::default();
        return consume_one(Connection::connect(&url, properties).await.unwrap()).await;
    }
    let broker = broker().await;
    let service = Service::connect(&broker, "planner").await;
    service.queue("poisoned", FieldTable::default()).await;
    let url = broker.amqp_url();
    let address = url.rsplit(['/', '@']).next().unwrap().to_owned();
    let publish = move || {
        let mut client = Client::connect(&address);
        client.publish("poisoned", &deep_table(LEVELS, &traceparent()), b"poison");
        client.publish("poisoned", &deep_table(3, &traceparent()), b"ordinary");
    };
    tokio::task::spawn_blocking(publish).await.unwrap();

    let this = "a_deep_message_aborts_lapin_and_passes_the_guard";
    assert_aborted(&victim(this, &url, &[]), OVERFLOW);
    // The broker has requeued it, so that it kills whoever comes next.
    wait_for_messages_in(&service, "poisoned", 2).await;
    assert_aborted(&victim(this, &url, &[]), OVERFLOW);
    wait_for_messages_in(&service, "poisoned", 2).await;
    let survivor = victim(this, &url, &[("RUST_MIN_STACK", "67108864")]);
    assert!(survivor.status.success(), "{survivor:?}");
    wait_for_messages_in(&service, "poisoned", 2).await;

    behind_the_guard(&service).await;
    service.connection.close(200, "".into()).await.unwrap();
}

async fn behind_the_guard(service: &Service) {
    let mut consumer = service.consume("poisoned").await;
    let poison = next(&mut consumer).await;
    assert_eq!(
        (&poison.data[..], poison.redelivered),
        (&b"poison"[..], true)
    );
    let headers = poison.properties.headers().clone().unwrap();
    let depth = guard::DEFAULT_MAX_DEPTH;
    assert_eq!(levels(&headers), (depth, true));
    assert_eq!(service.connection.guard().unwrap().neutralised(), 1);
    poison.ack(BasicAckOptions::default()).await.unwrap();
    let ordinary = next(&mut consumer).await;
    assert_eq!(ordinary.data, b"ordinary");
    let headers = ordinary.properties.headers().clone().unwrap();
    assert_eq!(levels(&headers), (3, false));
    ordinary.ack(BasicAckOptions::default()).await.unwrap();
    drop((poison, ordinary));
    let processed = service.take();
    let processed = processed
        .iter()
        .filter(|span| span.name == "process poisoned");
    let processed: Vec<_> = processed.collect();
    assert_eq!(processed.len(), 2);
    for span in processed {
        assert_eq!(span.span_context.trace_id().to_string(), TRACE_ID);
        assert_eq!(span.parent_span_id.to_string(), SPAN_ID);
        assert_eq!(
            attribute(span, "rabtrace.settlement").as_deref(),
            Some("ack")
        );
    }
    assert_eq!(messages_in(service, "poisoned").await, 0);
    assert_eq!(service.connection.guard().unwrap().neutralised(), 1);
}

/// How deep a chain of tables is, and whether it ends in bytes.
fn levels(headers: &FieldTable) -> (usize, bool) {
    match headers.inner().get("n") {
        Some(AMQPValue::FieldTable(inside)) => {
            let (levels, bytes) = levels(inside);
            (levels + 1, bytes)
        }
        Some(AMQPValue::ByteArray(_)) => (1, true),
        None => (1, false),
        Some(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_deep_greeting_aborts_lapin_and_passes_the_guard() {
    if let Ok(url) = std::env::var(VICTIM) {
        let connecting = Connection::connect(&url, ConnectionProperties::default());
        connecting.await.unwrap_err();
        return;
    }
    let this = "a_deep_greeting_aborts_lapin_and_passes_the_guard";
    let server = Server::start(deep_table(LEVELS, ""));
    assert_aborted(&victim(this, &server.url, &[]), OVERFLOW);
    assert_eq!(server.answer(), None);

    let server = Server::start(deep_table(LEVELS, ""));
    let guard = guard::Guard::new();
    // The server leaves after the answer.
    let connecting = guard.connect(&server.url, ConnectionProperties::default());
    connecting.await.unwrap_err();
    assert_eq!(server.answer(), Some((10, 11)), "start-ok");
    assert_eq!(guard.neutralised(), 1);
}

#[tokio::test]
async fn the_guard_sees_through_tls() {
    let server = Server::start_with_tls(deep_table(LEVELS, ""));
    let guard = guard::Guard::new();
    let uri = server.url.parse().unwrap();
    let tls = OwnedTLSConfig {
        identity: None,
        cert_chain: Some(CERTIFICATE.to_owned()),
    };
    let runtime = rabtrace_lapin::lapin::runtime::default_runtime().unwrap();
    let properties = ConnectionProperties::default();
    let connecting = guard.connect_uri_with_config(uri, properties, tls, runtime);
    connecting.await.unwrap_err();
    assert_eq!(server.answer(), Some((10, 11)), "start-ok");
    assert_eq!(guard.neutralised(), 1);
}

#[tokio::test]
async fn a_broker_without_a_frame_limit_aborts_lapin_and_passes_the_guard() {
    if let Ok(url) = std::env::var(VICTIM) {
        let connecting = Connection::connect(&url, ConnectionProperties::default());
        return consume_one(connecting.await.unwrap()).await;
    }
    let options = Options {
        management: false,
        prometheus: false,
        config: vec!["frame_max = 0".to_owned()],
    };
    let broker = Broker::start_with(options).await.unwrap();
    let this = "a_broker_without_a_frame_limit_aborts_lapin_and_passes_the_guard";
    let why = "memory allocation of 137438953440 bytes failed";
    assert_aborted(&victim(this, &broker.amqp_url(), &[]), why);

    let service = Service::connect(&broker, "planner").await;
    assert_eq!(service.connection.configuration().frame_max(), 131_072);
    service.queue("large", FieldTable::default()).await;
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let (channel, body) = (&service.channel, vec![7; 300_000]);
    let publish = channel.basic_publish("".into(), "large".into(), options, &body, properties);
    publish.await.unwrap();
    let delivery = next(&mut service.consume("large").await).await;
    assert!(delivery.data == body);
    // What the application asks for itself is left to it.
    let larger = format!("{}/%2f?frame_max=262144", broker.amqp_url());
    let service = Service::connect_to(&larger, "planner").await;
    assert_eq!(service.connection.configuration().frame_max(), 262_144);
}

/// Headers as RabbitMQ nests them, and more; different in each message.
fn ordinary_headers(at: u32) -> FieldTable {
    let mut death = FieldTable::default();
    death.insert("count".into(), AMQPValue::LongLongInt(at.into()));
    death.insert("time".into(), AMQPValue::Timestamp(at.into()));
    let text = |text: &str| AMQPValue::LongString(text.into());
    let keys = vec![text("tasks"), text(&at.to_string())];
    death.insert("routing-keys".into(), AMQPValue::FieldArray(keys.into()));
    let mut headers = FieldTable::default();
    let mut deaths = FieldArray::default();
    for _ in 0..at % 4 {
        deaths.push(AMQPValue::FieldTable(death.clone()));
    }
    headers.insert("history".into(), AMQPValue::FieldArray(deaths));
    headers.insert("traceparent".into(), text(&traceparent()));
    headers.insert("even".into(), AMQPValue::Boolean(at.is_multiple_of(2)));
    headers.insert("none".into(), AMQPValue::Void);
    headers
}

#[tokio::test]
async fn ten_thousand_ordinary_messages_pass_unchanged() {
    let broker = broker().await;
    let guarded = guard::Guard::new();
    let url = broker.amqp_url();
    let connecting = guarded.connect(&url, ConnectionProperties::default());
    let connection = connecting.await.unwrap();
    exchange_ordinary_messages(&url, &connection).await;
    assert_eq!(guarded.neutralised(), 0);
    connection.close(200, "".into()).await.unwrap();
}

/// Each fiftieth body takes several frames.
fn ordinary_body(at: u32) -> Vec<u8> {
    let length = if at % 50 == 7 { 300_000 } else { at % 700 };
    vec![at.to_be_bytes()[3]; usize::try_from(length).unwrap()]
}

async fn exchange_ordinary_messages(url: &str, receiver: &Connection) {
    let plain = Connection::connect(url, ConnectionProperties::default());
    let plain = plain.await.unwrap();
    let sender = plain.create_channel().await.unwrap();
    let arguments = FieldTable::default;
    let declared = sender.queue_declare(
        "ordinary".into(),
        QueueDeclareOptions::default(),
        arguments(),
    );
    declared.await.unwrap();
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let receiver = receiver.create_channel().await.unwrap();
    let consumer = receiver.basic_consume("ordinary".into(), "".into(), options, arguments());
    let mut consumer = consumer.await.unwrap();
    let publishing = async {
        for at in 0..10_000 {
            let properties = BasicProperties::default()
                .with_headers(ordinary_headers(at))
                .with_message_id(at.to_string().into());
            let (options, body) = (BasicPublishOptions::default(), ordinary_body(at));
            let publish =
                sender.basic_publish("".into(), "ordinary".into(), options, &body, properties);
            publish.await.unwrap();
        }
    };
    let receiving = async {
        for at in 0..10_000 {
            let delivery = consumer.next().await.unwrap().unwrap();
            assert_eq!(delivery.properties.headers(), &Some(ordinary_headers(at)));
            assert_eq!(
                delivery.properties.message_id(),
                &Some(at.to_string().into())
            );
            assert!(
                delivery.data == ordinary_body(at),
                "the body of message {at}"
            );
        }
    };
    let both = async { tokio::join!(publishing, receiving) };
    tokio::time::timeout(Duration::from_secs(100), both)
        .await
        .unwrap();
    plain.close(200, "".into()).await.unwrap();
}

//! Publishing and consuming through a real broker: raw lapin, raw lapin again (the noise), raw
//! lapin with hand-made headers (the floor), and the traced channel in all its modes.
//!
//! A turn is 512 messages of 256 bytes, 64 under way at once: published with confirms, then
//! consumed and acknowledged by their ackers; published again, then acknowledged through the
//! channel. The modes take turns, each round beginning with another one, and a ratio is taken
//! within its round. Broker and client share the machine: compare the figures of one run with each
//! other only. Output: a table, and `target/publish_consume.json`. The modes and the clients are
//! those of `rabtrace-lapin`'s benchmark `cost`, which needs no broker and counts instructions.

#![expect(clippy::expect_used, reason = "a benchmark without its broker ends")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../crates/rabtrace-lapin/benches/cost/bus.rs"]
mod bus;
#[expect(
    dead_code,
    reason = "only a scripted server delivers hand-made headers"
)]
#[path = "../crates/rabtrace-lapin/benches/cost/floor.rs"]
mod floor;
#[expect(dead_code, reason = "a real broker makes its frames itself")]
#[path = "../crates/rabtrace-lapin/benches/cost/frames.rs"]
mod frames;
#[expect(dead_code, reason = "nobody asks for one mode by its name")]
#[path = "../crates/rabtrace-lapin/benches/cost/modes.rs"]
mod modes;
#[expect(dead_code, reason = "here the broker is a real one")]
#[path = "../crates/rabtrace-lapin/benches/cost/servers.rs"]
mod servers;
#[path = "../crates/rabtrace-lapin/benches/cost/sink.rs"]
mod sink;
#[path = "../crates/rabtrace-lapin/benches/cost/turns.rs"]
mod turns;

use opentelemetry_sdk::trace::SdkTracerProvider;
use rabtrace::demo::broker::{Broker, Options};
use rabtrace_lapin::TracedChannel;
use rabtrace_lapin::lapin::options::{
    BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use rabtrace_lapin::lapin::types::{FieldTable, ShortString};
use rabtrace_lapin::lapin::{Channel, Connection, ConnectionProperties, Result};
use serde_json::{Map, Value};
use tokio::runtime::Runtime;

use crate::bus::{Bus, Raw, Settle, Traced};
use crate::modes::{MODES, Mode};
use crate::turns::{Row, Took, Turn};

const MESSAGES: u64 = 512;
/// Rounds; in each, every mode has one turn.
const ROUNDS: usize = 70;
const PREFETCH: u16 = 256;
/// The consumer's tag, one at a time on each channel.
const TAG: &str = "bench";

/// What a turn does, with its name in the report.
const STEPS: [(&str, Option<Settle>); 4] = [
    ("publish", None),
    ("consume_ack", Some(Settle::Acker)),
    ("publish", None),
    ("consume_channel_ack", Some(Settle::Channel)),
];

/// A channel with a queue of the mode's name.
async fn channel(connection: &Connection, queue: &str) -> Result<Channel> {
    let channel = connection.create_channel().await?;
    let (options, arguments) = (QueueDeclareOptions::default(), FieldTable::default());
    channel
        .queue_declare(queue.into(), options, arguments)
        .await?;
    let confirms = ConfirmSelectOptions::default();
    channel.confirm_select(confirms).await?;
    let prefetch = BasicQosOptions::default();
    channel.basic_qos(PREFETCH, prefetch).await?;
    Ok(channel)
}

/// One step of a turn.
async fn step<B: Bus>(
    (bus, channel): (&B, &Channel),
    queue: &ShortString,
    settle: Option<Settle>,
) -> Result<()> {
    let Some(settle) = settle else {
        return bus::publish(bus, queue, MESSAGES).await;
    };
    // Only while it is their turn: nothing is delivered while others publish.
    let options = BasicConsumeOptions::default();
    let mut consumer = bus.consume((queue.as_str(), TAG), options).await?;
    bus::consume(bus, &mut consumer, (MESSAGES, settle)).await?;
    let options = BasicCancelOptions::default();
    channel.basic_cancel(TAG.into(), options).await
}

/// A mode as a client of the broker.
fn row<'a>(
    runtime: &'a Runtime,
    connection: &'a Connection,
    (mode, sink): (Mode, &str),
) -> Row<'a> {
    let _entered = runtime.enter();
    let channel = runtime
        .block_on(channel(connection, mode.name))
        .expect("a channel");
    let control = channel.clone();
    let Some(tracing) = mode.tracing else {
        let headers = mode.headers;
        let bus = Raw { channel, headers };
        return steps(runtime, (mode.name, bus), (control, None));
    };
    let (config, provider) = modes::config(tracing, sink);
    let channel = TracedChannel::with_config(channel, &config);
    steps(
        runtime,
        (mode.name, Traced { channel }),
        (control, provider),
    )
}

fn steps<'a, B: Bus + 'a>(
    runtime: &'a Runtime,
    (name, bus): (&'static str, B),
    (control, provider): (Channel, Option<SdkTracerProvider>),
) -> Row<'a> {
    let queue = ShortString::from(name);
    let turn: Turn<'a> = Box::new(move || {
        let flush = || {
            if let Some(provider) = &provider {
                provider.force_flush().expect("exported");
            }
        };
        let measured = STEPS.map(|(step_name, settle)| {
            let run = || runtime.block_on(step((&bus, &control), &queue, settle));
            (step_name, Took::of(|| run().expect("the broker"), flush))
        });
        measured.to_vec()
    });
    Row::new(name, turn)
}

fn measure(runtime: &Runtime, (broker, sink): (&Broker, &str), rounds: usize) -> Value {
    let url = broker.amqp_url();
    let connect = Connection::connect(&url, ConnectionProperties::default());
    let connection = runtime.block_on(connect).expect("a connection");
    let row = |mode: &Mode| row(runtime, &connection, (*mode, sink));
    let mut rows: Vec<Row<'_>> = MODES.iter().map(row).collect();
    turns::take(&mut rows, rounds);
    let mut report = Map::new();
    for side in ["publish", "consume_ack", "consume_channel_ack"] {
        turns::report(&rows, (side, MESSAGES), &mut report);
    }
    Value::Object(report)
}

fn main() {
    if servers::is_asked_for() {
        return servers::serve(|| None);
    }
    // `cargo test --benches` passes no `--bench`: a look is enough there.
    let whole = std::env::args().any(|word| word == "--bench");
    let runtime = servers::runtime();
    let options = Options {
        management: false,
        prometheus: false,
        ..Options::default()
    };
    let broker = runtime
        .block_on(Broker::start_with(options))
        .expect("a broker");
    let servers = servers::Servers::start();
    let sink = servers.sink.as_str();
    let report = measure(&runtime, (&broker, sink), if whole { ROUNDS } else { 1 });
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/target/publish_consume.json");
    turns::write(file, &report);
    runtime.block_on(broker.stop()).expect("stopped");
}

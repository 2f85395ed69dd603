//! Publishing and consuming through a real broker: raw lapin against the traced channel.
//!
//! Each figure is one message of 256 bytes, in batches of 256: published with confirms that are
//! awaited together, then consumed and acknowledged one by one. The modes take turns, batch by batch,
//! and a ratio is taken within its round; `raw_again` against `raw` is the noise. `raw` is lapin itself; `no_tracer`,
//! `unsampled` and `recorded` are the traced channel with an SDK that is absent, drops every span,
//! or records every span and throws it away. Broker and client share the machine: compare the
//! figures of one run with each other only.

#![expect(clippy::expect_used, reason = "a benchmark without its broker ends")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use opentelemetry::trace::noop::NoopTracerProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};
use rabtrace::demo::broker::{Broker, Options};
use rabtrace_lapin::lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions, QueuePurgeOptions,
};
use rabtrace_lapin::lapin::types::{FieldTable, ShortString};
use rabtrace_lapin::lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use rabtrace_lapin::{TraceConfig, TracedChannel};
use tokio::runtime::Runtime;

const BATCH: u64 = 256;
/// Rounds; in each, every mode has one batch.
const ROUNDS: usize = 120;
const PAYLOAD: [u8; 256] = [b'x'; 256];

/// Spans end here.
#[derive(Debug)]
struct Nowhere;

impl SpanExporter for Nowhere {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

/// How long one batch took, publishing and consuming.
struct Took {
    publish: Duration,
    consume: Duration,
}

/// One batch through `$channel`: the same words for lapin's channel and for the traced one.
macro_rules! batch {
    ($channel:expr, $consumer:expr, $queue:expr) => {{
        let begun = Instant::now();
        let mut confirms = Vec::new();
        for _ in 0..BATCH {
            let (options, properties) =
                (BasicPublishOptions::default(), BasicProperties::default());
            let to = $queue.clone();
            let published =
                $channel.basic_publish(ShortString::default(), to, options, &PAYLOAD, properties);
            confirms.push(published.await.expect("published"));
        }
        for confirm in confirms {
            confirm.await.expect("confirmed");
        }
        let publish = begun.elapsed();
        let begun = Instant::now();
        for _ in 0..BATCH {
            let delivery = $consumer.next().await.expect("open").expect("a delivery");
            delivery
                .ack(BasicAckOptions::default())
                .await
                .expect("acknowledged");
        }
        Took {
            publish,
            consume: begun.elapsed(),
        }
    }};
}

async fn channel(connection: &Connection, queue: &str) -> Channel {
    let channel = connection.create_channel().await.expect("a channel");
    let (options, arguments) = (QueueDeclareOptions::default(), FieldTable::default());
    let declared = channel.queue_declare(queue.into(), options, arguments);
    declared.await.expect("a queue");
    let purged = channel.queue_purge(queue.into(), QueuePurgeOptions::default());
    purged.await.expect("an empty queue");
    let confirms = channel.confirm_select(ConfirmSelectOptions::default());
    confirms.await.expect("confirms");
    let prefetch = channel.basic_qos(256, BasicQosOptions::default());
    prefetch.await.expect("prefetch");
    channel
}

fn providers() -> [(&'static str, TraceConfig); 3] {
    let sdk = |sampler| {
        SdkTracerProvider::builder()
            .with_simple_exporter(Nowhere)
            .with_sampler(sampler)
            .build()
    };
    let config = TraceConfig::new();
    [
        (
            "no_tracer",
            config
                .clone()
                .with_tracer_provider(&NoopTracerProvider::new()),
        ),
        (
            "unsampled",
            config
                .clone()
                .with_tracer_provider(&sdk(Sampler::AlwaysOff)),
        ),
        (
            "recorded",
            config.with_tracer_provider(&sdk(Sampler::AlwaysOn)),
        ),
    ]
}

/// One way to publish and consume, with a queue of its own.
struct Mode {
    name: &'static str,
    batch: Box<dyn FnMut() -> Took>,
    took: Vec<Took>,
}

fn raw(runtime: &Arc<Runtime>, connection: &Connection, name: &'static str) -> Mode {
    let channel = runtime.block_on(channel(connection, name));
    let queue = ShortString::from(name);
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = channel.basic_consume(queue.clone(), ShortString::default(), options, arguments);
    let mut consumer = runtime.block_on(consumer).expect("a consumer");
    let runtime = Arc::clone(runtime);
    let batch = move || runtime.block_on(async { batch!(channel, consumer, queue) });
    Mode {
        name,
        batch: Box::new(batch),
        took: Vec::new(),
    }
}

fn traced(
    runtime: &Arc<Runtime>,
    connection: &Connection,
    (name, config): (&'static str, TraceConfig),
) -> Mode {
    let channel = runtime.block_on(channel(connection, name));
    let channel = TracedChannel::with_config(channel, &config);
    let queue = ShortString::from(name);
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = channel.basic_consume(queue.clone(), ShortString::default(), options, arguments);
    let mut consumer = runtime.block_on(consumer).expect("a consumer");
    let runtime = Arc::clone(runtime);
    let batch = move || runtime.block_on(async { batch!(channel, consumer, queue) });
    Mode {
        name,
        batch: Box::new(batch),
        took: Vec::new(),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Median microseconds of a message, and median of the ratios to `raw` in the same round.
fn figures(mode: &Mode, raw: &Mode, side: fn(&Took) -> Duration) -> (f64, f64) {
    let each = |took: &Took| side(took).as_secs_f64() * 1e6 / BATCH as f64;
    let ratios = mode
        .took
        .iter()
        .zip(&raw.took)
        .map(|(mode, raw)| each(mode) / each(raw));
    (
        median(mode.took.iter().map(each).collect()),
        median(ratios.collect()),
    )
}

fn main() {
    // `cargo test --benches` passes no `--bench`: a look is enough there.
    let rounds = if std::env::args().any(|word| word == "--bench") {
        ROUNDS
    } else {
        1
    };
    let runtime = Arc::new(Runtime::new().expect("a runtime"));
    let options = Options {
        management: false,
        prometheus: false,
        ..Options::default()
    };
    let broker = runtime
        .block_on(Broker::start_with(options))
        .expect("a broker");
    let url = broker.amqp_url();
    let connect = Connection::connect(&url, ConnectionProperties::default());
    let connection = runtime.block_on(connect).expect("a connection");
    let mut modes = vec![
        raw(&runtime, &connection, "raw"),
        raw(&runtime, &connection, "raw_again"),
    ];
    modes.extend(providers().map(|provider| traced(&runtime, &connection, provider)));
    for _ in 0..rounds {
        for mode in &mut modes {
            let took = (mode.batch)();
            mode.took.push(took);
        }
    }
    let mut report = serde_json::Map::new();
    for (side, name) in [
        ((|took| took.publish) as fn(&Took) -> Duration, "publish"),
        (|took| took.consume, "consume"),
    ] {
        for mode in &modes {
            let (micros, ratio) = figures(mode, &modes[0], side);
            println!(
                "{name}/{:<12} {micros:>7.1} µs  {ratio:.2} of raw",
                mode.name
            );
            report.insert(
                format!("{name}/{}", mode.name),
                serde_json::json!({ "micros": micros, "ratio": ratio }),
            );
        }
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/target/publish_consume.json");
    std::fs::write(file, serde_json::Value::Object(report).to_string()).expect("the report");
    drop(modes);
    runtime.block_on(broker.stop()).expect("stopped");
}

//! Publishing and consuming through a real broker: raw lapin against the traced channel.
//!
//! Each figure is one message of 256 bytes, in batches of 256: published with confirms that are
//! awaited together, or consumed and acknowledged one by one. `raw` is lapin itself; `no_tracer`,
//! `unsampled` and `recorded` are the traced channel with an SDK that is absent, drops every span,
//! or records every span and throws it away. Broker and client share the machine: compare the
//! figures of one run with each other only.

#![expect(clippy::expect_used, reason = "a benchmark without its broker ends")]

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
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

/// Runs batches until `messages` have gone through, and gives the time of the chosen side.
fn timed(messages: u64, side: Side, mut batch: impl FnMut() -> Took) -> Duration {
    let batches = messages.div_ceil(BATCH);
    let total: Duration = (0..batches)
        .map(|_| match (side, batch()) {
            (Side::Publish, took) => took.publish,
            (Side::Consume, took) => took.consume,
        })
        .sum();
    // Criterion divides by the messages that it asked for.
    total.mul_f64(messages as f64 / (batches * BATCH) as f64)
}

#[derive(Clone, Copy, Debug)]
enum Side {
    Publish,
    Consume,
}

fn publish_and_consume(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let options = Options {
        management: false,
        prometheus: false,
        ..Options::default()
    };
    let broker = runtime
        .block_on(Broker::start_with(options))
        .expect("a broker");
    let properties = ConnectionProperties::default();
    let connection = runtime
        .block_on(Connection::connect(&broker.amqp_url(), properties))
        .expect("a connection");
    for (side, name) in [(Side::Publish, "publish"), (Side::Consume, "consume")] {
        let mut group = criterion.benchmark_group(name);
        group
            .throughput(Throughput::Elements(1))
            .sample_size(20)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(4));
        raw(&mut group, &runtime, &connection, side);
        traced(&mut group, &runtime, &connection, side);
        group.finish();
    }
    runtime.block_on(broker.stop()).expect("stopped");
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

fn raw(group: &mut Group<'_>, runtime: &Runtime, connection: &Connection, side: Side) {
    let queue = ShortString::from("raw");
    let channel = runtime.block_on(channel(connection, "raw"));
    let consumer = channel.basic_consume(
        queue.clone(),
        ShortString::default(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let mut consumer = runtime.block_on(consumer).expect("a consumer");
    group.bench_function("raw", |bencher| {
        bencher.iter_custom(|messages| {
            timed(messages, side, || {
                runtime.block_on(async { batch!(channel, consumer, queue) })
            })
        });
    });
}

fn traced(group: &mut Group<'_>, runtime: &Runtime, connection: &Connection, side: Side) {
    for (name, config) in providers() {
        let queue = ShortString::from(name);
        let channel = runtime.block_on(channel(connection, name));
        let channel = TracedChannel::with_config(channel, &config);
        let consumer = channel.basic_consume(
            queue.clone(),
            ShortString::default(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let mut consumer = runtime.block_on(consumer).expect("a consumer");
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|messages| {
                timed(messages, side, || {
                    runtime.block_on(async { batch!(channel, consumer, queue) })
                })
            });
        });
    }
}

criterion_group!(benches, publish_and_consume);
criterion_main!(benches);

//! What a span costs to encode: here, and by the SDK's way through `opentelemetry-proto` and `prost`.
//!
//! Instructions: the program runs itself under callgrind with 1,000 and with 3,000 spans; the
//! difference is what a span costs. Without valgrind it says so and shows the rest. The SDK's way
//! consumes its batch, so that it gets a copy, and the cost of a copy alone is subtracted.
//! Allocations come from an allocator that counts. Times are the best of many rounds.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops at the first surprise"
)]

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use prost::Message;
use rabtrace_otlp::Encoder;

const BATCH: usize = 500;
const FEW: usize = 1_000;
const MANY: usize = 3_000;

/// A span as `rabtrace-lapin` makes it: ten attributes, a parent.
fn span(index: u64, state: &TraceState) -> SpanData {
    let start = UNIX_EPOCH + Duration::from_nanos(1_790_000_000_123_456_789 + index * 1_000);
    let trace_id = (u128::from(index + 1) << 64 | 0x1234_5678_9abc_def0).into();
    let span_id = SpanId::from(0x1000_0000_0000_0000 | index);
    SpanData {
        span_context: SpanContext::new(
            trace_id,
            span_id,
            TraceFlags::SAMPLED,
            false,
            state.clone(),
        ),
        parent_span_id: SpanId::from(index + 1),
        parent_span_is_remote: true,
        span_kind: SpanKind::Producer,
        name: "publish planner_queue".into(),
        start_time: start,
        end_time: start + Duration::from_micros(321),
        attributes: vec![
            KeyValue::new("messaging.system", "rabbitmq"),
            KeyValue::new("messaging.operation.name", "publish"),
            KeyValue::new("messaging.operation.type", "send"),
            KeyValue::new("messaging.destination.name", "planner_queue"),
            KeyValue::new(
                "messaging.rabbitmq.destination.routing_key",
                "planner_queue",
            ),
            KeyValue::new("messaging.message.body.size", 256),
            KeyValue::new("server.address", "rabbit.example.org"),
            KeyValue::new("server.port", 5672),
            KeyValue::new("rabtrace.publish.outcome", "acked"),
            KeyValue::new("rabtrace.publish.write.duration", 0.000_123),
        ],
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("rabtrace-lapin")
            .with_version("0.1.0")
            .build(),
    }
}

fn batch(state: &str) -> Vec<SpanData> {
    let state = state.parse().unwrap();
    (0..BATCH as u64).map(|index| span(index, &state)).collect()
}

fn resource() -> Resource {
    Resource::builder().with_service_name("gateway").build()
}

/// One way to deal with `spans` spans, in batches.
fn run(way: &str, spans: usize, batch: &[SpanData]) {
    let mut encoder = Encoder::new(&resource());
    let resource = ResourceAttributesWithSchema::from(&resource());
    for _ in 0..spans / BATCH {
        match way {
            "copy" => drop(black_box(batch.to_vec())),
            "sdk" => {
                let resource_spans = group_spans_by_resource_and_scope(batch.to_vec(), &resource);
                black_box(ExportTraceServiceRequest { resource_spans }.encode_to_vec());
            }
            _ => {
                black_box(encoder.encode(black_box(batch)));
            }
        }
    }
}

/// Instructions of a child that runs `way` with so many spans; `None` without valgrind.
fn instructions(way: &str, state: &str, spans: usize) -> Option<f64> {
    let own = std::env::current_exe().unwrap();
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(own)
        .args(["--child", way, state, &spans.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let count = text
        .split("Collected :")
        .nth(1)?
        .split_whitespace()
        .next()?;
    count.parse().ok()
}

fn instructions_a_span(way: &str, state: &str) -> Option<f64> {
    let difference = instructions(way, state, MANY)? - instructions(way, state, FEW)?;
    #[expect(clippy::cast_precision_loss, reason = "a small number of spans")]
    Some(difference / (MANY - FEW) as f64)
}

/// Allocations a span, once everything has grown.
fn allocations_a_span(way: &str, batch: &[SpanData]) -> f64 {
    let count = |spans| allocation_counter::measure(|| run(way, spans, batch)).count_total;
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    {
        (count(MANY) - count(FEW)) as f64 / (MANY - FEW) as f64
    }
}

/// Nanoseconds a span, the best of many rounds.
fn nanoseconds_a_span(way: &str, batch: &[SpanData]) -> f64 {
    let round = || {
        let start = Instant::now();
        run(way, 20 * BATCH, batch);
        start.elapsed()
    };
    let best = (0..30).map(|_| round()).min().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "a small number of spans")]
    {
        best.as_secs_f64() * 1e9 / (20 * BATCH) as f64
    }
}

fn row(what: &str, unit: &str, ours: f64, sdk: f64) {
    let ratio = if ours > 0.0 {
        sdk / ours
    } else {
        f64::INFINITY
    };
    println!("{what:<28} {unit:<13} {ours:>10.1} {sdk:>10.1} {ratio:>8.1}");
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, child, way, state, spans] = arguments.as_slice() {
        assert_eq!(child, "--child");
        return run(way, spans.parse().unwrap(), &batch(state));
    }
    println!(
        "{:<28} {:<13} {:>10} {:>10} {:>8}",
        "a span of 10 attributes", "unit", "by hand", "SDK", "ratio"
    );
    for (what, state) in [
        ("no trace state", ""),
        ("trace state", "rabtrace=1-2a3b4c5d-18f-20"),
    ] {
        let batch = batch(state);
        let sdk = nanoseconds_a_span("sdk", &batch) - nanoseconds_a_span("copy", &batch);
        row(what, "ns", nanoseconds_a_span("hand", &batch), sdk);
        let sdk = allocations_a_span("sdk", &batch) - allocations_a_span("copy", &batch);
        row(what, "allocations", allocations_a_span("hand", &batch), sdk);
        let counted = ["hand", "sdk", "copy"].map(|way| instructions_a_span(way, state));
        if let [Some(hand), Some(sdk), Some(copy)] = counted {
            row(what, "instructions", hand, sdk - copy);
        } else {
            println!("{what:<28} instructions: valgrind is missing; apt-get install valgrind");
        }
    }
}

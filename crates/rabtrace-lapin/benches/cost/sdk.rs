//! What the SDK takes for itself, through its public API and nothing of ours: what no tracer that
//! uses it can go below.
//!
//! A span as a publish or a delivery has it: started under a parent or without one, with the
//! attributes that a traced channel gives it, two more at its end. And the bound instruments that a
//! message is measured with beside its path's (those are in [`checkpoints`](crate::checkpoints)).
//! Attributes count as the SDK's: it takes them by value, made anew for every span.

use std::hint::black_box;
use std::time::SystemTime;

use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use rabtrace_lapin::opentelemetry::global::BoxedTracer;
use rabtrace_lapin::opentelemetry::trace::{Span, SpanBuilder, SpanKind, Tracer, TracerProvider};
use rabtrace_lapin::opentelemetry::{Context, KeyValue};
use serde_json::{Map, Value, json};

use crate::callgrind::{self, mark};
use crate::modes::{self, Nowhere};

/// Each of the things that are measured.
const SIDES: [&str; 3] = ["dropped", "dropped_late", "recorded"];
/// Calls that callgrind counts, after as many that it does not.
const COUNTED: u64 = 2_048;

/// The attributes of a publish.
fn attributes() -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(13);
    attributes.extend([
        KeyValue::new("messaging.system", "rabbitmq"),
        KeyValue::new("messaging.operation.name", "publish"),
        KeyValue::new("messaging.operation.type", "send"),
        KeyValue::new("messaging.destination.name", "tasks"),
        KeyValue::new("messaging.rabbitmq.destination.routing_key", "tasks"),
        KeyValue::new("server.address", "localhost"),
        KeyValue::new("server.port", 5672),
        KeyValue::new("rabtrace.direction", "out"),
        KeyValue::new("rabtrace.destination", "tasks"),
        KeyValue::new("rabtrace.path.hash", "0123456789abcdef"),
        KeyValue::new("rabtrace.path.duration", 0.0),
    ]);
    attributes
}

struct Bench {
    dropping: (BoxedTracer, SdkTracerProvider),
    recording: (BoxedTracer, SdkTracerProvider),
}

impl Bench {
    fn new() -> Self {
        let tracer = |sampler| {
            let provider = modes::provider(sampler, Nowhere);
            let tracer = BoxedTracer::new(Box::new(provider.tracer("bench")));
            (tracer, provider)
        };
        Self {
            dropping: tracer(Sampler::AlwaysOff),
            recording: tracer(Sampler::AlwaysOn),
        }
    }

    /// Runs one of [`SIDES`] `count` times.
    fn run(&self, side: &str, count: u64) {
        let (tracer, _) = if side == "recorded" {
            &self.recording
        } else {
            &self.dropping
        };
        let (parent, time) = (Context::new(), SystemTime::now());
        for _ in 0..count {
            let mut builder = SpanBuilder::from_name("publish tasks");
            builder.span_kind = Some(SpanKind::Producer);
            builder.start_time = Some(time);
            builder.attributes = (side != "dropped_late").then(attributes);
            let mut span = tracer.build_with_context(builder, black_box(&parent));
            if span.is_recording() {
                span.set_attribute(KeyValue::new("rabtrace.publish.outcome", "acked"));
                span.set_attribute(KeyValue::new("rabtrace.publish.write.duration", 0.0));
            }
            span.end_with_timestamp(time);
            black_box(span);
        }
    }
}

/// The program under callgrind: every side, each between two marks.
pub(crate) fn child(count: u64) {
    let bench = Bench::new();
    for (at, side) in SIDES.into_iter().enumerate() {
        bench.run(side, count);
        mark(2 * at);
        bench.run(side, count);
        mark(2 * at + 1);
    }
    std::process::exit(0);
}

/// Prints the instructions and allocations of each side, and gives them.
pub(crate) fn run() -> Value {
    if !callgrind::is_there() {
        return Value::Null;
    }
    let count = COUNTED.to_string();
    let counted = callgrind::alone("sdk", &["--sdk", &count], SIDES.len()).expect("callgrind");
    println!(
        "{:<20} {:>12} {:>12}",
        "span of the SDK", "Ir", "allocations"
    );
    let mut report = Map::new();
    for (side, counts) in SIDES.into_iter().zip(counted) {
        let each = |count: u64| count as f64 / COUNTED as f64;
        let (instructions, allocations) = (each(counts.instructions), each(counts.allocations));
        println!("{side:<20} {instructions:>12.1} {allocations:>12.3}");
        let figures = json!({ "instructions": instructions, "allocations": allocations });
        report.insert(side.to_owned(), figures);
    }
    Value::Object(report)
}

//! A point of about 250 bytes to line protocol: ours beside the `influxdb-line-protocol` builder.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use influxdb_line_protocol::LineProtocolBuilder;
use rabtrace::influx::encode;
use rabtrace::model::{FieldValue, Point};

/// A hop, as the sink gets them by the thousand.
fn point() -> Point {
    Point::new("spans", 1_763_700_000_123_456_789)
        .tag("destination", "weather_queue")
        .tag("kind", "consumer")
        .tag("service_name", "weather service")
        .tag("span_name", "process weather_queue")
        .tag("status", "ok")
        .text("trace_id", Some("4bf92f3577b34da6a3ce929d0e0e4736"))
        .text("span_id", Some("00f067aa0ba902b7"))
        .float("duration_ms", Some(12.375))
        .float("queue_ms", Some(3.5))
        .int("start_ns", Some(1_763_700_000_123_456_789))
        .int("attempt", Some(1))
}

/// The value of a field that must be there, by name.
fn text<'a>(point: &'a Point, name: &str) -> &'a str {
    let found = point.fields.iter().find(|(key, _)| *key == name);
    match found {
        Some((_, FieldValue::Text(text))) => text,
        _ => "",
    }
}

fn builder(point: &Point) -> Vec<u8> {
    let [destination, kind, service, span, status] = point.tags.as_slice() else {
        return Vec::new();
    };
    LineProtocolBuilder::new()
        .measurement(point.measurement)
        .tag(destination.0, &destination.1)
        .tag(kind.0, &kind.1)
        .tag(service.0, &service.1)
        .tag(span.0, &span.1)
        .tag(status.0, &status.1)
        .field("trace_id", text(point, "trace_id"))
        .field("span_id", text(point, "span_id"))
        .field("duration_ms", 12.375)
        .field("queue_ms", 3.5)
        .field("start_ns", 1_763_700_000_123_456_789_i64)
        .field("attempt", 1_i64)
        .timestamp(point.time_unix_nano)
        .close_line()
        .build()
}

fn line_protocol(criterion: &mut Criterion) {
    let point = point();
    let mut buffer = Vec::new();
    let written = encode(&point, &mut buffer);
    assert!(written && buffer == builder(&point), "the two disagree");
    let mut group = criterion.benchmark_group("line_protocol");
    group.throughput(Throughput::Bytes(buffer.len() as u64));
    group.bench_function("rabtrace", |bencher| {
        bencher.iter(|| {
            buffer.clear();
            encode(black_box(&point), &mut buffer)
        });
    });
    group.bench_function("influxdb-line-protocol", |bencher| {
        bencher.iter(|| builder(black_box(&point)));
    });
    group.finish();
}

criterion_group!(benches, line_protocol);
criterion_main!(benches);

//! Spans with too many names, through the flow into the real InfluxDB: none is missing there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rabtrace::flow::{Flow, FlowSetup};
use rabtrace::model::{Batch, Point, Resume, Signal, Span, SpanId, SpanKind, SpanStatus, TraceId};

use super::{InfluxDb, Running, config};

const TIME: u64 = 1_795_235_323_000_000_000;
const SERIES: usize = 100;
const SPANS: u64 = 2_000;

/// All of them begin at the same time, as they do where the clock has milliseconds.
fn span(number: u64) -> Span {
    Span {
        trace_id: TraceId::from_bytes(&[7; 16]).unwrap(),
        span_id: SpanId::from_bytes(&(number + 1).to_be_bytes()).unwrap(),
        parent_span_id: None,
        service: Arc::from("shop"),
        name: Arc::from(format!("GET /orders/{number}")),
        kind: SpanKind::Server,
        status: SpanStatus::Unset,
        status_message: String::new(),
        start_unix_nano: TIME,
        end_unix_nano: TIME + 2_000_000,
        attributes: Vec::new(),
        resource: Arc::default(),
        events: Vec::new(),
        links: Vec::new(),
        paths_measured: false,
    }
}

#[tokio::test]
async fn none_of_the_spans_is_missing_that_share_a_series() {
    let server = InfluxDb::start(false).await;
    server.query("CREATE DATABASE rabtrace").await;
    let mut flow = Flow::new(FlowSetup {
        window: Duration::from_secs(10),
        max_series: SERIES,
        instance: Arc::from("one"),
        resume: Resume::default(),
        now_unix_nano: TIME.cast_signed(),
    });
    let taken = flow.take_batch(
        Batch {
            spans: (0..SPANS).map(span).collect(),
            ..Batch::new(Signal::Traces, Bytes::new())
        },
        TIME.cast_signed(),
    );
    let points = flow.influx_points(&taken);
    // The control: the same with the times that they came with.
    let unmoved = points.iter().cloned().map(|point| Point {
        measurement: "unmoved",
        time_unix_nano: TIME.cast_signed(),
        ..point
    });
    let unmoved = unmoved.collect();
    let sink = Running::start(config(server.url()));
    sink.send(points).await;
    sink.send(unmoved).await;
    sink.until_settled(2 * SPANS).await;

    let own = SERIES as u64 / 2;
    assert_eq!(server.count("duration_ms", "spans").await, SPANS);
    let others = "spans WHERE span_name = '_other' AND service_name = 'shop'";
    assert_eq!(server.count("duration_ms", others).await, SPANS - own);
    let sum = server.query("SELECT sum(duration_ms) FROM spans").await;
    assert_eq!(sum["series"][0]["values"][0][1], 2.0 * SPANS as f64);
    let series = server.query("SHOW SERIES FROM spans").await;
    let series = series["series"][0]["values"].as_array().unwrap().len() as u64;
    assert_eq!(series, own + 1);
    assert_eq!(server.count("duration_ms", "unmoved").await, own + 1);
    assert_eq!(sink.stop().await, (2 * SPANS, 0, 0));
}

//! What the tests of the store share: a clock, a folder, and things to write.

use std::cell::Cell;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rabtrace::config;
use rabtrace::model::{
    AttributeValue, Direction, EdgeKind, FlowWindow, Histogram, Hop, PathStep, PathText, Span,
    SpanId, SpanKind, SpanStatus, StoreBatch, TraceId,
};
use rabtrace::store::{Done, Store};

/// The first second of an hour: where the clock of each test begins.
pub(crate) const BASE_SECONDS: u64 = 1_800_000_000;
/// The same in nanoseconds.
pub(crate) const BASE: i64 = 1_800_000_000_000_000_000;
pub(crate) const SECOND: i64 = 1_000_000_000;
pub(crate) const HOUR: i64 = 3600 * SECOND;

thread_local! {
    static OFFSET: Cell<u64> = const { Cell::new(0) };
}

/// The wall clock of this thread's test.
pub(crate) fn clock() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(BASE_SECONDS + OFFSET.get())
}

/// Sets the clock to so many seconds after [`BASE_SECONDS`].
pub(crate) fn set_clock(seconds: u64) {
    OFFSET.set(seconds);
}

pub(crate) fn config(folder: &Path) -> config::Store {
    config::Store {
        folder: folder.to_owned(),
        retention: Duration::from_secs(24 * 3600),
        max_bytes: 1 << 30,
        spans: true,
    }
}

pub(crate) fn open(folder: &Path) -> Store {
    Store::open(&config(folder), clock).unwrap()
}

/// Does all there is to do; the steps that were the last of something.
pub(crate) fn settle(store: &mut Store) -> Vec<Done> {
    let steps = std::iter::from_fn(|| Some(store.step().unwrap()));
    let steps = steps.take_while(|step| *step != Done::Nothing);
    steps.filter(|step| *step != Done::Part).collect()
}

pub(crate) fn trace_id(number: u64) -> TraceId {
    let mut bytes = [0xab; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    TraceId::from_bytes(&bytes).unwrap()
}

pub(crate) fn span_id(number: u64) -> SpanId {
    SpanId::from_bytes(&number.to_be_bytes()).unwrap()
}

/// A span of 10 ms of the trace and span `number`, at that time.
pub(crate) fn hop(number: u64, time: i64) -> Hop {
    let start = time.unsigned_abs();
    Hop {
        span: Span {
            trace_id: trace_id(number),
            span_id: span_id(number + 1),
            parent_span_id: None,
            service: Arc::from("planner"),
            name: Arc::from("process planner_queue"),
            kind: SpanKind::Consumer,
            status: SpanStatus::Unset,
            status_message: String::new(),
            start_unix_nano: start,
            end_unix_nano: start + 10_000_000,
            attributes: vec![(
                Arc::from("messaging.system"),
                AttributeValue::Text(Arc::from("rabbitmq")),
            )],
            resource: Arc::new(vec![(
                Arc::from("host.name"),
                AttributeValue::Text(Arc::from("h")),
            )]),
            events: Vec::new(),
            links: Vec::new(),
            paths_measured: false,
        },
        destination: Some(Arc::from("planner_queue")),
        queue_wait: Some(Duration::from_millis(3)),
        step: Some(PathStep {
            hash: 7,
            parent: None,
            direction: Direction::In,
            destination: Arc::from("planner_queue"),
            kind: EdgeKind::Forward,
            via: None,
            edge: Some(Duration::from_millis(3)),
            total: Some(Duration::from_millis(3)),
        }),
        path: Some(Arc::from("gateway > planner_queue > planner")),
        point_unix_nano: time,
    }
}

pub(crate) fn spans(hops: Vec<Hop>) -> StoreBatch {
    StoreBatch {
        hops,
        ..StoreBatch::default()
    }
}

pub(crate) fn histogram(values: impl IntoIterator<Item = f64>) -> Histogram {
    let mut histogram = Histogram::default();
    values.into_iter().for_each(|value| histogram.record(value));
    histogram
}

/// A window of 10 s of the path `hash` with these values as its total, in seconds.
pub(crate) fn window(hash: u64, start: i64, values: &[f64]) -> FlowWindow {
    FlowWindow {
        start_unix_nano: start,
        width: Duration::from_secs(10),
        hash,
        service: Arc::from("planner"),
        destination: Arc::from("planner_queue"),
        direction: Direction::In,
        kind: EdgeKind::Forward,
        count: u64::try_from(values.len()).unwrap(),
        errors: 1,
        redelivered: 2,
        skewed: 0,
        max_attempt: 0,
        edge: histogram(values.iter().map(|value| value / 2.0)),
        total: histogram(values.iter().copied()),
        process: histogram([]),
        slowest: None,
        sampled: false,
    }
}

pub(crate) fn path(hash: u64, text: &str) -> PathText {
    PathText {
        hash,
        text: Arc::from(text),
        ends_in_delivery: true,
    }
}

const CHILD: &str = "RABTRACE_TEST_CHILD";

/// The folder that this process, started by [`child`], is to work on.
pub(crate) fn childs_folder() -> Option<std::path::PathBuf> {
    std::env::var_os(CHILD).map(std::path::PathBuf::from)
}

/// Runs the test `name` of this binary in a process of its own, which finds `folder` by
/// [`childs_folder`].
pub(crate) fn child(binary: &Path, name: &str, folder: &Path) -> Command {
    let mut command = Command::new(binary);
    command
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, folder);
    command
}

pub(crate) fn told(output: &Output) -> String {
    let streams = [&output.stdout, &output.stderr];
    streams
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat()
}

//! A pipeline that is known to the message: through the flow into the store, and as the lines that
//! InfluxDB would get.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rabtrace::config;
use rabtrace::flow::{Flow, FlowSetup, Output};
use rabtrace::influx::encode;
use rabtrace::model::{
    AttributeValue, Batch, Direction, EdgeKind, Histogram, PathMeasure, PathRecord, PathValue,
    Point, Resume, Signal, Span, SpanId, SpanKind, SpanStatus, StoreBatch, TraceId, unix_nano,
};
use rabtrace::store::{SqlLimits, SqlResult, Store};
use serde_json::{Value, json};

const SECOND: i64 = 1_000_000_000;
const MILLI: i64 = 1_000_000;

pub(super) fn store_config(folder: &Path) -> config::Store {
    config::Store {
        folder: folder.to_owned(),
        retention: Duration::from_secs(24 * 3600),
        max_bytes: 1 << 30,
        spans: true,
    }
}

pub(super) struct Pipeline {
    folder: tempfile::TempDir,
    store: Store,
    /// When it began: twenty minutes ago, at a whole five minutes.
    begun: i64,
    spans: u64,
}

impl Pipeline {
    /// Runs it: everything is in the store and in the file of lines.
    pub(super) fn run() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&store_config(folder.path()), SystemTime::now).unwrap();
        let now = unix_nano(SystemTime::now());
        let begun = now - now.rem_euclid(300 * SECOND) - 1200 * SECOND;
        let mut pipeline = Self {
            folder,
            store,
            begun,
            spans: 0,
        };
        pipeline.send();
        pipeline
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn lines(&self) -> PathBuf {
        self.path("points.lp")
    }

    pub(super) fn by_store(&self, statement: &str) -> SqlResult {
        let reader = self.store.reader().unwrap();
        reader.sql(statement, SqlLimits::default()).unwrap()
    }

    fn send(&mut self) {
        let mut flow = Flow::new(FlowSetup {
            window: Duration::from_secs(10),
            max_series: 20_000,
            instance: Arc::from("one"),
            resume: Resume::default(),
            now_unix_nano: self.begun,
        });
        let spans = self.all_spans();
        let mut outputs = vec![flow.take_batch(batch(spans, Vec::new()), self.begun)];
        for number in 0..2 {
            let records = records(self.begun, number);
            outputs.push(flow.take_batch(batch(Vec::new(), records), self.begun + number));
        }
        outputs.push(flow.close_windows(self.begun + 10 * SECOND));
        outputs.push(Output {
            store: StoreBatch {
                points: self.polls(),
                ..StoreBatch::default()
            },
            ..Output::default()
        });
        let mut lines = Vec::new();
        for output in outputs {
            for point in flow.influx_points(&output) {
                assert!(encode(&point, &mut lines));
            }
            self.store.write(&[output.store]).unwrap();
        }
        std::fs::write(self.lines(), lines).unwrap();
    }

    fn all_spans(&mut self) -> Vec<Span> {
        let agent = |kind: &str| {
            vec![
                ("gen_ai.agent.id", AttributeValue::Text(Arc::from("a1"))),
                ("notification.type", AttributeValue::Text(Arc::from(kind))),
                (
                    "messaging.destination.name",
                    AttributeValue::Text(Arc::from("jobs")),
                ),
            ]
        };
        let mut spans = Vec::new();
        for (number, millis) in [(0, 1000), (1, 3000), (2, 2000)] {
            let mut span = self.span("planner", SpanKind::Consumer, millis, agent("weather"));
            span.status = if number == 0 {
                SpanStatus::Error
            } else {
                SpanStatus::Unset
            };
            spans.push(span);
        }
        spans.push(self.span("planner", SpanKind::Consumer, 100, agent("search")));
        for _ in 0..25 {
            spans.push(self.span("gateway", SpanKind::Server, 5, Vec::new()));
        }
        // One in 25 is no finding, one in four is.
        spans[4].status = SpanStatus::Error;
        let mut chat = agent("weather");
        chat.extend([
            (
                "gen_ai.operation.name",
                AttributeValue::Text(Arc::from("chat")),
            ),
            ("gen_ai.usage.input_tokens", AttributeValue::Int(700)),
            ("gen_ai.usage.output_tokens", AttributeValue::Int(50)),
        ]);
        spans.push(self.span("planner", SpanKind::Client, 400, chat));
        let mut tool = agent("weather");
        tool.push((
            "gen_ai.operation.name",
            AttributeValue::Text(Arc::from("execute_tool")),
        ));
        spans.push(self.span("planner", SpanKind::Internal, 300, tool));
        for (id, millis) in [("t1", 500), ("t2", 1500)] {
            let task = vec![
                ("task.id", AttributeValue::Text(Arc::from(id))),
                ("task.status", AttributeValue::Text(Arc::from("completed"))),
                ("task.creator.id", AttributeValue::Text(Arc::from("u1"))),
            ];
            spans.push(self.span("responder", SpanKind::Internal, millis, task));
        }
        spans
    }

    fn span(
        &mut self,
        service: &str,
        kind: SpanKind,
        millis: i64,
        attributes: Vec<(&str, AttributeValue)>,
    ) -> Span {
        self.spans += 1;
        let start = self.begun.unsigned_abs() + self.spans * 1_000_000;
        let text = |(name, value)| (Arc::from(name), value);
        Span {
            trace_id: TraceId::from_bytes(&[7; 16]).unwrap(),
            span_id: SpanId::from_bytes(&self.spans.to_be_bytes()).unwrap(),
            parent_span_id: None,
            service: Arc::from(service),
            name: Arc::from(if millis >= 1000 { "long" } else { "short" }),
            kind,
            status: SpanStatus::Unset,
            status_message: String::new(),
            start_unix_nano: start,
            end_unix_nano: start + (millis * MILLI).unsigned_abs(),
            attributes: attributes.into_iter().map(text).collect(),
            resource: Arc::default(),
            events: Vec::new(),
            links: Vec::new(),
            paths_measured: false,
        }
    }

    /// Three polls, 10 s between them.
    fn polls(&self) -> Vec<Point> {
        let mut points = Vec::new();
        for poll in 0..3_u64 {
            let time = self.begun + i64::try_from(poll).unwrap() * 10 * SECOND;
            let queue = |name: &str, messages: u64, consumers: u64, published: u64| {
                Point::new("rabbitmq_queue", time)
                    .tag("cluster", "c")
                    .tag("vhost", "/")
                    .tag("queue", name)
                    .tag("type", "classic")
                    .int("messages", Some(messages))
                    .int("messages_ready", Some(messages))
                    .int("consumers", Some(consumers))
                    .int("messages_publish", Some(published))
                    .int("messages_deliver_get", Some(published / 2))
                    .int("messages_ack", Some(published / 4))
            };
            points.push(queue("grows", 10 + 20 * poll, 1, 100 + 40 * poll));
            // It is consumed from at the last poll only, and its counters begin anew.
            let published = [900, 20, 60][usize::try_from(poll).unwrap()];
            points.push(queue(
                "drains",
                100 - 40 * poll,
                u64::from(poll == 2),
                published,
            ));
            let dead = Point::new("rabbitmq_global", time)
                .tag("cluster", "c")
                .tag("node", "n");
            let dead = dead
                .tag("protocol", "amqp091")
                .tag("queue_type", "rabbit_classic_queue");
            let dead = dead.tag("dead_letter_strategy", "disabled");
            let dead = dead.int("dead_lettered_expired", Some(0));
            let dead = dead.int(
                "dead_lettered_rejected",
                Some([50, 3, 10][usize::try_from(poll).unwrap()]),
            );
            let dead = dead.int("dead_lettered_maxlen", Some(5));
            points.push(dead.int("dead_lettered_delivery_limit", Some(0)));
        }
        points
    }

    /// What was sent, counted by hand.
    pub(super) fn expected(&self, question: &str) -> Vec<Vec<Value>> {
        let rows = match question {
            "message_flow" => json!([[
                "gateway > jobs > worker",
                102,
                1,
                2,
                1040.0,
                self.worst_p95()
            ]]),
            "slow_operations" => json!([["a1", "weather", 3, 2000.0, 3000.0]]),
            "slow_spans" => json!([
                ["planner", "long", "jobs", 3, 2000.0, 3000.0],
                ["responder", "long", "", 1, 1500.0, 1500.0]
            ]),
            "error_rate" => json!([[self.window_start(), "planner", 4, 1, 0.25]]),
            "queue_growth" => json!([["/", "grows", 50, 2.0]]),
            "queue_drain" => json!([["/", "drains", 20, 4.0, 5.0]]),
            "queue_throughput" => json!([["/", "grows", 80, 40, 20], ["/", "drains", 40, 20, 10]]),
            "consumer_starvation" => json!([["/", "drains", 3, 2, 100]]),
            "dead_letters" => json!([["rejected", 7]]),
            "agent_costs" => json!([["a1", 3, 1, 1, 700, 50]]),
            "task_duration" => json!([["u1", "completed", 2, 1.0, 1.5]]),
            other => panic!("{other} is a question whose answer nobody counted"),
        };
        serde_json::from_value(rows).unwrap()
    }

    fn window_start(&self) -> String {
        let seconds = self.begun / SECOND;
        let shown = self.by_store(&format!(
            "SELECT strftime('%Y-%m-%dT%H:%M:%SZ', {seconds}, 'unixepoch')"
        ));
        shown.rows[0][0].as_str().unwrap().to_owned()
    }

    /// A histogram is exact to 4.4 %: what it tells of both requests together. Each alone has
    /// another one.
    fn worst_p95(&self) -> f64 {
        let p95 = histogram((0..2).flat_map(seconds)).quantile(0.95).unwrap();
        assert!((p95 - 1.0).abs() < 0.05, "{p95}");
        p95 * 1e3
    }
}

/// From the origin to the delivery, in one of the two requests.
fn seconds(request: i64) -> Vec<f64> {
    if request == 0 {
        vec![1.0, 2.0, 2.0, 3.0]
    } else {
        vec![1.0; 96]
    }
}

fn histogram(values: impl IntoIterator<Item = f64>) -> Histogram {
    let mut histogram = Histogram::default();
    values.into_iter().for_each(|value| histogram.record(value));
    histogram
}

fn batch(spans: Vec<Span>, paths: Vec<PathRecord>) -> Batch {
    let signal = if paths.is_empty() {
        Signal::Traces
    } else {
        Signal::Metrics
    };
    Batch {
        spans,
        paths,
        ..Batch::new(signal, Bytes::new())
    }
}

/// Messages of the path in one request, and one that was delivered again; the second request falls
/// into the same window, so the store has two rows and InfluxDB one point.
fn records(begun: i64, request: i64) -> Vec<PathRecord> {
    let end = begun + request * SECOND;
    let record = |hash: u64, direction, kind, measure, value| PathRecord {
        service: Arc::from(if hash == 1 { "gateway" } else { "worker" }),
        instance: Arc::from("process one"),
        hash,
        parent: (hash > 1).then_some(hash - 1),
        direction,
        destination: Arc::from("jobs"),
        kind,
        via: None,
        error_type: None,
        measure,
        cumulative: false,
        start_unix_nano: begun.unsigned_abs(),
        end_unix_nano: end.unsigned_abs() + 1,
        value,
    };
    let count = PathValue::Count(seconds(request).len() as u64);
    let total = histogram(seconds(request));
    let (forward, again) = (EdgeKind::Forward, EdgeKind::Redelivery);
    let errors = u64::from(request == 0);
    vec![
        record(
            1,
            Direction::Out,
            forward,
            PathMeasure::Messages,
            count.clone(),
        ),
        record(
            2,
            Direction::In,
            forward,
            PathMeasure::Messages,
            count.clone(),
        ),
        record(
            2,
            Direction::In,
            forward,
            PathMeasure::Total,
            PathValue::Exponential(total),
        ),
        record(
            2,
            Direction::In,
            forward,
            PathMeasure::Errors,
            PathValue::Count(errors),
        ),
        record(
            2,
            Direction::In,
            again,
            PathMeasure::Messages,
            PathValue::Count(1),
        ),
    ]
}

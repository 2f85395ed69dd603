//! OTLP's JSON, as services write it and as nobody would: what is allocated for a request stays
//! below what the scan says of it, and near to that where the request is an ordinary one.

use std::fmt::Write;

use allocation_counter::measure;
use rabtrace::metrics::Metrics;
use rabtrace::model::{Budget, Signal};
use rabtrace::receiver::{Encoding, Intake, JsonError, scan_json};
use serde_json::{Map, Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::channel;

use crate::cases::{Cases, fuzz};
use crate::hostile;
use crate::otlp::{metrics, traces};

/// What the intake allocates for any request: its place, its receipts, what a refusal says.
const BESIDE: u64 = 4 << 10;
const MOST: u64 = 16 << 20;

/// What the whole way from the body to the flow allocates at most; whether it was taken.
fn allocated((runtime, metrics): &(Runtime, Metrics), signal: Signal, body: &[u8]) -> (u64, bool) {
    let (sender, mut batches) = channel(1);
    let intake = Intake::new(sender, 1 << 30, metrics.clone())
        .with_budget(Budget::new(u64::MAX / 8))
        .with_stored_spans();
    let body = bytes::Bytes::copy_from_slice(body);
    let mut taken = false;
    let used = measure(|| {
        taken = runtime.block_on(async {
            tokio::select! {
                accepted = intake.accept(signal, Encoding::Json, body) => accepted.is_ok(),
                // What waits for the store gets no answer here.
                batch = batches.recv() => batch.is_some(),
            }
        });
    });
    (used.bytes_max, taken)
}

fn parts() -> (Runtime, Metrics) {
    let runtime = Builder::new_current_thread().enable_time().build();
    (runtime.unwrap(), Metrics::new().unwrap())
}

/// Does to a request what its sender should not.
fn spoil(cases: &mut Cases, value: &mut Value) {
    match value {
        Value::Object(entries) => {
            entries.values_mut().for_each(|value| spoil(cases, value));
            if cases.one_in(12) {
                let key = cases.choice(&["values", "value", "unknown", "asInt", "status", ""]);
                let odd = odd(cases);
                entries.insert(key.to_owned(), odd);
            }
            if cases.one_in(40) {
                entries.remove("values");
            }
        }
        Value::Array(values) => {
            values.iter_mut().for_each(|value| spoil(cases, value));
            if cases.one_in(8) {
                let odd = odd(cases);
                values.extend(vec![odd; cases.below(20)]);
            }
            let small = |value: &&Value| value.to_string().len() < 1_000;
            if let (true, Some(any)) = (cases.one_in(20), values.first().filter(small).cloned()) {
                values.extend(vec![any; cases.below(100)]);
            }
        }
        _ if cases.one_in(30) => *value = odd(cases),
        _ => {}
    }
}

fn odd(cases: &mut Cases) -> Value {
    match cases.below(9) {
        0 => Value::Null,
        1 => json!({}),
        2 => json!([]),
        3 => json!(cases.number()),
        4 => json!("\u{1}\"\\".repeat(cases.below(30))),
        5 => json!({"key": "a", "value": {"kvlistValue": {"values": [{"key": "b"}]}}}),
        6 => {
            let nest = |inner, _| json!({"arrayValue": {"values": [inner, {"intValue": "1"}]}});
            (0..cases.below(5)).fold(json!({"stringValue": "x"}), nest)
        }
        7 => json!([[{}, []], {"a": [{}]}]),
        _ => Value::Object(Map::from_iter([(cases.text(10), json!([1, 2, {}]))])),
    }
}

/// The request in which some things come more than once, or in other words.
fn respell(cases: &mut Cases, text: String) -> String {
    match cases.below(6) {
        0 => text.replace("\"value\"", "\"v\\u0061lue\""),
        1 => text.replace("\"spans\":[", "\"spans\":[{},{},{},{},{},"),
        2 => text.replace("{\"key\"", " {\n\t\"x\" : [ 1 , {} ],\"key\""),
        3 => text.replace("{\"stringValue\":", "{\"boolValue\":true,\"stringValue\":"),
        _ => text,
    }
}

#[test]
fn json_takes_no_more_than_the_scan_says() {
    let parts = parts();
    fuzz("JSON", 20, |cases| {
        let (signal, mut request) = match cases.one_in(2) {
            true => (Signal::Traces, serde_json::to_value(traces(cases)).unwrap()),
            false => (
                Signal::Metrics,
                serde_json::to_value(metrics(cases)).unwrap(),
            ),
        };
        if cases.one_in(2) {
            spoil(cases, &mut request);
        }
        let mut body = respell(cases, request.to_string()).into_bytes();
        if cases.one_in(4) {
            cases.breaks(&mut body);
        }
        let most = match scan_json(&body, MOST) {
            Ok(most) => most,
            Err(JsonError::Depth | JsonError::List | JsonError::Scan(_)) => return false,
            Err(error) => panic!("{error}"),
        };
        let mut scanned = 0;
        let used = measure(|| scanned = scan_json(&body, MOST).unwrap());
        assert_eq!((used.count_total, scanned), (0, most), "the scan allocates");
        let begun = scan_json(&body[..cases.below(body.len() + 1)], MOST).unwrap();
        assert!(begun <= most, "{begun} of {most}");
        let (used, taken) = allocated(&parts, signal, &body);
        let text = String::from_utf8_lossy(&body);
        assert!(used <= most + BESIDE, "{used} bytes, not {most}: {text}");
        taken
    });
}

#[test]
fn hostile_json_takes_no_more_than_the_scan_says() {
    let parts = parts();
    let bodies = [hostile::spans(), hostile::values(), hostile::metrics()];
    for body in bodies.into_iter().flatten() {
        let signal = match body.contains("resourceSpans") {
            true => Signal::Traces,
            false => Signal::Metrics,
        };
        let most = scan_json(body.as_bytes(), u64::MAX).unwrap();
        let (used, _) = allocated(&parts, signal, body.as_bytes());
        let what = format!("{:.120}", &body[60..]);
        println!(
            "{} bytes, {used} allocated, {most} at most: {what}",
            body.len()
        );
        assert!(used <= most + BESIDE, "{what}");
    }
}

/// A request of spans as the SDK for JavaScript writes it.
fn spans_of_javascript(number: u64, attributes: usize) -> String {
    let mut spans = String::new();
    for id in 1..=number {
        let mut texts = String::new();
        for at in 0..attributes {
            let key = KEYS[at % KEYS.len()];
            let value = match at % 3 {
                0 => format!(r#"{{"stringValue":"{key}-{}"}}"#, id % 7),
                1 => format!(r#"{{"intValue":{id}}}"#),
                _ => r#"{"stringValue":"rabbitmq"}"#.to_owned(),
            };
            write!(texts, r#"{{"key":"{key}","value":{value}}},"#).unwrap();
        }
        let texts = texts.trim_end_matches(',');
        write!(
            spans,
            r#"{{"traceId":"{id:032x}","spanId":"{id:016x}","parentSpanId":"{id:016x}","name":"publish orders","kind":4,"startTimeUnixNano":"1764421532123456789","endTimeUnixNano":"1764421532123556789","attributes":[{texts}],"droppedAttributesCount":0,"events":[],"droppedEventsCount":0,"status":{{"code":0}},"links":[],"droppedLinksCount":0,"flags":257}},"#
        )
        .unwrap();
    }
    let spans = spans.trim_end_matches(',');
    format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"gateway"}}}}],"droppedAttributesCount":0}},"scopeSpans":[{{"scope":{{"name":"amqplib","version":"0.5"}},"spans":[{spans}]}}]}}]}}"#
    )
}

const KEYS: [&str; 10] = [
    "messaging.system",
    "messaging.destination.name",
    "messaging.operation.type",
    "messaging.rabbitmq.destination.routing_key",
    "messaging.message.id",
    "messaging.message.body.size",
    "network.protocol.name",
    "server.address",
    "server.port",
    "peer.service",
];

/// A request of gauges, sums and histograms as the SDK for JavaScript writes it.
pub(crate) fn metrics_of_javascript(number: u64, points: u64) -> String {
    let attributes = |point: u64| {
        format!(
            r#""attributes":[{{"key":"messaging.system","value":{{"stringValue":"rabbitmq"}}}},{{"key":"messaging.destination.name","value":{{"stringValue":"queue-{point}"}}}},{{"key":"server.port","value":{{"intValue":5672}}}}],"startTimeUnixNano":"1764421532123000000","timeUnixNano":"1764421592123000000""#
        )
    };
    let metric = |at: u64| {
        let (kind, value, more) = match at % 3 {
            0 => ("gauge", r#""asDouble":12.5"#.to_owned(), ""),
            1 => (
                "sum",
                r#""asInt":1234"#.to_owned(),
                r#","aggregationTemporality":2,"isMonotonic":true"#,
            ),
            _ => (
                "histogram",
                format!(
                    r#""count":15,"sum":12.5,"min":0.1,"max":4.5,"bucketCounts":[{}1],"explicitBounds":[{}10000]"#,
                    "1,".repeat(15),
                    "250,".repeat(14)
                ),
                r#","aggregationTemporality":2"#,
            ),
        };
        let points: Vec<String> = (0..points)
            .map(|point| format!("{{{},{value}}}", attributes(point)))
            .collect();
        format!(
            r#"{{"name":"messaging.{at}","description":"how many there were","unit":"1","{kind}":{{"dataPoints":[{}]{more}}}}}"#,
            points.join(",")
        )
    };
    let metrics: Vec<String> = (0..number).map(metric).collect();
    format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"gateway"}}}}]}},"scopeMetrics":[{{"scope":{{"name":"own","version":""}},"metrics":[{}]}}]}}]}}"#,
        metrics.join(",")
    )
}

#[test]
fn ordinary_json_takes_nearly_what_the_scan_says() {
    let parts = parts();
    let mut bodies: Vec<(String, Signal, String)> =
        [(1, 10), (40, 0), (512, 10), (700, 5), (3_000, 10)]
            .map(|(spans, attributes)| {
                let body = spans_of_javascript(spans, attributes);
                (
                    format!("{spans} spans of {attributes} attributes"),
                    Signal::Traces,
                    body,
                )
            })
            .into();
    bodies.extend(
        [(30, 1), (30, 20), (300, 9), (3, 2_000)].map(|(metrics, points)| {
            let body = metrics_of_javascript(metrics, points);
            (
                format!("{metrics} metrics of {points} points"),
                Signal::Metrics,
                body,
            )
        }),
    );
    for (what, signal, body) in bodies {
        let most = scan_json(body.as_bytes(), u64::MAX).unwrap();
        let (used, taken) = allocated(&parts, signal, body.as_bytes());
        println!(
            "{what}: {} bytes, {used} allocated, {most} at most",
            body.len()
        );
        assert!(taken && used <= most + BESIDE, "{what}");
        let length = body.len() as u64;
        // The body is held beside it; what does not grow with the request does not matter.
        assert!(
            2 * (length + most) <= 3 * (length + used) + (32 << 10),
            "{what}"
        );
    }
}

/// What a request may have of the default budget holds so many spans.
#[test]
fn a_large_request_of_ordinary_spans_is_taken() {
    let body = spans_of_javascript(12_000, 10);
    let most = (48 << 20) - body.len() as u64;
    println!(
        "{} bytes, {:?} at most",
        body.len(),
        scan_json(body.as_bytes(), u64::MAX)
    );
    assert!(scan_json(body.as_bytes(), most).is_ok());
}

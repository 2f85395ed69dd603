//! What real exporters send arrives as they sent it.

use std::collections::HashMap;
use std::time::Duration;

use rabtrace::model::{AttributeValue, Batch, MetricPoint, Span};
use serde_json::{Value, json};

use super::{Receiver, client, output, run_python};

const SPANS: usize = 150;

/// Exports with the Python SDK; gives what it exported, spans and numbers that arrived.
async fn export(
    receiver: &mut Receiver,
    protocol: &str,
    compression: Option<&str>,
) -> (Value, Vec<Span>, Vec<MetricPoint>) {
    let address = match protocol {
        "grpc" => receiver.grpc,
        _ => receiver.http,
    };
    let mut command = run_python("export.py");
    command
        .args([protocol, &SPANS.to_string()])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"))
        .envs(compression.map(|name| ("OTEL_EXPORTER_OTLP_COMPRESSION", name)));
    let sent = tokio::time::timeout(Duration::from_secs(60), output(command))
        .await
        .unwrap();
    let (mut spans, mut metrics) = (Vec::new(), Vec::new());
    while let Ok(Batch {
        spans: some,
        metrics: numbers,
        ..
    }) = receiver.batches.try_recv()
    {
        spans.extend(some);
        metrics.extend(numbers);
    }
    (serde_json::from_str(&sent).unwrap(), spans, metrics)
}

fn check_span(sent: &Value, span: &Span) {
    let index = sent["index"].as_i64().unwrap();
    assert_eq!(span.trace_id.to_string(), sent["trace_id"]);
    assert_eq!(span.parent_span_id.unwrap().to_string(), sent["parent"]);
    assert_eq!(
        (&*span.service, &*span.name),
        ("gateway", sent["name"].as_str().unwrap())
    );
    assert_eq!(
        (span.kind.as_str(), span.status.as_str()),
        (
            sent["kind"].as_str().unwrap(),
            sent["status"].as_str().unwrap()
        )
    );
    assert_eq!(
        span.status_message,
        if index % 2 == 1 { "boom" } else { "" }
    );
    assert_eq!(
        (span.start_unix_nano, span.end_unix_nano),
        (
            sent["start"].as_u64().unwrap(),
            sent["end"].as_u64().unwrap()
        )
    );
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let half = index as f64 / 2.0;
    let expected = [
        ("messaging.system", AttributeValue::Text("rabbitmq".into())),
        ("index", AttributeValue::Int(index)),
        ("half", AttributeValue::Double(half)),
        ("even", AttributeValue::Bool(index % 2 == 0)),
        (
            "unicode",
            AttributeValue::Text("Grüße \u{e9} \u{1f407}".into()),
        ),
        ("list", AttributeValue::Json(json!(["a", "b"]))),
    ];
    assert_eq!(span.attributes.len(), expected.len());
    for (name, value) in &expected {
        assert_eq!(span.attribute(name), Some(value), "{name}");
    }
    assert_eq!(
        (span.events[0].name.as_str(), span.links.len()),
        ("settled", 1)
    );
    assert_eq!(Some(span.links[0].span_id), span.parent_span_id);
    assert!(span.resource.iter().any(|(key, _)| &**key == "host.name"));
}

async fn check(protocol: &str, compression: Option<&str>) {
    let mut receiver = Receiver::start(64).await;
    let (sent, spans, metrics) = export(&mut receiver, protocol, compression).await;
    assert_eq!(sent["flushed"], true);
    let by_id: HashMap<String, &Span> = spans
        .iter()
        .map(|span| (span.span_id.to_string(), span))
        .collect();
    assert_eq!(by_id.len(), SPANS + 1, "the root and all below it");
    assert_eq!(receiver.metrics.spans_received.get(), SPANS as u64 + 1);
    for sent in sent["spans"].as_array().unwrap() {
        check_span(sent, by_id[sent["span_id"].as_str().unwrap()]);
    }
    let value = |name: &str| {
        let found = metrics.iter().find(|point| &*point.name == name);
        found.map(|point| (point.value, point.attributes.len()))
    };
    assert_eq!(value("requests"), Some((7.0, 1)));
    assert_eq!(value("cpu"), Some((0.25, 0)));
    assert_eq!(value("latency"), None, "histograms are only forwarded");
    assert_eq!(receiver.metrics.metric_points_received.get(), 3);
}

#[tokio::test]
async fn the_python_sdk_exports_over_grpc() {
    check("grpc", None).await;
}

#[tokio::test]
async fn the_python_sdk_exports_over_grpc_with_gzip() {
    check("grpc", Some("gzip")).await;
}

#[tokio::test]
async fn the_python_sdk_exports_over_http() {
    check("http", None).await;
}

#[tokio::test]
async fn the_python_sdk_exports_over_http_with_gzip() {
    check("http", Some("gzip")).await;
}

/// The example of the specification: opentelemetry-proto, `examples/trace.json`.
const TRACE_JSON: &str = r#"{"resourceSpans":[{
  "resource":{"attributes":[{"key":"service.name","value":{"stringValue":"my.service"}}]},
  "scopeSpans":[{
    "scope":{"name":"my.library","version":"1.0.0","attributes":[
      {"key":"my.scope.attribute","value":{"stringValue":"some scope attribute"}}]},
    "spans":[{
      "traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174",
      "parentSpanId":"EEE19B7EC3C1B173","name":"I'm a server span",
      "startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000000",
      "kind":2,"attributes":[
        {"key":"my.span.attr","value":{"stringValue":"some value"}},
        {"key":"tries","value":{"intValue":"3"}},
        {"key":"tags","value":{"arrayValue":{"values":[{"intValue":1},{"boolValue":true}]}}}]}]}]}]}"#;

#[tokio::test]
async fn the_json_example_of_the_specification_is_taken() {
    let mut receiver = Receiver::start(1).await;
    let answer = client()
        .post(receiver.url("/v1/traces"))
        .header("content-type", "application/json; charset=utf-8")
        .body(TRACE_JSON)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    assert_eq!(answer.text().await.unwrap(), "{}");
    let batch = receiver.batches.try_recv().unwrap();
    let span = &batch.spans[0];
    assert_eq!(
        span.trace_id.to_string(),
        "5b8efff798038103d269b633813fc60c"
    );
    assert_eq!(span.parent_span_id.unwrap().to_string(), "eee19b7ec3c1b173");
    assert_eq!(
        (span.kind.as_str(), &*span.service),
        ("server", "my.service")
    );
    assert_eq!(span.duration(), Duration::from_secs(1));
    assert_eq!(span.attribute("tries"), Some(&AttributeValue::Int(3)));
    let tags = AttributeValue::Json(json!([1, true]));
    assert_eq!(span.attribute("tags"), Some(&tags));
    // The payload for the upstream is protobuf: sent as such, it is the same span.
    let answer = client()
        .post(receiver.url("/v1/traces"))
        .header("content-type", "application/x-protobuf")
        .body(batch.payload.clone())
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success());
    assert_eq!(receiver.batches.try_recv().unwrap().spans, batch.spans);
}

#[tokio::test]
async fn metrics_come_as_json_too() {
    let mut receiver = Receiver::start(1).await;
    let body = json!({ "resourceMetrics": [{
        "resource": { "attributes": [
            { "key": "service.name", "value": { "stringValue": "planner" } } ] },
        "scopeMetrics": [{ "metrics": [
            { "name": "requests", "unit": "1", "sum": {
                "aggregationTemporality": 2, "isMonotonic": true,
                "dataPoints": [{ "asInt": "7", "timeUnixNano": "1544712660300000000" }] } },
            { "name": "latency", "histogram": {
                "aggregationTemporality": 1,
                "dataPoints": [{ "count": "2", "sum": 2, "bucketCounts": ["1", "1"],
                    "explicitBounds": [1], "timeUnixNano": "1544712660300000000" }] } },
        ] }] }] });
    let answer = client()
        .post(receiver.url("/v1/metrics"))
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let batch = receiver.batches.try_recv().unwrap();
    assert_eq!(batch.metrics.len(), 1);
    let point = &batch.metrics[0];
    assert_eq!(
        (&*point.service, &*point.name, point.value),
        ("planner", "requests", 7.0)
    );
    assert_eq!(receiver.metrics.metric_points_received.get(), 2);
}

#[tokio::test]
async fn a_span_with_an_invalid_id_is_a_partial_success() {
    let receiver = Receiver::start(1).await;
    let body = TRACE_JSON.replace("EEE19B7EC3C1B174", "0000000000000000");
    let answer = client()
        .post(receiver.url("/v1/traces"))
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "1", "{answer}");
    assert_ne!(answer["partialSuccess"]["errorMessage"], "");
}

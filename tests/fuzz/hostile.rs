//! JSON that is small as a text and large in memory, ten thousand times over.

use crate::json::metrics_of_javascript;

fn many(element: &str) -> String {
    vec![element; 10_000].join(",")
}

/// Attributes whose keys are all different.
fn keys() -> String {
    let key = |key| format!(r#"{{"key":"{key}","value":{{}}}},"#);
    (0..10_000).map(key).collect()
}

fn span(field: &str) -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{field}]}}]}}]}}"#)
}

fn value(value: &str) -> String {
    span(&format!(
        r#"{{"traceId":"0000000000000000000000000000000a","spanId":"000000000000000b","attributes":[{{"key":"a","value":{value}}}]}}"#
    ))
}

fn nested(inner: String) -> String {
    let nest = |inner, _| format!(r#"{{"arrayValue":{{"values":[{inner}]}}}}"#);
    value(&(0..5).fold(inner, nest))
}

fn metric(field: &str) -> String {
    format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"rabtrace.path.duration",{field}}}]}}]}}]}}"#
    )
}

fn point(field: &str) -> String {
    metric(&format!(
        r#""exponentialHistogram":{{"dataPoints":[{{{field}}}]}}"#
    ))
}

/// Spans, and what is in them.
pub(crate) fn spans() -> Vec<String> {
    let keys = keys();
    vec![
        span(&many("{}")),
        span(&many(r#"{"\u006e\u0061\u006d\u0065":"a"}"#)),
        span(&format!(r#"{{"events":[{}]}}"#, many("{}"))),
        span(&format!(r#"{{"links":[{}]}}"#, many("{}"))),
        span(&format!(r#"{{"unknown":[{}]}}"#, many("{}"))),
        span(&format!(r#"{{"attributes":[{}]}}"#, many(r#"{"key":""}"#))),
        span(&many(r#"{"parentSpanId":null}"#)),
        span(&many(
            r#"{"attributes":[{"key":"","value":{"arrayValue":{}}}]}"#,
        )),
        span(&format!(r#"{{"attributes":[{keys}{{"key":""}}]}}"#)),
    ]
}

/// Values of attributes.
pub(crate) fn values() -> Vec<String> {
    let keys = keys();
    vec![
        value(&format!(
            r#"{{"arrayValue":{{"values":[{}]}}}}"#,
            many("{}")
        )),
        value(&format!(
            r#"{{"arrayValue":{{"values":[{}]}}}}"#,
            many(r#"{"kvlistValue":{"values":[]}}"#)
        )),
        value(&format!(
            r#"{{"kvlistValue":{{"values":[{keys}{{"key":"a"}}]}}}}"#
        )),
        value(&format!(r#"{{{}}}"#, many(r#""unknown":[[{}]]"#))),
        value(&format!(r#"{{{}}}"#, many(r#""stringValue":"\n""#))),
        value(&format!(r#"{{"stringValue":"{}"}}"#, "\\t".repeat(500_000))),
        value(&format!(r#"{{"bytesValue":"{}"}}"#, "AAAA".repeat(500_000))),
        nested(format!(
            r#"{{"arrayValue":{{"values":[{}]}}}}"#,
            many(r#"{"stringValue":"\n"}"#)
        )),
        nested(format!(
            r#"{{"kvlistValue":{{"values":[{keys}{{"key":"a"}}]}}}}"#
        )),
    ]
}

/// Metrics, and what is in them.
pub(crate) fn metrics() -> Vec<String> {
    vec![
        metric(&many(r#""unknown":{"a":[]}"#)),
        metric(&format!(
            r#""metadata":[{}]"#,
            many(r#"{"key":"","value":{"intValue":"1"}}"#)
        )),
        metric(&format!(r#""sum":{{"dataPoints":[{}]}}"#, many("{}"))),
        metric(&format!(
            r#""gauge":{{"dataPoints":[{}]}}"#,
            many(r#"{"asInt":1}"#)
        )),
        metric(&format!(
            r#""summary":{{"dataPoints":[{{"quantileValues":[{}]}}]}}"#,
            many("{}")
        )),
        metric(&format!(r#""histogram":{{"dataPoints":[{}]}}"#, many("{}"))),
        metric(&format!(
            r#""histogram":{{"dataPoints":[{{"explicitBounds":[{}]}}]}}"#,
            many("0")
        )),
        metric(&format!(
            r#""exponentialHistogram":{{"dataPoints":[{}]}}"#,
            many("{}")
        )),
        point(&format!(r#""positive":{{"bucketCounts":[{}]}}"#, many("1"))),
        point(&format!(r#""exemplars":[{}]"#, many(r#"{"asInt":"1"}"#))),
        point(&format!(
            r#""attributes":[{}]"#,
            many(r#"{"key":"a","value":{"stringValue":""}}"#)
        )),
        metrics_of_javascript(3, 2_000).replace("messaging.1", "rabtrace.path.messages"),
    ]
}

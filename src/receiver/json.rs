//! OTLP's JSON encoding: a scan before decoding, and decoding to protobuf's messages.
//!
//! The mapping is protobuf's with two exceptions (ids are hex, enumerations are numbers):
//! <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>. As with protobuf, the
//! size of a body says little about the memory that it takes: `{}` is a whole span. [`scan`]
//! counts objects, elements and nesting without allocating.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::scan::ScanError;

/// How deep objects and arrays may nest: an attribute of a span's event lies at 12, and every
/// array in it takes four more.
pub(super) const MAX_DEPTH: u64 = 36;
/// Bytes in memory of one object, decoded and in the model: that of a span.
const OBJECT: u64 = 576;
/// Bytes in memory of one element of an array or an object.
const ELEMENT: u64 = 64;
/// Below this level the decoder may hold a copy of the text for every attribute level.
const SHARED_DEPTH: u64 = 12;

/// Why a JSON body is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum JsonError {
    /// Too large when decoded.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// Objects and arrays nest too deep.
    #[error("JSON nests deeper than {MAX_DEPTH} levels")]
    Depth,
    /// Not JSON, or not that of an OTLP request.
    #[error("invalid OTLP JSON: {0}")]
    Invalid(#[from] serde_json::Error),
}

/// Decodes a request; [`scan`] says before what that takes.
///
/// # Errors
/// If the body is not a request.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, JsonError> {
    // A list of a message's fields would pass for the message.
    if body.trim_ascii_start().first() != Some(&b'{') {
        let error: serde_json::Error = serde::de::Error::custom("a request is an object");
        return Err(error.into());
    }
    let error = match serde_json::from_slice(body) {
        Ok(request) => return Ok(request),
        Err(error) => error,
    };
    // Protobuf's JSON leaves out empty lists and takes null for any default, which the decoder
    // does not know; only such bodies pay for a second look.
    let Ok(mut value) = serde_json::from_slice(body) else {
        return Err(error.into());
    };
    fill_in_defaults(&mut value);
    serde_json::from_value(value).map_err(|_| error.into())
}

/// Takes out nulls, and puts an empty list where an array or a map of attributes has none.
fn fill_in_defaults(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            entries.retain(|_, value| !value.is_null());
            for (key, value) in entries {
                if let ("arrayValue" | "kvlistValue", Value::Object(list)) =
                    (key.as_str(), &mut *value)
                {
                    list.entry("values")
                        .or_insert_with(|| Value::Array(Vec::new()));
                }
                fill_in_defaults(value);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(fill_in_defaults),
        _ => {}
    }
}

/// Bytes in memory that the body takes when decoded, about; of a body that has only begun, as far
/// as it is there.
///
/// # Errors
/// If that is more than `budget`, or it nests too deep.
pub(super) fn scan(body: &[u8], budget: u64) -> Result<u64, JsonError> {
    let (mut bytes, mut depth) = (0_u64, 0_u64);
    let (mut in_text, mut escaped) = (false, false);
    for byte in body {
        let copies = 1 + depth.saturating_sub(SHARED_DEPTH) / 2;
        bytes += copies;
        if in_text {
            in_text = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'{' | b'[' => {
                depth += 1;
                bytes += copies * if *byte == b'{' { OBJECT } else { ELEMENT };
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => bytes += copies * ELEMENT,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(JsonError::Depth);
        }
        if bytes > budget {
            return Err(ScanError::TooManyElements { budget }.into());
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{JsonError, MAX_DEPTH, decode, scan};
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

    fn nested(levels: u64) -> String {
        let levels = usize::try_from(levels).unwrap();
        "[".repeat(levels) + &"]".repeat(levels)
    }

    #[test]
    fn structure_in_texts_does_not_count() {
        let plain = scan(br#"{"a":"bbbbbbbbb"}"#, u64::MAX).unwrap();
        let tricky = scan(br#"{"a":"\"{[,\\\""}"#, u64::MAX).unwrap();
        assert_eq!(plain, tricky);
    }

    #[test]
    fn many_empty_spans_are_refused_before_they_are_decoded() {
        let spans = "{},".repeat(1 << 20);
        let body = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}{{}}]}}]}}]}}"#);
        let outcome = scan(body.as_bytes(), 256 << 20);
        assert!(matches!(outcome, Err(JsonError::Scan(_))), "{outcome:?}");
    }

    #[test]
    fn nulls_and_left_out_lists_are_defaults() {
        let body = br#"{"resourceSpans":[{"resource":null,"scopeSpans":[{"spans":[{
            "name":"publish","attributes":[{"key":"a","value":{"arrayValue":{}}},
            {"key":"b","value":{"kvlistValue":{}}}],"events":null,"parentSpanId":null}]}]}]}"#;
        let request: ExportTraceServiceRequest = decode(body).unwrap();
        let span = &request.resource_spans[0].scope_spans[0].spans[0];
        assert_eq!((span.name.as_str(), span.attributes.len()), ("publish", 2));
        for wrong in [&b"{"[..], b"[]", b"null", br#"{"resourceSpans":{}}"#] {
            let outcome = decode::<ExportTraceServiceRequest>(wrong);
            assert!(matches!(outcome, Err(JsonError::Invalid(_))), "{wrong:?}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(scan(nested(MAX_DEPTH).as_bytes(), u64::MAX).is_ok());
        let outcome = scan(nested(MAX_DEPTH + 1).as_bytes(), u64::MAX);
        assert!(matches!(outcome, Err(JsonError::Depth)), "{outcome:?}");
    }
}

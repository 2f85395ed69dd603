//! OTLP's JSON encoding: a scan before decoding, and decoding to protobuf's messages.
//!
//! The mapping is protobuf's with two exceptions (ids are hex, enumerations are numbers):
//! <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>. As with protobuf, the
//! size of a body says little about the memory that it takes: `{}` is a whole span. [`scan()`]
//! finds that out.

mod fields;
mod level;
mod scan;
mod sizes;

use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::scan::scan;

use self::scan::has_defaults;
use super::scan::ScanError;

/// How deep objects and arrays may nest: an attribute of a span's event lies at 12, and every
/// array in it takes four more.
const MAX_DEPTH: usize = 36;

/// Why a JSON body is refused.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Too large when decoded.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// Objects and arrays nest too deep.
    #[error("JSON nests deeper than {MAX_DEPTH} levels")]
    Depth,
    /// A list of a message's fields, which serde would take for the message.
    #[error("invalid OTLP JSON: a list where an object has to be")]
    List,
    /// Not JSON, or not that of an OTLP request.
    #[error("invalid OTLP JSON: {0}")]
    Invalid(#[from] serde_json::Error),
}

/// Decodes a request; [`scan()`] says before what that takes, and refuses what only seems one.
///
/// # Errors
/// If the body is not a request.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, JsonError> {
    let error = match serde_json::from_slice(body) {
        Ok(request) => return Ok(request),
        Err(error) => error,
    };
    // Protobuf's JSON leaves out empty lists and takes null for any default, which the decoder
    // does not know; only such bodies pay for a second look.
    if !has_defaults(body) {
        return Err(error.into());
    }
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

#[cfg(test)]
mod tests {
    use super::{JsonError, MAX_DEPTH, decode, scan};
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

    fn nested(levels: usize) -> String {
        r#"{"a":"#.repeat(levels) + "0" + &"}".repeat(levels)
    }

    fn spans(spans: &str) -> String {
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#)
    }

    fn bytes(body: &str) -> u64 {
        scan(body.as_bytes(), u64::MAX).unwrap()
    }

    #[test]
    fn structure_in_texts_does_not_count() {
        let plain = spans(r#"{"name":"bbbbbbbbb"}"#);
        let tricky = spans(r#"{"name":"\"{[,\\\""}"#);
        assert_eq!(bytes(&plain), bytes(&tricky));
    }

    #[test]
    fn names_may_be_written_with_escapes() {
        let plain = spans(&"{},".repeat(1_000));
        let escaped = plain.replace("spans", "\\u0073pan\\u0073");
        assert!(bytes(&escaped) >= bytes(&plain), "{escaped:.80}");
        let unknown = plain.replace("\"spans", "\"spam");
        assert!(bytes(&unknown) < bytes(&plain) / 10, "it is skipped");
    }

    #[test]
    fn lists_are_no_messages() {
        for body in ["[]", &spans("[]"), &spans(r#"{"status":[]}"#)] {
            let outcome = scan(body.as_bytes(), u64::MAX);
            assert!(
                matches!(outcome, Err(JsonError::List)),
                "{body}: {outcome:?}"
            );
        }
        assert!(scan(spans("").as_bytes(), u64::MAX).is_ok());
    }

    #[test]
    fn many_empty_spans_are_refused_before_they_are_decoded() {
        let body = spans(&("{},".repeat(1 << 20) + "{}"));
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
        for wrong in [&b"{"[..], b"null", br#"{"resourceSpans":{}}"#] {
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

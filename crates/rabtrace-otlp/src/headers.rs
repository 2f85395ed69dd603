//! Headers of the requests: they carry the secrets of a collector.
//!
//! Input: pairs from the builder, and `name=value,name=value` from the environment, percent-encoded.
//! Output: a map whose values do not show in `Debug`. What is no header is left out and logged by
//! its place, never by its text, as the SDK's exporter leaves it out.
//!
//! Source: <https://opentelemetry.io/docs/specs/otel/protocol/exporter/#specifying-headers-via-environment-variables>.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

/// Adds `name` to `headers`, in place of one that is there; says whether both are valid.
pub(crate) fn insert(headers: &mut HeaderMap, name: &str, value: &str) -> bool {
    let (Ok(name), Ok(mut value)) = (
        HeaderName::try_from(name),
        HeaderValue::from_bytes(value.as_bytes()),
    ) else {
        return false;
    };
    value.set_sensitive(true);
    headers.insert(name, value);
    true
}

/// Adds the headers of the environment's variable `origin`, which holds `text`.
pub(crate) fn insert_all(headers: &mut HeaderMap, origin: &str, text: &str) {
    for (place, pair) in text.split_terminator(',').enumerate() {
        let pair = pair.trim();
        let parsed = pair
            .split_once('=')
            .map(|(name, value)| (name.trim(), value.trim()))
            .filter(|(name, value)| !name.is_empty() && !value.is_empty());
        let valid = parsed.is_some_and(|(name, value)| insert(headers, name, &decoded(value)));
        if !valid && !pair.is_empty() {
            tracing::warn!(
                variable = origin,
                place = place + 1,
                "not a header, left out"
            );
        }
    }
}

/// Percent-decoded; as it stands if that is no text.
fn decoded(value: &str) -> Cow<'_, str> {
    percent_decode_str(value)
        .decode_utf8()
        .unwrap_or(Cow::Borrowed(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        insert_all(&mut headers, "VARIABLE", text);
        headers
    }

    #[test]
    fn pairs_are_trimmed_and_decoded() {
        let headers = all(" api-key = a%20b%2Cc ,X-Scope=t1,,");
        assert_eq!(headers.len(), 2);
        assert_eq!(headers["api-key"], "a b,c");
        assert_eq!(headers["x-scope"], "t1");
    }

    #[test]
    fn values_hold_equals_signs_and_odd_percents() {
        let headers = all("authorization=Basic dXNlcjpwYXNz==,odd=100%");
        assert_eq!(headers["authorization"], "Basic dXNlcjpwYXNz==");
        assert_eq!(headers["odd"], "100%");
    }

    #[test]
    fn what_is_no_header_is_left_out() {
        let headers = all("novalue,=x,empty=,bad name=x,line=a%0Ab,good=1");
        assert_eq!(headers.len(), 1);
        assert_eq!(headers["good"], "1");
    }

    #[test]
    fn values_do_not_show() {
        let text = format!("{:?}", all("authorization=Bearer%20hunter2"));
        assert!(text.contains("authorization"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

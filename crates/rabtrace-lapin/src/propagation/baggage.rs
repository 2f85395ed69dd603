//! The header `baggage`: percent-encoded text against OpenTelemetry's baggage.
//!
//! Source: <https://www.w3.org/TR/baggage/>. Members that cannot be read are left out; a header
//! beyond the limits is cut (when written) or counts as absent (when read).

use opentelemetry::baggage::{Baggage, KeyValueMetadata};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

const LENGTH: usize = 8_192;
const MEMBERS: usize = 64;

/// Everything but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// None if there is nothing in it.
pub(super) fn encode(baggage: &Baggage) -> Option<String> {
    let mut header = String::new();
    for (key, (value, metadata)) in baggage.iter().take(MEMBERS) {
        let value = utf8_percent_encode(value.as_str(), ENCODED);
        let mut member = format!("{}={value}", key.as_str());
        let metadata = metadata.as_str().trim();
        if !metadata.is_empty() && metadata.bytes().all(is_metadata) {
            member = format!("{member};{metadata}");
        }
        if header.len() + member.len() + 1 > LENGTH {
            continue;
        }
        if !header.is_empty() {
            header.push(',');
        }
        header.push_str(&member);
    }
    (!header.is_empty()).then_some(header)
}

fn is_metadata(byte: u8) -> bool {
    (byte.is_ascii_graphic() || byte == b' ') && byte != b','
}

/// Empty if nothing can be read.
pub(super) fn decode(header: &str) -> Baggage {
    if header.len() > LENGTH {
        return Baggage::default();
    }
    header.split(',').take(MEMBERS).filter_map(member).collect()
}

fn member(text: &str) -> Option<KeyValueMetadata> {
    let (pair, metadata) = text.split_once(';').unwrap_or((text, ""));
    let (key, value) = pair.split_once('=')?;
    let key = percent_decode_str(key.trim()).decode_utf8().ok()?;
    let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
    Some(KeyValueMetadata::new(
        key.into_owned(),
        value.into_owned(),
        metadata.trim(),
    ))
}

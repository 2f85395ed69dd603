//! How many bytes a message's properties take in its header frame.
//!
//! The header frame of a message cannot be split: beyond the negotiated `frame_max` the broker
//! closes the whole connection (501 FRAME_ERROR). Source: AMQP 0-9-1, sections 4.2.5 and 4.2.6.1.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

/// Frame header (7), frame end (1), class (2), weight (2), body size (8), property flags (2).
const FRAME: usize = 22;
/// Kept free, so that no rounding of ours or of the broker's ever closes a connection.
const MARGIN: usize = 32;

/// The smallest `frame_max` that AMQP allows.
const SMALLEST: u32 = 4_096;

/// Whether properties without headers leave room for both headers of a trace, whatever else they
/// say: ten short strings of 256 bytes, `traceparent`, and the longest `tracestate` make 3,300.
pub(super) fn is_no_matter(properties: &BasicProperties, frame_max: u32) -> bool {
    properties.headers().is_none() && (frame_max == 0 || frame_max >= SMALLEST)
}

/// The bytes left in the header frame for further headers; `frame_max` 0 is without limit.
pub(super) fn room(properties: &BasicProperties, frame_max: u32) -> usize {
    if frame_max == 0 {
        return usize::MAX / 2;
    }
    let frame_max = usize::try_from(frame_max).unwrap_or(usize::MAX / 2);
    frame_max.saturating_sub(FRAME + MARGIN + encoded(properties))
}

fn encoded(properties: &BasicProperties) -> usize {
    let texts = [
        properties.content_type(),
        properties.content_encoding(),
        properties.correlation_id(),
        properties.reply_to(),
        properties.expiration(),
        properties.message_id(),
        properties.kind(),
        properties.user_id(),
        properties.app_id(),
        properties.cluster_id(),
    ];
    let texts: usize = texts.into_iter().flatten().map(short_string).sum();
    // A table that is not there yet counts too: it comes with the first header.
    let headers = properties.headers().as_ref().map_or(4, table);
    // Delivery mode, priority and timestamp.
    texts + headers + 10
}

fn short_string(text: &ShortString) -> usize {
    1 + text.as_str().len()
}

fn table(table: &FieldTable) -> usize {
    let entries = table.inner().iter();
    4 + entries
        .map(|(key, value)| entry(key.as_str(), value))
        .sum::<usize>()
}

/// The bytes of one entry of a table.
pub(super) fn entry(key: &str, value: &AMQPValue) -> usize {
    1 + key.len() + 1 + raw(value)
}

fn raw(value: &AMQPValue) -> usize {
    match value {
        AMQPValue::Void => 0,
        AMQPValue::Boolean(_) | AMQPValue::ShortShortInt(_) | AMQPValue::ShortShortUInt(_) => 1,
        AMQPValue::ShortInt(_) | AMQPValue::ShortUInt(_) => 2,
        AMQPValue::LongInt(_) | AMQPValue::LongUInt(_) | AMQPValue::Float(_) => 4,
        AMQPValue::DecimalValue(_) => 5,
        AMQPValue::LongLongInt(_) | AMQPValue::Double(_) | AMQPValue::Timestamp(_) => 8,
        AMQPValue::ShortString(text) => short_string(text),
        AMQPValue::LongString(text) => 4 + text.len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.len(),
        AMQPValue::FieldArray(array) => {
            let values = array.as_slice().iter();
            4 + values.map(|value| 1 + raw(value)).sum::<usize>()
        }
        AMQPValue::FieldTable(inner) => table(inner),
    }
}

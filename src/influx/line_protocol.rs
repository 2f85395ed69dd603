//! A point as one line of InfluxDB's line protocol. Pure.
//!
//! Input: a [`Point`]. Output: one line with its newline at the end of a buffer. A point without
//! a field that can be written gives no line.
//!
//! A line never contains a second newline, whatever its texts hold: a newline in a tag makes
//! every server read the rest as another point, and VictoriaMetrics does so in strings too.
//!
//! Rules: <https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>, narrowed to
//! what InfluxDB 1.6, 2.7, 3 and VictoriaMetrics all read back as it was meant.

use std::io::Write;

use crate::model::{FieldValue, Point, base64};

#[cfg(test)]
mod tests;

/// Longest text of a field in bytes: InfluxDB 3 takes 64 KiB at most.
const TEXT_LIMIT: usize = 60_000;

/// Writes `point` as one line to the end of `buffer`; false, and nothing written, when the point
/// has no name or no field that line protocol can express.
///
/// - Tags are sorted by key. A tag with an empty key or value, or with a key that was there
///   already, is left out. In names and tags a control character becomes a space, and a backslash
///   becomes `/`: 1.x and 2.x have no way to write a tag that ends in one.
/// - NaN and infinities are left out. Text is cut at 60,000 bytes; a newline or carriage return in
///   it becomes `\n` or `\r` in two characters, NUL becomes U+FFFD. Bytes are base64, and left out
///   when that is longer than a text may be.
///
/// ```
/// use rabtrace::influx::encode;
/// use rabtrace::model::Point;
/// let point = Point::new("rabbitmq_queue", 7).tag("queue", "a b").int("messages", Some(3));
/// let mut line = Vec::new();
/// assert!(encode(&point, &mut line));
/// assert_eq!(line, b"rabbitmq_queue,queue=a\\ b messages=3i 7\n");
/// ```
#[must_use]
pub fn encode(point: &Point, buffer: &mut Vec<u8>) -> bool {
    let start = buffer.len();
    if point.measurement.is_empty() {
        return false;
    }
    write_measurement(point.measurement, buffer);
    write_tags(&point.tags, buffer);
    if !write_fields(&point.fields, buffer) {
        buffer.truncate(start);
        return false;
    }
    buffer.push(b' ');
    write_integer(point.time_unix_nano, buffer);
    buffer.push(b'\n');
    true
}

fn write_measurement(name: &str, buffer: &mut Vec<u8>) {
    // A line that begins with `#` is a comment.
    let rest = name.strip_prefix('#').inspect(|_| buffer.push(b'_'));
    for (at, part) in rest.unwrap_or(name).split('=').enumerate() {
        buffer.extend_from_slice(if at > 0 { b"=" } else { b"" });
        write_escaped::<InKey>(part, buffer);
    }
}

fn write_tags(tags: &[(&'static str, std::sync::Arc<str>)], buffer: &mut Vec<u8>) {
    if tags.windows(2).all(|pair| pair[0].0 < pair[1].0) {
        for (key, value) in tags {
            write_tag(key, value, buffer);
        }
        return;
    }
    let mut sorted: Vec<_> = tags.iter().filter(|(_, value)| !value.is_empty()).collect();
    sorted.sort_by_key(|(key, _)| *key);
    sorted.dedup_by_key(|(key, _)| *key);
    for (key, value) in sorted {
        write_tag(key, value, buffer);
    }
}

fn write_tag(key: &str, value: &str, buffer: &mut Vec<u8>) {
    if key.is_empty() || value.is_empty() {
        return;
    }
    buffer.push(b',');
    write_escaped::<InKey>(key, buffer);
    buffer.push(b'=');
    write_escaped::<InKey>(value, buffer);
}

/// Writes the fields with the separators before each; whether there was one.
fn write_fields(fields: &[(&'static str, FieldValue)], buffer: &mut Vec<u8>) -> bool {
    let mut separator = b' ';
    for (key, value) in fields {
        if key.is_empty() || !can_be_written(value) {
            continue;
        }
        buffer.push(separator);
        separator = b',';
        write_escaped::<InKey>(key, buffer);
        buffer.push(b'=');
        write_value(value, buffer);
    }
    separator == b','
}

fn can_be_written(value: &FieldValue) -> bool {
    match value {
        FieldValue::Float(number) => number.is_finite(),
        FieldValue::Bytes(bytes) => bytes.len().div_ceil(3) * 4 <= TEXT_LIMIT,
        FieldValue::Int(_) | FieldValue::Bool(_) | FieldValue::Text(_) => true,
    }
}

fn write_value(value: &FieldValue, buffer: &mut Vec<u8>) {
    match value {
        FieldValue::Int(number) => {
            write_integer(*number, buffer);
            buffer.push(b'i');
        }
        FieldValue::Float(number) => write_float(*number, buffer),
        FieldValue::Bool(truth) => {
            buffer.extend_from_slice(if *truth { b"true" } else { b"false" });
        }
        FieldValue::Text(text) => {
            buffer.push(b'"');
            write_escaped::<InText>(cut(text, TEXT_LIMIT), buffer);
            buffer.push(b'"');
        }
        FieldValue::Bytes(bytes) => {
            buffer.push(b'"');
            buffer.extend(base64(bytes));
            buffer.push(b'"');
        }
    }
}

/// Bytes that do not stand for themselves in some place.
trait Special {
    /// For each byte whether it is one.
    const TABLE: [bool; 256];

    /// The same without branches: so many bytes are looked at at once.
    fn has(byte: u8) -> bool;

    /// What stands for one.
    fn escaped(byte: u8) -> &'static [u8];
}

/// In a measurement, a key or a tag; `=` may stand in a measurement.
struct InKey;

impl Special for InKey {
    const TABLE: [bool; 256] = table(b" \x7f,=\\", b' ');

    fn has(byte: u8) -> bool {
        (byte <= b' ') | (byte == 0x7f) | (byte == b',') | (byte == b'=') | (byte == b'\\')
    }

    fn escaped(byte: u8) -> &'static [u8] {
        match byte {
            b',' => b"\\,",
            b'=' => b"\\=",
            b'\\' => b"/",
            _ => b"\\ ",
        }
    }
}

/// In the text of a field.
struct InText;

impl Special for InText {
    const TABLE: [bool; 256] = table(b"\"\\\n\r", 1);

    fn has(byte: u8) -> bool {
        (byte == b'"') | (byte == b'\\') | (byte == b'\n') | (byte == b'\r') | (byte == 0)
    }

    fn escaped(byte: u8) -> &'static [u8] {
        match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\\\n",
            b'\r' => b"\\\\r",
            _ => "\u{fffd}".as_bytes(),
        }
    }
}

/// True for the bytes of `listed`, and for those below `below`.
const fn table(listed: &[u8], below: u8) -> [bool; 256] {
    let mut table = [false; 256];
    let mut at = 0;
    while at < listed.len() {
        table[listed[at] as usize] = true;
        at += 1;
    }
    let mut byte = 0;
    while byte < below {
        table[byte as usize] = true;
        byte += 1;
    }
    table
}

/// Copies `text`, and what stands for each special byte. Runs between such bytes are copied whole.
#[inline]
fn write_escaped<S: Special>(text: &str, buffer: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let Some((plain, from)) = rest.split_at_checked(plain_bytes::<S>(rest)) {
        buffer.extend_from_slice(plain);
        let Some((special, after)) = from.split_first() else {
            return;
        };
        buffer.extend_from_slice(S::escaped(*special));
        rest = after;
    }
}

/// How many bytes come before the first special one.
#[inline]
fn plain_bytes<S: Special>(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks::<16>();
    let is_plain = |block: &&[u8; 16]| !block.iter().fold(false, |any, byte| any | S::has(*byte));
    let plain = blocks.iter().take_while(is_plain).count() * 16;
    let rest = bytes.get(plain..).unwrap_or_default();
    let special = rest.iter().position(|byte| S::TABLE[usize::from(*byte)]);
    plain + special.unwrap_or(rest.len())
}

/// The longest beginning of `text` of at most `limit` bytes that ends between two characters.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or(text)
}

fn write_integer(number: i64, buffer: &mut Vec<u8>) {
    if number < 0 {
        buffer.push(b'-');
    }
    write_digits(number.unsigned_abs(), 1, buffer);
}

/// Writes the decimal digits of `number`, with zeros before them to be `width` at least.
fn write_digits(number: u64, width: usize, buffer: &mut Vec<u8>) {
    let (mut digits, mut start, mut rest) = ([b'0'; 20], 20, number);
    while rest > 0 {
        let [.., low] = (rest % 10).to_be_bytes();
        rest /= 10;
        start -= 1;
        if let Some(digit) = digits.get_mut(start) {
            *digit = b'0' + low;
        }
    }
    let start = start.min(digits.len().saturating_sub(width));
    buffer.extend_from_slice(digits.get(start..).unwrap_or_default());
}

fn write_float(number: f64, buffer: &mut Vec<u8>) {
    /// Six decimals: a duration in milliseconds has no more.
    const SCALE: f64 = 1e6;
    /// Below it every whole float is exact as an integer.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let scaled = (number * SCALE).round();
    // Division rounds to the nearest float, as reading a decimal does: if it gives the number
    // back, then so do its digits.
    #[expect(clippy::float_cmp, reason = "exactly the same number or the slow way")]
    let exact = scaled.abs() < EXACT && scaled / SCALE == number;
    if exact {
        #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
        write_millionths(scaled as i64, buffer);
    } else {
        // The debug form has the shortest digits that read back the same, with an exponent when
        // the number is very large or small. Writing to a `Vec` does not fail.
        let _ = write!(buffer, "{number:?}");
    }
}

/// Writes `millionths` of one as a decimal without zeros at its end.
fn write_millionths(millionths: i64, buffer: &mut Vec<u8>) {
    if millionths < 0 {
        buffer.push(b'-');
    }
    let millionths = millionths.unsigned_abs();
    write_digits(millionths / 1_000_000, 1, buffer);
    let (mut decimals, mut width) = (millionths % 1_000_000, 6);
    if decimals == 0 {
        return;
    }
    while decimals % 10 == 0 {
        decimals /= 10;
        width -= 1;
    }
    buffer.push(b'.');
    write_digits(decimals, width, buffer);
}

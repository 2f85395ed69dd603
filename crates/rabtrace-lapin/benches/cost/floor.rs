//! What no tracer that propagates can go below: the headers themselves, written and read by hand.
//!
//! A publish gets the headers as long strings, made without formatting machinery; a delivery's are
//! read strictly, into the numbers that a span needs.

use std::hint::black_box;

use rabtrace_lapin::lapin::BasicProperties;
use rabtrace_lapin::lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::frames;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Which headers a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Headers {
    None,
    /// `traceparent`.
    Parent,
    /// `traceparent`, and `tracestate` with a path context as rabtrace writes it.
    Path(Sampled),
}

/// How many traces are sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sampled {
    All,
    Tenth,
    None,
}

impl Headers {
    const NAMED: [(&'static str, Self); 5] = [
        ("bare", Self::None),
        ("parent", Self::Parent),
        ("path", Self::Path(Sampled::All)),
        ("path_tenth", Self::Path(Sampled::Tenth)),
        ("path_unsampled", Self::Path(Sampled::None)),
    ];

    /// The queue whose deliveries carry them.
    pub(crate) fn queue(self) -> &'static str {
        let found = Self::NAMED.iter().find(|(_, headers)| *headers == self);
        found.map_or("bare", |(name, _)| name)
    }

    /// What the deliveries of a queue carry.
    pub(crate) fn named(queue: &str) -> Self {
        let found = Self::NAMED.iter().find(|(name, _)| *name == queue);
        found.map_or(Self::None, |(_, headers)| *headers)
    }

    fn sampled(self, number: u64) -> bool {
        match self {
            Self::Path(Sampled::None) => false,
            Self::Path(Sampled::Tenth) => number.is_multiple_of(10),
            _ => true,
        }
    }

    /// The properties of publish `number`.
    pub(crate) fn properties(self, number: u64) -> BasicProperties {
        let properties = BasicProperties::default();
        if self == Self::None {
            return properties;
        }
        let mut table = FieldTable::default();
        let mut put = |key: &'static str, value: Vec<u8>| {
            table.insert(ShortString::from(key), AMQPValue::LongString(value.into()));
        };
        put("traceparent", traceparent(number, self.sampled(number)));
        if self != Self::Parent {
            put("tracestate", tracestate(number));
        }
        properties.with_headers(table)
    }

    /// The field table of delivery `number` as it is on the wire.
    pub(crate) fn encode(self, number: u64) -> Option<Vec<u8>> {
        if self == Self::None {
            return None;
        }
        let entry = |key, value: Vec<u8>| [frames::short(key), vec![b'S'], frames::long(&value)];
        let parent = entry("traceparent", traceparent(number, self.sampled(number)));
        let mut table = parent.concat();
        if self != Self::Parent {
            table.extend(entry("tracestate", tracestate(number)).concat());
        }
        Some(frames::long(&table))
    }

    /// Reads a delivery's headers; whether they are what they should be.
    pub(crate) fn read(self, properties: &BasicProperties) -> bool {
        let value = |key| match properties.headers().as_ref()?.inner().get(key) {
            Some(AMQPValue::LongString(value)) => Some(value.as_bytes()),
            _ => None,
        };
        let parent = || black_box(value("traceparent").and_then(parse_parent)).is_some();
        let state = || black_box(value("tracestate").and_then(parse_state)).is_some();
        match self {
            Self::None => true,
            Self::Parent => parent(),
            Self::Path(_) => parent() && state(),
        }
    }
}

/// Spreads a counter over 64 bits: ids that differ in every digit.
fn spread(number: u64) -> u64 {
    (number | 1 << 63).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1
}

/// The last `digits` digits.
fn hex(text: &mut Vec<u8>, number: u64, digits: u32) {
    for digit in (0..digits).rev() {
        text.push(HEX[usize::from((number >> (digit * 4)).to_le_bytes()[0] & 15)]);
    }
}

fn traceparent(number: u64, sampled: bool) -> Vec<u8> {
    let mut text = Vec::with_capacity(55);
    text.extend_from_slice(b"00-");
    hex(&mut text, spread(number), 16);
    hex(&mut text, spread(!number), 16);
    text.push(b'-');
    hex(&mut text, spread(number ^ 1), 16);
    text.extend_from_slice(if sampled { b"-01" } else { b"-00" });
    text
}

/// base64url.
const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A path of one step: hash, origin, no time since then, one step, no repeat, its fingerprint.
fn tracestate(number: u64) -> Vec<u8> {
    let mut bytes = [0; 27];
    // Messages of one producer come the same way.
    bytes[..8].copy_from_slice(&spread(1).to_be_bytes());
    bytes[8..15].copy_from_slice(&(0x6_5000_0000_0000 + number).to_be_bytes()[1..]);
    bytes[21] = 1;
    bytes[24..26].copy_from_slice(&[0x12, 0x34]);
    let mut text = Vec::with_capacity(48);
    text.extend_from_slice(b"rabtrace=1");
    for group in bytes.chunks_exact(3) {
        if let [a, b, c] = *group {
            let signs = [a >> 2, (a << 4) | (b >> 4), (b << 2) | (c >> 6), c];
            text.extend(signs.map(|sign| SIGNS[usize::from(sign & 63)]));
        }
    }
    // 26 bytes are 35 characters.
    text.pop();
    text
}

/// A number in lowercase hexadecimal digits.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |number, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

fn parse_parent(text: &[u8]) -> Option<(u128, u128, u128)> {
    let rest = text.strip_prefix(b"00-")?;
    let (trace, rest) = rest.split_at_checked(32)?;
    let (span, flags) = rest.strip_prefix(b"-")?.split_at_checked(16)?;
    let ids = (number(trace)?, number(span)?);
    let flags = number(flags.strip_prefix(b"-")?)?;
    (ids.0 != 0 && ids.1 != 0).then_some((ids.0, ids.1, flags))
}

fn parse_state(text: &[u8]) -> Option<[u8; 27]> {
    let mut bytes = [0; 27];
    let text = text.strip_prefix(b"rabtrace=1")?;
    let value = |sign: u8| match sign {
        b'A'..=b'Z' => Some(sign - b'A'),
        b'a'..=b'z' => Some(sign - b'a' + 26),
        b'0'..=b'9' => Some(sign - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    };
    for (group, signs) in bytes.chunks_exact_mut(3).zip(text.chunks(4)) {
        let mut bits = 0_u32;
        for at in 0..4 {
            let value = signs.get(at).map_or(Some(0), |sign| value(*sign))?;
            bits = (bits << 6) | u32::from(value);
        }
        group.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    Some(bytes)
}

//! How much memory a JSON request takes at most while it is decoded, found out before it is.
//!
//! Three things take memory, and not all at once:
//!
//! - The messages that serde builds. Their vectors double as they grow.
//! - Beside them, what serde buffers of an object with flattened fields ([`Message::is_flat`]):
//!   the entries of an attribute's value, all data points of a metric. Values of attributes that
//!   nest are copied at every level. It is free again when the object ends.
//! - When the messages are there: the same as protobuf, and the model, which takes over some of
//!   what they hold.
//!
//! A body that leaves lists out or has nulls is decoded by way of a tree of values, which costs
//! several times as much; it is counted along, and comes in only where there is such a thing.
//!
//! Input: bytes, valid or not. Output: bytes of memory; of a body that has only begun, as far as
//! it is there. It allocates nothing.

use super::fields::{Field, Text};
use super::level::{Level, OUTSIDE};
use super::sizes::{grown, growth, prefix};
use super::{JsonError, MAX_DEPTH};
use crate::receiver::scan::{Message, ScanError};

/// Entries of an object, elements of a list, as serde buffers them.
const ENTRY: u64 = 64;
const ELEMENT: u64 = 32;
/// A node of a tree of values, and what an entry beyond the first takes of further ones.
const NODE: u64 = 720;
const NODE_ENTRY: u64 = 144;
/// A number in protobuf, with its tag.
const NUMBER: u64 = 11;
/// A shared text, beside its bytes, and its place in the table of those that repeat.
const SHARED: u64 = 16;
const PLACE: u64 = 64;
/// What does not depend on the request: one histogram at a time, the smallest tables.
const BASE: u64 = 8 << 10;
/// Texts that are remembered to know them again.
const KNOWN: usize = 128;
const LEVELS: usize = MAX_DEPTH + 1;

/// Bytes in memory that the body takes at most while it is decoded, beside itself.
///
/// # Errors
/// If that is more than `budget`, it nests too deep, or has a list where a message has to be.
pub fn scan(body: &[u8], budget: u64) -> Result<u64, JsonError> {
    let mut scan = Scan::new(body);
    scan.run(budget)?;
    Ok(scan.bytes())
}

/// Whether the body leaves lists out or has nulls.
pub(super) fn has_defaults(body: &[u8]) -> bool {
    let mut scan = Scan::new(body);
    scan.run(u64::MAX).is_ok() && scan.has_defaults
}

struct Scan<'a> {
    body: &'a [u8],
    at: usize,
    levels: [Level; LEVELS],
    depth: usize,
    /// The messages, and what of the model comes beside them.
    messages: u64,
    model: u64,
    payload: u64,
    /// Numbers that the model has in one vector.
    numbers: u64,
    /// The same if there are path metrics: what it has of any data points.
    points: u64,
    of_paths: u64,
    has_paths: bool,
    /// What is buffered now; messages and buffers at most.
    buffers: u64,
    most: u64,
    /// The largest vector that is copied as it grows, and the largest whose elements become others.
    growing: u64,
    becoming: u64,
    longest_text: u64,
    /// The tree of values.
    values: u64,
    has_defaults: bool,
    /// Where texts stand that were met.
    known: [(u32, u32); KNOWN],
}

impl<'a> Scan<'a> {
    fn new(body: &'a [u8]) -> Self {
        Self {
            body,
            at: 0,
            levels: [OUTSIDE; LEVELS],
            depth: 0,
            messages: 0,
            model: 0,
            payload: 0,
            numbers: 0,
            points: 0,
            of_paths: 0,
            has_paths: false,
            buffers: 0,
            most: 0,
            growing: 0,
            becoming: 0,
            longest_text: 0,
            values: 0,
            has_defaults: false,
            known: [(0, 0); KNOWN],
        }
    }

    fn bytes(&self) -> u64 {
        let values = if self.has_defaults { self.values } else { 0 };
        // A text with escapes is put together in a buffer that grows; a number may be a text.
        let decoding = self.most + self.growing + 4 * self.longest_text + values;
        let points = match self.has_paths {
            true => self.of_paths + Message::RECORD * grown(self.points),
            false => Message::NUMBER * grown(self.numbers),
        };
        let decoded = self.messages + self.payload + self.model + points;
        BASE + decoding.max(decoded + self.becoming + self.growing + 2 * self.longest_text)
    }

    fn run(&mut self, budget: u64) -> Result<(), JsonError> {
        while let Some(byte) = self.body.get(self.at).copied() {
            let level = &mut self.levels[self.depth];
            match byte {
                b'"' => self.text(),
                b'{' => self.open(true)?,
                b'[' => self.open(false)?,
                b'}' | b']' => self.close(),
                b',' => level.expects_key = level.is_object,
                b':' => level.expects_key = false,
                b'-' | b'0'..=b'9' | b'n' | b't' | b'f' => self.scalar(byte),
                _ => {}
            }
            self.at += 1;
            self.most = self.most.max(self.messages + self.buffers);
            if self.bytes() > budget {
                return Err(ScanError::TooManyElements { budget }.into());
            }
        }
        Ok(())
    }

    fn open(&mut self, is_object: bool) -> Result<(), JsonError> {
        let parent = self.levels[self.depth];
        if !parent.is_object {
            self.entry();
        }
        self.depth += 1;
        if self.depth >= LEVELS {
            return Err(JsonError::Depth);
        }
        let (message, next) = match (parent.next, is_object) {
            (Field::One(message), true) => (Some(message), Field::Unknown),
            (Field::Many(message) | Field::Item(message), true) => {
                self.item(message, self.levels[self.depth - 1].entries);
                (Some(message), Field::Unknown)
            }
            (Field::Many(message), false) => (None, Field::Item(message)),
            (Field::One(_) | Field::Item(_), false) => return Err(JsonError::List),
            (Field::Texts, false) => (None, Field::ItemText),
            (Field::Numbers(model), false) => (None, Field::ItemNumber(model)),
            _ => (None, Field::Unknown),
        };
        // The list is what may be left out of it.
        self.has_defaults |=
            matches!(message, Some(Message::Array | Message::Map)) && !self.begins_with_values();
        self.values += if is_object { NODE } else { 0 };
        self.levels[self.depth] = Level {
            message,
            is_object,
            expects_key: is_object,
            next,
            is_captured: parent.captures,
            copies: parent.copies + u64::from(parent.captures),
            payload_before: self.payload,
            ..OUTSIDE
        };
        Ok(())
    }

    /// Whether the object that begins here has its list first, as everybody writes it.
    fn begins_with_values(&self) -> bool {
        let rest = self.body.get(self.at + 1..).unwrap_or_default();
        let rest = rest.trim_ascii_start();
        rest.starts_with(br#""values""#) || rest.is_empty() || br#""values""#.starts_with(rest)
    }

    fn close(&mut self) {
        if self.depth == 0 {
            return;
        }
        let level = self.levels[self.depth];
        self.depth -= 1;
        self.buffers -= level.own_buffer;
        self.payload += prefix(self.payload - level.payload_before);
        let parent = &mut self.levels[self.depth];
        parent.buffered += level.buffered;
        if level.is_captured {
            parent.own_buffer += level.buffered;
        }
    }

    /// Counts an entry of the object, or an element of the list, that is open.
    fn entry(&mut self) {
        let level = &mut self.levels[self.depth];
        level.entries += 1;
        let (size, own) = match level.is_object {
            true => (ENTRY, u64::from(level.is_flat())),
            false => (ELEMENT, 0),
        };
        let grown = size * growth(level.entries);
        level.buffered += grown;
        level.own_buffer += own * grown;
        self.buffers += grown * (level.copies + own);
        self.growing = self.growing.max(grown);
        self.values += match level.is_object {
            true => NODE_ENTRY,
            false => grown,
        };
    }

    /// Counts what a list has one more of, its `number`th.
    fn item(&mut self, message: Message, number: u64) {
        let costs = message.costs();
        let grown = costs.message * growth(number);
        self.messages += grown;
        self.growing = self.growing.max(grown);
        self.model += costs.model;
        self.becoming = self.becoming.max(number * costs.becoming);
        self.numbers += u64::from(message == Message::NumberDataPoint);
        if message.is_item() && message != Message::Span {
            self.points += 1;
            self.of_paths += Message::BARE;
        }
    }

    /// A number, a boolean or null.
    fn scalar(&mut self, first: u8) {
        let level = self.levels[self.depth];
        if !level.is_object {
            self.entry();
        }
        self.has_defaults |= first == b'n';
        self.payload += NUMBER;
        self.number();
        let is_end = |byte: &u8| matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace();
        let rest = &self.body[self.at..];
        let length = rest.iter().position(is_end).unwrap_or(rest.len());
        self.at += length.saturating_sub(1);
    }

    /// Counts what a list of numbers has one more of.
    fn number(&mut self) {
        let level = self.levels[self.depth];
        if let Field::ItemNumber(model) = level.next {
            let grown = 8 * growth(level.entries);
            self.messages += grown;
            self.model += grown * u64::from(model);
            self.growing = self.growing.max(grown);
        }
    }

    fn text(&mut self) {
        let start = self.at + 1;
        let (mut end, mut has_escapes) = (start, false);
        while let Some(byte) = self.body.get(end) {
            match byte {
                b'"' => break,
                b'\\' => {
                    has_escapes = true;
                    end += 2;
                }
                _ => end += 1,
            }
        }
        let (end, is_whole) = (end.min(self.body.len()), end < self.body.len());
        self.at = end;
        let length = (end - start) as u64;
        self.longest_text = self.longest_text.max(length);
        if !is_whole {
            return;
        }
        let level = &mut self.levels[self.depth];
        let is_key = level.is_object && level.expects_key;
        if is_key {
            let key = &self.body[start..end];
            level.next = level
                .message
                .map_or(Field::Unknown, |of| of.json_field(key));
            level.captures = level.message.is_some_and(|of| of.captures(level.next));
        }
        let copies = level.copies + u64::from(level.captures);
        if has_escapes {
            level.buffered += length;
            level.own_buffer += length * u64::from(level.captures);
            self.buffers += length * copies;
        }
        self.values += length * (1 + copies);
        if is_key || !level.is_object {
            self.entry();
        }
        if !is_key {
            self.text_value((start, end), copies);
        }
    }

    fn text_value(&mut self, (start, end): (usize, usize), copies: u64) {
        let length = (end - start) as u64;
        let next = self.levels[self.depth].next;
        self.payload += match next {
            Field::Text(_) | Field::ItemText => length + prefix(length),
            _ => NUMBER,
        };
        match next {
            Field::Text(Text::Hex) => self.messages += length / 2,
            Field::Text(Text::Kept) => self.messages += length,
            Field::Text(Text::Shared) => {
                self.messages += length;
                self.model += self.share((start, end));
                let text = &self.body[start..end];
                let is_path = text.starts_with(b"rabtrace.path.") || text.contains(&b'\\');
                self.has_paths |= is_path && self.is_metric();
            }
            Field::Text(Text::Value) => {
                self.messages += length;
                self.model += SHARED;
                // Of a data point; some of its texts are shared.
                if copies > 1 {
                    self.of_paths += self.share((start, end));
                }
            }
            Field::Text(Text::Base64) => {
                self.messages += length;
                self.model += 2 * length;
            }
            Field::ItemText => {
                let entries = self.levels[self.depth].entries;
                self.messages += length + size_of::<String>() as u64 * growth(entries);
            }
            Field::ItemNumber(_) => self.number(),
            _ => {}
        }
    }

    fn is_metric(&self) -> bool {
        self.levels[self.depth].message == Some(Message::Metric)
    }

    /// What a text costs that is allocated once however often it comes.
    fn share(&mut self, (start, end): (usize, usize)) -> u64 {
        let text = &self.body[start..end];
        let hash = text.iter().fold(0_usize, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(usize::from(*byte))
        });
        let known = &mut self.known[hash % KNOWN];
        let same = self.body.get(known.0 as usize..known.1 as usize);
        if same.is_some_and(|same| same == text) && known.1 > 0 {
            return 0;
        }
        if let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(end)) {
            *known = (start, end);
        }
        text.len() as u64 + SHARED + PLACE
    }
}

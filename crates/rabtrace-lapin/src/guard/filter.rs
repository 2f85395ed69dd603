//! The filter: bytes of a broker in, the same number of bytes out, no table nested too deep.
//!
//! Input: what was read from the broker after TLS, in pieces of any size. Output: the same bytes
//! in place; where a table or an array would be nested deeper than the limit its type octet has
//! become `x`. Nothing is held back, copied or resized: a type octet stands before what it
//! describes, so that the decision is made when it passes. A frame that is malformed passes as it
//! is from the first byte that lapin cannot read: lapin gives up there too, before anything that
//! follows. What is too short to be too deep is not looked into, so that ordinary headers cost as
//! little as bodies. The state is a few numbers and one row per open table.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::layout::{self, Container, Layout, Prefix};
use super::nesting::Nesting;

/// What the next bytes are, once [`Filter::skip`] bytes have passed.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The head of a frame: type, channel, size.
    Frame,
    /// The property flags of a content header.
    Flags,
    /// Class and method number.
    Method,
    /// The largest frame that the broker offers.
    FrameMax,
    /// The length of a short string, and how many follow it.
    ShortString,
    /// The length of a frame's table.
    TableLength,
    /// A frame's table, of so many bytes.
    Table(u64),
    /// The end of a value, or the beginning of an array.
    Value,
    /// The length of a key.
    Key,
    /// A type octet.
    Type,
    /// The length of bytes that are not looked into.
    Bytes,
    /// The length of a table or an array in another.
    Nested(Container),
}

/// Follows one connection; see the module.
#[derive(Debug)]
pub(super) struct Filter {
    step: Step,
    /// Bytes that pass before the next step.
    skip: u64,
    /// A number of which only some bytes have come, and how many.
    part: (u64, usize),
    /// Bytes of the payload that no step has asked for yet.
    payload: u64,
    /// What is still between here and the frame's table.
    prefix: Prefix,
    nesting: Nesting,
    /// The largest frame that the broker may offer, in bytes, and what it offers when it says that
    /// there is no limit.
    frame_max: Option<(u32, u32)>,
    /// Whether something in this frame was changed.
    changed: bool,
    neutralised: Arc<AtomicU64>,
}

// The types of frames (specification 2.3.5), as lapin tells them apart.
const FRAME_METHOD: u64 = 1;
const FRAME_HEADER: u64 = 2;
const FRAME_BODY: u64 = 3;
const FRAME_HEARTBEAT: u64 = 8;
const PROTOCOL_HEADER: u64 = b'A' as u64;

/// What every peer takes (specification 4.2.3).
const FRAME_MIN_SIZE: u32 = 4_096;

/// The octet behind the payload of every frame.
const FRAME_END: u64 = 1;

impl Filter {
    /// Leaves at most `limit` tables and arrays inside each other; counts changed frames.
    pub(super) fn new(limit: usize, neutralised: Arc<AtomicU64>) -> Self {
        let prefix = Prefix {
            front: 0,
            strings: 0,
            back: 0,
        };
        Self {
            step: Step::Frame,
            skip: 0,
            part: (0, 0),
            payload: 0,
            prefix,
            nesting: Nesting::new(limit),
            frame_max: None,
            changed: false,
            neutralised,
        }
    }

    /// Cuts the frame size that the broker offers to `highest`, and to `unlimited` where it offers
    /// any.
    pub(super) fn with_frame_max(mut self, highest: u32, unlimited: u32) -> Self {
        self.frame_max = Some((highest, unlimited));
        self
    }

    /// The next bytes of the broker.
    pub(super) fn pass(&mut self, mut bytes: &mut [u8]) {
        loop {
            let skipped = usize::try_from(self.skip).map_or(bytes.len(), |n| n.min(bytes.len()));
            self.skip -= skipped as u64;
            bytes = bytes.get_mut(skipped..).unwrap_or_default();
            if bytes.is_empty() {
                return;
            }
            self.next(&mut bytes);
        }
    }

    fn next(&mut self, bytes: &mut &mut [u8]) {
        match self.step {
            Step::Frame => self.number::<7>(bytes, Self::frame),
            Step::Flags => self.number::<2>(bytes, |filter, flags| {
                filter.before_table(layout::of_properties(flags));
            }),
            Step::Method => self.number::<4>(bytes, Self::method),
            Step::FrameMax => self.frame_max(bytes),
            Step::ShortString => self.number::<1>(bytes, Self::short_string),
            Step::TableLength => self.number::<4>(bytes, Self::table_length),
            Step::Table(length) => self.table(length, bytes),
            Step::Value => self.value(),
            Step::Key => self.number::<1>(bytes, Self::key),
            Step::Type => self.type_octet(bytes),
            Step::Bytes => self.number::<4>(bytes, |filter, length| {
                filter.skip_in_table(length, Step::Value);
            }),
            Step::Nested(container) => self.number::<4>(bytes, move |filter, length| {
                filter.nested(container, length);
            }),
        }
    }

    /// Reads a number of `N` octets, the most significant first; calls `then` with it when all
    /// have come.
    #[inline]
    fn number<const N: usize>(&mut self, bytes: &mut &mut [u8], then: impl FnOnce(&mut Self, u64)) {
        let add = |number, octet: &u8| (number << 8) | u64::from(*octet);
        let (number, had) = self.part;
        if had == 0
            && let Some(whole) = bytes.first_chunk::<N>()
        {
            let number = whole.iter().fold(0, add);
            *bytes = std::mem::take(bytes).get_mut(N..).unwrap_or_default();
            return then(self, number);
        }
        let now = bytes.len().min(N - had);
        let number = bytes.iter().take(now).fold(number, add);
        *bytes = std::mem::take(bytes).get_mut(now..).unwrap_or_default();
        if had + now < N {
            self.part = (number, had + now);
        } else {
            self.part = (0, 0);
            then(self, number);
        }
    }

    fn frame(&mut self, head: u64) {
        self.payload = head & 0xFFFF_FFFF;
        self.changed = false;
        match head >> 48 {
            // Class, weight and body size stand before the flags.
            FRAME_HEADER if self.take_payload(14) => {
                self.skip += 12;
                self.step = Step::Flags;
            }
            FRAME_METHOD if self.take_payload(4) => self.step = Step::Method,
            FRAME_METHOD | FRAME_HEADER | FRAME_BODY | FRAME_HEARTBEAT => self.end_frame(),
            // `AMQP` and four octets: how a broker refuses the version. lapin stops after it.
            PROTOCOL_HEADER => self.skip += 1,
            // lapin reads no further either.
            _ => self.skip = u64::MAX,
        }
    }

    fn method(&mut self, number: u64) {
        let (class, method) = (number >> 16, number & 0xFFFF);
        // The largest channel number stands before the largest frame.
        if (class, method) == layout::TUNE && self.frame_max.is_some() && self.take_payload(6) {
            self.skip += 2;
            self.step = Step::FrameMax;
        } else {
            self.before_table(layout::of_method(class, method));
        }
    }

    fn frame_max(&mut self, bytes: &mut &mut [u8]) {
        let (_, had) = self.part;
        let now = bytes.len().min(4 - had);
        let (offer, rest) = std::mem::take(bytes).split_at_mut(now);
        if let (Ok(whole), Some((highest, unlimited))) =
            (<&mut [u8; 4]>::try_from(&mut *offer), self.frame_max)
        {
            *whole = match u32::from_be_bytes(*whole) {
                0 => unlimited,
                offered => offered.min(highest),
            }
            .to_be_bytes();
        } else {
            // In pieces, which no broker sends, it is not known in time how large it becomes:
            // the smallest that every broker takes.
            let least = FRAME_MIN_SIZE.to_be_bytes();
            let least = least.iter().skip(had);
            offer
                .iter_mut()
                .zip(least)
                .for_each(|(octet, least)| *octet = *least);
        }
        *bytes = rest;
        self.part = (0, had + now);
        if had + now == 4 {
            self.part = (0, 0);
            self.end_frame();
        }
    }

    fn before_table(&mut self, prefix: Option<Prefix>) {
        match prefix {
            Some(prefix) if self.take_payload(u64::from(prefix.front)) => {
                self.skip += u64::from(prefix.front);
                self.prefix = prefix;
                self.after_front();
            }
            _ => self.end_frame(),
        }
    }

    /// Whether a short string is next, or the table.
    fn after_front(&mut self) {
        let back = u64::from(self.prefix.back);
        if self.prefix.strings > 0 && self.take_payload(1) {
            self.prefix.strings -= 1;
            self.step = Step::ShortString;
        } else if self.prefix.strings == 0 && self.take_payload(back + 4) {
            self.skip += back;
            self.step = Step::TableLength;
        } else {
            self.end_frame();
        }
    }

    fn short_string(&mut self, length: u64) {
        if self.take_payload(length) {
            self.skip += length;
            self.after_front();
        } else {
            self.end_frame();
        }
    }

    fn table_length(&mut self, length: u64) {
        if self.nesting.has_room_for(length) || !self.take_payload(length) {
            self.end_frame();
        } else {
            self.step = Step::Table(length);
        }
    }

    /// Passes a table that is here as a whole and has too few type octets to be too deep, wherever
    /// they stand; opens any other.
    fn table(&mut self, length: u64, bytes: &[u8]) {
        let whole = usize::try_from(length)
            .ok()
            .and_then(|end| bytes.get(..end));
        if whole.is_some_and(|whole| self.nesting.has_room_for_all_in(whole)) {
            self.skip += length;
            self.end_frame();
        } else {
            self.nesting.open(Container::Table, length);
            self.step = Step::Value;
        }
    }

    fn nested(&mut self, container: Container, length: u64) {
        if self.nesting.has_room_for(length) {
            self.skip_in_table(length, Step::Value);
        } else if self.nesting.take(length) {
            self.nesting.open(container, length);
            self.step = Step::Value;
        } else {
            self.end_frame();
        }
    }

    fn value(&mut self) {
        match self.nesting.settle() {
            Some(container) if self.nesting.take(1) => {
                self.step = match container {
                    Container::Table => Step::Key,
                    Container::Array => Step::Type,
                };
            }
            _ => self.end_frame(),
        }
    }

    /// A key, and the type octet behind it.
    fn key(&mut self, length: u64) {
        if self.nesting.take(length + 1) {
            self.skip += length;
            self.step = Step::Type;
        } else {
            self.end_frame();
        }
    }

    fn type_octet(&mut self, bytes: &mut &mut [u8]) {
        let Some((octet, rest)) = std::mem::take(bytes).split_first_mut() else {
            return;
        };
        *bytes = rest;
        match layout::of_value(*octet) {
            Layout::Fixed(width) => self.skip_in_table(u64::from(width), Step::Value),
            Layout::Bytes if self.nesting.take(4) => self.step = Step::Bytes,
            Layout::Nested(container) if self.nesting.take(4) => {
                if self.nesting.is_full() {
                    *octet = layout::BYTES;
                    self.count();
                    self.step = Step::Bytes;
                } else {
                    self.step = Step::Nested(container);
                }
            }
            Layout::Bytes | Layout::Nested(_) | Layout::Unknown => self.end_frame(),
        }
    }

    fn skip_in_table(&mut self, length: u64, next: Step) {
        if self.nesting.take(length) {
            self.skip += length;
            self.step = next;
        } else {
            self.end_frame();
        }
    }

    fn take_payload(&mut self, count: u64) -> bool {
        let left = self.payload.checked_sub(count);
        self.payload = left.unwrap_or(self.payload);
        left.is_some()
    }

    /// Lets the rest of the frame pass: it has no table, it is done, or lapin gives up here.
    fn end_frame(&mut self) {
        self.skip += self.nesting.abandon() + self.payload + FRAME_END;
        self.payload = 0;
        self.step = Step::Frame;
    }

    fn count(&mut self) {
        if !self.changed {
            self.changed = true;
            self.neutralised.fetch_add(1, Ordering::Relaxed);
        }
    }
}

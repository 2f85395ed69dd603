//! Protobuf written from its end to its start.
//!
//! A length in front of a message is known once the message stands behind it, so one pass is enough
//! and every length takes as few bytes as it can. Input: fields, last one first. Output: the bytes in
//! the order of the wire, at the end of the space. When the space is full the writer remembers it and
//! writes nothing more; the caller tries again with more.

/// Wire types of protobuf that OTLP uses.
///
/// Source: <https://protobuf.dev/programming-guides/encoding/#structure>.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

/// What stands in front of a field: its number and wire type.
const fn tag(field: u32, wire_type: u64) -> u64 {
    (field as u64) << 3 | wire_type
}

/// A number that takes one byte as varint.
#[inline(always)]
pub(crate) fn short(number: u64) -> Option<u8> {
    u8::try_from(number).ok().filter(|byte| *byte < 0x80)
}

/// Free space that is filled from its end.
///
/// It goes in by value and comes back: what is written next then stays in registers.
pub(crate) struct Backward<'a> {
    free: &'a mut [u8],
    full: bool,
}

impl<'a> Backward<'a> {
    pub(crate) fn new(space: &'a mut [u8]) -> Self {
        Self {
            free: space,
            full: false,
        }
    }

    /// Whether something did not fit: what was written is then worth nothing.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// Bytes that are still free. Falls as it is written; the difference is a length.
    #[inline(always)]
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    #[inline(always)]
    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        let at = self.free.len().wrapping_sub(bytes.len());
        match self.free.split_at_mut_checked(at) {
            Some((free, slot)) => {
                slot.copy_from_slice(bytes);
                Self { free, ..self }
            }
            None => Self::without_space(),
        }
    }

    /// Bytes whose number the compiler knows.
    #[inline(always)]
    pub(crate) fn array<const N: usize>(self, bytes: [u8; N]) -> Self {
        match self.free.split_last_chunk_mut::<N>() {
            Some((free, slot)) => {
                *slot = bytes;
                Self { free, ..self }
            }
            None => Self::without_space(),
        }
    }

    #[cold]
    fn without_space() -> Self {
        Self {
            free: &mut [],
            full: true,
        }
    }

    /// `value` in groups of seven bits, the lowest one first.
    #[inline(always)]
    fn varint(self, value: u64) -> Self {
        let [low, high, ..] = (value << 1).to_le_bytes();
        match value {
            0..0x80 => self.array([low >> 1]),
            0x80..0x4000 => self.array([low >> 1 | 0x80, high]),
            _ => self.long_varint(value),
        }
    }

    #[inline(never)]
    fn long_varint(self, mut value: u64) -> Self {
        let mut bytes = [0; 10];
        let mut length = 0;
        for byte in &mut bytes {
            let [low, ..] = value.to_le_bytes();
            value >>= 7;
            length += 1;
            if value == 0 {
                *byte = low;
                break;
            }
            *byte = low | 0x80;
        }
        self.bytes(bytes.get(..length).unwrap_or_default())
    }

    /// A varint field, left out when it is zero.
    #[inline(always)]
    pub(crate) fn number(self, field: u32, value: u64) -> Self {
        if value == 0 {
            return self;
        }
        self.present_number(field, value)
    }

    /// A varint field that is there even when it is zero, as in a `oneof`.
    #[inline(always)]
    pub(crate) fn present_number(self, field: u32, value: u64) -> Self {
        self.varint(value).varint(tag(field, VARINT))
    }

    /// A field of eight bytes, left out when it is zero.
    #[inline(always)]
    pub(crate) fn fixed64(self, field: u32, value: u64) -> Self {
        if value == 0 {
            return self;
        }
        self.present_fixed64(field, value)
    }

    /// A field of eight bytes that is there even when it is zero, as in a `oneof`.
    #[inline(always)]
    pub(crate) fn present_fixed64(self, field: u32, value: u64) -> Self {
        self.array(value.to_le_bytes()).varint(tag(field, FIXED64))
    }

    /// A field of four bytes, left out when it is zero.
    #[inline(always)]
    pub(crate) fn fixed32(self, field: u32, value: u32) -> Self {
        if value == 0 {
            return self;
        }
        self.array(value.to_le_bytes()).varint(tag(field, FIXED32))
    }

    /// A text, left out when it is empty.
    #[inline(always)]
    pub(crate) fn text(self, field: u32, text: &str) -> Self {
        if text.is_empty() {
            return self;
        }
        self.present_bytes(field, text.as_bytes())
    }

    /// Bytes that are there even when there are none, as in a `oneof`.
    #[inline(always)]
    pub(crate) fn present_bytes(self, field: u32, bytes: &[u8]) -> Self {
        self.bytes(bytes).head(field, bytes.len())
    }

    /// An identifier: its length is fixed and never zero.
    #[inline(always)]
    pub(crate) fn identifier<const N: usize>(self, field: u32, bytes: [u8; N]) -> Self {
        self.array(bytes).head(field, N)
    }

    /// Closes the message that was begun when `free` bytes were free: its length and tag.
    #[inline(always)]
    pub(crate) fn close(self, field: u32, free: usize) -> Self {
        let length = free - self.free();
        self.head(field, length)
    }

    #[inline(always)]
    fn head(self, field: u32, length: usize) -> Self {
        let (tag, length) = (tag(field, LENGTH), length as u64);
        match (short(tag), short(length)) {
            (Some(tag), Some(length)) => self.array([tag, length]),
            _ => self.varint(length).varint(tag),
        }
    }
}

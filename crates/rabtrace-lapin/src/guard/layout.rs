//! Where tables are in what a broker sends, and how wide each kind of value is.
//!
//! Input: property flags, class and method numbers, type octets. Output: the shape of what
//! follows. It knows exactly what amq-protocol 10.6 reads, its deviations from the specification
//! included (`s` is a number, `U` too, `x` is bytes); a test compares the two octet by octet.
//! Pure.

/// What stands between the beginning of a frame's arguments and its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    /// Bytes in front, of fixed width.
    pub(super) front: u8,
    /// Short strings after them.
    pub(super) strings: u8,
    /// Bytes after the strings: packed flags.
    pub(super) back: u8,
}

const fn prefix(front: u8, strings: u8, back: u8) -> Option<Prefix> {
    Some(Prefix {
        front,
        strings,
        back,
    })
}

/// Of a content header with these property flags (specification 4.2.6.1); `None` without headers.
pub(super) fn of_properties(flags: u64) -> Option<Prefix> {
    let bit = |at: u8| u8::from(flags & (1 << at) != 0);
    let (content_type, content_encoding, headers) = (bit(15), bit(14), bit(13));
    (headers == 1).then_some(Prefix {
        front: 0,
        strings: content_type + content_encoding,
        back: 0,
    })
}

/// Of a method that carries a table, by its class and method number; `None` for all others.
///
/// Only `connection.start` comes from an honest broker. lapin parses what only a client may send
/// just the same, before it finds out that it makes no sense.
pub(super) fn of_method(class: u64, method: u64) -> Option<Prefix> {
    match (class, method) {
        // connection.start, start-ok
        (10, 10) => prefix(2, 0, 0),
        (10, 11) => prefix(0, 0, 0),
        // exchange.declare, bind, unbind
        (40, 10) => prefix(2, 2, 1),
        (40, 30 | 40) => prefix(2, 3, 1),
        // queue.declare, bind, unbind
        (50, 10) => prefix(2, 1, 1),
        (50, 20) => prefix(2, 3, 1),
        (50, 50) => prefix(2, 3, 0),
        // basic.consume
        (60, 20) => prefix(2, 2, 1),
        _ => None,
    }
}

/// Class and method number of `connection.tune`.
pub(super) const TUNE: (u64, u64) = (10, 30);

/// What follows a value's type octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// So many bytes.
    Fixed(u8),
    /// A length of four bytes, and as many bytes.
    Bytes,
    /// A length of four bytes, and values inside.
    Nested(Container),
    /// Nothing that lapin reads: it gives up here.
    Unknown,
}

/// What holds values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    /// Keys and values.
    Table,
    /// Values alone.
    Array,
}

/// The type octet of a table in another.
pub(super) const TABLE: u8 = b'F';
/// The type octet of an array.
pub(super) const ARRAY: u8 = b'A';
/// The type octet of bytes that nobody looks into: the layout of a table and of an array.
pub(super) const BYTES: u8 = b'x';

/// What follows `octet`.
pub(super) fn of_value(octet: u8) -> Layout {
    match octet {
        b'V' => Layout::Fixed(0),
        b't' | b'b' | b'B' => Layout::Fixed(1),
        b's' | b'U' | b'u' => Layout::Fixed(2),
        b'I' | b'i' | b'f' => Layout::Fixed(4),
        b'D' => Layout::Fixed(5),
        b'L' | b'l' | b'd' | b'T' => Layout::Fixed(8),
        b'S' | BYTES => Layout::Bytes,
        TABLE => Layout::Nested(Container::Table),
        ARRAY => Layout::Nested(Container::Array),
        _ => Layout::Unknown,
    }
}

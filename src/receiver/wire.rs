//! The protobuf wire format, read without a schema and without allocating.
//!
//! Input: the bytes of one message. Output: its fields one by one, groups skipped. It refuses
//! what `prost` refuses (keys, varints, lengths, groups), so that a request which passes here
//! fails later only by its types. Source: <https://protobuf.dev/programming-guides/encoding/>.

/// How deep messages and groups may nest; `prost` stops at the same depth.
pub(crate) const MAX_DEPTH: u32 = 100;

/// Why bytes are not protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A length or a number goes beyond the end.
    #[error("protobuf is cut off")]
    Truncated,
    /// A varint has more than 64 bits.
    #[error("protobuf has a varint of more than 64 bits")]
    Varint,
    /// A field key is zero or has an unknown wire type.
    #[error("protobuf has an invalid field key")]
    Key,
    /// A group ends that did not begin.
    #[error("protobuf has an unexpected end of a group")]
    Group,
    /// Messages or groups nest deeper than 100 levels.
    #[error("protobuf nests deeper than {MAX_DEPTH} levels")]
    Depth,
}

/// The value of a field, as far as it is known without a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 5.
    Fixed32(u32),
    /// Wire types 3 and 4, which are skipped.
    Group,
    /// Wire type 2: a message, a text, bytes or packed numbers.
    Bytes(&'a [u8]),
}

/// Reads the fields of one message in their order.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    depth: u32,
    /// Whether more may follow: what is cut off is read as far as it is there.
    is_begun: bool,
}

impl<'a> Fields<'a> {
    /// Of a message that lies `depth` levels deep.
    pub(crate) fn new(message: &'a [u8], depth: u32) -> Self {
        Self {
            rest: message,
            depth,
            is_begun: false,
        }
    }

    /// The same, of a message that has only begun to arrive if `is_begun`: being cut off is no
    /// mistake then, and the last field is what there is of it.
    pub(crate) fn begun(self, is_begun: bool) -> Self {
        Self { is_begun, ..self }
    }

    /// Number and value of the next field; `None` at the end.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        match self.field() {
            Err(Malformed::Truncated) if self.is_begun => {
                self.rest = &[];
                Ok(None)
            }
            field => field.map(Some),
        }
    }

    #[inline(always)]
    fn field(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let (number, wire_type) = self.key()?;
        let value = match wire_type {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed::Truncated)?;
                let is_cut = self.is_begun && length > self.rest.len();
                Value::Bytes(self.take(if is_cut { self.rest.len() } else { length })?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => {
                self.skip(number, wire_type, self.depth)?;
                Value::Group
            }
        };
        Ok((number, value))
    }

    #[inline(always)]
    fn key(&mut self) -> Result<(u32, u8), Malformed> {
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed::Key)?;
        if key >> 3 == 0 {
            return Err(Malformed::Key);
        }
        Ok((key >> 3, (key & 7).to_le_bytes()[0]))
    }

    fn skip(&mut self, number: u32, wire_type: u8, depth: u32) -> Result<(), Malformed> {
        if depth >= MAX_DEPTH {
            return Err(Malformed::Depth);
        }
        match wire_type {
            0 => self.varint().map(|_| ()),
            1 => self.take(8).map(|_| ()),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed::Truncated)?;
                self.take(length).map(|_| ())
            }
            3 => loop {
                let (inner, wire_type) = self.key()?;
                match wire_type {
                    4 if inner == number => return Ok(()),
                    4 => return Err(Malformed::Group),
                    _ => self.skip(inner, wire_type, depth + 1)?,
                }
            },
            4 => Err(Malformed::Group),
            5 => self.take(4).map(|_| ()),
            _ => Err(Malformed::Key),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline(always)]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Keys, lengths and small numbers are one byte.
    #[inline(always)]
    fn varint(&mut self) -> Result<u64, Malformed> {
        match self.rest {
            [byte @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    #[cold]
    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().enumerate().take(10) {
            if index == 9 && *byte > 1 {
                return Err(Malformed::Varint);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 {
            Malformed::Truncated
        } else {
            Malformed::Varint
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Fields, Malformed, Value};

    fn check(bytes: &[u8], expected: Result<&[(u32, Value<'_>)], Malformed>) {
        let mut fields = Fields::new(bytes, 0);
        let mut found = Vec::new();
        let outcome = loop {
            match fields.next() {
                Ok(Some(field)) => found.push(field),
                Ok(None) => break Ok(found.as_slice()),
                Err(malformed) => break Err(malformed),
            }
        };
        assert_eq!(outcome, expected, "{bytes:02x?}");
    }

    #[test]
    fn every_wire_type_is_read_and_groups_are_skipped() {
        check(&[], Ok(&[]));
        check(&[0x08, 0x96, 0x01], Ok(&[(1, Value::Varint(150))]));
        check(&[0x12, 2, b'o', b'k'], Ok(&[(2, Value::Bytes(b"ok"))]));
        check(&[0x1d, 1, 2, 3, 4], Ok(&[(3, Value::Fixed32(0x0403_0201))]));
        let eight = Value::Fixed64(0x0807_0605_0403_0201);
        check(&[0x21, 1, 2, 3, 4, 5, 6, 7, 8], Ok(&[(4, eight)]));
        let group = [0x2b, 0x08, 1, 0x33, 0x34, 0x12, 1, b'x', 0x2c, 0x08, 7];
        check(&group, Ok(&[(5, Value::Group), (1, Value::Varint(7))]));
        let largest = [0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        check(&largest, Ok(&[(1, Value::Varint(u64::MAX))]));
    }

    #[test]
    fn what_has_begun_to_arrive_is_read_as_far_as_it_is_there() {
        let begun = |bytes| {
            let mut fields = Fields::new(bytes, 0).begun(true);
            std::iter::from_fn(|| fields.next().transpose()).collect::<Result<Vec<_>, _>>()
        };
        let whole = [0x08, 7, 0x12, 3, b'a', b'b', b'c'];
        let (first, text) = ((1, Value::Varint(7)), |text| (2, Value::Bytes(text)));
        assert_eq!(begun(&whole), Ok(vec![first, text(b"abc")]));
        assert_eq!(begun(&whole[..6]), Ok(vec![first, text(b"ab")]));
        assert_eq!(begun(&whole[..3]), Ok(vec![first]));
        assert_eq!(
            begun(&[0x2b, 0x08, 1]),
            Ok(vec![]),
            "a group is skipped whole"
        );
        assert_eq!(begun(&[0x08, 1, 0x00, 1]), Err(Malformed::Key));
        assert_eq!(begun(&[0x2b; 200]), Err(Malformed::Depth));
        assert_eq!(begun(&[0x08, 255, 255]), Ok(vec![]));
    }

    #[test]
    fn what_is_not_protobuf_is_refused() {
        check(&[0x08], Err(Malformed::Truncated));
        check(&[0x12, 3, b'x'], Err(Malformed::Truncated));
        check(&[0x1d, 1, 2, 3], Err(Malformed::Truncated));
        check(&[0x00, 1], Err(Malformed::Key));
        check(&[0x0e, 1], Err(Malformed::Key));
        check(&[0x2c], Err(Malformed::Group));
        check(&[0x2b, 0x34], Err(Malformed::Group));
        check(&[0x2b, 0x08, 1], Err(Malformed::Truncated));
        check(&[0x2b; 200], Err(Malformed::Depth));
        let eleven = [0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        check(&eleven, Err(Malformed::Varint));
    }
}

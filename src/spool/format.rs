//! Segments and records as bytes. Pure. All numbers are little endian.
//!
//! Segment: magic (8) | version u32 | checksum u32 | records before it u64 | items before it u64.
//! Record: magic (4) | checksum of the rest of the header u32 | records before it u64 | items
//! before it u64 | its items u32 | stored bytes u32 | unpacked bytes u32 | kind u8 | packing u8 |
//! flags u8 | zero u8 | checksum of the stored bytes u32, then the stored bytes.
//!
//! Checksums are CRC-32 (IEEE). Those of headers begin with the segment's number, so that a block of
//! a deleted file that shows up in a new one is not taken for a record of it.

use super::count::Count;

/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER: usize = 32;
/// Bytes of a record's header.
pub(super) const RECORD_HEADER: usize = 44;

const SEGMENT_MAGIC: [u8; 8] = *b"rabspool";
const VERSION: u32 = 1;
const RECORD_MAGIC: [u8; 4] = [0xd7, b'r', b'b', 0x1e];
/// This record is the first of a commit: everything before it in its segment was durable when it
/// was written.
const FIRST_OF_COMMIT: u8 = 1;

/// How the payload is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Zstd,
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) before: Count,
    pub(super) items: u32,
    pub(super) stored: u32,
    pub(super) unpacked: u32,
    pub(super) kind: u8,
    pub(super) packing: Packing,
    pub(super) first_of_commit: bool,
    pub(super) checksum: u32,
}

/// What the beginning of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SegmentHeader {
    /// Records and items that came before it.
    First(Count),
    /// It is whole and of another version.
    OtherVersion(u32),
    Damaged,
}

/// The file name of a segment.
pub(super) fn segment_name(segment: u64) -> String {
    format!("{segment:016x}.segment")
}

/// The number of the segment of that file name.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".segment")?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (segment_name(number) == name).then_some(number)
}

pub(super) fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

fn header_checksum(segment: u64, parts: [&[u8]; 2]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&segment.to_le_bytes());
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// The `N` bytes at `at`; zeros where there are none, which no checksum takes.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
    found.copied().unwrap_or([0; N])
}

impl SegmentHeader {
    pub(super) fn encode(segment: u64, first: Count) -> Vec<u8> {
        let start = [&SEGMENT_MAGIC[..], &VERSION.to_le_bytes()].concat();
        let numbers = [first.records.to_le_bytes(), first.items.to_le_bytes()].concat();
        let sum = header_checksum(segment, [&start, &numbers]);
        [start, sum.to_le_bytes().to_vec(), numbers].concat()
    }

    pub(super) fn decode(bytes: &[u8], segment: u64) -> Self {
        let (start, numbers): ([u8; 12], [u8; 16]) = (field(bytes, 0), field(bytes, 16));
        let sum = header_checksum(segment, [&start, &numbers]);
        if bytes.len() < SEGMENT_HEADER
            || !start.starts_with(&SEGMENT_MAGIC)
            || sum != u32::from_le_bytes(field(bytes, 12))
        {
            return Self::Damaged;
        }
        match u32::from_le_bytes(field(bytes, 8)) {
            VERSION => Self::First(Count {
                records: u64::from_le_bytes(field(bytes, 16)),
                items: u64::from_le_bytes(field(bytes, 24)),
            }),
            other => Self::OtherVersion(other),
        }
    }
}

impl RecordHeader {
    pub(super) fn encode(&self, segment: u64) -> [u8; RECORD_HEADER] {
        let words = [self.items, self.stored, self.unpacked].map(u32::to_le_bytes);
        let packing = match self.packing {
            Packing::Plain => 0,
            Packing::Zstd => 1,
        };
        let flags = u8::from(self.first_of_commit) * FIRST_OF_COMMIT;
        let rest = [
            &self.before.records.to_le_bytes()[..],
            &self.before.items.to_le_bytes(),
            words.as_flattened(),
            &[self.kind, packing, flags, 0],
            &self.checksum.to_le_bytes(),
        ]
        .concat();
        let sum = header_checksum(segment, [&rest, &[]]).to_le_bytes();
        let mut header = [0; RECORD_HEADER];
        let parts = RECORD_MAGIC.iter().chain(&sum).chain(&rest);
        for (to, from) in header.iter_mut().zip(parts) {
            *to = *from;
        }
        header
    }

    /// The header at the beginning of `bytes`; none if it is not whole.
    pub(super) fn decode(bytes: &[u8], segment: u64) -> Option<Self> {
        let header: &[u8; RECORD_HEADER] = bytes.first_chunk()?;
        let rest: [u8; RECORD_HEADER - 8] = field(header, 8);
        let sum = u32::from_le_bytes(field(header, 4));
        if !header.starts_with(&RECORD_MAGIC) || header_checksum(segment, [&rest, &[]]) != sum {
            return None;
        }
        let word = |at| u32::from_le_bytes(field(header, at));
        let [kind, packing, flags, _] = field(header, 36);
        Some(Self {
            before: Count {
                records: u64::from_le_bytes(field(header, 8)),
                items: u64::from_le_bytes(field(header, 16)),
            },
            items: word(24),
            stored: word(28),
            unpacked: word(32),
            kind,
            packing: match packing {
                0 => Packing::Plain,
                1 => Packing::Zstd,
                _ => return None,
            },
            first_of_commit: flags & FIRST_OF_COMMIT != 0,
            checksum: word(40),
        })
    }

    /// Where in `bytes` the next record may begin, the first byte aside: at a whole magic, or at
    /// what may be the beginning of one at the end.
    pub(super) fn next_candidate(bytes: &[u8]) -> usize {
        let may_begin = |at: &usize| {
            let rest = bytes.get(*at..).unwrap_or_default();
            let length = rest.len().min(RECORD_MAGIC.len());
            RECORD_MAGIC.starts_with(rest.get(..length).unwrap_or_default())
        };
        (1..bytes.len()).find(may_begin).unwrap_or(bytes.len())
    }

    /// Bytes of the whole record.
    pub(super) fn length(&self) -> u64 {
        RECORD_HEADER as u64 + u64::from(self.stored)
    }

    /// Records and items up to its end.
    pub(super) const fn after(&self) -> Count {
        self.before.plus(Count::one(self.items))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_compose};
    use proptest::proptest;

    use super::{Count, Packing, RECORD_HEADER, RecordHeader, SegmentHeader};
    use super::{segment_name, segment_number};

    prop_compose! {
        fn header()(numbers in any::<[u64; 2]>(), words in any::<[u32; 4]>(), kind: u8, bits: [bool; 2])
            -> RecordHeader {
            RecordHeader {
                before: Count { records: numbers[0], items: numbers[1] },
                items: words[0],
                stored: words[1],
                unpacked: words[2],
                kind,
                packing: if bits[0] { Packing::Zstd } else { Packing::Plain },
                first_of_commit: bits[1],
                checksum: words[3],
            }
        }
    }

    proptest! {
        #[test]
        fn a_record_comes_back_in_its_own_segment_alone(header in header(), segment: u64) {
            let bytes = header.encode(segment);
            prop_assert_eq!(RecordHeader::decode(&bytes, segment), Some(header));
            prop_assert_eq!(RecordHeader::decode(&bytes, segment ^ 1), None);
            prop_assert_eq!(RecordHeader::decode(&bytes[..RECORD_HEADER - 1], segment), None);
        }

        #[test]
        fn a_flipped_bit_shows(header in header(), bit in 0..RECORD_HEADER * 8, segment: u64) {
            let mut bytes = header.encode(segment);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(RecordHeader::decode(&bytes, segment), None);
            let mut bytes = SegmentHeader::encode(segment, header.before);
            prop_assert_eq!(SegmentHeader::decode(&bytes, segment), SegmentHeader::First(header.before));
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(SegmentHeader::decode(&bytes, segment), SegmentHeader::Damaged);
        }

        #[test]
        fn any_bytes_are_no_header(bytes: Vec<u8>, segment: u64) {
            prop_assert_eq!(RecordHeader::decode(&bytes, segment), None);
            prop_assert_eq!(SegmentHeader::decode(&bytes, segment), SegmentHeader::Damaged);
            prop_assert!(RecordHeader::next_candidate(&bytes) <= bytes.len());
        }
    }

    #[test]
    fn the_next_candidate_is_found_wherever_it_is_cut() {
        let header = [0; RECORD_HEADER];
        let record = RecordHeader::decode(&header, 1);
        assert_eq!(record, None);
        let bytes = [&b"d\xd7r-"[..], &super::RECORD_MAGIC].concat();
        assert_eq!(RecordHeader::next_candidate(&bytes), 4);
        assert_eq!(RecordHeader::next_candidate(&bytes[4..]), 4);
        for cut in 5..8 {
            assert_eq!(RecordHeader::next_candidate(&bytes[..cut]), 4, "{cut}");
        }
    }

    #[test]
    fn names_of_segments() {
        for number in [0, 1, 0xabc, u64::MAX] {
            assert_eq!(segment_number(&segment_name(number)), Some(number));
        }
        for name in [
            "1.segment",
            "+000000000000001.segment",
            "cursor",
            "000000000000000A.segment",
        ] {
            assert_eq!(segment_number(name), None, "{name}");
        }
    }
}

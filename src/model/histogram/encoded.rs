//! Histograms as bytes, for the store.
//!
//! Input: a histogram, or bytes. Output: bytes, a histogram, or its values added to another
//! without building it first. Bytes that are no histogram are told apart and add nothing.

use std::collections::VecDeque;

use super::{FIRST_SCALE, Histogram, MAX_BUCKETS, MAX_PLACE, length};

impl Histogram {
    /// The histogram as bytes, for the store: version, scale, zeros, sum, max, offset, buckets.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![1];
        bytes.extend(self.scale.to_le_bytes());
        bytes.extend(self.sum.to_le_bytes());
        bytes.extend(self.max.to_le_bytes());
        bytes.extend(self.offset.to_le_bytes());
        put_varint(&mut bytes, self.zeros);
        for number in &self.buckets {
            put_varint(&mut bytes, *number);
        }
        bytes
    }

    /// The histogram of bytes that [`Histogram::encode`] made; none if they are not such.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let encoded = Encoded::parse(bytes)?;
        let mut rest = encoded.buckets;
        let mut buckets = VecDeque::new();
        while let Some(number) = take_varint(&mut rest) {
            buckets.push_back(number);
        }
        Some(Self {
            scale: encoded.scale,
            zeros: encoded.zeros,
            offset: encoded.offset,
            buckets,
            count: encoded.count,
            sum: encoded.sum,
            max: encoded.max,
        })
    }

    /// Adds all values of a histogram that [`Histogram::encode`] made, without building it first;
    /// whether the bytes are such. If not, nothing is added.
    ///
    /// ```
    /// use rabtrace::model::Histogram;
    ///
    /// let mut one = Histogram::default();
    /// one.record(0.25);
    /// let mut sum = Histogram::default();
    /// assert!(sum.merge_encoded(&one.encode()) && !sum.merge_encoded(b"else"));
    /// assert_eq!(sum, one);
    /// ```
    pub fn merge_encoded(&mut self, bytes: &[u8]) -> bool {
        let Some(encoded) = Encoded::parse(bytes) else {
            return false;
        };
        self.lower_to(encoded.scale);
        self.zeros += encoded.zeros;
        self.count += encoded.count;
        self.sum += encoded.sum;
        self.max = self.max.max(encoded.max);
        let shift = (encoded.scale - self.scale).max(0);
        let first = encoded.offset >> shift;
        let last = encoded
            .offset
            .saturating_add(encoded.number.saturating_sub(1))
            >> shift;
        if encoded.number == 0 || !self.make_room(first, last) {
            self.add_each(&encoded);
            return true;
        }
        let offset = self.offset;
        let buckets = self.buckets.make_contiguous();
        let mut rest = encoded.buckets;
        let mut place = encoded.offset;
        while let Some(number) = take_varint(&mut rest) {
            let at = usize::try_from((place >> shift) - offset).unwrap_or(usize::MAX);
            if let Some(bucket) = buckets.get_mut(at) {
                *bucket += number;
            }
            place += 1;
        }
        true
    }

    /// Makes buckets from `first` to `last`, if they are not too many; whether they are there.
    fn make_room(&mut self, first: i32, last: i32) -> bool {
        if self.buckets.is_empty() {
            self.offset = first;
        }
        let begin = self.offset.min(first);
        let end = (self.offset + length(&self.buckets)).max(last + 1);
        let fits = usize::try_from(end - begin).is_ok_and(|span| span <= MAX_BUCKETS);
        if fits {
            while self.offset > begin {
                self.buckets.push_front(0);
                self.offset -= 1;
            }
            while self.offset + length(&self.buckets) < end {
                self.buckets.push_back(0);
            }
        }
        fits
    }

    /// Adds bucket by bucket, lowering the scale where they spread too far.
    fn add_each(&mut self, encoded: &Encoded<'_>) {
        let mut rest = encoded.buckets;
        let mut place = encoded.offset;
        while let Some(number) = take_varint(&mut rest) {
            if number > 0 {
                self.add(place, encoded.scale, number);
            }
            place += 1;
        }
    }

    /// Sum and number of the values of a histogram that [`Histogram::encode`] made; none if the
    /// bytes are not such.
    ///
    /// ```
    /// use rabtrace::model::Histogram;
    ///
    /// let mut one = Histogram::default();
    /// one.record(0.25);
    /// assert_eq!(Histogram::encoded_sum(&one.encode()), Some((0.25, 1)));
    /// ```
    #[must_use]
    pub fn encoded_sum(bytes: &[u8]) -> Option<(f64, u64)> {
        Encoded::parse(bytes).map(|encoded| (encoded.sum, encoded.count))
    }
}

/// An encoded histogram whose bytes have been checked.
struct Encoded<'a> {
    scale: i32,
    zeros: u64,
    offset: i32,
    count: u64,
    sum: f64,
    max: f64,
    /// How many buckets.
    number: i32,
    /// A varint for each bucket.
    buckets: &'a [u8],
}

impl<'a> Encoded<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&1, rest) = bytes.split_first()? else {
            return None;
        };
        let (scale, rest) = rest.split_first_chunk()?;
        let (sum, rest) = rest.split_first_chunk()?;
        let (max, rest) = rest.split_first_chunk()?;
        let (offset, mut rest) = rest.split_first_chunk()?;
        let zeros = take_varint(&mut rest)?;
        let (mut count, mut number, mut left) = (zeros, 0, rest);
        while !left.is_empty() {
            count = count.checked_add(take_varint(&mut left)?)?;
            number += 1;
        }
        let (scale, offset) = (i32::from_le_bytes(*scale), i32::from_le_bytes(*offset));
        let sane = usize::try_from(number).is_ok_and(|number| number <= MAX_BUCKETS)
            && (-20..=FIRST_SCALE).contains(&scale)
            && offset.unsigned_abs() <= MAX_PLACE;
        sane.then_some(Self {
            scale,
            zeros,
            offset,
            count,
            sum: f64::from_le_bytes(*sum),
            max: f64::from_le_bytes(*max),
            number,
            buckets: rest,
        })
    }
}

fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push((number & 0x7f) as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

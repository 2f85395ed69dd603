//! Lower-case hexadecimal numbers, as W3C writes ids: no sign, no prefix, no capital letters.

use std::sync::Arc;

const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// What is no digit.
const NONE: u8 = 0xff;
/// The value of each byte as a digit.
const VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let mut values = [NONE; 256];
    let mut value = 0_u8;
    while value < 16 {
        values[DIGITS[value as usize] as usize] = value;
        value += 1;
    }
    values
}

/// One in each byte of a word.
const ONES: u64 = 0x0101_0101_0101_0101;

/// Writes bytes, two digits each; `text` is twice as long.
#[inline]
pub(crate) fn write(text: &mut [u8], bytes: &[u8]) {
    let (words, pairs) = text.as_chunks_mut::<8>();
    let (fours, rest) = bytes.as_chunks::<4>();
    for (word, four) in words.iter_mut().zip(fours) {
        *word = eight_digits(*four);
    }
    for (pair, byte) in pairs.chunks_exact_mut(2).zip(rest) {
        if let [high, low] = pair {
            *high = DIGITS[usize::from(byte >> 4)];
            *low = DIGITS[usize::from(byte & 0xf)];
        }
    }
}

/// The digits of four bytes, all at once in one word.
fn eight_digits(bytes: [u8; 4]) -> [u8; 8] {
    let mut digits = u64::from(u32::from_be_bytes(bytes));
    digits = (digits | (digits << 16)) & 0x0000_ffff_0000_ffff;
    digits = (digits | (digits << 8)) & 0x00ff_00ff_00ff_00ff;
    digits = (digits | (digits << 4)) & (ONES * 0xf);
    let letters = ((digits + ONES * 6) >> 4) & ONES;
    (digits + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

/// A number of 16 digits as text.
pub(crate) fn text(number: u64) -> Arc<str> {
    let mut digits = [b'0'; 16];
    write(&mut digits, &number.to_be_bytes());
    std::str::from_utf8(&digits).unwrap_or_default().into()
}

/// Reads a number of at most 16 digits.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 16 {
        return None;
    }
    let mut number = 0;
    let mut odd = 0;
    for byte in text {
        let value = VALUES[usize::from(*byte)];
        odd |= value;
        number = (number << 4) | u64::from(value & 0xf);
    }
    (odd != NONE).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_byte_counts_wherever_it_is() {
        for length in 1..=16 {
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    let mut digits = [b'7'; 16];
                    digits[at] = byte;
                    let text = std::str::from_utf8(&digits[..length]);
                    let is_digit = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                    let read = text
                        .ok()
                        .and_then(|text| u64::from_str_radix(text, 16).ok());
                    let expected = read.filter(|_| is_digit);
                    assert_eq!(number(&digits[..length]), expected, "{byte} at {at}");
                }
            }
        }
    }

    #[test]
    fn only_lower_case_digits_are_read() {
        for odd in ["", "A", "+1", "0x1", "12345678901234567", "1 "] {
            assert_eq!(number(odd.as_bytes()), None, "{odd}");
        }
        assert_eq!(number(b"ffffffffffffffff"), Some(u64::MAX));
    }

    proptest! {
        #[test]
        fn numbers_come_back(value: u64) {
            let digits = text(value);
            prop_assert_eq!(number(digits.as_bytes()), Some(value));
            prop_assert_eq!(&*digits, format!("{value:016x}"));
        }
    }
}

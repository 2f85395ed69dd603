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

/// Writes bytes, two digits each, as far as `text` reaches.
pub(crate) fn write(text: &mut [u8], bytes: &[u8]) {
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        if let [high, low] = pair {
            *high = DIGITS[usize::from(byte >> 4)];
            *low = DIGITS[usize::from(byte & 0xf)];
        }
    }
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

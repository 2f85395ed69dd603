//! Lower-case hexadecimal numbers, as W3C writes ids: no sign, no prefix, no capital letters.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Appends a number, filled up with zeros to `width` digits.
pub(crate) fn push(text: &mut String, number: u64, width: usize) {
    let needed = usize::try_from((u64::BITS - number.leading_zeros()).div_ceil(4)).unwrap_or(16);
    for place in (0..needed.max(width)).rev() {
        let digit = usize::try_from((number >> (4 * place)) & 0xf).unwrap_or(0);
        text.push(char::from(DIGITS[digit]));
    }
}

/// Reads a number of at most 16 digits.
pub(crate) fn number(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > 16 {
        return None;
    }
    text.bytes().try_fold(0, |number: u64, byte| {
        Some((number << 4) | u64::from(digit(byte)?))
    })
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_lower_case_digits_are_read() {
        for odd in ["", "A", "+1", "0x1", "12345678901234567", "1 "] {
            assert_eq!(number(odd), None, "{odd}");
        }
        assert_eq!(number("ffffffffffffffff"), Some(u64::MAX));
    }

    proptest! {
        #[test]
        fn numbers_come_back(value: u64, width in 1..=16_usize) {
            let mut text = String::new();
            push(&mut text, value, width);
            prop_assert_eq!(number(&text), Some(value));
            prop_assert_eq!(text, format!("{value:0width$x}"));
        }
    }
}

//! Base64.

/// The letters of `bytes` in base64 with padding (RFC 4648, section 4), as ASCII.
pub(crate) fn base64(bytes: &[u8]) -> impl Iterator<Item = u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bytes.chunks(3).flat_map(|chunk| {
        let byte = |at: usize| chunk.get(at).copied().map_or(0, u32::from);
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        let letters = chunk.len() + 1;
        (0..4_usize).map(move |place| {
            let index = (group >> (18 - 6 * place)) & 63;
            let letter = ALPHABET.get(index as usize).copied();
            letter.filter(|_| place < letters).unwrap_or(b'=')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let encoded: Vec<u8> = base64(bytes.as_bytes()).collect();
            assert_eq!(encoded, text.as_bytes(), "{bytes}");
        }
        assert_eq!(base64(&[0xff, 0xef]).collect::<Vec<_>>(), b"/+8=");
    }
}

//! Trace and span ids: bytes inside, lower-case hex outside (W3C Trace Context §3.2.2).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that is not a trace or span id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not {expected} hexadecimal digits, or all of them are zero")]
pub struct InvalidId {
    text: String,
    expected: usize,
}

const fn digit(half: u8) -> u8 {
    match half {
        0..=9 => b'0' + half,
        _ => b'a' - 10 + half,
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// The id of these bytes; `None` if their number is wrong or all are zero, which the
            /// specification calls invalid.
            #[must_use]
            pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
                let bytes: [u8; $bytes] = bytes.try_into().ok()?;
                (bytes != [0; $bytes]).then_some(Self(bytes))
            }

            /// The bytes, most significant first.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            fn digits(&self) -> [u8; $bytes * 2] {
                let mut digits = [0; $bytes * 2];
                for (pair, byte) in digits.as_chunks_mut().0.iter_mut().zip(self.0) {
                    *pair = [digit(byte >> 4), digit(byte & 0xf)];
                }
                digits
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
            }
        }

        impl From<$name> for Arc<str> {
            fn from(id: $name) -> Self {
                std::str::from_utf8(&id.digits()).unwrap_or_default().into()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let invalid = || InvalidId { text: text.chars().take(64).collect(), expected: $bytes * 2 };
                if text.len() != $bytes * 2 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(invalid());
                }
                let mut bytes = [0; $bytes];
                for (index, byte) in bytes.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16)
                        .map_err(|_| invalid())?;
                }
                Self::from_bytes(&bytes).ok_or_else(invalid)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// Names one trace: 16 bytes, never all zero.
    TraceId,
    16
);
id!(
    /// Names one span of a trace: 8 bytes, never all zero.
    SpanId,
    8
);

#[cfg(test)]
mod tests {
    use super::{SpanId, TraceId};

    #[test]
    fn hex_goes_both_ways_and_invalid_ids_are_refused() {
        let text = "0af7651916cd43dd8448eb211c80319c";
        let id: TraceId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(&*std::sync::Arc::<str>::from(id), text);
        for bad in [
            "",
            "00",
            "00000000000000000000000000000000",
            "zaf7651916cd43dd8448eb211c80319c",
        ] {
            assert!(bad.parse::<TraceId>().is_err(), "{bad:?} was taken");
        }
        assert!(SpanId::from_bytes(&[0; 8]).is_none());
        assert!(SpanId::from_bytes(&[1; 7]).is_none());
    }
}

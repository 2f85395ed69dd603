//! What a server says of a request that it took: how many spans it refused all the same, and why.
//!
//! Input: an `ExportTraceServiceResponse`, untrusted. Output: its partial success, if there is one;
//! nothing for what is no such message, as an empty body is a full success.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#partial-success-1>.

/// The partial success of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PartialSuccess {
    pub(crate) rejected: u64,
    pub(crate) message: String,
}

/// The partial success in `body`; `None` if the server took everything and says nothing.
pub(crate) fn partial_success(body: &[u8]) -> Option<PartialSuccess> {
    let mut found = PartialSuccess::default();
    each_field(body, |field| {
        let (1, Content::Bytes(inside)) = field else {
            return Some(());
        };
        each_field(inside, |field| {
            match field {
                (1, Content::Number(rejected)) => {
                    // A negative number says nothing.
                    found.rejected = i64::try_from(rejected).map_or(0, i64::unsigned_abs);
                }
                (2, Content::Bytes(text)) => {
                    found.message = String::from_utf8_lossy(text).into_owned();
                }
                _ => {}
            }
            Some(())
        })
    })?;
    (found != PartialSuccess::default()).then_some(found)
}

/// What a field holds.
enum Content<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

/// Calls `take` with the number and content of every field; `None` if these are no fields.
fn each_field<'a>(
    mut bytes: &'a [u8],
    mut take: impl FnMut((u64, Content<'a>)) -> Option<()>,
) -> Option<()> {
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let content = match tag & 7 {
            0 => Content::Number(varint(&mut bytes)?),
            1 => skip(&mut bytes, 8)?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                Content::Bytes(bytes.split_off(..length)?)
            }
            5 => skip(&mut bytes, 4)?,
            _ => return None,
        };
        take((tag >> 3, content))?;
    }
    Some(())
}

fn skip<'a>(bytes: &mut &'a [u8], length: usize) -> Option<Content<'a>> {
    bytes.split_off(..length)?;
    Some(Content::Other)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceResponse,
    };
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn encoded(rejected_spans: i64, error_message: &str) -> Vec<u8> {
        let partial_success = Some(ExportTracePartialSuccess {
            rejected_spans,
            error_message: error_message.to_owned(),
        });
        ExportTraceServiceResponse { partial_success }.encode_to_vec()
    }

    #[test]
    fn full_successes_say_nothing() {
        assert_eq!(partial_success(&[]), None);
        assert_eq!(partial_success(&encoded(0, "")), None);
        assert_eq!(partial_success(b"{\"partialSuccess\":{}}"), None);
    }

    proptest! {
        #[test]
        fn what_prost_writes_is_read(rejected in any::<i64>(), message in ".{0,300}") {
            let found = partial_success(&encoded(rejected, &message)).unwrap_or_default();
            prop_assert_eq!(found.rejected, u64::try_from(rejected).unwrap_or(0));
            prop_assert_eq!(found.message, message);
        }

        #[test]
        fn any_bytes_are_met(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            partial_success(&bytes);
        }
    }
}

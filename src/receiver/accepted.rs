//! What front ends say of a request that was taken, and how it came.

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Protobuf.
    Protobuf,
    /// OTLP's JSON.
    Json,
}

/// What became of a request that was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Spans that were left out because their ids are invalid.
    pub rejected: u64,
}

impl Accepted {
    /// What the sender is told about the rejected spans; empty if there are none.
    #[must_use]
    pub fn message(&self) -> String {
        match self.rejected {
            0 => String::new(),
            number => format!(
                "{number} spans rejected: a trace id has 16 bytes, a span id 8, not all zero; \
                 a parent id has 8 bytes or none"
            ),
        }
    }
}

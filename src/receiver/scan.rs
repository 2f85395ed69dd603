//! How large a request becomes when it is decoded, found out before it is decoded.
//!
//! A size limit on the body does not bound memory: an empty span is two bytes on the wire and
//! some hundred in memory, so 4 MiB become half a gigabyte. [`scan`] walks the wire format along
//! OTLP's schema, counts what would be built, and stops as soon as that exceeds a budget.
//!
//! Input: protobuf bytes. Output: [`Counts`]. It allocates nothing, and refuses with
//! [`ScanError`]. What it accepts may still fail to decode (wrong types, invalid UTF-8).

mod schema;

pub(super) use self::schema::Message;

use self::schema::Shape;
use super::wire::{Fields, MAX_DEPTH, Malformed, Value};
use crate::model::Signal;

/// What a request holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Resources: `ResourceSpans` or `ResourceMetrics`.
    pub resources: u64,
    /// Scopes: `ScopeSpans` or `ScopeMetrics`.
    pub scopes: u64,
    /// Spans, or data points of all kinds of metrics.
    pub items: u64,
    /// Attributes, wherever they stand, and entries of maps.
    pub attributes: u64,
    /// Levels of the deepest message.
    pub depth: u32,
    /// Bytes of memory that the decoded request and the model's copy of it take, about.
    pub decoded_bytes: u64,
}

/// Why a request is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// It is not protobuf.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It would take more memory than allowed.
    #[error("too many elements: the request would take more than {budget} bytes when decoded")]
    TooManyElements {
        /// How many bytes are allowed.
        budget: u64,
    },
}

/// Counts what `request` holds, and stops when it would take more than `budget` bytes.
///
/// # Errors
/// [`ScanError::Malformed`] if the bytes are not protobuf, [`ScanError::TooManyElements`] if the
/// request is too large when decoded.
pub fn scan(signal: Signal, request: &[u8], budget: u64) -> Result<Counts, ScanError> {
    walk(signal, request, budget, false)
}

/// The same for a request of which only the beginning is there: what is refused here, [`scan`]
/// refuses when all of it is.
///
/// # Errors
/// As [`scan`]'s.
pub fn scan_beginning(signal: Signal, begun: &[u8], budget: u64) -> Result<Counts, ScanError> {
    walk(signal, begun, budget, true)
}

fn walk(signal: Signal, bytes: &[u8], budget: u64, is_begun: bool) -> Result<Counts, ScanError> {
    let root = match signal {
        Signal::Traces => Message::TracesRequest,
        Signal::Metrics => Message::MetricsRequest,
    };
    let mut walk = Walk {
        is_begun,
        ..Walk::new(budget)
    };
    walk.message(root, bytes, 0)?;
    Ok(walk.counts)
}

/// A walk over messages that counts what would be built of them.
pub(super) struct Walk {
    counts: Counts,
    budget: u64,
    /// Whether more may follow.
    is_begun: bool,
}

impl Walk {
    pub(super) fn new(budget: u64) -> Self {
        Self {
            counts: Counts::default(),
            budget,
            is_begun: false,
        }
    }

    /// Bytes of memory that what was counted takes.
    pub(super) const fn decoded_bytes(&self) -> u64 {
        self.counts.decoded_bytes
    }

    /// Goes through a message that lies `depth` levels deep, which is counted already.
    pub(super) fn message(
        &mut self,
        message: Message,
        bytes: &[u8],
        depth: u32,
    ) -> Result<(), ScanError> {
        if depth >= MAX_DEPTH {
            return Err(Malformed::Depth.into());
        }
        self.counts.depth = self.counts.depth.max(depth);
        let mut fields = Fields::new(bytes, depth).begun(self.is_begun);
        while let Some((number, value)) = fields.next()? {
            let shape = message.field(number);
            match (shape, value) {
                (Shape::Message(inner), Value::Bytes(bytes)) => {
                    self.count(inner)?;
                    self.message(inner, bytes, depth + 1)?;
                }
                (Shape::Varints, Value::Varint(_)) => self.spend(16)?,
                (shape, Value::Bytes(bytes)) => self.spend(shape.cost(bytes.len() as u64))?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Counts a message without what is in it.
    pub(super) fn count(&mut self, message: Message) -> Result<(), ScanError> {
        match message {
            Message::ResourceSpans | Message::ResourceMetrics => self.counts.resources += 1,
            Message::ScopeSpans | Message::ScopeMetrics => self.counts.scopes += 1,
            Message::KeyValue | Message::MapEntry => self.counts.attributes += 1,
            message if message.is_item() => self.counts.items += 1,
            _ => {}
        }
        self.spend(message.cost())
    }

    /// Counts a text of so many bytes.
    pub(super) fn text(&mut self, length: usize) -> Result<(), ScanError> {
        self.spend(Shape::Text.cost(length as u64))
    }

    fn spend(&mut self, bytes: u64) -> Result<(), ScanError> {
        self.counts.decoded_bytes = self.counts.decoded_bytes.saturating_add(bytes);
        if self.counts.decoded_bytes > self.budget {
            return Err(ScanError::TooManyElements {
                budget: self.budget,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

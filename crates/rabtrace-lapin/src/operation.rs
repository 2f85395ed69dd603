//! The kinds of spans.

use opentelemetry::trace::SpanKind;

/// One kind of span: the conventions' name, type and span kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Publish,
    Process,
    Receive,
    Ack,
    Nack,
    Reject,
    Recover,
    Commit,
    Rollback,
    Return,
}

impl Operation {
    pub(crate) const COUNT: usize = 10;

    /// `messaging.operation.name`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Process => "process",
            Self::Receive => "receive",
            Self::Ack => "ack",
            Self::Nack => "nack",
            Self::Reject => "reject",
            Self::Recover => "recover",
            Self::Commit => "commit",
            Self::Rollback => "rollback",
            Self::Return => "return",
        }
    }

    /// `messaging.operation.type`. A transaction's end settles what was published in it; a message
    /// that comes back is received.
    pub(crate) const fn operation_type(self) -> &'static str {
        match self {
            Self::Publish => "send",
            Self::Process => "process",
            Self::Receive | Self::Return => "receive",
            Self::Ack
            | Self::Nack
            | Self::Reject
            | Self::Recover
            | Self::Commit
            | Self::Rollback => "settle",
        }
    }

    pub(crate) const fn kind(self) -> SpanKind {
        match self {
            Self::Publish => SpanKind::Producer,
            Self::Process => SpanKind::Consumer,
            _ => SpanKind::Client,
        }
    }

    /// Its place in tables of this enum's size.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// Whether it settles deliveries or publishes.
    pub(crate) const fn is_settlement(self) -> bool {
        matches!(self.operation_type().as_bytes(), b"settle")
    }
}

//! How publishes and deliveries end.

/// How a publish ended: the attribute `rabtrace.publish.outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PublishOutcome {
    /// The broker confirmed it.
    Acked,
    /// The broker refused it; `error.type` is `nack`.
    Nacked,
    /// No queue took it; `error.type` is `NO_ROUTE`.
    Returned,
    /// It was written, and the channel has no confirms.
    Unconfirmed,
    /// It took effect with its transaction.
    Committed,
    /// Its transaction was rolled back.
    RolledBack,
    /// The publish was given up before it was written, or its confirm could not be waited for.
    Dropped,
    /// lapin refused it or could not write it.
    Failed,
    /// The channel or the connection went before the confirm came.
    ChannelLost,
}

impl PublishOutcome {
    pub(crate) const COUNT: usize = 9;

    /// The value of the attribute.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acked => "acked",
            Self::Nacked => "nacked",
            Self::Returned => "returned",
            Self::Unconfirmed => "unconfirmed",
            Self::Committed => "committed",
            Self::RolledBack => "rolled_back",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
            Self::ChannelLost => "channel_lost",
        }
    }

    /// Its place in tables of this enum's size.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// Whether the message did not get to where it should.
    pub(crate) const fn is_failure(self) -> bool {
        matches!(
            self,
            Self::Nacked | Self::Returned | Self::Failed | Self::ChannelLost
        )
    }
}

/// How a delivery ended: the attribute `rabtrace.settlement`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Settlement {
    /// Acknowledged.
    Ack,
    /// Refused, back into the queue.
    NackRequeue,
    /// Refused, discarded or dead-lettered.
    NackDiscard,
    /// Rejected, back into the queue.
    RejectRequeue,
    /// Rejected, discarded or dead-lettered.
    RejectDiscard,
    /// Settled by the broker when it sent it.
    NoAck,
    /// The last acker was dropped without settling.
    DroppedUnsettled,
    /// The channel or the connection went before it was settled; the broker delivers it again.
    ChannelLost,
    /// `basic_recover` gave it back to the broker.
    Recovered,
}

impl Settlement {
    pub(crate) const COUNT: usize = 9;

    /// Its place in tables of this enum's size.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// Whether it was given back into the queue.
    pub(crate) const fn is_requeue(self) -> bool {
        matches!(
            self,
            Self::NackRequeue | Self::RejectRequeue | Self::Recovered
        )
    }

    /// Whether it was refused or rejected.
    pub(crate) const fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::NackRequeue | Self::NackDiscard | Self::RejectRequeue | Self::RejectDiscard
        )
    }

    /// Whether the message may come again, here or in a dead-letter queue.
    pub(crate) const fn is_failure(self) -> bool {
        !matches!(self, Self::Ack | Self::NoAck)
    }

    /// The value of the attribute.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::NackRequeue => "nack_requeue",
            Self::NackDiscard => "nack_discard",
            Self::RejectRequeue => "reject_requeue",
            Self::RejectDiscard => "reject_discard",
            Self::NoAck => "no_ack",
            Self::DroppedUnsettled => "dropped_unsettled",
            Self::ChannelLost => "channel_lost",
            Self::Recovered => "recovered",
        }
    }
}

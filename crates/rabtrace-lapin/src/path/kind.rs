//! What a checkpoint is: its direction, and what led to it.

/// The direction of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// A message is published.
    Out,
    /// A delivery is handed to the application.
    In,
}

impl Direction {
    /// The value of the attribute `rabtrace.direction`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::In => "in",
        }
    }
}

/// What led to a checkpoint. The statistics of each kind stand apart, so that a retry does not
/// blur how long a message waits the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EdgeKind {
    /// A message goes on for the first time.
    #[default]
    Forward,
    /// The answer to a request, over `reply_to`.
    Reply,
    /// A step that the path holds already: a message that is published again, in a loop.
    Repeat,
    /// The broker delivers again what was not settled, or was given back by another process.
    Redelivery,
    /// The broker delivers again what this process gave back.
    Requeue,
    /// The broker moved the message here from a queue that gave it up.
    DeadLetter,
    /// One of several deliveries that went into one message.
    Merge,
}

impl EdgeKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Forward,
        Self::Reply,
        Self::Repeat,
        Self::Redelivery,
        Self::Requeue,
        Self::DeadLetter,
        Self::Merge,
    ];

    /// The value of the attribute `rabtrace.edge.kind`, which [`EdgeKind::Forward`] leaves out.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Reply => "reply",
            Self::Repeat => "repeat",
            Self::Redelivery => "redelivery",
            Self::Requeue => "requeue",
            Self::DeadLetter => "dead_letter",
            Self::Merge => "merge",
        }
    }

    /// The kind of that name.
    ///
    /// ```
    /// use rabtrace_lapin::path::EdgeKind;
    ///
    /// assert_eq!(EdgeKind::named("dead_letter"), Some(EdgeKind::DeadLetter));
    /// ```
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

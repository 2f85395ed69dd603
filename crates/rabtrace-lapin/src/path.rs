//! The path of a message: the chain of services and destinations that it and its ancestors went
//! through, carried in `tracestate` and extended at every checkpoint.
//!
//! Input: the path context that came with a delivery (or none), the service, the direction, the
//! destination and the time. Output: the path context to hand on, and how long the step took.
//! Pure: no clock, no I/O. A value that cannot be read counts as absent and is passed through.

use std::time::Duration;

use crate::hex;

#[cfg(test)]
mod tests;

/// The key of the entry in `tracestate`.
pub const TRACESTATE_KEY: &str = "rabtrace";

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

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

/// What travels with a message: the path so far.
///
/// ```
/// use rabtrace_lapin::path::PathContext;
///
/// let context = PathContext { hash: 0x1f, origin_us: 16, last_us: 255 };
/// let entry = context.to_string();
/// assert_eq!(entry, "1-000000000000001f-10-ff");
/// assert_eq!(PathContext::parse(&entry), Some(context));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PathContext {
    /// Hash of the path up to the last checkpoint.
    pub hash: u64,
    /// When the path began, in microseconds since the Unix epoch.
    pub origin_us: u64,
    /// When the last checkpoint was, in microseconds since the Unix epoch.
    pub last_us: u64,
}

impl PathContext {
    /// The most bytes that the value takes.
    const LENGTH: usize = 52;

    /// The whole member of `tracestate`, key and value.
    pub(crate) fn member(&self) -> Vec<u8> {
        let mut member = Vec::with_capacity(TRACESTATE_KEY.len() + 1 + Self::LENGTH);
        member.extend_from_slice(b"rabtrace=");
        self.write_to(&mut member);
        member
    }

    fn write_to(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(b"1-0000000000000000-");
        let at = text.len() - 17;
        if let Some(hash) = text.get_mut(at..at + 16) {
            hex::write(hash, &self.hash.to_be_bytes());
        }
        hex::push(text, self.origin_us);
        text.push(b'-');
        hex::push(text, self.last_us);
    }

    /// Reads the value of the `tracestate` entry; `None` for another version or another form.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        Self::read(value.as_bytes())
    }

    /// As [`PathContext::parse`], from bytes that may be anything.
    pub(crate) fn read(value: &[u8]) -> Option<Self> {
        let fields = value.strip_prefix(b"1-")?;
        let (hash, times) = fields.split_at_checked(16)?;
        let times = times.strip_prefix(b"-")?;
        let dash = times.iter().position(|byte| *byte == b'-')?;
        let (origin, last) = times.split_at_checked(dash)?;
        Some(Self {
            hash: hex::number(hash)?,
            origin_us: hex::number(origin)?,
            last_us: hex::number(last.get(1..)?)?,
        })
    }
}

impl std::fmt::Display for PathContext {
    /// The value of the `tracestate` entry: `1-{hash}-{origin}-{last}` in hexadecimal, at most 52
    /// bytes, so that the whole entry stays within 64.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::with_capacity(Self::LENGTH);
        self.write_to(&mut text);
        formatter.write_str(&String::from_utf8_lossy(&text))
    }
}

/// One step of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The path with this step, to be handed on.
    pub context: PathContext,
    /// Hash of the path before this step; none at the origin.
    pub parent_hash: Option<u64>,
    /// Since the checkpoint before; none at the origin, and when the clocks disagree.
    pub edge: Option<Duration>,
    /// Since the origin, zero there; none when the clocks disagree.
    pub total: Option<Duration>,
}

/// Extends `parent` by one step at `now_us` (microseconds since the Unix epoch).
///
/// ```
/// use rabtrace_lapin::path::{Direction, checkpoint};
///
/// let published = checkpoint(None, "gateway", (Direction::Out, "tasks"), 1_000);
/// let taken = checkpoint(Some(&published.context), "planner", (Direction::In, "tasks"), 1_500);
/// assert_eq!(taken.parent_hash, Some(published.context.hash));
/// assert_eq!(taken.edge.map(|edge| edge.as_micros()), Some(500));
/// ```
#[must_use]
pub fn checkpoint(
    parent: Option<&PathContext>,
    service: &str,
    (direction, destination): (Direction, &str),
    now_us: u64,
) -> Checkpoint {
    let parent_hash = parent.map(|parent| parent.hash);
    let hash = step_hash(parent_hash, service, (direction, destination));
    advance(parent, hash, now_us)
}

/// Extends `parent` by the step that leads to `hash`.
pub(crate) fn advance(parent: Option<&PathContext>, hash: u64, now_us: u64) -> Checkpoint {
    let origin_us = parent.map_or(now_us, |parent| parent.origin_us);
    let since = |then: u64| now_us.checked_sub(then).map(Duration::from_micros);
    Checkpoint {
        context: PathContext {
            hash,
            origin_us,
            last_us: now_us,
        },
        parent_hash: parent.map(|parent| parent.hash),
        edge: parent.and_then(|parent| since(parent.last_us)),
        total: since(origin_us),
    }
}

/// FNV-1a (64 bit) over: the parent's hash as eight little-endian bytes if there is one, the
/// service, 0xff, the direction's name, 0xff, the destination. 0xff is no byte of UTF-8, so
/// different steps never give the same bytes. Stable across versions and platforms.
pub(crate) fn step_hash(
    parent: Option<u64>,
    service: &str,
    (direction, destination): (Direction, &str),
) -> u64 {
    let parent = parent.map(u64::to_le_bytes);
    let parts: [&[u8]; 6] = [
        parent.as_ref().map_or(&[], |bytes| bytes.as_slice()),
        service.as_bytes(),
        &[0xff],
        direction.as_str().as_bytes(),
        &[0xff],
        destination.as_bytes(),
    ];
    parts.into_iter().flatten().fold(FNV_OFFSET, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME)
    })
}

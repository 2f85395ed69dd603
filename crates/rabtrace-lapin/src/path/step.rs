//! One step of a path: the node that it leads to, the hash of the path with it, and its times.

use std::time::Duration;

use super::{Direction, PathContext};

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
/// The fractional part of the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash of all paths that a process does not tell apart any more, as its table is full. No
/// step has it.
pub const OTHER_PATHS: u64 = u64::MAX;

/// Who did what where: a step of a path, wherever it comes from.
///
/// ```
/// use rabtrace_lapin::path::{Direction, Step};
///
/// let published = Step::new("gateway", Direction::Out, "tasks");
/// let taken = Step::new("audit", Direction::In, "audit_queue").via("events");
/// assert_ne!(published.node(), taken.node());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// The service's name.
    pub service: &'a str,
    /// Published or delivered.
    pub direction: Direction,
    /// The exchange or queue.
    pub destination: &'a str,
    /// What a delivery came through where that is not its queue: an exchange, a routing key of the
    /// default exchange, or the queue that gave it up.
    pub via: Option<&'a str>,
}

impl<'a> Step<'a> {
    /// A step without a `via`.
    #[must_use]
    pub const fn new(service: &'a str, direction: Direction, destination: &'a str) -> Self {
        Self {
            service,
            direction,
            destination,
            via: None,
        }
    }

    /// The same step of a delivery that came through there.
    #[must_use]
    pub const fn via(self, via: &'a str) -> Self {
        Self {
            via: Some(via),
            ..self
        }
    }

    /// FNV-1a (64 bit) over: service, 0xff, direction, 0xff, destination, and if there is a `via`,
    /// 0xff and that. 0xff is no byte of UTF-8, so different steps never give the same bytes.
    /// Stable across versions and platforms.
    #[must_use]
    pub fn node(&self) -> u64 {
        let separator: &[u8] = &[0xff];
        let via = self
            .via
            .map_or([&[][..], &[]], |via| [separator, via.as_bytes()]);
        let parts = [
            self.service.as_bytes(),
            separator,
            self.direction.as_str().as_bytes(),
            separator,
            self.destination.as_bytes(),
        ];
        let bytes = parts.into_iter().chain(via).flatten();
        bytes.fold(FNV_OFFSET, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME)
        })
    }
}

/// Where a step leads to, made ready for many messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// [`Step::node`].
    pub(crate) hash: u64,
    /// The fingerprint.
    pub(crate) mark: u16,
}

impl Node {
    pub(crate) fn of(step: &Step<'_>) -> Self {
        let hash = step.node();
        let folded = hash ^ (hash >> 16) ^ (hash >> 32) ^ (hash >> 48);
        let [.., high, low] = folded.to_be_bytes();
        Self {
            hash,
            mark: u16::from_be_bytes([high, low]),
        }
    }
}

/// MurmurHash3's 64-bit finaliser: every bit of the input changes half of the output.
///
/// Source: <https://github.com/aappleby/smhasher/blob/master/src/MurmurHash3.cpp> (`fmix64`).
pub(crate) const fn mix(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// The hash of the path that goes on from `parent` to `node`; never zero and never
/// [`OTHER_PATHS`].
///
/// ```
/// use rabtrace_lapin::path::{Direction, Step, step_hash};
///
/// let node = Step::new("gateway", Direction::Out, "tasks").node();
/// assert_ne!(step_hash(None, node), step_hash(Some(1), node));
/// ```
#[must_use]
pub const fn step_hash(parent: Option<u64>, node: u64) -> u64 {
    let parent = match parent {
        Some(parent) => parent,
        None => 0,
    };
    match mix(parent.wrapping_mul(GOLDEN) ^ node) {
        0 => 1,
        OTHER_PATHS => OTHER_PATHS - 1,
        hash => hash,
    }
}

/// One step of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The path with this step, to be handed on.
    pub context: PathContext,
    /// Hash of the path before this step: the same as with it where it is a repeat; none at the
    /// beginning.
    pub parent_hash: Option<u64>,
    /// Whether the path held this step already, or is too long to grow.
    pub is_repeat: bool,
    /// Since the checkpoint before; none at the beginning, and where the clocks disagree.
    pub edge: Option<Duration>,
    /// Since the origin, zero there; none where it is not known, and where the clocks disagree.
    pub total: Option<Duration>,
    /// How much this checkpoint was before the one that it follows, where the clocks disagree.
    pub skew: Option<Duration>,
}

/// What was before a checkpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Before<'a> {
    /// Nothing: the path begins here.
    Nothing,
    /// A publish of which nothing is known.
    Unknown,
    /// A publish of which the time is known, in microseconds since the Unix epoch.
    Stamped(u64),
    /// The path so far.
    Path(&'a PathContext),
}

/// Extends `parent` by one step at `now_us` (microseconds since the Unix epoch). Without a parent
/// the path begins here; what was before a delivery is not known then.
///
/// ```
/// use rabtrace_lapin::path::{Direction, Step, checkpoint};
///
/// let published = checkpoint(None, &Step::new("gateway", Direction::Out, "tasks"), 1_000);
/// let taken = Step::new("planner", Direction::In, "tasks");
/// let taken = checkpoint(Some(&published.context), &taken, 1_500);
/// assert_eq!(taken.parent_hash, Some(published.context.hash()));
/// assert_eq!(taken.edge.map(|edge| edge.as_micros()), Some(500));
/// ```
#[must_use]
pub fn checkpoint(parent: Option<&PathContext>, step: &Step<'_>, now_us: u64) -> Checkpoint {
    let before = match (parent, step.direction) {
        (Some(parent), _) => Before::Path(parent),
        (None, Direction::Out) => Before::Nothing,
        (None, Direction::In) => Before::Unknown,
    };
    advance(before, Node::of(step), now_us)
}

/// Extends what was before by a step to `node`.
pub(crate) fn advance(before: Before<'_>, node: Node, now_us: u64) -> Checkpoint {
    let (mut context, parent_hash) = match before {
        Before::Nothing | Before::Unknown => (PathContext::beginning(now_us), None),
        Before::Stamped(then_us) => (PathContext::beginning(then_us), None),
        Before::Path(path) => (*path, Some(path.hash())),
    };
    let is_repeat = context.repeats_at(node);
    if is_repeat {
        context.repeat();
    } else {
        context.grow(step_hash(parent_hash, node.hash), node);
    }
    let last_us = context.last_us();
    context.reach(now_us);
    let times = Times::between((context.origin_us(), last_us), now_us);
    let is_followed = matches!(before, Before::Stamped(_) | Before::Path(_));
    let is_known = !matches!(before, Before::Unknown);
    Checkpoint {
        context,
        parent_hash,
        is_repeat,
        edge: times.edge.filter(|_| is_followed),
        total: times.total.filter(|_| is_known),
        skew: times.skew.filter(|_| is_followed),
    }
}

/// How long a step took.
pub(super) struct Times {
    pub(super) edge: Option<Duration>,
    pub(super) total: Option<Duration>,
    pub(super) skew: Option<Duration>,
}

impl Times {
    /// A checkpoint before the last one counts as at the same time, so that edges add up.
    pub(super) fn between((origin_us, last_us): (u64, u64), now_us: u64) -> Self {
        let edge = now_us.checked_sub(last_us);
        let skew = last_us.checked_sub(now_us).filter(|skew| *skew > 0);
        let total = last_us.max(now_us).checked_sub(origin_us);
        Self {
            edge: edge.map(Duration::from_micros),
            total: total
                .filter(|_| now_us >= origin_us)
                .map(Duration::from_micros),
            skew: skew.map(Duration::from_micros),
        }
    }
}

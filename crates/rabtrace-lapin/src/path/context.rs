//! The path context: what travels with a message, and its form in `tracestate`.
//!
//! Input: bytes of any kind, or a context. Output: the context, or none where the bytes are not of
//! this version and form. Nothing is allocated but the text that is asked for.

use std::fmt;

use super::step::Node;

/// The key of the entry in `tracestate`.
pub const TRACESTATE_KEY: &str = "rabtrace";

/// The first character of a value: the version of its form.
const VERSION: u8 = b'1';
/// Key, `=` and version.
const HEAD: &[u8; 10] = b"rabtrace=1";

/// Fingerprints that are kept.
const RECENT: usize = 8;
/// Bytes before the fingerprints.
const FIXED: usize = 24;
/// Bytes of the longest value.
const LONGEST: usize = FIXED + 2 * RECENT;
/// Groups of three bytes, or four characters, that hold the longest value.
const GROUPS: usize = LONGEST.div_ceil(3);

/// Steps after which a path does not grow any more.
const STEPS: u8 = 64;
/// The latest origin that can be written.
const ORIGIN: u64 = (1 << 56) - 1;
/// The longest time between origin and last checkpoint that can be written.
const ELAPSED: u64 = (1 << 48) - 1;

/// What travels with a message: the path so far.
///
/// On the wire it is the entry `rabtrace` of `tracestate`, at most 64 bytes: the character `1`,
/// then base64url without padding of, in big endian: the hash (8 bytes), the origin in microseconds
/// since the Unix epoch (7), the microseconds from there to the last checkpoint (6), the number of
/// steps (1), the number of repeats (2), and the fingerprints of the newest steps, at most eight of
/// 2 bytes each, the oldest first.
///
/// ```
/// use rabtrace_lapin::path::{Direction, PathContext, Step, checkpoint};
///
/// let step = Step::new("gateway", Direction::Out, "tasks");
/// let context = checkpoint(None, &step, 1_000_000).context;
/// let value = context.to_string();
/// assert!(value.starts_with('1') && value.len() <= 55);
/// assert_eq!(PathContext::parse(&value), Some(context));
/// assert_eq!((context.origin_us(), context.last_us()), (1_000_000, 1_000_000));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PathContext {
    hash: u64,
    origin_us: u64,
    elapsed_us: u64,
    steps: u8,
    repeats: u16,
    recent: Recent,
}

/// Fingerprints of the newest steps, the oldest first; zero where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Recent {
    marks: [u16; RECENT],
    count: usize,
}

impl Recent {
    fn holds(&self, mark: u16) -> bool {
        self.marks.iter().take(self.count).any(|own| *own == mark)
    }

    fn push(&mut self, mark: u16) {
        if self.count == RECENT {
            self.marks.rotate_left(1);
            self.count -= 1;
        }
        if let Some(place) = self.marks.get_mut(self.count) {
            *place = mark;
            self.count += 1;
        }
    }
}

impl PathContext {
    /// Hash of the path up to the last checkpoint.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// When the path began, in microseconds since the Unix epoch.
    #[must_use]
    pub const fn origin_us(&self) -> u64 {
        self.origin_us
    }

    /// When the last checkpoint was, in microseconds since the Unix epoch.
    #[must_use]
    pub const fn last_us(&self) -> u64 {
        self.origin_us + self.elapsed_us
    }

    /// How many checkpoints made the path longer.
    #[must_use]
    pub const fn steps(&self) -> u8 {
        self.steps
    }

    /// How many checkpoints were steps that the path held already.
    #[must_use]
    pub const fn repeats(&self) -> u16 {
        self.repeats
    }

    /// A path without steps that begins at `origin_us`.
    pub(super) fn beginning(origin_us: u64) -> Self {
        Self {
            hash: 0,
            origin_us: origin_us.min(ORIGIN),
            elapsed_us: 0,
            steps: 0,
            repeats: 0,
            recent: Recent::default(),
        }
    }

    /// Whether a step to there does not make the path longer.
    pub(super) fn repeats_at(&self, node: Node) -> bool {
        self.recent.holds(node.mark) || self.steps >= STEPS
    }

    /// One more step, which leads to `hash`.
    pub(super) fn grow(&mut self, hash: u64, node: Node) {
        self.hash = hash;
        self.steps = self.steps.saturating_add(1);
        self.recent.push(node.mark);
    }

    /// One more repeat.
    pub(super) fn repeat(&mut self) {
        self.repeats = self.repeats.saturating_add(1);
    }

    /// As long and as often repeated as the other one, if that is more.
    pub(super) fn cover(&mut self, other: &Self) {
        self.steps = self.steps.max(other.steps);
        self.repeats = self.repeats.max(other.repeats);
    }

    /// The path began then; its last checkpoint stays where it is.
    pub(super) fn begin_at(&mut self, origin_us: u64) {
        let last_us = self.last_us();
        self.origin_us = origin_us.min(ORIGIN);
        self.elapsed_us = 0;
        self.reach(last_us);
    }

    /// The last checkpoint was then, but not before the one that is known.
    pub(super) fn reach(&mut self, last_us: u64) {
        let elapsed = last_us.saturating_sub(self.origin_us).min(ELAPSED);
        self.elapsed_us = self.elapsed_us.max(elapsed);
    }

    /// The same as one of the other paths, which nobody tells apart.
    pub(crate) fn into_other(self) -> Self {
        Self {
            hash: super::OTHER_PATHS,
            ..self
        }
    }

    /// The whole member of `tracestate`, key and value.
    pub(crate) fn member(&self) -> Vec<u8> {
        let mut text = [0; HEAD.len() + 4 * GROUPS];
        text[..HEAD.len()].copy_from_slice(HEAD);
        let length = self.encode(&mut text[HEAD.len()..]);
        text.get(..HEAD.len() + length).unwrap_or_default().to_vec()
    }

    /// Writes the value without its version, and gives its length.
    fn encode(&self, text: &mut [u8]) -> usize {
        let mut bytes = [0; 3 * GROUPS];
        bytes[..8].copy_from_slice(&self.hash.to_be_bytes());
        bytes[8..15].copy_from_slice(&self.origin_us.to_be_bytes()[1..]);
        bytes[15..21].copy_from_slice(&self.elapsed_us.to_be_bytes()[2..]);
        bytes[21] = self.steps;
        bytes[22..24].copy_from_slice(&self.repeats.to_be_bytes());
        for (pair, mark) in bytes[FIXED..].chunks_exact_mut(2).zip(self.recent.marks) {
            pair.copy_from_slice(&mark.to_be_bytes());
        }
        let length = FIXED + 2 * self.recent.count;
        let (groups, signs) = (bytes.as_chunks::<3>().0, text.as_chunks_mut::<4>().0);
        let groups = groups.get(..length.div_ceil(3)).unwrap_or_default();
        for ([a, b, c], signs) in groups.iter().zip(signs) {
            *signs = [
                sign(a >> 2),
                sign((a << 4) | (b >> 4)),
                sign((b << 2) | (c >> 6)),
                sign(*c),
            ];
        }
        characters(length)
    }

    /// Reads the value of the `tracestate` entry; `None` for another version or another form.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        Self::read(value.as_bytes())
    }

    /// As [`PathContext::parse`], from bytes that may be anything.
    pub(crate) fn read(value: &[u8]) -> Option<Self> {
        let (version, text) = value.split_first()?;
        let length = text.len() * 3 / 4;
        let fits = (FIXED..=LONGEST).contains(&length)
            && length.is_multiple_of(2)
            && text.len() == characters(length);
        if *version != VERSION || !fits {
            return None;
        }
        let bytes = decode(text)?;
        // What is left of the last character means nothing, and is zero.
        if bytes.iter().skip(length).take(2).any(|byte| *byte != 0) {
            return None;
        }
        let mut recent = Recent {
            marks: [0; RECENT],
            count: (length - FIXED) / 2,
        };
        let pairs = bytes[FIXED..].chunks_exact(2).take(recent.count);
        for (mark, pair) in recent.marks.iter_mut().zip(pairs) {
            if let [high, low] = *pair {
                *mark = u16::from_be_bytes([high, low]);
            }
        }
        let hash = u64::from_be_bytes(*bytes.first_chunk()?);
        // No path has hash 0.
        (hash != 0).then_some(())?;
        Some(Self {
            hash,
            origin_us: u64::from_be_bytes(*bytes[8..].first_chunk()?) >> 8,
            elapsed_us: u64::from_be_bytes(*bytes[13..].first_chunk()?) & ELAPSED,
            steps: bytes[21],
            repeats: u16::from_be_bytes([bytes[22], bytes[23]]),
            recent,
        })
    }
}

impl fmt::Display for PathContext {
    /// The value of the `tracestate` entry: at most 55 bytes.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let member = self.member();
        let value = member.get(HEAD.len() - 1..).unwrap_or_default();
        formatter.write_str(&String::from_utf8_lossy(value))
    }
}

/// How many characters stand for so many bytes.
const fn characters(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}

/// base64url, RFC 4648 section 5.
const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// What is no sign of base64url.
const NONE: u8 = 0xff;
/// The value of each byte as a sign.
const VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let mut values = [NONE; 256];
    let mut value = 0_u8;
    while value < 64 {
        values[SIGNS[value as usize] as usize] = value;
        value += 1;
    }
    values
}

/// The sign of the low six bits.
fn sign(value: u8) -> u8 {
    SIGNS[usize::from(value & 0x3f)]
}

/// The bytes that the signs stand for, filled up with zeros; none if one is no sign.
fn decode(text: &[u8]) -> Option<[u8; 3 * GROUPS]> {
    let mut signs = [b'A'; 4 * GROUPS];
    signs.get_mut(..text.len())?.copy_from_slice(text);
    let mut bytes = [0; 3 * GROUPS];
    let mut odd = 0;
    let groups = bytes.chunks_exact_mut(3).zip(signs.chunks_exact(4));
    for (group, signs) in groups.take(text.len().div_ceil(4)) {
        if let ([a, b, c], [first, second, third, fourth]) = (group, signs) {
            let values = [first, second, third, fourth].map(|sign| VALUES[usize::from(*sign)]);
            let [first, second, third, fourth] = values;
            odd |= first | second | third | fourth;
            *a = (first << 2) | (second >> 4);
            *b = (second << 4) | (third >> 2);
            *c = (third << 6) | fourth;
        }
    }
    (odd != NONE).then_some(bytes)
}

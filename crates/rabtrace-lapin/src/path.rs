//! The path of a message: the chain of services and destinations that it and its ancestors went
//! through, carried in `tracestate` and extended at every checkpoint.
//!
//! Input: the path context that came with a delivery (or none), a step (service, direction,
//! destination, what it came through) and the time. Output: the path context to hand on, and how
//! long the step took. Pure: no clock, no I/O. A value that cannot be read counts as absent.
//!
//! What is measured of it is in [`conformance`](crate::conformance#metrics-of-this-crate).
//!
//! A path does not grow without end: a step that it holds already leaves its hash as it is and is
//! counted instead, and so does every step beyond the 64th. See [`PathContext`] for the form on the
//! wire.

mod context;
mod kind;
mod merge;
mod step;
#[cfg(test)]
mod tests;

pub use context::{PathContext, TRACESTATE_KEY};
pub use kind::{Direction, EdgeKind};
pub(crate) use merge::{Merge, Merged, merge};
pub(crate) use step::{Before, Node, advance, mix};
pub use step::{Checkpoint, OTHER_PATHS, Step, checkpoint, step_hash};

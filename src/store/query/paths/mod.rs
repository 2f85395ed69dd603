//! `paths`: statistics of checkpoints, summed over a span of time and told by path.
//!
//! ```text
//!  flow, flow_sums ─► sums (one pass) ─► steps ─► groups by text ─► list | one | diff
//!                                 book ─┘
//! ```
//!
//! Input: the rows of the checkpoints in the hours that a span touches. Sums of 5 minutes are read
//! where a whole piece lies in the span, windows elsewhere. Percentiles come from merged
//! histograms, never from an average of percentiles.
//!
//! A window belongs to the span in which it ends; at the border of a sum of 5 minutes that is
//! true to one window. A row that is damaged counts its messages and has no times.

mod book;
mod diff;
mod groups;
mod list;
mod one;
mod rows;
mod span;
mod steps;
mod sums;

pub use diff::DiffAsked;
pub use list::{PathSort, PathsAsked};
pub use rows::{
    Compared, ErrorType, HopChange, HopRow, PathChange, PathDetail, PathEnd, PathPart, PathRow,
    PathSide, PathsDiff, SlowHop, Times,
};

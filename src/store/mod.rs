//! The embedded store: spans, path statistics and measurements of the last hours, in one SQLite
//! file that any tool opens.
//!
//! ```text
//!  StoreBatch ─► Writer ─► rabtrace.db (WAL) ─► Reader ─► api, cli
//! ```
//!
//! Input: [`StoreBatch`](crate::model::StoreBatch)es over a bounded channel. Output: a [`Reader`]
//! that answers the questions of the API and the CLI, and SQL over views (`spans`,
//! `message_flow`, `paths`, and one view for each measurement).
//!
//! One table per hour and kind, dropped whole by retention (age, then bytes). Names, services,
//! destinations, paths, tag sets and resources are small integer keys into dictionaries that
//! shrink with the hours. Spans are indexed by trace id in runs, and the 10 s roll-ups of a closed
//! hour, which are what `paths` reads, are summed for 5 minutes: both in steps between the batches,
//! none of which holds the writer for long.
//!
//! What the flow goes on from after a restart is written in the same transaction as the windows:
//! the newest point of every series of path metrics, and the steps of paths. A receipt that a
//! batch carries is confirmed when its transaction is on the disk.
//!
//! When the disk is full or fails, the batch is kept and tried again; the channel fills and holds
//! the flow back, which makes the receiver refuse. Nothing is dropped for that, and the component
//! `store` says so; a store that is larger than it may be has room in reserve to drop what is too much.
//! Only one agent writes to a folder; readers need no agent.

mod catalogue;
mod disk;
mod error;
mod housekeeping;
mod open;
mod query;
mod reader;
mod reserve;
mod resume;
mod retention;
mod schema;
mod sums;
mod traces;
mod views;
mod write;
mod writer;

pub(crate) use disk::{free_bytes, max_bytes};
pub use error::StoreError;
pub use housekeeping::Done;
pub use open::Store;
pub use query::{
    Compared, DiffAsked, ErrorRow, ErrorType, HopChange, HopRow, PathChange, PathDetail, PathEnd,
    PathPart, PathRow, PathSide, PathSort, PathsAsked, PathsDiff, QueueRow, RecentTrace, SlowHop,
    SlowRow, SqlLimits, SqlResult, StoreStats, Times, Trace, TraceSpan,
};
pub use reader::Reader;
pub use retention::Dropped;
pub use write::Written;
pub use writer::Writer;

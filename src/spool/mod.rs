//! A bounded queue on disk between the flow and one sink: what is acknowledged is not lost.
//!
//! ```text
//!  Writer ─► worker thread ─► segments, fdatasync ─► acknowledged
//!                 └─────────► memory (while the reader keeps up) ─► Reader ─► done ─► cursor
//!                 └─ segments (when it does not) ──────────────────────┘
//! ```
//!
//! - Input: payloads, each of a kind and a number of items (lines, spans). [`Writer::append`]
//!   returns when the payload is durable; appends that wait together share one `fdatasync`.
//! - Output: [`Reader::next`] hands them on, oldest first; [`Reader::done`] moves the cursor, and
//!   segments that are behind it are deleted whole. After a crash what was not done comes again.
//! - Full: at `disk_bytes` the oldest segment is dropped and counted (`spool_full`). A disk without
//!   room refuses appends with [`SpoolError::Full`], until there is room again. Appends that are
//!   not acknowledged wait for `pending_bytes`.
//! - Damage never keeps a spool from opening: what cannot be read is skipped and counted
//!   (`spool_damaged`), record by record; the rest is kept.
//!
//! A segment is a header and records, each with a checksum over its header and one over its
//! payload, packed by zstd where that makes it smaller. Records and items are numbered through, so
//! that a gap tells how much is missing. An old segment is never written again, so a torn write can
//! only harm what was not acknowledged yet. Opening reads headers: one for each segment, all of the
//! newest; of payloads only those of the last write, which may be torn.
//!
//! Beside it stands the sink's [`DeadLetter`]: what its server refuses for good, to be read and sent
//! again.
//!
//! One agent has a folder at a time. Files are 0600, a folder that is made is 0700.
//!
//! ```no_run
//! use rabtrace::metrics::{Metrics, Stage};
//! use rabtrace::spool::{Limits, Spool, SpoolSetup};
//!
//! # async fn example() -> anyhow::Result<()> {
//! let (writer, mut reader) = Spool::open(SpoolSetup {
//!     folder: "/var/lib/rabtrace/spool/influx".into(),
//!     sink: Stage::Influx,
//!     limits: Limits::default(),
//!     metrics: Metrics::new()?,
//! })?;
//! writer.append(0, 1, "m f=1i 1\n".into()).await?;
//! if let Some(record) = reader.next().await {
//!     // Send record.payload, then:
//!     reader.done(record).await;
//! }
//! # Ok(())
//! # }
//! ```

mod admission;
mod count;
mod cursor;
mod dead_letter;
mod disk;
mod error;
mod feed;
mod folder;
mod format;
mod limits;
mod log;
mod open;
mod packing;
mod progress;
mod reader;
mod ready;
mod recover;
mod scan;
mod stats;
mod worker;
mod writer;

pub use self::count::Count;
pub use self::dead_letter::{DeadLetter, DeadLetterFile, DeadLetterSetup, DeadLetterTask, Letter};
pub use self::disk::{Disk, DiskFile};
pub use self::error::SpoolError;
pub use self::limits::Limits;
pub use self::open::{Spool, SpoolSetup};
pub use self::reader::{Reader, Record};
pub use self::stats::Stats;
pub use self::writer::Writer;

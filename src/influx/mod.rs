//! The InfluxDB sink: points in, line protocol over HTTP out.
//!
//! ```text
//! points ─► line_protocol ─► Keeper ─► spool ─► Buffer ─► attempt ─► InfluxDB 1.x, 2.x, 3.x
//!                                                 ▲          │
//!                                                 └── rest ◄─┘ response: taken, partly, retry, parked
//! ```
//!
//! - **Input**: points over a bounded channel. They are acknowledged when the spool has their lines.
//! - **Output**: batches by lines, bytes and age, gzip above 1 KiB, one in flight (up to
//!   four to InfluxDB 3). The server's version is found by asking it. A record leaves the spool when
//!   each of its lines is written or refused for good; after a crash what was in flight is written
//!   again, which makes the same points.
//! - **When full**: the spool drops the oldest and counts them (`spool_full`).
//! - **When failing**: what may pass is tried again with backoff and jitter; what a person must
//!   mend is kept, tried again, and told through the component's health; a line that the server
//!   refuses is dropped alone, counted, logged once per batch, and kept as a dead letter.
//! - **Stop**: what is there is written for at most 1.5 s; the rest stays in the spool.
//!
//! What was written is asked back by [`query`]: Flux on 2.x, SQL on 3.x.
//!
//! Points in = points written + dropped + in the spool, always.

mod attempt;
mod batch;
mod buffer;
mod check;
mod csv;
mod exchange;
mod failure;
mod identify;
mod keep;
mod line_protocol;
mod query;
mod response;
mod server;
mod sink;

pub use check::check;
pub use keep::{Keeper, KeeperSetup};
pub use line_protocol::encode;
pub use query::{QueryError, Row, query};
pub use sink::{Influx, InfluxSetup};

//! The InfluxDB sink: points in, line protocol over HTTP out.
//!
//! ```text
//! Vec<Point> ─► line_protocol ─► Buffer ─► attempt ─► InfluxDB 1.x, 2.x, 3.x
//!                                  ▲          │
//!                                  └── rest ◄─┘ response: taken, partly, retry, parked
//! ```
//!
//! - **Input**: points over a bounded channel. Receiving never waits on HTTP.
//! - **Output**: batches by lines, bytes and age, gzip above 1 KiB, up to four in flight. The
//!   server's version is found by asking it.
//! - **When full**: beyond `influx.buffer_bytes` the oldest lines are dropped and counted.
//! - **When failing**: what may pass is tried again with backoff and jitter; what a person must
//!   mend is kept, tried again, and told through the component's health; a line that the server
//!   refuses is dropped alone, counted, and logged once per batch.
//!
//! Points in = points written + dropped + buffered, always.

mod attempt;
mod batch;
mod buffer;
mod check;
mod exchange;
mod failure;
mod identify;
mod line_protocol;
mod response;
mod server;
mod sink;

pub use check::check;
pub use line_protocol::encode;
pub use sink::{Influx, InfluxSetup};

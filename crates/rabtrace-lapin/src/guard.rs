//! Connections that a hostile message cannot abort.
//!
//! lapin 4.12 reads the tables in message headers by recursion, without a limit. Some 1,100
//! levels (150 in a program that is not optimised), 8 KB of headers that any publisher can send,
//! overflow the stack of its I/O thread:
//! the process aborts, the broker requeues the message, and the next consumer that gets it aborts
//! too. A [`Guard`] stands between the socket (after TLS) and lapin. Where tables and arrays are
//! nested deeper than [`Guard::max_depth`], it changes the type of the first one that is too deep
//! to a byte array, which has the very same layout. The message arrives with that part as
//! [`AMQPValue::ByteArray`](lapin::types::AMQPValue::ByteArray) of the same bytes, everything
//! beside it intact, and can be acked, rejected or dead-lettered like any other. The tables of
//! methods (`connection.start` of a server that is none) are treated alike.
//!
//! One number aborts lapin too: it takes 32 times the largest frame for each of its two buffers,
//! and a broker that is configured without a limit (`frame_max = 0`) makes that 137 GB. Unless the
//! URI says `frame_max` itself, a guard lets the broker offer [`HIGHEST_FRAME_MAX`] at most, and
//! RabbitMQ's default of 128 KiB where it offers any size.
//!
//! [`TracedConnection`](crate::TracedConnection) connects through a guard. For lapin's own
//! [`Connection`]:
//!
//! ```no_run
//! use rabtrace_lapin::guard::Guard;
//! use rabtrace_lapin::lapin::ConnectionProperties;
//!
//! # async fn example() -> rabtrace_lapin::lapin::Result<()> {
//! let guard = Guard::new();
//! let properties = ConnectionProperties::default();
//! let connection = guard.connect("amqp://localhost:5672/%2f", properties).await?;
//! println!("{} frames were too deep", guard.neutralised());
//! # Ok(())
//! # }
//! ```
//!
//! - **Input**: what the broker sends, in pieces of any size. **Output**: as many bytes, at once:
//!   nothing is held back, copied or allocated per message; bodies are skipped, not looked at.
//! - **Malformed** frames pass as they are; lapin answers them with an error, as ever. What is
//!   too deep in them is made bytes first, since lapin recurses before it finds the mistake.
//! - **Recovery**: every connection that lapin makes again goes through a new filter of the same
//!   guard.
//! - **Every runtime** that lapin's features choose, and every TLS implementation.
//!
//! # Without a guard
//!
//! A [`Connection`] that lapin makes itself has no such protection, and nothing can add it later.
//! lapin starts its thread without saying how large its stack is: `RUST_MIN_STACK=67108864` in
//! the environment of the process makes all such stacks 64 MiB (of address space; memory is used
//! when touched), enough for the 18,000 levels that fit into a frame of 128 KiB, not for what a
//! broker with a larger `frame_max` lets through.

mod filter;
mod layout;
mod nesting;
mod reactor;
mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_rs::Runtime;
use async_rs::traits::RuntimeKit;
use async_rs::util::RuntimeParts;
use lapin::tcp::{AMQPUriTcpExt, OwnedTLSConfig};
use lapin::uri::AMQPUri;
use lapin::{AsyncTcpStream, Connection, ConnectionProperties, ErrorKind, Result};

use filter::Filter;
use reactor::GuardedReactor;
use stream::GuardedStream;

/// How deep tables and arrays may be nested when nobody says otherwise, the outermost table
/// counted. RabbitMQ's own headers (`x-death`) take 3 levels.
pub const DEFAULT_MAX_DEPTH: usize = 64;

/// The most that [`Guard::with_max_depth`] takes: lapin overflows its stack at about 1,100 levels
/// in an optimised program, at about 150 in one that is not.
pub const HIGHEST_MAX_DEPTH: usize = 100;

/// The largest frame in bytes that a broker can bring lapin to, where the URI does not say
/// `frame_max`: lapin's buffers take 64 times as much.
pub const HIGHEST_FRAME_MAX: u32 = 1 << 20;

/// The largest frame in bytes with a broker that sets no limit: RabbitMQ's own default.
const UNLIMITED_FRAME_MAX: u32 = 1 << 17;

/// Makes connections that hostile headers cannot abort; see the [module](self).
///
/// Clones share one count. One guard can make any number of connections.
#[derive(Clone, Debug)]
pub struct Guard {
    max_depth: usize,
    neutralised: Arc<AtomicU64>,
}

impl Default for Guard {
    fn default() -> Self {
        Self::new()
    }
}

impl Guard {
    /// A guard with [`DEFAULT_MAX_DEPTH`].
    #[must_use]
    pub fn new() -> Self {
        Self {
            max_depth: DEFAULT_MAX_DEPTH,
            neutralised: Arc::default(),
        }
    }

    /// Lets `max_depth` tables and arrays inside each other through, the outermost table counted:
    /// at least 1, at most [`HIGHEST_MAX_DEPTH`].
    #[must_use]
    pub fn with_max_depth(mut self, max_depth: usize) -> Self {
        self.max_depth = max_depth.clamp(1, HIGHEST_MAX_DEPTH);
        self
    }

    /// Tables and arrays inside each other that pass as they are.
    #[must_use]
    pub fn max_depth(&self) -> usize {
        self.max_depth
    }

    /// Frames (that is, messages) so far in which something was too deep and became bytes.
    #[must_use]
    pub fn neutralised(&self) -> u64 {
        self.neutralised.load(Ordering::Relaxed)
    }

    /// Like [`Connection::connect`].
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn connect(&self, uri: &str, options: ConnectionProperties) -> Result<Connection> {
        match uri.parse::<AMQPUri>() {
            Ok(uri) => self.connect_uri(uri, options).await,
            Err(error) => Err(std::io::Error::other(error).into()),
        }
    }

    /// Like [`Connection::connect_uri`].
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn connect_uri(
        &self,
        uri: AMQPUri,
        options: ConnectionProperties,
    ) -> Result<Connection> {
        let runtime = lapin::runtime::default_runtime()?;
        let tls = OwnedTLSConfig::default();
        self.connect_uri_with_config(uri, options, tls, runtime)
            .await
    }

    /// Like [`Connection::connect_uri_with_config`]: with certificates and a runtime of the
    /// caller's choice ([`lapin::runtime::default_runtime`] gives lapin's).
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn connect_uri_with_config<RK: RuntimeKit + Send + Sync + Clone + 'static>(
        &self,
        uri: AMQPUri,
        options: ConnectionProperties,
        tls: OwnedTLSConfig,
        runtime: Runtime<RK>,
    ) -> Result<Connection> {
        let reactor = GuardedReactor::new(runtime.clone(), self.clone());
        let guarded = Runtime::new(RuntimeParts::new(runtime.clone(), reactor));
        let guard = self.clone();
        let connect = async move |uri: AMQPUri, _: Runtime<_>| {
            let stream = uri.connect_with_config_async(tls.as_ref(), &runtime).await;
            let stream = stream.map_err(|error| of_lapin(error, &runtime))?;
            let filter = match uri.query.frame_max {
                None | Some(0) => guard.filter(),
                // lapin takes no more than this.
                Some(_) => Filter::new(guard.max_depth, guard.neutralised.clone()),
            };
            Ok(AsyncTcpStream::Plain(GuardedStream::new(stream, filter)))
        };
        Connection::connector(uri, guarded, connect, options).await
    }

    fn filter(&self) -> Filter {
        Filter::new(self.max_depth, self.neutralised.clone())
            .with_frame_max(HIGHEST_FRAME_MAX, UNLIMITED_FRAME_MAX)
    }
}

/// The error as lapin makes it of a failed connect.
fn of_lapin<RK: RuntimeKit>(error: std::io::Error, runtime: &Runtime<RK>) -> lapin::Error {
    if runtime.is_runtime_shutdown_error(&error) {
        ErrorKind::RuntimeShutdownError(Arc::new(error)).into()
    } else {
        error.into()
    }
}

/// Like [`Connection::connect`], through a [`Guard`] with [`DEFAULT_MAX_DEPTH`].
///
/// # Errors
///
/// lapin's own, unchanged.
///
/// ```no_run
/// use rabtrace_lapin::guard;
/// use rabtrace_lapin::lapin::ConnectionProperties;
///
/// # async fn example() -> rabtrace_lapin::lapin::Result<()> {
/// let properties = ConnectionProperties::default();
/// let connection = guard::connect("amqp://localhost:5672/%2f", properties).await?;
/// # Ok(())
/// # }
/// ```
pub async fn connect(uri: &str, options: ConnectionProperties) -> Result<Connection> {
    Guard::new().connect(uri, options).await
}

#[cfg(test)]
mod tests;

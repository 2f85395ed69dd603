//! The runtime's reactor with another type of stream: the place where lapin lets a transport in.
//!
//! lapin takes its transport as `AsyncTcpStream<R::TcpStream>`, and one variant of that holds an
//! `R::TcpStream` as it is. With a reactor whose `TcpStream` is the guarded stream around the
//! whole real one, TLS included, lapin reads through the filter. Everything else is the
//! runtime's own.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use futures_core::Stream;
use futures_io::{AsyncRead, AsyncWrite};
use lapin::AsyncTcpStream;

use super::Guard;
use super::stream::GuardedStream;

#[derive(Clone, Debug)]
pub(super) struct GuardedReactor<R> {
    inner: R,
    guard: Guard,
}

impl<R> GuardedReactor<R> {
    pub(super) fn new(inner: R, guard: Guard) -> Self {
        Self { inner, guard }
    }
}

/// The trait's bound names a trait that async-rs does not export; on each system it is these.
#[cfg(unix)]
use std::os::fd::{AsFd as AsHandle, AsRawFd as AsRawHandle};
#[cfg(windows)]
use std::os::windows::io::{AsRawSocket as AsRawHandle, AsSocket as AsHandle};

impl<R: Reactor> Reactor for GuardedReactor<R> {
    type TcpStream = GuardedStream<AsyncTcpStream<R::TcpStream>>;
    type Sleep = R::Sleep;

    fn register<H: Read + Write + AsHandle + AsRawHandle + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.inner.register(socket)
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.inner.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.inner.interval(duration)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let connecting = self.inner.tcp_connect_addr(address);
        let filter = self.guard.filter();
        async move {
            let stream = AsyncTcpStream::Plain(connecting.await?);
            Ok(GuardedStream::new(stream, filter))
        }
    }
}

//! Connections that are read slowly when asked to: what the reader does not take stays with who
//! sends it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Sleep;

/// Bytes that the kernel may take in advance of a slow reader, about.
const AHEAD: u32 = 8 << 10;
/// Bytes a second; none is no limit.
pub(super) type Rate = Arc<AtomicU64>;

/// A listener whose connections are read at a rate.
pub(super) struct Slowly {
    listener: TcpListener,
    rate: Rate,
}

impl Slowly {
    /// Listens on `address`; the kernel takes little in advance if `is_narrow`.
    pub(super) fn listen(address: SocketAddr, rate: Rate, is_narrow: bool) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        if is_narrow {
            socket.set_recv_buffer_size(AHEAD).unwrap();
        }
        socket.bind(address).unwrap();
        let listener = socket.listen(1024).unwrap();
        Self { listener, rate }
    }
}

impl axum::serve::Listener for Slowly {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
        let connection = Connection {
            stream,
            rate: Arc::clone(&self.rate),
            pause: None,
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// One of them.
pub(super) struct Connection {
    stream: TcpStream,
    rate: Rate,
    pause: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        let rate = self.rate.load(Ordering::SeqCst);
        if rate == 0 {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        // A tenth of a second's at once.
        let mut bytes = [0; 16 << 10];
        let most = usize::try_from(rate / 10).unwrap().max(1);
        let most = most.min(bytes.len()).min(buffer.remaining());
        let mut part = ReadBuf::new(&mut bytes[..most]);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
        let read = part.filled();
        buffer.put_slice(read);
        let time = Duration::from_secs_f64(read.len() as f64 / rate as f64);
        self.pause = Some(Box::pin(tokio::time::sleep(time)));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

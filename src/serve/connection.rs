//! One connection: the handshake, its requests, its end.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::codegen::Service;

use super::Access;
use super::activity::{Activity, Overdue, Watched};
use crate::metrics::ConnectionClosed;

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long requests may go on after the stop.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// Requests of one HTTP/2 connection at once.
const STREAMS: u32 = 128;
/// Bytes of one HTTP/2 connection that may wait to be read.
const WINDOW: u32 = 256 << 10;
/// Largest head of a request, in bytes.
const HEAD_BYTES: usize = 64 << 10;
/// Time between two pings of an HTTP/2 connection, and how long an answer may take.
const PING: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(20));

/// Answers the requests of one connection by `router`.
pub(super) async fn handle(
    stream: TcpStream,
    router: Router,
    access: Access,
    stop: CancellationToken,
) {
    // Answers are small; without it they may wait for the peer's acknowledgement.
    let _ = stream.set_nodelay(true);
    let Some(tls) = access.tls() else {
        return converse(stream, router, &access, stop).await;
    };
    let accepting = TlsAcceptor::from(tls).accept(stream);
    tokio::select! {
        accepted = timeout(HANDSHAKE_TIMEOUT, accepting) => match accepted {
            Ok(Ok(stream)) => converse(stream, router, &access, stop).await,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                access.closed(ConnectionClosed::HandshakeFailed);
            }
            Err(_) => access.closed(ConnectionClosed::HandshakeTimeout),
        },
        () = stop.cancelled() => {}
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    access: &Access,
    stop: CancellationToken,
) {
    let activity = Activity::new(Instant::now());
    let counted = activity.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (mut router, underway) = (router.clone(), counted.request(request.version()));
        async move {
            let answer: Result<Response, Infallible> = router.call(request.map(Body::new)).await;
            drop(underway);
            answer
        }
    });
    let watched = Watched {
        stream,
        activity: activity.clone(),
    };
    let builder = builder();
    let mut connection = pin!(builder.serve_connection(TokioIo::new(watched), service));
    let grace = tokio::select! {
        // A peer that breaks off is no news.
        _ = connection.as_mut() => return,
        overdue = activity.overdue() => {
            access.closed(match overdue {
                Overdue::Header => ConnectionClosed::HeaderTimeout,
                Overdue::Idle => ConnectionClosed::Idle,
            });
            if overdue == Overdue::Header {
                return;
            }
            STOP_GRACE
        }
        () = stop.cancelled() => STOP_GRACE,
    };
    connection.as_mut().graceful_shutdown();
    let _ = timeout(grace, connection).await;
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // Heads and pauses are timed by Activity: hyper's timer would close connections between requests.
    builder
        .http1()
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(16 << 10)
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1);
    builder
}

//! What a connection does, and when it has done nothing for too long.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::Version;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How long the head of a request may take to come.
pub(super) const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may have no request.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(180);

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The head of a request did not come in time.
    Header,
    /// There was no request for long.
    Idle,
}

#[derive(Debug)]
struct State {
    /// None before the first request.
    version: Option<Version>,
    requests: usize,
    /// When it was opened, or its last answer was made.
    idle_since: Instant,
    /// When the first byte came that belongs to no request yet.
    reading_since: Option<Instant>,
}

/// What one connection does; a clone is the same.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Mutex<State>>);

impl Activity {
    pub(super) fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(State {
            version: None,
            requests: 0,
            idle_since: now,
            reading_since: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is here, until the value that comes back is dropped.
    pub(super) fn request(&self, version: Version) -> Request {
        let mut state = self.lock();
        state.version = Some(version);
        state.requests += 1;
        state.reading_since = None;
        Request(self.clone())
    }

    fn bytes(&self, now: Instant) {
        let mut state = self.lock();
        if state.requests == 0 {
            state.reading_since.get_or_insert(now);
        }
    }

    /// Whether it is too late at `now`, else when to look again.
    fn look(&self, now: Instant) -> Result<Overdue, Instant> {
        let state = self.lock();
        if state.requests > 0 {
            return Err(now + HEADER_TIMEOUT);
        }
        // Frames of HTTP/2 need not be of a request: its pings come and go.
        let head = match state.version {
            None => Some(state.idle_since),
            Some(Version::HTTP_2) => None,
            Some(_) => state.reading_since,
        };
        let (head, idle) = (
            head.map(|since| since + HEADER_TIMEOUT),
            state.idle_since + IDLE_TIMEOUT,
        );
        if head.is_some_and(|end| end <= now) {
            return Ok(Overdue::Header);
        }
        if idle <= now {
            return Ok(Overdue::Idle);
        }
        Err(head.unwrap_or(now + HEADER_TIMEOUT).min(idle))
    }

    /// Waits until it is too late.
    pub(super) async fn overdue(&self) -> Overdue {
        loop {
            match self.look(Instant::now()) {
                Ok(overdue) => return overdue,
                Err(later) => tokio::time::sleep_until(later).await,
            }
        }
    }
}

/// A request that is worked on.
#[derive(Debug)]
pub(super) struct Request(Activity);

impl Drop for Request {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.requests -= 1;
        state.idle_since = Instant::now();
    }
}

/// A stream that tells when bytes come.
pub(super) struct Watched<S> {
    pub(super) stream: S,
    pub(super) activity: Activity,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if buffer.filled().len() > before {
            self.activity.bytes(Instant::now());
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
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

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::{Activity, HEADER_TIMEOUT, IDLE_TIMEOUT, Overdue};
    use axum::http::Version;
    use std::time::Duration;
    use tokio::time::Instant;

    const MOMENT: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_head_must_come_soon() {
        let begun = Instant::now();
        let activity = Activity::new(begun);
        assert_eq!(activity.look(begun), Err(begun + HEADER_TIMEOUT));
        activity.bytes(begun + HEADER_TIMEOUT - MOMENT);
        assert_eq!(activity.look(begun + HEADER_TIMEOUT), Ok(Overdue::Header));
    }

    #[test]
    fn a_request_may_take_its_time_and_the_next_may_come_later() {
        let begun = Instant::now();
        let activity = Activity::new(begun);
        let request = activity.request(Version::HTTP_11);
        activity.bytes(begun);
        let later = begun + IDLE_TIMEOUT * 9;
        assert_eq!(activity.look(later), Err(later + HEADER_TIMEOUT));
        drop(request);
        let now = Instant::now();
        assert!(activity.look(now + HEADER_TIMEOUT * 2).is_err());
        assert_eq!(activity.look(now + IDLE_TIMEOUT), Ok(Overdue::Idle));
        activity.bytes(now);
        assert_eq!(activity.look(now + HEADER_TIMEOUT), Ok(Overdue::Header));
    }

    #[test]
    fn pings_of_http_2_are_no_head() {
        let activity = Activity::new(Instant::now());
        drop(activity.request(Version::HTTP_2));
        let now = Instant::now();
        activity.bytes(now);
        assert!(activity.look(now + HEADER_TIMEOUT).is_err());
        assert_eq!(activity.look(now + IDLE_TIMEOUT), Ok(Overdue::Idle));
    }
}

//! The outcome of a publish.
//!
//! A publish's span stays open until the outcome is known: until the confirm resolves, until the
//! message is written when the channel has no confirms, or until the transaction ends. A confirm
//! that is dropped is waited for in the background.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use lapin::{PublisherConfirm, Result};

use crate::returned::Confirmation;
use crate::returns::Pending;

/// lapin's [`PublisherConfirm`]: a future of the broker's answer to a publish.
///
/// ```no_run
/// # async fn example(confirm: rabtrace_lapin::TracedConfirm) -> rabtrace_lapin::lapin::Result<()> {
/// if confirm.await?.is_nack() {
///     println!("the broker did not take it");
/// }
/// # Ok(())
/// # }
/// ```
///
/// The publish's span ends when it resolves. Dropped unresolved, it is waited for in the
/// background, and what came back is there for
/// [`wait_for_confirms`](crate::TracedChannel::wait_for_confirms). (Outside of a tokio runtime the
/// span ends as `dropped` then.)
pub struct TracedConfirm {
    inner: Option<PublisherConfirm>,
    pending: Option<Pending>,
}

impl TracedConfirm {
    /// Without `pending` there is nothing to end.
    pub(crate) fn new(inner: PublisherConfirm, pending: Option<Pending>) -> Self {
        Self {
            inner: Some(inner),
            pending,
        }
    }
}

impl Future for TracedConfirm {
    type Output = Result<Confirmation>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let Some(inner) = &mut self.inner else {
            let done = lapin::ErrorKind::FutureCompleted;
            return Poll::Ready(Err(done.into()));
        };
        let result = match Pin::new(inner).poll(task) {
            Poll::Pending => return Poll::Pending,
            // Most often: there is no message that would have to be moved about.
            Poll::Ready(Ok(lapin::Confirmation::Ack(None))) => {
                if let Some(pending) = self.pending.take() {
                    pending.acked();
                }
                return Poll::Ready(Ok(Confirmation::Ack(None)));
            }
            Poll::Ready(result) => result,
        };
        if let Some(pending) = self.pending.take() {
            pending.resolve(&result);
        }
        Poll::Ready(result.map(Into::into))
    }
}

impl Drop for TracedConfirm {
    fn drop(&mut self) {
        if let Some(pending) = self.pending.take()
            && let Some(confirm) = self.inner.take()
        {
            pending.unwatch(confirm);
        }
    }
}

impl fmt::Debug for TracedConfirm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TracedConfirm")
            .finish_non_exhaustive()
    }
}

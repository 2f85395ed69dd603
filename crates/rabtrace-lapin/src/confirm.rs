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

/// How a publish ended: the attribute `rabtrace.publish.outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PublishOutcome {
    /// The broker confirmed it.
    Acked,
    /// The broker refused it; `error.type` is `nack`.
    Nacked,
    /// No queue took it; `error.type` is `NO_ROUTE`.
    Returned,
    /// It was written, and the channel has no confirms.
    Unconfirmed,
    /// It took effect with its transaction.
    Committed,
    /// Its transaction was rolled back.
    RolledBack,
    /// The publish was given up before it was written, or its confirm could not be waited for.
    Dropped,
    /// lapin refused it or could not write it.
    Failed,
    /// The channel or the connection went before the confirm came.
    ChannelLost,
}

impl PublishOutcome {
    pub(crate) const COUNT: usize = 9;

    /// The value of the attribute.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acked => "acked",
            Self::Nacked => "nacked",
            Self::Returned => "returned",
            Self::Unconfirmed => "unconfirmed",
            Self::Committed => "committed",
            Self::RolledBack => "rolled_back",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
            Self::ChannelLost => "channel_lost",
        }
    }

    /// Its place in tables of this enum's size.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

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
        let Poll::Ready(result) = Pin::new(inner).poll(task) else {
            return Poll::Pending;
        };
        if let Some(pending) = self.pending.take() {
            pending.resolve(&result);
        }
        Poll::Ready(result.map(Into::into))
    }
}

impl Drop for TracedConfirm {
    fn drop(&mut self) {
        if let (Some(confirm), Some(pending)) = (self.inner.take(), self.pending.take()) {
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

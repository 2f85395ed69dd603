//! Which publish a returned message belongs to, and publishes that nobody waits for.
//!
//! Input: the publishes of one channel, their confirms as they resolve, and the messages that came
//! back. Output: every span ended with its own outcome. What decides is the [`Ledger`].
//!
//! What nobody waits for is polled by a task of its own, one per channel while there is any. Where
//! the runtime of that task ends first, lapin gets the confirms back and the spans end as dropped.
//! Everything goes with the channel. Spans end, and hooks run, outside of the lock.

mod ledger;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};

use lapin::message::BasicReturnMessage;
use lapin::{Confirmation, PublisherConfirm, Result};

use self::ledger::{Endings, Ledger, Token};
use crate::outcome::PublishOutcome;
use crate::publish::Publish;

/// Confirms that are looked at before others of the runtime's tasks have their turn.
const AT_ONCE: usize = 256;

/// The publishes of one channel.
#[derive(Default)]
pub(crate) struct Publishes {
    inner: Mutex<Inner>,
    /// Whether there ever was a publish that may come back.
    may_return: AtomicBool,
}

#[derive(Default)]
struct Inner {
    ledger: Ledger,
    /// Publishes whose confirm was dropped.
    unwatched: VecDeque<Unwatched>,
    /// Whether there is a task that polls them, and what wakes it.
    is_watched: bool,
    watcher: Option<Waker>,
    /// What came back for those, until somebody asks.
    returned: Vec<BasicReturnMessage>,
    /// Publishes of a transaction.
    uncommitted: Vec<Publish>,
}

/// A publish whose confirm was dropped.
struct Unwatched {
    confirm: PublisherConfirm,
    pending: Pending,
}

/// A publish whose confirm is to come. Dropped before it is sent, it ends as dropped.
pub(crate) struct Pending {
    publish: Publish,
    /// None once it is given back.
    token: Option<Token>,
    publishes: Arc<Publishes>,
}

impl Pending {
    /// The message is on the socket.
    pub(crate) fn written(&mut self) {
        self.publish.written();
    }

    /// Records why it failed; it still has to be ended.
    pub(crate) fn set_error(&mut self, error_type: &'static str, message: String) {
        self.publish.set_error(error_type, message);
    }

    /// It could not be sent.
    pub(crate) fn fail(mut self, error: &lapin::Error) {
        self.give_up();
        self.publish.fail(PublishOutcome::Failed, error);
    }

    /// The confirm came.
    pub(crate) fn resolve(mut self, result: &Result<Confirmation>) {
        let publish = std::mem::take(&mut self.publish);
        if let Some(token) = self.token.take() {
            let mut inner = self.publishes.lock();
            let endings = inner.ledger.resolve((publish, token), result);
            drop(inner);
            endings.end();
        }
    }

    /// The confirm came and says that the broker has the message, and no other message with it.
    pub(crate) fn acked(mut self) {
        if self.publish.expects_return().is_some() {
            return self.resolve(&Ok(Confirmation::Ack(None)));
        }
        if let Some(token) = self.token.take() {
            let endings = self.publishes.lock().ledger.passed(token);
            self.publish.end(PublishOutcome::Acked);
            endings.end();
        }
    }

    /// Nobody waits for the confirm any more.
    pub(crate) fn unwatch(self, confirm: PublisherConfirm) {
        let publishes = Arc::clone(&self.publishes);
        let pending = self;
        publishes.watch(Unwatched { confirm, pending });
    }

    fn give_up(&mut self) {
        if let Some(token) = self.token.take() {
            let mut inner = self.publishes.lock();
            let endings = inner.ledger.give_up(&self.publish, token);
            drop(inner);
            endings.end();
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Publishes {
    /// A publish is about to be sent, and a confirm is to come.
    pub(crate) fn issue(self: &Arc<Self>, mut publish: Publish) -> Pending {
        if publish.expects_return().is_some() {
            self.may_return.store(true, Ordering::Relaxed);
        }
        let token = Some(self.lock().ledger.issue(&mut publish));
        Pending {
            publish,
            token,
            publishes: Arc::clone(self),
        }
    }

    /// Whether the confirm of any publish, traced or not, may bring the message of a traced one.
    pub(crate) fn may_return(&self) -> bool {
        self.may_return.load(Ordering::Relaxed)
    }

    /// Messages came back of which nobody knows with which confirm. Returns those that belong to
    /// no publish whose span is open.
    pub(crate) fn came_back<'a>(
        &self,
        messages: &'a [BasicReturnMessage],
    ) -> Vec<&'a BasicReturnMessage> {
        let mut unknown = Vec::new();
        let mut endings = Endings::default();
        let mut inner = self.lock();
        for message in messages {
            if !inner.ledger.came_back(message, &mut endings) {
                unknown.push(message);
            }
        }
        drop(inner);
        endings.end();
        unknown
    }

    /// Nobody waits for that confirm any more. Where there is no runtime of tokio to wait for it,
    /// lapin keeps it, and the publish ends as dropped.
    fn watch(self: &Arc<Self>, unwatched: Unwatched) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let mut inner = self.lock();
        inner.unwatched.push_back(unwatched);
        let is_watched = std::mem::replace(&mut inner.is_watched, true);
        drop(inner);
        if !is_watched {
            // A runtime that is about to end drops the task at once, which takes the lock.
            runtime.spawn(Watch {
                publishes: Arc::clone(self),
                is_done: false,
            });
        }
    }

    /// Resolves the oldest of the publishes that nobody waits for until one has to wait itself.
    fn poll_unwatched(&self, task: &mut TaskContext<'_>) -> Poll<()> {
        for _ in 0..AT_ONCE {
            let mut inner = self.lock();
            let Some(mut oldest) = inner.unwatched.pop_front() else {
                inner.is_watched = false;
                return Poll::Ready(());
            };
            let Poll::Ready(result) = Pin::new(&mut oldest.confirm).poll(task) else {
                inner.unwatched.push_front(oldest);
                inner.watcher = Some(task.waker().clone());
                return Poll::Pending;
            };
            let endings = inner.resolve_unwatched(oldest.pending, result);
            drop(inner);
            endings.end();
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }

    /// What came back for publishes that nobody waited for, after their confirms came.
    pub(crate) fn collect(&self) -> Vec<BasicReturnMessage> {
        let mut inner = self.lock();
        let (endings, waiting) = inner.poll_all();
        inner.unwatched = waiting;
        // Polling took the place of the task that watches.
        let watcher = inner.watcher.take();
        let returned = std::mem::take(&mut inner.returned);
        drop(inner);
        watcher.into_iter().for_each(Waker::wake);
        endings.into_iter().for_each(Endings::end);
        returned
    }

    /// The task that polls is gone with its runtime.
    fn abandon(&self) {
        let mut inner = self.lock();
        inner.is_watched = false;
        inner.watcher = None;
        let (endings, waiting) = inner.poll_all();
        drop(inner);
        endings.into_iter().for_each(Endings::end);
        drop(waiting);
    }

    /// A publish that takes effect when its transaction is committed.
    pub(crate) fn hold(&self, publish: Publish) {
        if publish.is_traced() {
            self.lock().uncommitted.push(publish);
        }
    }

    /// The transaction ended.
    pub(crate) fn release(&self, outcome: PublishOutcome, error: Option<&lapin::Error>) {
        let uncommitted = std::mem::take(&mut self.lock().uncommitted);
        for mut publish in uncommitted {
            match error {
                Some(error) => publish.fail(outcome, error),
                None => publish.end(outcome),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much of what is there.
impl fmt::Debug for Publishes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        formatter
            .debug_struct("Publishes")
            .field("looked_for", &inner.ledger.len())
            .field("unwatched", &inner.unwatched.len())
            .field("returned", &inner.returned.len())
            .field("uncommitted", &inner.uncommitted.len())
            .finish()
    }
}

impl Inner {
    /// The message is there for [`Publishes::collect`] as soon as its confirm is not any more.
    fn resolve_unwatched(&mut self, mut pending: Pending, result: Result<Confirmation>) -> Endings {
        let publish = std::mem::take(&mut pending.publish);
        let Some(token) = pending.token.take() else {
            return Endings::default();
        };
        let endings = self.ledger.resolve((publish, token), &result);
        let message = result.ok().and_then(Confirmation::take_message);
        self.returned.extend(message);
        endings
    }

    /// Resolves those whose confirm is there, and gives the others.
    fn poll_all(&mut self) -> (Vec<Endings>, VecDeque<Unwatched>) {
        let mut task = TaskContext::from_waker(Waker::noop());
        let mut endings = Vec::new();
        let mut waiting = VecDeque::new();
        for mut one in std::mem::take(&mut self.unwatched) {
            match Pin::new(&mut one.confirm).poll(&mut task) {
                Poll::Ready(result) => endings.push(self.resolve_unwatched(one.pending, result)),
                Poll::Pending => waiting.push_back(one),
            }
        }
        (endings, waiting)
    }
}

/// The task that waits for what nobody else does.
struct Watch {
    publishes: Arc<Publishes>,
    is_done: bool,
}

impl Future for Watch {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        let polled = self.publishes.poll_unwatched(task);
        self.is_done = polled.is_ready();
        polled
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.is_done {
            self.publishes.abandon();
        }
    }
}

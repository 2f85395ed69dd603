//! Which publish a returned message belongs to, and publishes that nobody waits for.
//!
//! Input: the publishes of one channel, their confirms as they resolve, and the messages that came
//! back. Output: every span ended with its own outcome.
//!
//! lapin hands a returned message to whichever confirm completes next, which may be that of another
//! publish, earlier or later. The message is recognised by the ids in its headers. A mandatory
//! publish whose confirm came without its message is therefore not known to be routed yet: its
//! message may still come with another confirm. It can only come with one that was issued before
//! all those that were outstanding then had resolved, so once these are through as well, it is
//! certain: its span ends as of the time of its own confirm.
//!
//! Outstanding confirms are told apart by the era in which they were issued; each holds a share of
//! its era's token. What nobody waits for is polled by a task of its own, one per channel while
//! there is any. Everything goes with the channel.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::SystemTime;

use lapin::message::BasicReturnMessage;
use lapin::{Confirmation, PublisherConfirm, Result};

use crate::confirm::PublishOutcome;
use crate::publish::{Publish, ids_of};
use crate::recent::Ids;
use crate::semconv;

/// Publishes that may wait until it is certain that they were routed.
const UNCERTAIN: usize = 16_384;

/// A share of an era: the confirm that holds it may carry a returned message.
type Token = Arc<()>;

/// The publishes of one channel.
#[derive(Default)]
pub(crate) struct Publishes(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// The era that no confirm joins any more.
    before: Token,
    /// The era of the confirms that are issued now.
    now: Token,
    /// The number of the era `now`.
    era: u64,
    /// Mandatory publishes that may come back.
    mandatory: HashMap<Ids, Fate>,
    /// Those of them whose confirm came, with the era in which it did.
    uncertain: VecDeque<(u64, Ids)>,
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

/// What is known of a mandatory publish.
enum Fate {
    /// Nothing.
    Open,
    /// Its message came back with another's confirm.
    Returned(Reason),
    /// Its confirm came, and its message did not come back so far.
    Confirmed(Publish, PublishOutcome, SystemTime),
}

type Reason = (&'static str, String);

/// A publish whose confirm was dropped.
struct Unwatched {
    confirm: PublisherConfirm,
    pending: Pending,
}

/// A publish whose confirm is to come. Dropped before it is sent, it ends as dropped.
pub(crate) struct Pending {
    publish: Publish,
    token: Token,
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
        self.publishes.forget(&self.publish);
        self.publish.fail(PublishOutcome::Failed, error);
    }

    /// The confirm came.
    pub(crate) fn resolve(mut self, result: &Result<Confirmation>) {
        let publish = std::mem::take(&mut self.publish);
        let token = std::mem::take(&mut self.token);
        self.publishes.resolve(publish, token, result);
    }

    /// Nobody waits for the confirm any more.
    pub(crate) fn unwatch(self, confirm: PublisherConfirm) {
        let publishes = Arc::clone(&self.publishes);
        let pending = self;
        publishes.watch(Unwatched { confirm, pending });
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.publishes.forget(&self.publish);
    }
}

impl Publishes {
    /// A publish is about to be sent, and a confirm is to come.
    pub(crate) fn issue(self: &Arc<Self>, mut publish: Publish) -> Pending {
        let mut inner = self.lock();
        if let Some(ids) = publish.expects_return() {
            if let Entry::Vacant(place) = inner.mandatory.entry(ids) {
                place.insert(Fate::Open);
            } else {
                // Of several publishes under one kept context the first is looked for.
                publish.expect_no_return();
            }
        }
        Pending {
            token: Arc::clone(&inner.now),
            publish,
            publishes: Arc::clone(self),
        }
    }

    /// A confirm resolved.
    fn resolve(&self, mut publish: Publish, token: Token, result: &Result<Confirmation>) {
        let (outcome, message) = match result {
            Ok(Confirmation::Ack(message)) => (PublishOutcome::Acked, message.as_ref()),
            Ok(Confirmation::Nack(message)) => (PublishOutcome::Nacked, message.as_ref()),
            Ok(Confirmation::NotRequested) => (PublishOutcome::Unconfirmed, None),
            Err(error) => {
                publish.set_error(semconv::error_type(error), error.to_string());
                (PublishOutcome::ChannelLost, None)
            }
        };
        drop(token);
        if message.is_none() && publish.expects_return().is_none() {
            Ended::new(publish, outcome).end();
            return self.settle();
        }
        let mut ended = Vec::new();
        let mut inner = self.lock();
        if let Some(message) = message {
            ended.extend(inner.came_back(message));
        }
        let is_own = message.is_some_and(|message| publish.is_sent_as(ids_of(message)));
        match publish.expects_return() {
            Some(ids) => ended.extend(inner.confirmed((ids, publish), outcome)),
            None => match message.filter(|_| is_own) {
                Some(message) => {
                    let now = SystemTime::now();
                    ended.push(Ended::returned(publish, reason(message), now));
                }
                None => ended.push(Ended::new(publish, outcome)),
            },
        }
        inner.settle(&mut ended);
        drop(inner);
        ended.into_iter().for_each(Ended::end);
    }

    /// Ends what is certain now, after an era may have passed.
    fn settle(&self) {
        let mut inner = self.lock();
        if inner.uncertain.is_empty() {
            return;
        }
        let mut ended = Vec::new();
        inner.settle(&mut ended);
        drop(inner);
        ended.into_iter().for_each(Ended::end);
    }

    /// Messages came back of which nobody knows with which confirm. Returns those that belong to
    /// no publish whose span is open.
    pub(crate) fn came_back<'a>(
        &self,
        messages: &'a [BasicReturnMessage],
    ) -> Vec<&'a BasicReturnMessage> {
        let mut unknown = Vec::new();
        let mut ended = Vec::new();
        let mut inner = self.lock();
        for message in messages {
            let known = ids_of(message).is_some_and(|ids| inner.mandatory.contains_key(&ids));
            if known {
                ended.extend(inner.came_back(message));
            } else {
                unknown.push(message);
            }
        }
        drop(inner);
        ended.into_iter().for_each(Ended::end);
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
        if !inner.is_watched {
            inner.is_watched = true;
            let publishes = Arc::clone(self);
            runtime.spawn(poll_fn(move |task| publishes.poll_unwatched(task)));
        }
    }

    /// A publish will not be confirmed.
    fn forget(&self, publish: &Publish) {
        if let Some(ids) = publish.expects_return() {
            self.lock().mandatory.remove(&ids);
        }
    }

    /// Resolves the oldest of the publishes that nobody waits for until one has to wait itself.
    fn poll_unwatched(&self, task: &mut TaskContext<'_>) -> Poll<()> {
        loop {
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
            drop(inner);
            self.resolve_unwatched(oldest.pending, result);
        }
    }

    fn resolve_unwatched(&self, pending: Pending, result: Result<Confirmation>) {
        pending.resolve(&result);
        let message = result.ok().and_then(Confirmation::take_message);
        self.lock().returned.extend(message);
    }

    /// What came back for publishes that nobody waited for, after their confirms came.
    pub(crate) fn collect(&self) -> Vec<BasicReturnMessage> {
        let mut task = TaskContext::from_waker(Waker::noop());
        let unwatched = std::mem::take(&mut self.lock().unwatched);
        let mut waiting = VecDeque::new();
        for mut one in unwatched {
            match Pin::new(&mut one.confirm).poll(&mut task) {
                Poll::Ready(result) => self.resolve_unwatched(one.pending, result),
                Poll::Pending => waiting.push_back(one),
            }
        }
        let mut inner = self.lock();
        waiting.append(&mut inner.unwatched);
        inner.unwatched = waiting;
        // Polling took the place of the task that watches.
        inner.watcher.take().into_iter().for_each(Waker::wake);
        std::mem::take(&mut inner.returned)
    }

    /// A publish that takes effect when its transaction is committed.
    pub(crate) fn hold(&self, publish: Publish) {
        if publish.is_traced() {
            self.lock().uncommitted.push(publish);
        }
    }

    /// The transaction ended.
    pub(crate) fn release(&self, outcome: PublishOutcome, error: Option<&lapin::Error>) {
        // Not in the loop's head, where the lock would be held while hooks run.
        let uncommitted = std::mem::take(&mut self.lock().uncommitted);
        for mut publish in uncommitted {
            match error {
                Some(error) => publish.fail(outcome, error),
                None => publish.end(outcome),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// A message came back. Gives the publish that ends with it, if its confirm came before.
    fn came_back(&mut self, message: &BasicReturnMessage) -> Option<Ended> {
        let ids = ids_of(message)?;
        match self.mandatory.remove(&ids)? {
            Fate::Confirmed(publish, _, time) => {
                Some(Ended::returned(publish, reason(message), time))
            }
            Fate::Open | Fate::Returned(_) => {
                self.mandatory.insert(ids, Fate::Returned(reason(message)));
                None
            }
        }
    }

    /// The confirm of a mandatory publish came. Gives it if it is known how it ended.
    fn confirmed(
        &mut self,
        (ids, publish): (Ids, Publish),
        outcome: PublishOutcome,
    ) -> Option<Ended> {
        let fate = self.mandatory.remove(&ids);
        match fate {
            Some(Fate::Returned(reason)) => {
                Some(Ended::returned(publish, reason, SystemTime::now()))
            }
            Some(Fate::Open) if outcome != PublishOutcome::ChannelLost => {
                let fate = Fate::Confirmed(publish, outcome, SystemTime::now());
                self.mandatory.insert(ids, fate);
                self.uncertain.push_back((self.era, ids));
                None
            }
            _ => Some(Ended::new(publish, outcome)),
        }
    }

    /// Ends what is certain now. An era that has passed makes the publishes certain whose confirm
    /// came before its last confirm was issued.
    fn settle(&mut self, ended: &mut Vec<Ended>) {
        while !self.uncertain.is_empty() && Arc::strong_count(&self.before) == 1 {
            let passed = self.era.saturating_sub(1);
            while self.uncertain.front().is_some_and(|(era, _)| *era < passed) {
                let certain = self.uncertain.pop_front();
                ended.extend(certain.and_then(|(_, ids)| self.certain(&ids)));
            }
            self.before = std::mem::take(&mut self.now);
            self.era += 1;
        }
        while self.uncertain.len() > UNCERTAIN {
            let oldest = self.uncertain.pop_front();
            ended.extend(oldest.and_then(|(_, ids)| self.certain(&ids)));
        }
    }

    fn certain(&mut self, ids: &Ids) -> Option<Ended> {
        match self.mandatory.remove(ids)? {
            Fate::Confirmed(publish, outcome, time) => {
                let mut ended = Ended::new(publish, outcome);
                ended.time = time;
                Some(ended)
            }
            fate => {
                // A later publish under the same kept context.
                self.mandatory.insert(*ids, fate);
                None
            }
        }
    }
}

fn reason(message: &BasicReturnMessage) -> Reason {
    let name = semconv::reply_code_name(message.reply_code);
    (name, message.reply_text.to_string())
}

/// A publish whose span can be ended, outside of the lock: hooks run then.
struct Ended {
    publish: Publish,
    outcome: PublishOutcome,
    time: SystemTime,
}

impl Ended {
    fn new(publish: Publish, outcome: PublishOutcome) -> Self {
        Self {
            publish,
            outcome,
            time: SystemTime::now(),
        }
    }

    fn returned(mut publish: Publish, (name, text): Reason, time: SystemTime) -> Self {
        publish.set_error(name, text);
        Self {
            publish,
            outcome: PublishOutcome::Returned,
            time,
        }
    }

    fn end(mut self) {
        if self.outcome == PublishOutcome::Nacked {
            let text = "the broker did not take the message".to_owned();
            self.publish.set_error("nack", text);
        }
        self.publish.end_at(self.outcome, self.time);
    }
}

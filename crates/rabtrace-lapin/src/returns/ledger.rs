//! What is known of the publishes of one channel that may come back.
//!
//! Input: publishes as they are issued, confirms as they resolve, messages that came back. Output:
//! the publishes of which it is known now how they ended. Pure, but for the time of day. It holds
//! the mandatory publishes whose confirm did not come, and at most 16,384 whose confirm came: the
//! oldest of these counts as routed when there is one more.
//!
//! lapin hands a returned message to whichever confirm completes next, which may be that of another
//! publish, earlier or later. The message is recognised by the ids in its headers. A mandatory
//! publish whose confirm came without its message is therefore not known to be routed yet: its
//! message may still come with another confirm. The broker sends the message before the confirm,
//! and every confirm that lapin completes takes the oldest message that waits, so no more messages
//! wait than publishes that came back are outstanding. A message is thus taken before all confirms
//! that were outstanding when it came are through, by a confirm that was issued before they were.
//! Once these are through as well, it is certain: the span ends as of the time of its own confirm.
//!
//! Outstanding confirms are told apart by the era in which they were issued; each holds a share of
//! its era's token, until what came with it is known here.
//!
//! What lapin keeps to itself is not seen: the confirm of a publish that was given up half-way or
//! dropped outside of a runtime, until `wait_for_confirms`; and messages that waited when a channel
//! was lost, which lapin hands to the first confirms after it opened the channel anew. A message
//! that comes later than can be told from here belongs to a publish that ended as confirmed.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use lapin::message::BasicReturnMessage;
use lapin::{Confirmation, Result};

use crate::outcome::PublishOutcome;
use crate::publish::{Publish, ids_of};
use crate::recent::Ids;
use crate::semconv;

/// Publishes that may wait until it is certain that they were routed.
const UNCERTAIN: usize = 16_384;

/// A share of an era: the confirm that holds it may carry a returned message.
pub(super) type Token = Arc<()>;

#[derive(Default)]
pub(super) struct Ledger {
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
}

/// What is known of a mandatory publish.
enum Fate {
    /// Nothing.
    Open,
    /// Its message came back with another's confirm.
    Returned(Reason),
    /// Its confirm came in that era, and its message did not come back so far.
    Confirmed(Box<Ended>, u64),
}

type Reason = (&'static str, String);

impl Ledger {
    /// A publish is about to be sent.
    pub(super) fn issue(&mut self, publish: &mut Publish) -> Token {
        if let Some(ids) = publish.expects_return() {
            if let Entry::Vacant(place) = self.mandatory.entry(ids) {
                place.insert(Fate::Open);
            } else {
                // Of several publishes under one kept context the first is looked for.
                publish.expect_no_return();
            }
        }
        Arc::clone(&self.now)
    }

    /// A confirm resolved.
    pub(super) fn resolve(
        &mut self,
        (publish, token): (Publish, Token),
        result: &Result<Confirmation>,
    ) -> Endings {
        let (outcome, message) = match result {
            Ok(Confirmation::Ack(message)) => (PublishOutcome::Acked, message.as_ref()),
            Ok(Confirmation::Nack(message)) => (PublishOutcome::Nacked, message.as_ref()),
            Ok(Confirmation::NotRequested) => (PublishOutcome::Unconfirmed, None),
            Err(_) => (PublishOutcome::ChannelLost, None),
        };
        let mut endings = Endings::default();
        let known = message.is_some_and(|message| self.came_back(message, &mut endings));
        // Of a publish that is not looked for, or that has no ids of its own.
        let own = message.filter(|message| !known && publish.is_sent_as(ids_of(message)));
        let mut ended = Ended::new(publish, outcome);
        if let Err(error) = result {
            ended.error = Some((semconv::error_type(error), error.to_string()));
        }
        endings.own = match ended.publish.expects_return() {
            Some(ids) => self.confirmed(ids, ended),
            None => Some(match own {
                Some(message) => ended.returned(reason(message)),
                None => ended,
            }),
        };
        // Not before: who sees the era pass must see the message.
        drop(token);
        self.settle(&mut endings.others);
        endings
    }

    /// A publish will not be confirmed.
    pub(super) fn give_up(&mut self, publish: &Publish, token: Token) -> Endings {
        if let Some(ids) = publish.expects_return() {
            self.mandatory.remove(&ids);
        }
        self.passed(token)
    }

    /// A confirm brought no message, and its publish is not looked for.
    pub(super) fn passed(&mut self, token: Token) -> Endings {
        drop(token);
        let mut endings = Endings::default();
        self.settle(&mut endings.others);
        endings
    }

    /// A message came back. Whether it belongs to a publish that is looked for.
    pub(super) fn came_back(
        &mut self,
        message: &BasicReturnMessage,
        endings: &mut Endings,
    ) -> bool {
        let Some(ids) = ids_of(message) else {
            return false;
        };
        match self.mandatory.remove(&ids) {
            None => return false,
            Some(Fate::Confirmed(ended, _)) => {
                endings.others.push(ended.returned(reason(message)));
            }
            Some(Fate::Open | Fate::Returned(_)) => {
                self.mandatory.insert(ids, Fate::Returned(reason(message)));
            }
        }
        true
    }

    /// The confirm of a mandatory publish came. Gives it if it is known how it ended.
    fn confirmed(&mut self, ids: Ids, ended: Ended) -> Option<Ended> {
        match self.mandatory.remove(&ids) {
            Some(Fate::Returned(reason)) => Some(ended.returned(reason)),
            Some(Fate::Open) if ended.outcome != PublishOutcome::ChannelLost => {
                let fate = Fate::Confirmed(Box::new(ended), self.era);
                self.mandatory.insert(ids, fate);
                self.uncertain.push_back((self.era, ids));
                None
            }
            _ => Some(ended),
        }
    }

    /// Ends what is certain now. An era that has passed makes the publishes certain whose confirm
    /// came before its last confirm was issued.
    fn settle(&mut self, others: &mut Vec<Ended>) {
        while !self.uncertain.is_empty() && Arc::strong_count(&self.before) == 1 {
            let passed = self.era.saturating_sub(1);
            while self.uncertain.front().is_some_and(|(era, _)| *era < passed) {
                let certain = self.uncertain.pop_front();
                others.extend(certain.and_then(|entry| self.certain(entry)));
            }
            self.before = std::mem::take(&mut self.now);
            self.era += 1;
        }
        while self.uncertain.len() > UNCERTAIN {
            let oldest = self.uncertain.pop_front();
            others.extend(oldest.and_then(|entry| self.certain(entry)));
        }
    }

    fn certain(&mut self, (era, ids): (u64, Ids)) -> Option<Ended> {
        match self.mandatory.remove(&ids)? {
            Fate::Confirmed(ended, confirmed) if confirmed == era => Some(*ended),
            fate => {
                // A later publish under the same kept context.
                self.mandatory.insert(ids, fate);
                None
            }
        }
    }

    /// How many publishes are looked for.
    pub(super) fn len(&self) -> usize {
        self.mandatory.len()
    }
}

fn reason(message: &BasicReturnMessage) -> Reason {
    let name = semconv::reply_code_name(message.reply_code);
    (name, message.reply_text.to_string())
}

/// Publishes whose spans can be ended, outside of the lock: hooks run then.
#[derive(Default)]
pub(super) struct Endings {
    /// The one whose confirm it is.
    own: Option<Ended>,
    others: Vec<Ended>,
}

impl Endings {
    pub(super) fn end(self) {
        if let Some(own) = self.own {
            own.end();
        }
        if !self.others.is_empty() {
            self.others.into_iter().for_each(Ended::end);
        }
    }
}

/// A publish whose span can be ended.
struct Ended {
    publish: Publish,
    outcome: PublishOutcome,
    time: SystemTime,
    error: Option<Reason>,
}

impl Ended {
    fn new(publish: Publish, outcome: PublishOutcome) -> Self {
        Self {
            publish,
            outcome,
            time: SystemTime::now(),
            error: None,
        }
    }

    fn returned(mut self, reason: Reason) -> Self {
        self.outcome = PublishOutcome::Returned;
        self.error = Some(reason);
        self
    }

    fn end(mut self) {
        if self.outcome == PublishOutcome::Nacked {
            let text = "the broker did not take the message".to_owned();
            self.error = Some(("nack", text));
        }
        if let Some((error_type, message)) = self.error {
            self.publish.set_error(error_type, message);
        }
        self.publish.end_at(self.outcome, self.time);
    }
}

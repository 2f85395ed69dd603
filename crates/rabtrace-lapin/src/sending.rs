//! A publish between its call and lapin's answer to the call.

use std::sync::Arc;

use lapin::{ConnectionStatus, PublisherConfirm};

use crate::confirm::TracedConfirm;
use crate::outcome::PublishOutcome;
use crate::publish::Publish;
use crate::returns::{Pending, Publishes};

/// What a channel says about the publishes on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirms {
    /// It had `confirm_select`.
    On,
    Off,
    /// It had `tx_select`.
    Transaction,
}

/// A publish that lapin writes now. Given up, it ends as dropped.
pub(crate) struct Sending<'a> {
    state: State,
    publishes: &'a Arc<Publishes>,
    status: Option<&'a ConnectionStatus>,
}

enum State {
    /// It is ended.
    Done,
    /// A confirm is to come.
    Confirmed(Pending),
    /// It ends when it is written.
    Written(Publish),
    /// It ends with its transaction.
    Held(Publish),
}

impl<'a> Sending<'a> {
    pub(crate) fn new(
        publish: Publish,
        (publishes, confirms): (&'a Arc<Publishes>, Confirms),
        status: Option<&'a ConnectionStatus>,
    ) -> Self {
        let state = match confirms {
            Confirms::On => State::Confirmed(publishes.issue(publish)),
            Confirms::Off => State::Written(publish),
            Confirms::Transaction => State::Held(publish),
        };
        Self {
            state,
            publishes,
            status,
        }
    }

    /// The message is on the socket.
    pub(crate) fn sent(mut self, confirm: PublisherConfirm) -> TracedConfirm {
        let mut pending = None;
        match self.take() {
            State::Done => {}
            State::Confirmed(mut publish) => {
                publish.written();
                pending = Some(publish);
            }
            State::Written(mut publish) => {
                publish.written();
                publish.end(PublishOutcome::Unconfirmed);
            }
            State::Held(mut publish) => {
                publish.written();
                self.publishes.hold(publish);
            }
        }
        TracedConfirm::new(confirm, pending)
    }

    /// lapin refused it or could not write it.
    pub(crate) fn failed(mut self, error: &lapin::Error) {
        match self.take() {
            State::Done => {}
            State::Confirmed(pending) => pending.fail(error),
            State::Written(mut publish) | State::Held(mut publish) => {
                publish.fail(PublishOutcome::Failed, error);
            }
        }
    }

    fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Done)
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if !self.status.is_some_and(ConnectionStatus::blocked) {
            return;
        }
        let why = "the broker blocks the connection".to_owned();
        match &mut self.state {
            State::Done => {}
            State::Confirmed(pending) => pending.set_error(BLOCKED, why),
            State::Written(publish) | State::Held(publish) => publish.set_error(BLOCKED, why),
        }
    }
}

/// `error.type` of a publish that was given up while the broker took nothing.
const BLOCKED: &str = "connection_blocked";

//! An object or a list of a JSON request that the scan is in.

use super::fields::Field;
use crate::receiver::scan::Message;

/// An object or a list that is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    /// What an object is.
    pub(super) message: Option<Message>,
    pub(super) is_object: bool,
    pub(super) expects_key: bool,
    /// What the next value is.
    pub(super) next: Field,
    /// Whether the next value is buffered because of its key.
    pub(super) captures: bool,
    /// Whether this was buffered because of its key.
    pub(super) is_captured: bool,
    pub(super) entries: u64,
    /// How many buffers hold all of this.
    pub(super) copies: u64,
    /// What each of them takes for it.
    pub(super) buffered: u64,
    /// What the buffer of this object takes.
    pub(super) own_buffer: u64,
    pub(super) payload_before: u64,
}

/// The level of the request itself.
pub(super) const OUTSIDE: Level = Level {
    message: None,
    is_object: false,
    expects_key: false,
    next: Field::One(Message::TracesRequest),
    captures: false,
    is_captured: false,
    entries: 0,
    copies: 0,
    buffered: 0,
    own_buffer: 0,
    payload_before: 0,
};

impl Level {
    /// Whether serde buffers entries of it.
    pub(super) fn is_flat(&self) -> bool {
        self.message.is_some_and(|message| message.is_flat())
    }
}

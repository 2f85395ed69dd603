//! Deliveries as lapin has them, each with the span of its processing.

use std::ops::{Deref, DerefMut};

use lapin::BasicProperties;
use lapin::types::{DeliveryTag, MessageCount, ShortString};

use crate::acker::Acker;

/// What a delegate is called with: a delivery, `None` when the consumer is cancelled, or lapin's
/// error.
pub type DeliveryResult = lapin::Result<Option<Delivery>>;

/// A received message, with the fields of lapin's own.
///
/// Its span began when it was handed out. It ends when the message is settled, or when the acker
/// and all its clones are dropped.
#[derive(Debug, PartialEq)]
pub struct Delivery {
    /// The delivery tag.
    pub delivery_tag: DeliveryTag,
    /// The exchange; empty for the default one.
    pub exchange: ShortString,
    /// The routing key.
    pub routing_key: ShortString,
    /// Whether the broker delivered it before.
    pub redelivered: bool,
    /// Properties and headers.
    pub properties: BasicProperties,
    /// The payload.
    pub data: Vec<u8>,
    /// Settles it, and holds its span.
    pub acker: Acker,
}

impl Deref for Delivery {
    type Target = Acker;

    fn deref(&self) -> &Acker {
        &self.acker
    }
}

/// A message that `basic_get` fetched.
#[derive(Debug, PartialEq)]
pub struct BasicGetMessage {
    /// The message.
    pub delivery: Delivery,
    /// How many are left in the queue.
    pub message_count: MessageCount,
}

impl Deref for BasicGetMessage {
    type Target = Delivery;

    fn deref(&self) -> &Delivery {
        &self.delivery
    }
}

impl DerefMut for BasicGetMessage {
    fn deref_mut(&mut self) -> &mut Delivery {
        &mut self.delivery
    }
}

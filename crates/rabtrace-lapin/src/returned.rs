//! Messages that the broker returned, the broker's answer to a publish that may carry one, and
//! messages that no broker delivered at all.
//!
//! They are lapin's types once more, since lapin's own hold lapin's `Delivery`: a program that
//! names `Delivery` means the same type wherever it comes from. Nothing is traced here: a returned
//! message cannot be settled, and the publish's span has its outcome already.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, LazyLock, Weak};

use lapin::protocol::AMQPError;
use lapin::types::{DeliveryTag, ReplyCode, ShortString};
use opentelemetry::Context;
use opentelemetry::trace::noop::NoopTracerProvider;

use crate::acker::Acker;
use crate::config::TraceConfig;
use crate::delivery::Delivery;
use crate::process::{AckMode, Handed};
use crate::source::Source;
use crate::telemetry::Telemetry;

/// lapin's [`Confirmation`](lapin::Confirmation): the broker's answer to a publish.
///
/// ```
/// use rabtrace_lapin::traced::Confirmation;
///
/// let confirmation = Confirmation::Ack(None);
/// assert!(confirmation.is_ack());
/// assert_eq!(confirmation.take_message(), None);
/// ```
#[derive(Debug, PartialEq)]
pub enum Confirmation {
    /// The broker took the message, or returned it and is done with it.
    Ack(Option<BasicReturnMessage>),
    /// The broker did not take the message.
    Nack(Option<BasicReturnMessage>),
    /// The channel has no confirms.
    NotRequested,
}

impl Confirmation {
    /// The message that came back with the answer, if one did.
    #[must_use]
    pub fn take_message(self) -> Option<BasicReturnMessage> {
        match self {
            Self::Ack(message) | Self::Nack(message) => message,
            Self::NotRequested => None,
        }
    }

    /// Whether it is an `Ack`.
    #[must_use]
    pub fn is_ack(&self) -> bool {
        matches!(self, Self::Ack(_))
    }

    /// Whether it is a `Nack`.
    #[must_use]
    pub fn is_nack(&self) -> bool {
        matches!(self, Self::Nack(_))
    }
}

impl From<lapin::Confirmation> for Confirmation {
    fn from(confirmation: lapin::Confirmation) -> Self {
        match confirmation {
            lapin::Confirmation::Ack(message) => Self::Ack(message.map(Into::into)),
            lapin::Confirmation::Nack(message) => Self::Nack(message.map(Into::into)),
            lapin::Confirmation::NotRequested => Self::NotRequested,
        }
    }
}

/// lapin's [`BasicReturnMessage`](lapin::message::BasicReturnMessage): a message that the broker
/// could not route.
#[derive(Debug, PartialEq)]
pub struct BasicReturnMessage {
    /// The message as it was sent, trace context included.
    pub delivery: Delivery,
    /// Why, as a number of AMQP: 312 if no queue is bound.
    pub reply_code: ReplyCode,
    /// Why, as text.
    pub reply_text: ShortString,
}

impl BasicReturnMessage {
    /// The reason as an error; None for a number that AMQP does not have.
    #[must_use]
    pub fn error(&self) -> Option<AMQPError> {
        AMQPError::from_id(self.reply_code, self.reply_text.clone())
    }
}

impl From<lapin::message::BasicReturnMessage> for BasicReturnMessage {
    fn from(message: lapin::message::BasicReturnMessage) -> Self {
        Self {
            delivery: Delivery::detached(message.delivery),
            reply_code: message.reply_code,
            reply_text: message.reply_text,
        }
    }
}

impl Deref for BasicReturnMessage {
    type Target = Delivery;

    fn deref(&self) -> &Delivery {
        &self.delivery
    }
}

impl DerefMut for BasicReturnMessage {
    fn deref_mut(&mut self) -> &mut Delivery {
        &mut self.delivery
    }
}

impl Delivery {
    /// A delivery that no broker sent, for tests of handlers. It has no span; settling it goes
    /// nowhere and gives `Ok(true)`, once.
    ///
    /// ```
    /// use rabtrace_lapin::message::Delivery;
    ///
    /// let delivery = Delivery::mock(1, "".into(), "tasks".into(), false, b"go".to_vec());
    /// assert!(delivery.usable());
    /// ```
    #[must_use]
    pub fn mock(
        delivery_tag: DeliveryTag,
        exchange: ShortString,
        routing_key: ShortString,
        redelivered: bool,
        data: Vec<u8>,
    ) -> Self {
        Self::detached(lapin::message::Delivery::mock(
            delivery_tag,
            exchange,
            routing_key,
            redelivered,
            data,
        ))
    }

    /// A delivery without span and without a channel.
    fn detached(delivery: lapin::message::Delivery) -> Self {
        Self {
            delivery_tag: delivery.delivery_tag,
            exchange: delivery.exchange,
            routing_key: delivery.routing_key,
            redelivered: delivery.redelivered,
            properties: delivery.properties,
            data: delivery.data,
            acker: Acker::detached(delivery.acker, delivery.delivery_tag),
        }
    }
}

/// Where deliveries come from that no channel delivered.
static NOWHERE: LazyLock<Arc<Source>> = LazyLock::new(|| {
    let config = TraceConfig::new().with_tracer_provider(&NoopTracerProvider::new());
    Arc::new(Source {
        telemetry: Arc::new(Telemetry::new(&config.without_metrics())),
        open: Arc::default(),
        queue: ShortString::default(),
        ack_mode: AckMode::Manual,
        channel: Weak::new(),
    })
});

impl Acker {
    fn detached(acker: lapin::Acker, delivery_tag: DeliveryTag) -> Self {
        Self::untraced(Handed {
            acker,
            delivery_tag,
            source: Arc::clone(&NOWHERE),
            ambient: Context::new(),
        })
    }
}

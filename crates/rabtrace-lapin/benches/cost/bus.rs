//! Publishing and consuming, in the same words for lapin's channel and for the traced one.

use std::future::Future;

use futures_util::future::join_all;
use futures_util::{Stream, StreamExt};
use rabtrace_lapin::lapin::message::Delivery;
use rabtrace_lapin::lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions};
use rabtrace_lapin::lapin::types::{FieldTable, ShortString};
use rabtrace_lapin::lapin::{
    BasicProperties, Channel, Confirmation, Consumer, PublisherConfirm, Result,
};
use rabtrace_lapin::{TracedChannel, TracedConfirm, TracedConsumer, message};

use crate::floor::Headers;
use crate::frames::PAYLOAD;

/// Messages that are under way at once: publishes before their confirms are awaited, deliveries
/// before they are settled.
pub(crate) const WINDOW: u64 = 64;

/// What settles a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settle {
    /// Nothing: the consumer is one without acknowledgements.
    Never,
    /// The delivery itself.
    Acker,
    /// The channel, by the delivery's tag.
    Channel,
}

/// One mode's channel.
pub(crate) trait Bus {
    type Confirm: Future<Output = Result<Confirmation>>;
    type Delivery;
    type Consumer: Stream<Item = Result<Self::Delivery>> + Unpin;

    /// Message `number` to `queue`.
    fn publish(
        &self,
        queue: ShortString,
        number: u64,
    ) -> impl Future<Output = Result<Self::Confirm>>;
    fn consume(
        &self,
        queue: &str,
        options: BasicConsumeOptions,
    ) -> impl Future<Output = Result<Self::Consumer>>;
    /// What an application does with the headers before it settles.
    fn read(&self, delivery: &Self::Delivery);
    fn ack(&self, delivery: Self::Delivery, settle: Settle) -> impl Future<Output = Result<()>>;
}

/// lapin itself, with or without hand-made headers.
pub(crate) struct Raw {
    pub(crate) channel: Channel,
    pub(crate) headers: Headers,
}

impl Bus for Raw {
    type Confirm = PublisherConfirm;
    type Delivery = Delivery;
    type Consumer = Consumer;

    fn publish(
        &self,
        queue: ShortString,
        number: u64,
    ) -> impl Future<Output = Result<PublisherConfirm>> {
        let (options, properties) = (
            BasicPublishOptions::default(),
            self.headers.properties(number),
        );
        self.channel.basic_publish(
            ShortString::default(),
            queue,
            options,
            &PAYLOAD,
            properties,
        )
    }

    fn consume(
        &self,
        queue: &str,
        options: BasicConsumeOptions,
    ) -> impl Future<Output = Result<Consumer>> {
        let tag = ShortString::default();
        self.channel
            .basic_consume(queue.into(), tag, options, FieldTable::default())
    }

    fn read(&self, delivery: &Delivery) {
        self.headers.read(&delivery.properties);
    }

    async fn ack(&self, delivery: Delivery, settle: Settle) -> Result<()> {
        let options = BasicAckOptions::default();
        match settle {
            Settle::Never => Ok(()),
            Settle::Acker => delivery.ack(options).await.map(drop),
            Settle::Channel => self.channel.basic_ack(delivery.delivery_tag, options).await,
        }
    }
}

/// The traced channel.
pub(crate) struct Traced {
    pub(crate) channel: TracedChannel,
}

impl Bus for Traced {
    type Confirm = TracedConfirm;
    type Delivery = message::Delivery;
    type Consumer = TracedConsumer;

    fn publish(
        &self,
        queue: ShortString,
        _: u64,
    ) -> impl Future<Output = Result<TracedConfirm>> {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        self.channel.basic_publish(
            ShortString::default(),
            queue,
            options,
            &PAYLOAD,
            properties,
        )
    }

    fn consume(
        &self,
        queue: &str,
        options: BasicConsumeOptions,
    ) -> impl Future<Output = Result<TracedConsumer>> {
        let tag = ShortString::default();
        self.channel
            .basic_consume(queue.into(), tag, options, FieldTable::default())
    }

    fn read(&self, _: &message::Delivery) {}

    async fn ack(&self, delivery: message::Delivery, settle: Settle) -> Result<()> {
        let options = BasicAckOptions::default();
        match settle {
            Settle::Never => Ok(()),
            Settle::Acker => delivery.ack(options).await.map(drop),
            Settle::Channel => self.channel.basic_ack(delivery.delivery_tag, options).await,
        }
    }
}

/// Publishes `count` messages and awaits their confirms, a window at a time.
///
/// # Errors
///
/// lapin's own.
pub(crate) async fn publish<B: Bus>(bus: &B, queue: &ShortString, count: u64) -> Result<()> {
    for first in (0..count).step_by(WINDOW as usize) {
        let numbers = first..count.min(first + WINDOW);
        let published = join_all(numbers.map(|number| bus.publish(queue.clone(), number))).await;
        for confirm in published {
            confirm?.await?;
        }
    }
    Ok(())
}

/// Takes `count` deliveries, and settles them a window at a time.
///
/// # Errors
///
/// lapin's own.
pub(crate) async fn consume<B: Bus>(
    bus: &B,
    consumer: &mut B::Consumer,
    (count, settle): (u64, Settle),
) -> Result<()> {
    let mut window = Vec::with_capacity(WINDOW as usize);
    for number in 1..=count {
        let Some(delivery) = consumer.next().await else {
            return Ok(());
        };
        let delivery = delivery?;
        bus.read(&delivery);
        if settle == Settle::Never {
            continue;
        }
        window.push(delivery);
        if number % WINDOW == 0 || number == count {
            let settled = window.drain(..).map(|delivery| bus.ack(delivery, settle));
            join_all(settled).await.into_iter().collect::<Result<()>>()?;
        }
    }
    Ok(())
}

//! Publishing and consuming, in the same words for lapin's channel and for the traced one.

use std::cell::{Cell, RefCell};
use std::future::Future;

use futures_util::future::{join, join_all};
use futures_util::{Stream, StreamExt};
use rabtrace_lapin::lapin::message::Delivery;
use rabtrace_lapin::lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions};
use rabtrace_lapin::lapin::types::{FieldTable, ShortString};
use rabtrace_lapin::lapin::{
    BasicProperties, Channel, Confirmation, Consumer, PublisherConfirm, Result,
};
use rabtrace_lapin::{TracedChannel, TracedConfirm, TracedConsumer, message};
use tokio::sync::Barrier;

use crate::floor::Headers;
use crate::frames::PAYLOAD;

/// Messages that are under way at once: publishes before their confirms are awaited, deliveries
/// before they are settled.
pub(crate) const WINDOW: u64 = 64;
/// One for each message of a window. They last, so that no future is moved about for a message,
/// and wait for each other, so that every run does the same.
const WORKERS: usize = 64;

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
    type Confirm: Future<Output = Result<Self::Confirmation>>;
    /// What the broker says of it.
    type Confirmation;
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
        queue_and_tag: (&str, &str),
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
    type Confirmation = Confirmation;
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
        self.channel
            .basic_publish(ShortString::default(), queue, options, &PAYLOAD, properties)
    }

    fn consume(
        &self,
        (queue, tag): (&str, &str),
        options: BasicConsumeOptions,
    ) -> impl Future<Output = Result<Consumer>> {
        self.channel
            .basic_consume(queue.into(), tag.into(), options, FieldTable::default())
    }

    fn read(&self, delivery: &Delivery) {
        assert!(self.headers.read(&delivery.properties), "other headers");
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
    type Confirmation = rabtrace_lapin::Confirmation;
    type Delivery = message::Delivery;
    type Consumer = TracedConsumer;

    fn publish(&self, queue: ShortString, _: u64) -> impl Future<Output = Result<TracedConfirm>> {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        self.channel
            .basic_publish(ShortString::default(), queue, options, &PAYLOAD, properties)
    }

    fn consume(
        &self,
        (queue, tag): (&str, &str),
        options: BasicConsumeOptions,
    ) -> impl Future<Output = Result<TracedConsumer>> {
        self.channel
            .basic_consume(queue.into(), tag.into(), options, FieldTable::default())
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

/// Publishes `count` messages, whole windows: all of a window are under way at once, then their
/// confirms are awaited.
///
/// # Errors
///
/// lapin's own.
pub(crate) async fn publish<B: Bus>(bus: &B, queue: &ShortString, count: u64) -> Result<()> {
    let gate = Barrier::new(WORKERS + 1);
    let published = RefCell::new(Vec::with_capacity(WORKERS));
    let windows = count / WINDOW;
    let worker = async |place| {
        for window in 0..windows {
            let confirm = bus.publish(queue.clone(), window * WINDOW + place).await;
            published.borrow_mut().push(confirm);
            gate.wait().await;
            gate.wait().await;
        }
    };
    let confirmed = async {
        let mut outcome = Ok(());
        for _ in 0..windows {
            gate.wait().await;
            while let Some(confirm) = take(&published) {
                let confirmed = async { confirm?.await }.await;
                outcome = outcome.and(confirmed.map(drop));
            }
            gate.wait().await;
        }
        outcome
    };
    join(join_all((0..WINDOW).map(worker)), confirmed).await.1
}

/// Takes `count` deliveries, whole windows: a window's are taken, then settled all at once.
///
/// # Errors
///
/// lapin's own.
pub(crate) async fn consume<B: Bus>(
    bus: &B,
    consumer: &mut B::Consumer,
    (count, settle): (u64, Settle),
) -> Result<()> {
    if settle == Settle::Never {
        for _ in 0..count {
            if let Some(delivery) = consumer.next().await {
                bus.read(&delivery?);
            }
        }
        return Ok(());
    }
    let gate = Barrier::new(WORKERS + 1);
    let taken = RefCell::new(Vec::with_capacity(WORKERS));
    let outcome = Cell::new(Ok(()));
    let windows = count / WINDOW;
    let worker = async |_| {
        for _ in 0..windows {
            gate.wait().await;
            if let Some(delivery) = take(&taken) {
                let settled = bus.ack(delivery, settle).await;
                outcome.set(outcome.replace(Ok(())).and(settled));
            }
            gate.wait().await;
        }
    };
    let delivered = async {
        for number in 1..=windows * WINDOW {
            match consumer.next().await {
                Some(Ok(delivery)) => {
                    bus.read(&delivery);
                    taken.borrow_mut().push(delivery);
                }
                Some(Err(error)) => outcome.set(Err(error)),
                None => {}
            }
            if number % WINDOW == 0 {
                gate.wait().await;
                gate.wait().await;
            }
        }
    };
    join(join_all((0..WINDOW).map(worker)), delivered).await;
    outcome.into_inner()
}

fn take<T>(from: &RefCell<Vec<T>>) -> Option<T> {
    from.borrow_mut().pop()
}

//! Exchanges and queues of the sample pipeline.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

pub(super) const PLANNER_QUEUE: &str = "planner_queue";
pub(super) const WEATHER_QUEUE: &str = "weather_queue";
pub(super) const SEARCH_QUEUE: &str = "search_queue";
pub(super) const RESPONDER_QUEUE: &str = "responder_queue";
pub(super) const AUDIT_QUEUE: &str = "audit_queue";
pub(super) const BILLING_QUEUE: &str = "billing_queue";
/// Where messages end that failed too often; nobody consumes it.
pub(super) const DEAD_LETTER_QUEUE: &str = "search_queue.dead";
/// Topic exchange that fans events out.
pub(super) const EVENTS: &str = "events";
const DEAD_LETTERS: &str = "dead_letters";
/// Attempts that the broker makes before a message of `search_queue` is dead-lettered.
const DELIVERY_LIMIT: i64 = 2;

const QUEUES: [&str; 7] = [
    PLANNER_QUEUE,
    WEATHER_QUEUE,
    SEARCH_QUEUE,
    RESPONDER_QUEUE,
    AUDIT_QUEUE,
    BILLING_QUEUE,
    DEAD_LETTER_QUEUE,
];

/// Queues that get a copy of each event.
pub(super) const EVENT_QUEUES: u64 = 2;

/// Declares everything; what is there already stays.
pub(super) async fn declare(channel: &Channel) -> lapin::Result<()> {
    let exchanges = [
        (EVENTS, ExchangeKind::Topic),
        (DEAD_LETTERS, ExchangeKind::Fanout),
    ];
    for (name, kind) in exchanges {
        let options = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        channel
            .exchange_declare(name.into(), kind, options, FieldTable::default())
            .await?;
    }
    for name in QUEUES {
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        channel
            .queue_declare(name.into(), options, arguments(name))
            .await?;
    }
    let bindings = [
        (AUDIT_QUEUE, EVENTS, "#"),
        (BILLING_QUEUE, EVENTS, "notification.*"),
        (DEAD_LETTER_QUEUE, DEAD_LETTERS, ""),
    ];
    for (queue, exchange, key) in bindings {
        let options = QueueBindOptions::default();
        channel
            .queue_bind(
                queue.into(),
                exchange.into(),
                key.into(),
                options,
                FieldTable::default(),
            )
            .await?;
    }
    Ok(())
}

/// Failures of `search_queue` are retried by the broker, then dead-lettered: quorum queues count
/// their deliveries.
fn arguments(queue: &str) -> FieldTable {
    let mut arguments = FieldTable::default();
    if queue == SEARCH_QUEUE {
        arguments.insert(
            "x-queue-type".into(),
            AMQPValue::LongString("quorum".into()),
        );
        arguments.insert(
            "x-delivery-limit".into(),
            AMQPValue::LongLongInt(DELIVERY_LIMIT),
        );
        arguments.insert(
            "x-dead-letter-exchange".into(),
            AMQPValue::LongString(DEAD_LETTERS.into()),
        );
    }
    arguments
}

/// Removes what earlier runs left in the queues.
pub(super) async fn purge(channel: &Channel) -> lapin::Result<()> {
    for name in QUEUES {
        channel
            .queue_purge(name.into(), lapin::options::QueuePurgeOptions::default())
            .await?;
    }
    Ok(())
}

/// Messages that wait in the queues, and messages that are dead-lettered, asked of the broker.
pub(super) async fn depths(channel: &Channel) -> lapin::Result<(u64, u64)> {
    let (mut queued, mut dead) = (0, 0);
    for name in QUEUES {
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let queue = channel
            .queue_declare(name.into(), options, FieldTable::default())
            .await?;
        let count = u64::from(queue.message_count());
        if name == DEAD_LETTER_QUEUE {
            dead += count
        } else {
            queued += count
        }
    }
    Ok((queued, dead))
}

//! Drop-in tracing for [lapin], the Rust client of RabbitMQ: an OpenTelemetry span for every
//! publish, delivery and settlement, and the path of every message.
//!
//! Two lines change in a lapin program, the `use` and the one that makes the channel:
//!
//! ```no_run
//! # use futures_util::StreamExt;
//! use rabtrace_lapin::TracedChannel;
//! use rabtrace_lapin::lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions};
//! use rabtrace_lapin::lapin::types::FieldTable;
//! use rabtrace_lapin::lapin::{BasicProperties, Connection, ConnectionProperties};
//!
//! # async fn example() -> rabtrace_lapin::lapin::Result<()> {
//! # let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
//! let connection =
//!     Connection::connect("amqp://localhost:5672/%2f", ConnectionProperties::default()).await?;
//! let channel = TracedChannel::new(connection.create_channel().await?);
//!
//! let mut consumer = channel
//!     .basic_consume("tasks".into(), "".into(), BasicConsumeOptions::default(), FieldTable::default())
//!     .await?;
//! while let Some(delivery) = consumer.next().await {
//!     let delivery = delivery?;
//!     let result =
//!         channel.basic_publish("".into(), "results".into(), options, &delivery.data, properties.clone());
//!     delivery.instrument(result).await?.await?;
//!     delivery.ack(BasicAckOptions::default()).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What it gives, for a message that travels from `gateway` to `planner`:
//!
//! ```text
//! publish tasks         gateway   PRODUCER   until the broker confirms it   rabtrace.publish.outcome=acked
//! └─ process tasks      planner   CONSUMER   until it is settled            rabtrace.settlement=ack
//!    ├─ publish results planner   PRODUCER
//!    └─ ack tasks       planner   CLIENT
//! ```
//!
//! # How a message is followed
//!
//! - A **publish** takes the context that is active when its future is first polled, `tracing`
//!   spans of tracing-opentelemetry included. Its context goes into a copy of the headers as
//!   `traceparent`, `tracestate` and `baggage`; a context that was there already is replaced. Its
//!   span ends with the outcome: see [`PublishOutcome`].
//! - A **delivery** continues the trace of its publish. With a span of the application active, that
//!   one is the parent, and the publish is linked to. The span begins when the delivery is handed
//!   out and ends when it is settled or dropped: see [`Settlement`].
//! - **Work on a delivery** belongs to it inside [`Acker::instrument`], under [`Acker::context`],
//!   and in a delegate's future. The plain body of a loop over the stream is not under it.
//! - The **path** travels in `tracestate` (see [`path`]), sampled or not, and every span says its
//!   step of it.
//!
//! # What it never does
//!
//! It never changes lapin's results or errors, never makes a publish fail (headers that would not
//! fit into the frame are left out), never waits for telemetry, keeps nothing that the application
//! does not keep, and has no global state: the configuration belongs to the channel
//! ([`TraceConfig`]). Without a tracer and without a parent, messages stay as they are, and no
//! attribute is made for them.
//!
//! Names and attributes are those of the messaging conventions v1.44.0 for RabbitMQ: see
//! [`conformance`] for each of them, where it is set and what is not, and for the ones of this crate
//! beyond them.

mod absence;
mod acker;
mod body;
mod channel;
mod config;
#[doc = include_str!("conformance.md")]
pub mod conformance {}
mod confirm;
mod connect;
mod connection;
mod consumer;
mod current;
mod delivery;
mod destination;
mod fetch;
pub mod guard;
mod hex;
mod history;
mod hooks;
mod intern;
mod metrics;
mod open;
mod operation;
pub mod path;
mod process;
mod propagation;
mod publish;
mod recent;
mod returned;
mod returns;
mod rules;
pub mod semconv;
mod sending;
mod settle;
mod shared;
mod source;
mod switch;
mod telemetry;
pub mod traced;

pub use acker::{Acker, Settlement};
pub use body::BodyCapture;
pub use channel::TracedChannel;
pub use config::TraceConfig;
pub use confirm::{PublishOutcome, TracedConfirm};
pub use connection::TracedConnection;
pub use consumer::{ConsumerDelegate, TracedConsumer};
pub use hooks::{HookMessage, HookSpan, TraceHooks};
pub use lapin;
pub use opentelemetry;
pub use returned::Confirmation;
pub use rules::{ExistingContext, Relation, Rule};
pub use switch::TraceSwitch;

/// Messages as consumers get them.
pub mod message {
    pub use crate::delivery::{BasicGetMessage, Delivery, DeliveryResult};
    pub use crate::returned::BasicReturnMessage;
}

#[cfg(test)]
mod tests;

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
//!     // Belongs to the delivery, as the task has no other one in hand.
//!     channel
//!         .basic_publish("".into(), "results".into(), options, &delivery.data, properties.clone())
//!         .await?
//!         .await?;
//!     delivery.ack(BasicAckOptions::default()).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A program that names lapin's types changes one line only: see [`traced`].
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
//!   spans of tracing-opentelemetry included; without one, that of the delivery that its task took
//!   last. Its context goes into a copy of the headers as `traceparent`, `tracestate` and
//!   `baggage`. A `traceparent` that the application put there is kept and linked to; one that came
//!   with a delivery is replaced ([`ExistingContext`]). Its span ends with the outcome: see
//!   [`PublishOutcome`]. A message that comes back is recognised by its headers: lapin hands it to
//!   whichever confirm completes next.
//! - A **delivery** links to its publish and continues its trace. With a span of the application
//!   active, that one is the parent ([`Relation`]). The span begins when the delivery is handed out
//!   and ends when it is settled, dropped, or lost with its channel: see [`Settlement`]. It tells
//!   which attempt it is, what the broker did with the message before, and links to the attempt
//!   before it.
//! - **Work on a delivery** belongs to it inside [`Acker::instrument`], under [`Acker::context`],
//!   and in a delegate's future. In the plain body of a loop over the stream, publishes do; spans
//!   of the application's own do not. A task that holds several deliveries at a time has to say
//!   which one it means: nothing is guessed. A delivery that was moved into a spawned task still
//!   counts for the task that took it, unless its work is stated by [`Acker::instrument`].
//! - The **path** travels in `tracestate` (see [`path`]), sampled or not, and every span says its
//!   step of it. Every publish and every delivery is measured as a step of its path, by what led to
//!   it ([`path::EdgeKind`]); a message that is made of several deliveries has the paths of all
//!   ([`merged_context`]). Without a tracer, but with a meter provider of its own
//!   ([`TraceConfig::with_meter_provider`]), the path travels alone.
//! - **Every message is measured**, sampled or not, with the conventions' metrics and some more:
//!   see [`conformance`]. The feature `bound-metrics` makes that cheap.
//!
//! # What it never does
//!
//! It never changes lapin's results or errors, never makes a publish fail (headers that would not
//! fit into the frame are left out and counted), never waits for telemetry, keeps nothing that the
//! application does not keep, and has no global configuration: it belongs to the channel
//! ([`TraceConfig`]). What it knows of tasks and of recent messages is the process's, of bounded
//! size. Hooks of the application ([`TraceHooks`]) cannot break a message. Without a tracer and
//! without a parent, messages stay as they are, and no attribute is made for them; and a
//! [`TraceSwitch`] turns it off at any time. [`TracedConnection`] also stands between lapin and
//! headers that would abort the process: see [`guard`].
//!
//! Names and attributes are those of the messaging conventions v1.44.0 for RabbitMQ: see
//! [`semconv`], where the ones of this crate beyond them are listed too, and the table in
//! [`conformance`].

mod absence;
mod acker;
mod body;
mod cause;
mod channel;
mod config;
#[doc = include_str!("conformance.md")]
pub mod conformance {}
mod confirm;
mod connect;
mod connection;
mod consumer;
#[doc(hidden)]
pub mod cost;
mod current;
mod delivery;
mod destination;
mod facts;
mod fan_in;
mod fetch;
mod fixed;
pub mod guard;
mod hex;
mod history;
mod hooks;
mod intern;
mod metrics;
mod open;
mod operation;
mod outcome;
pub mod path;
mod paths;
mod process;
mod propagation;
mod publish;
mod recent;
mod returned;
mod returns;
mod rules;
pub mod semconv;
mod sending;
mod service_name;
mod settle;
mod shared;
mod source;
mod switch;
mod telemetry;
pub mod traced;

pub use acker::Acker;
pub use body::BodyCapture;
pub use channel::TracedChannel;
pub use config::TraceConfig;
pub use confirm::TracedConfirm;
pub use connection::TracedConnection;
pub use consumer::{ConsumerDelegate, TracedConsumer};
pub use fan_in::merged_context;
pub use hooks::{HookMessage, HookSpan, TraceHooks};
pub use lapin;
pub use opentelemetry;
pub use outcome::{PublishOutcome, Settlement};
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

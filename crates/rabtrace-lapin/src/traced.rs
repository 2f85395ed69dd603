//! lapin's own names for what is traced: the one line that a program changes.
//!
//! Everything that `lapin` exports is here under the same name. What publishes, delivers or settles
//! is this crate's, with lapin's signatures; everything else is lapin's itself. So
//!
//! ```
//! use rabtrace_lapin::traced as lapin;
//! ```
//!
//! in the place of the dependency on lapin, or `rabtrace_lapin::traced` for `lapin` in each `use`,
//! is all that a program needs:
//!
//! ```no_run
//! use rabtrace_lapin::traced::{
//!     BasicProperties, Channel, Connection, ConnectionProperties, PublisherConfirm, Result,
//!     options::BasicPublishOptions,
//! };
//!
//! struct Orders {
//!     channel: Channel,
//!     unconfirmed: Vec<PublisherConfirm>,
//! }
//!
//! # async fn example() -> Result<()> {
//! let url = "amqp://localhost:5672/%2f";
//! let connection = Connection::connect(url, ConnectionProperties::default()).await?;
//! let mut orders = Orders {
//!     channel: connection.create_channel().await?,
//!     unconfirmed: Vec::new(),
//! };
//! let options = BasicPublishOptions::default();
//! let properties = BasicProperties::default();
//! let publish = orders
//!     .channel
//!     .basic_publish("".into(), "orders".into(), options, b"one", properties);
//! orders.unconfirmed.push(publish.await?);
//! for confirm in orders.unconfirmed {
//!     confirm.await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What differs from lapin
//!
//! - Methods of `Channel` and `Connection` that are not traced are reached through `Deref`:
//!   `channel.queue_declare(..)` is the same, `Channel::queue_declare(&channel, ..)` is not there.
//! - With a tracer installed, a message has the trace context in its headers, a returned one too.
//! - A function of another crate that asks for a `lapin::Channel` takes `channel.untraced()`, or
//!   `&*channel`; what it does is not traced.
//! - `lapin`'s Cargo features `tokio`, `rustls` and `native-tls` are this crate's. The others are
//!   switched on by a dependency on lapin itself, which may stand beside this one.

// Every name of lapin, also those that a later version adds; the ones below come before it.
pub use lapin::*;

pub use crate::acker::Acker;
pub use crate::channel::TracedChannel as Channel;
pub use crate::confirm::TracedConfirm as PublisherConfirm;
pub use crate::connect::{Connect, ConnectionBuilder, DefaultConnectionBuilder};
pub use crate::connection::TracedConnection as Connection;
pub use crate::consumer::{ConsumerDelegate, TracedConsumer as Consumer};
pub use crate::message;
pub use crate::returned::Confirmation;

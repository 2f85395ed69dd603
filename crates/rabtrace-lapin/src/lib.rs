//! Drop-in tracing for lapin.
pub use lapin;
pub use opentelemetry;

mod acker;
mod channel;
mod config;
mod confirm;
mod connection;
mod consumer;
mod delivery;
mod open;
pub mod path;
mod propagation;
pub mod semconv;
mod settle;
mod telemetry;

pub use acker::{Acker, Settlement};
pub use channel::TracedChannel;
pub use config::TraceConfig;
pub use confirm::{PublishOutcome, TracedConfirm};
pub use connection::TracedConnection;
pub use consumer::{ConsumerDelegate, TracedConsumer};

/// Messages as consumers get them.
pub mod message {
    pub use crate::delivery::{BasicGetMessage, Delivery, DeliveryResult};
    pub use lapin::message::BasicReturnMessage;
}

#[cfg(test)]
mod tests;

//! The traced channel beside instrumentations in other languages, through a real broker, both
//! ways: pika and aio-pika in Python, amqplib in Node.js, and pika without any.

#![expect(clippy::expect_used, reason = "a test's helpers fail the test")]

mod both_ways;
mod chain;
pub(crate) mod peer;
mod request;
mod uninstrumented;

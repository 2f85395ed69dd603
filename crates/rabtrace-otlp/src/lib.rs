//! A span exporter.
mod encode;

pub use encode::Encoder;

//! The sample pipeline on a private broker.

pub mod broker;

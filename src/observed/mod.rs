//! What the agent saw of broker, services and paths, for `/metrics`.
//!
//! Input: the points that the flow hands to the sinks, and the windows that it closes. Output:
//! Prometheus text. A table says which field of which measurement becomes which metric. The state is
//! bounded: each group has a number of label sets at most; of queues the deepest show, whatever else is
//! beyond counts as `_other`.

mod paths;
mod reference;
mod state;
mod table;
mod text;

#[cfg(test)]
mod tests;

pub use reference::{Described, reference};
pub use state::Observed;

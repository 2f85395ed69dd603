//! What the rows share: the agent as a process, sinks that fail on demand, a load that knows what
//! was acknowledged, and the judge.

mod agent;
mod judge;
mod length;
mod load;
mod sink;

use std::future::Future;
use std::time::{Duration, Instant};

pub(crate) use agent::{Agent, Setup, rabtrace, whole};
pub(crate) use judge::{Verdict, judge};
pub(crate) use length::{Length, report};
pub(crate) use load::{Load, Names, Oracle};
pub(crate) use sink::{Mode, Sink};

/// Waits until `probe` gives a value, for at most `within`; panics with `what` after that.
pub(crate) async fn eventually<T, F, Fut>(what: &str, within: Duration, mut probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let begun = Instant::now();
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(begun.elapsed() < within, "{what}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

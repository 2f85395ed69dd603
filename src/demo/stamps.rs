//! What the pipeline measures by itself: how long messages waited and were worked on, so that
//! what rabtrace shows can be compared with it.
//!
//! Each message carries the time of its publish in a header; the consumer reads it when it takes
//! the message, and times its own work. First deliveries alone: the wait of a later one contains
//! the attempts before it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use rabtrace_lapin::message::Delivery;
use serde::Serialize;

/// The time of the publish, in microseconds since the Unix epoch.
const SENT: &str = "x-demo-sent-us";

/// Wait and work at one queue, as the pipeline measured them.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Stamped {
    queue: String,
    messages: u64,
    wait_mean_ms: f64,
    work_mean_ms: f64,
}

#[derive(Default)]
struct Sums {
    messages: u32,
    wait: Duration,
    work: Duration,
}

/// The sums by queue.
#[derive(Default)]
pub(super) struct Stamps(Mutex<BTreeMap<String, Sums>>);

/// The properties with the time of the publish, which is now.
pub(super) fn stamped(properties: BasicProperties) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    let now = i64::try_from(now_us()).unwrap_or(i64::MAX);
    headers.insert(SENT.into(), AMQPValue::LongLongInt(now));
    properties.with_headers(headers)
}

impl Stamps {
    /// How long a delivery that is taken now waited; none if it was delivered before, or came
    /// through a queue whose name the broker made up.
    pub(super) fn wait(queue: &str, delivery: &Delivery) -> Option<Duration> {
        let headers = delivery
            .properties
            .headers()
            .as_ref()
            .map(FieldTable::inner)?;
        let Some(AMQPValue::LongLongInt(sent)) = headers.get(SENT) else {
            return None;
        };
        let again = delivery.redelivered || queue.starts_with("amq.");
        let waited = now_us().saturating_sub(u64::try_from(*sent).ok()?);
        (!again).then(|| Duration::from_micros(waited))
    }

    /// Does the work, and adds it up with the wait before it.
    pub(super) async fn time<F: Future>(
        &self,
        queue: &str,
        wait: Option<Duration>,
        work: F,
    ) -> F::Output {
        let begun = Instant::now();
        let result = work.await;
        if let Some(wait) = wait {
            let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let sums = queues.entry(queue.to_owned()).or_default();
            sums.messages += 1;
            sums.wait += wait;
            sums.work += begun.elapsed();
        }
        result
    }

    /// The means by queue.
    pub(super) fn means(&self) -> Vec<Stamped> {
        let queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mean = |(queue, sums): (&String, &Sums)| {
            let of = |sum: Duration| sum.as_secs_f64() * 1e3 / f64::from(sums.messages.max(1));
            Stamped {
                queue: queue.clone(),
                messages: u64::from(sums.messages),
                wait_mean_ms: of(sums.wait),
                work_mean_ms: of(sums.work),
            }
        };
        queues.iter().map(mean).collect()
    }
}

fn now_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

//! What the broker wrote into a message's headers: earlier attempts, dead-lettering, time stamps.
//!
//! Input: a header table of any content. Output: what could be read; what is missing or of another
//! type is absent, never zero. Pure.
//!
//! Source: <https://www.rabbitmq.com/docs/dlx>, <https://www.rabbitmq.com/docs/quorum-queues>
//! (`x-delivery-count`), <https://www.rabbitmq.com/docs/message-interceptors> (time stamps).

use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable};

/// Set by quorum queues: failed deliveries from this queue so far.
const DELIVERY_COUNT: &str = "x-delivery-count";
const DEATH: &str = "x-death";
const FIRST_DEATH_QUEUE: &str = "x-first-death-queue";
const FIRST_DEATH_REASON: &str = "x-first-death-reason";
/// When the broker got the message, in milliseconds since the Unix epoch.
const RECEIVED_MS: &str = "timestamp_in_ms";
/// When the broker sent the message, in milliseconds since the Unix epoch.
const SENT_MS: &str = "x-opt-rabbitmq-sent-time";

/// What happened to a message before this delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct History<'a> {
    /// Attempts before this one, as far as the headers tell.
    pub(crate) failed_attempts: u64,
    /// The last time that it was dead-lettered.
    pub(crate) death: Option<Death<'a>>,
}

/// An entry of `x-death`, and the sum of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Death<'a> {
    pub(crate) reason: &'a str,
    pub(crate) queue: &'a str,
    /// Where the message had been published to when it came into that queue first.
    pub(crate) exchange: &'a str,
    pub(crate) routing_key: &'a str,
    /// When it was dead-lettered there last, in seconds since the Unix epoch.
    pub(crate) time: Option<u64>,
    /// How often in all.
    pub(crate) count: u64,
}

/// Whether a header of that name is read here.
pub(crate) fn is_told_in(key: &str) -> bool {
    matches!(key, DELIVERY_COUNT | DEATH | RECEIVED_MS | SENT_MS)
}

/// Reads what happened to the message before.
pub(crate) fn history(headers: &FieldTable) -> History<'_> {
    let value = |key: &str| headers.inner().get(key);
    let redelivered = value(DELIVERY_COUNT).and_then(number).unwrap_or(0);
    let (mut last, mut count, mut refused) = (None, 0_u64, 0_u64);
    for death in deaths(headers) {
        count = count.saturating_add(death.count);
        if matches!(death.reason, "rejected" | "delivery_limit") {
            refused = refused.saturating_add(death.count);
        }
        last.get_or_insert(death);
    }
    History {
        failed_attempts: redelivered.saturating_add(refused),
        death: last.map(|death| Death { count, ..death }),
    }
}

/// Every entry about the queues that gave the message up, the last one first.
pub(crate) fn deaths(headers: &FieldTable) -> impl Iterator<Item = Death<'_>> {
    let deaths = match headers.inner().get(DEATH) {
        Some(AMQPValue::FieldArray(deaths)) => deaths.as_slice(),
        _ => &[],
    };
    deaths.iter().filter_map(|entry| match entry {
        AMQPValue::FieldTable(entry) => Some(death(entry)),
        _ => None,
    })
}

/// The first time that `queue` gave the message up.
pub(crate) fn first_death_in<'a>(headers: &'a FieldTable, queue: &str) -> Option<Death<'a>> {
    let told = |key: &str| headers.inner().get(key).and_then(text);
    let reason = told(FIRST_DEATH_REASON).filter(|_| told(FIRST_DEATH_QUEUE) == Some(queue));
    let in_queue = || deaths(headers).filter(|death| death.queue == queue);
    let first = in_queue().find(|death| reason == Some(death.reason));
    first.or_else(|| in_queue().last())
}

/// When the broker got the message, in microseconds since the Unix epoch, where it stamps that.
pub(crate) fn received_us(headers: &FieldTable) -> Option<u64> {
    let milliseconds = headers.inner().get(RECEIVED_MS).and_then(number)?;
    milliseconds.checked_mul(1_000)
}

fn death(entry: &FieldTable) -> Death<'_> {
    let value = |key: &str| entry.inner().get(key);
    let named = |key: &str| value(key).and_then(text).unwrap_or_default();
    let routing_key = match value("routing-keys") {
        Some(AMQPValue::FieldArray(keys)) => keys.as_slice().first().and_then(text),
        _ => None,
    };
    Death {
        reason: named("reason"),
        queue: named("queue"),
        exchange: named("exchange"),
        routing_key: routing_key.unwrap_or_default(),
        time: value("time").and_then(number),
        count: value("count").and_then(number).unwrap_or(1),
    }
}

/// Where a message's time in the queue went, as far as the broker stamps it. The clocks of the
/// services and of the broker meet here; a part for which they disagree is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waits {
    /// From the publish to the broker.
    pub(crate) ingress: Option<Duration>,
    /// In the broker, by its own clock.
    pub(crate) broker: Option<Duration>,
    /// On the wire and in the prefetch buffer.
    pub(crate) prefetch: Option<Duration>,
}

/// Splits the time between publish and delivery, both in microseconds since the Unix epoch.
pub(crate) fn waits(headers: &FieldTable, published_us: Option<u64>, now_us: u64) -> Waits {
    let stamp = |key: &str| {
        let milliseconds = headers.inner().get(key).and_then(number)?;
        milliseconds.checked_mul(1_000)
    };
    let (received, sent) = (stamp(RECEIVED_MS), stamp(SENT_MS));
    let between = |from: Option<u64>, to: Option<u64>| {
        let microseconds = to?.checked_sub(from?)?;
        Some(Duration::from_micros(microseconds))
    };
    // The stamps are cut to the millisecond, which may put the broker before the publish.
    let received_late = received.map(|stamp| stamp.saturating_add(999));
    let ingress = between(published_us, received_late).and(between(
        published_us,
        received.max(published_us.filter(|_| received.is_some())),
    ));
    Waits {
        ingress,
        broker: between(received, sent),
        prefetch: between(sent, Some(now_us)),
    }
}

fn number(value: &AMQPValue) -> Option<u64> {
    match value {
        AMQPValue::ShortShortUInt(number) => Some(u64::from(*number)),
        AMQPValue::ShortUInt(number) => Some(u64::from(*number)),
        AMQPValue::LongUInt(number) => Some(u64::from(*number)),
        AMQPValue::Timestamp(number) => Some(*number),
        AMQPValue::ShortShortInt(number) => u64::try_from(*number).ok(),
        AMQPValue::ShortInt(number) => u64::try_from(*number).ok(),
        AMQPValue::LongInt(number) => u64::try_from(*number).ok(),
        AMQPValue::LongLongInt(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn text(value: &AMQPValue) -> Option<&str> {
    match value {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        AMQPValue::ShortString(text) => Some(text.as_str()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldArray;

    use super::*;

    fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
        let mut table = FieldTable::default();
        for (key, value) in entries {
            table.insert((*key).into(), value.clone());
        }
        table
    }

    fn entry(reason: &str, queue: &str, count: i64) -> AMQPValue {
        AMQPValue::FieldTable(table(&[
            ("reason", AMQPValue::LongString(reason.into())),
            ("queue", AMQPValue::LongString(queue.into())),
            ("count", AMQPValue::LongLongInt(count)),
        ]))
    }

    #[test]
    fn attempts_and_deaths_are_read() {
        let deaths = vec![
            entry("expired", "retry", 3),
            AMQPValue::Void,
            entry("rejected", "work", 3),
        ];
        let headers = table(&[
            (DEATH, AMQPValue::FieldArray(FieldArray::from(deaths))),
            (DELIVERY_COUNT, AMQPValue::LongLongInt(1)),
        ]);
        let expect = History {
            failed_attempts: 4,
            death: Some(Death {
                reason: "expired",
                queue: "retry",
                exchange: "",
                routing_key: "",
                time: None,
                count: 6,
            }),
        };
        assert_eq!(history(&headers), expect);
    }

    #[test]
    fn what_cannot_be_read_is_absent() {
        let deaths = vec![AMQPValue::FieldTable(FieldTable::default())];
        let odd = [
            table(&[]),
            table(&[(DEATH, AMQPValue::LongString("x".into()))]),
            table(&[(DELIVERY_COUNT, AMQPValue::LongLongInt(-1))]),
            table(&[(DEATH, AMQPValue::FieldArray(FieldArray::default()))]),
        ];
        for headers in odd {
            assert_eq!(history(&headers), History::default(), "{headers:?}");
        }
        let empty = table(&[(DEATH, AMQPValue::FieldArray(FieldArray::from(deaths)))]);
        let death = history(&empty).death.unwrap();
        assert_eq!((death.reason, death.queue, death.count), ("", "", 1));
    }

    #[test]
    fn the_wait_is_split_where_the_broker_stamps_it() {
        let stamps = |received: Option<i64>, sent: Option<i64>| {
            let stamp = |key, value: Option<i64>| value.map(|ms| (key, AMQPValue::LongLongInt(ms)));
            let entries = [stamp(RECEIVED_MS, received), stamp(SENT_MS, sent)];
            let entries: Vec<_> = entries.into_iter().flatten().collect();
            waits(&table(&entries), Some(10_500), 50_700)
        };
        let micros = |micros| Some(Duration::from_micros(micros));
        let split = |ingress, broker, prefetch| Waits {
            ingress,
            broker,
            prefetch,
        };
        assert_eq!(stamps(None, None), Waits::default());
        let all = split(micros(1_500), micros(30_000), micros(8_700));
        assert_eq!(stamps(Some(12), Some(42)), all);
        assert_eq!(stamps(Some(12), None), split(micros(1_500), None, None));
        assert_eq!(stamps(None, Some(42)), split(None, None, micros(8_700)));
        // The same millisecond as the publish, cut.
        assert_eq!(stamps(Some(10), None), split(micros(0), None, None));
        // Clocks that disagree.
        assert_eq!(stamps(Some(5), Some(60)), split(None, micros(55_000), None));
    }
}

//! The series of path metrics: what came since the point before.
//!
//! Input: data points of any temporality. Output: what is to be counted, as a [`PathValue`], or
//! why it is not ([`Skipped`]). A delta point that ends when one of the newest of its series
//! ended came twice; one that only comes late counts. A cumulative one is counted as what it has
//! more than the one before, whole when its count fell. Another start is another series: a process
//! began anew, or is another one of the same name. The first point of a series is whole if it
//! started after the agent began to look, else it is what later ones are measured from.
//!
//! Bounded: [`MAX_SERIES`] series and [`MAX_BYTES`] of their values; beyond it new ones are
//! refused. Those that nothing came of for an hour are forgotten.

mod key;
mod value;

use std::collections::HashMap;

use crate::model::{PathRecord, PathValue, Resume, SeriesKey, SeriesState};

/// Series that are kept.
const MAX_SERIES: usize = 200_000;
/// Bytes of what is kept of them.
const MAX_BYTES: usize = 128 << 20;
/// Processes whose series were forgotten that are remembered.
const MAX_FORGOTTEN: usize = 100_000;
/// After this time without a point a series is forgotten.
const IDLE_NANOS: i64 = 3_600_000_000_000;

/// Why a point is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// It was counted before.
    Retransmitted,
    /// It is the first of a cumulative series that began before the agent looked.
    Baseline,
    /// There are too many series.
    Full,
}

struct State {
    instance: u64,
    end: i64,
    seen: i64,
    /// Its value, or when its delta points ended: see [`value`].
    value: Option<std::sync::Arc<[u8]>>,
}

/// The newest point of every series.
#[derive(Default)]
pub struct Series {
    states: HashMap<SeriesKey, State>,
    bytes: usize,
    /// Cumulative series that began after this time are counted from their start.
    since: i64,
    /// The same for processes of which series were forgotten.
    forgotten: HashMap<u64, i64>,
}

impl Series {
    /// Goes on from what was stored; `now_unix_nano` is when the agent begins to look if nothing
    /// was.
    #[must_use]
    pub fn resume(resume: &mut Resume, now_unix_nano: i64) -> Self {
        let since = match resume.stored_unix_nano {
            0 => now_unix_nano,
            stored => stored.min(now_unix_nano),
        };
        let mut series = Self {
            since,
            ..Self::default()
        };
        for state in resume.series.drain(..).take(MAX_SERIES) {
            let key = state.key;
            series.put(
                key,
                State {
                    instance: state.instance,
                    end: state.end_unix_nano,
                    // No time without an agent makes them idle.
                    seen: now_unix_nano,
                    value: state.value,
                },
            );
        }
        series
    }

    /// Takes a point in: what of it is to be counted, and the state that is to be stored with it.
    ///
    /// # Errors
    /// [`Skipped`], with the state if it changed all the same.
    pub fn take(
        &mut self,
        record: &PathRecord,
        now_unix_nano: i64,
    ) -> (Result<PathValue, Skipped>, Option<SeriesState>) {
        let end = nanos(record.end_unix_nano);
        if end == 0 && !record.cumulative {
            // Without a time nothing tells it from another one.
            return (Ok(record.value.clone()), None);
        }
        let key = key::of(record);
        let known = self.states.get(&key);
        let start = nanos(record.start_unix_nano);
        let again = known.is_some_and(|known| {
            if record.cumulative {
                end <= known.end
            } else {
                let bytes = known.value.as_deref().unwrap_or_default();
                value::ends(bytes).any(|known| known == end)
            }
        });
        if again {
            return (Err(Skipped::Retransmitted), None);
        }
        let instance = key::instance(record);
        let is_new = known.is_none();
        let outcome = match known {
            _ if !record.cumulative => Ok(record.value.clone()),
            Some(known) => Ok(since(&record.value, known)),
            None if start > self.since_of(instance) => Ok(record.value.clone()),
            None => Err(Skipped::Baseline),
        };
        let value = match record.cumulative {
            true => value::encode(&record.value),
            false => value::with_end(known.and_then(|known| known.value.as_deref()), end),
        };
        let size = value.len();
        if is_new && (self.states.len() >= MAX_SERIES || self.bytes + size > MAX_BYTES) {
            // A delta counts all the same: only that it came before cannot be told.
            let outcome = outcome.and_then(|value| match record.cumulative {
                true => Err(Skipped::Full),
                false => Ok(value),
            });
            return (outcome, None);
        }
        let state = SeriesState {
            key,
            instance,
            start_unix_nano: start,
            end_unix_nano: end,
            seen_unix_nano: now_unix_nano,
            value: Some(value.into()),
        };
        self.put(
            key,
            State {
                instance,
                end,
                seen: now_unix_nano,
                value: state.value.clone(),
            },
        );
        (outcome, Some(state))
    }

    /// Forgets the series that nothing came of for an hour, and names them.
    pub fn forget(&mut self, now_unix_nano: i64) -> Vec<SeriesKey> {
        let limit = now_unix_nano.saturating_sub(IDLE_NANOS);
        let idle = |state: &State| state.seen < limit;
        let keys: Vec<SeriesKey> = self
            .states
            .iter()
            .filter(|(_, state)| idle(state))
            .map(|(key, _)| *key)
            .collect();
        for key in &keys {
            let Some(state) = self.states.remove(key) else {
                continue;
            };
            self.bytes -= state.value.as_ref().map_or(0, |value| value.len());
            // What comes of it again must not be counted from its start a second time.
            if state.value.as_deref().is_some_and(value::is_cumulative) {
                let until = self.forgotten.entry(state.instance).or_insert(state.end);
                *until = (*until).max(state.end);
            }
        }
        if self.forgotten.len() > MAX_FORGOTTEN {
            let newest = self.forgotten.values().copied().max();
            self.since = self.since.max(newest.unwrap_or(0));
            self.forgotten.clear();
        }
        keys
    }

    fn since_of(&self, instance: u64) -> i64 {
        let forgotten = self.forgotten.get(&instance).copied();
        forgotten.map_or(self.since, |until| until.max(self.since))
    }

    fn put(&mut self, key: SeriesKey, state: State) {
        self.bytes += state.value.as_ref().map_or(0, |value| value.len());
        if let Some(before) = self.states.insert(key, state) {
            self.bytes -= before.value.as_ref().map_or(0, |value| value.len());
        }
    }
}

/// What a cumulative value has more than the one before; all of it if its process began anew.
fn since(value: &PathValue, known: &State) -> PathValue {
    let before = known.value.as_deref();
    before
        .and_then(value::decode)
        .and_then(|before| value::since(value, &before))
        .unwrap_or_else(|| value.clone())
}

fn nanos(unix_nano: u64) -> i64 {
    i64::try_from(unix_nano).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;

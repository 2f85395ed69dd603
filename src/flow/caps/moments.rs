//! The times of points that were folded: two points of one series and time would be one in InfluxDB.
//!
//! A point whose time another one of its series has is moved by some nanoseconds, at most half a
//! millisecond. One that comes again is found by its id and gets the time that it had. Bounded: the
//! last [`MAX_MOMENTS`] are remembered.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;

use foldhash::quality::RandomState;

use super::Plain;
use crate::model::SpanId;

/// Points whose times are remembered.
const MAX_MOMENTS: usize = 50_000;
/// Times that are tried for one point: one in ten is taken at most.
const MAX_TRIES: u64 = 100;
/// Nanoseconds by which a point is moved at most.
const MAX_MOVE: u64 = 500_000;

/// The times that are taken.
#[derive(Default)]
pub(in crate::flow) struct Moments {
    hasher: RandomState,
    /// By a hash of series and time.
    taken: HashMap<u64, SpanId, Plain>,
    /// Oldest first.
    order: VecDeque<u64>,
}

impl Moments {
    /// The time of the point of a span: `unix_nano`, or the first one near it that no other span has.
    pub(in crate::flow) fn free(&mut self, series: u64, unix_nano: i64, id: SpanId) -> i64 {
        for tries in 0..MAX_TRIES {
            // Each span has places of its own, so that many of one time do not crowd around it.
            let by = match tries {
                0 => 0,
                _ => 1 + self.hasher.hash_one((id, tries)) % MAX_MOVE,
            };
            let time = unix_nano.saturating_add_unsigned(by);
            let key = self.hasher.hash_one((series, time));
            match self.taken.get(&key) {
                None => {
                    self.take(key, id);
                    return time;
                }
                Some(known) if *known == id => return time,
                Some(_) => {}
            }
        }
        unix_nano
    }

    fn take(&mut self, key: u64, id: SpanId) {
        if self.order.len() >= MAX_MOMENTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.taken.remove(&oldest);
        }
        self.taken.insert(key, id);
        self.order.push_back(key);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{MAX_MOMENTS, Moments};
    use crate::model::SpanId;

    fn id(number: u64) -> SpanId {
        SpanId::from_bytes(&(number + 1).to_be_bytes()).unwrap()
    }

    #[test]
    fn spans_of_one_time_get_times_of_their_own_and_the_same_when_they_come_again() {
        let mut moments = Moments::default();
        let times: Vec<i64> = (0..20_000)
            .map(|number| moments.free(7, 1_000_000 + (number % 5) as i64, id(number)))
            .collect();
        assert_eq!(times.iter().collect::<HashSet<_>>().len(), 20_000);
        assert!(
            times
                .iter()
                .all(|time| (0..=500_004).contains(&(time - 1_000_000)))
        );
        for number in [0, 9_999, 19_999] {
            let again = moments.free(7, 1_000_000 + (number % 5) as i64, id(number));
            assert_eq!(again, times[usize::try_from(number).unwrap()]);
        }
        assert_eq!(
            moments.free(8, 1_000_000, id(1)),
            1_000_000,
            "another series"
        );
    }

    #[test]
    fn only_the_last_are_remembered() {
        let mut moments = Moments::default();
        for number in 0..2 * MAX_MOMENTS as u64 {
            moments.free(7, number as i64, id(number));
        }
        assert_eq!(
            (moments.taken.len(), moments.order.len()),
            (MAX_MOMENTS, MAX_MOMENTS)
        );
    }
}

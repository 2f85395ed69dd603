//! A table of fixed size from keys to values, without locks.
//!
//! Input: keys that are spread well as they are. Output: the place of a value, made when its key
//! comes first. Entries stay for good. Once the table has as many as it may, further keys have no
//! place. Memory is taken by parts, as keys come.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Slots of one part.
const PART: usize = 64;
/// No key, in a slot.
const FREE: u64 = 0;

/// Keys go to the slot that they name, or the next free one (linear probing).
pub(super) struct Table<T> {
    parts: Box<[OnceLock<Part<T>>]>,
    limit: usize,
    used: AtomicUsize,
}

/// Slots that are taken together.
type Part<T> = Box<[Slot<T>]>;

struct Slot<T> {
    key: AtomicU64,
    value: OnceLock<T>,
}

impl<T> Table<T> {
    /// A table for `limit` values.
    pub(super) fn new(limit: usize) -> Self {
        // Half of the slots stay free, so that a key is found within a few steps.
        let slots = limit.saturating_mul(2).next_power_of_two().max(PART);
        Self {
            parts: (0..slots / PART).map(|_| OnceLock::new()).collect(),
            limit,
            used: AtomicUsize::new(0),
        }
    }

    /// How many values there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// Slots for which memory was taken.
    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.parts
            .iter()
            .filter(|part| part.get().is_some())
            .count()
            * PART
    }

    /// The place of the value of `key`; none if there is no room for one more.
    pub(super) fn place(&self, key: u64, make: impl FnOnce() -> T) -> Option<usize> {
        let key = key.max(FREE + 1);
        // A power of two.
        let slots = self.parts.len() * PART;
        let first = usize::try_from(key & 0xffff_ffff).unwrap_or(0);
        let mut has_room = false;
        for step in 0..slots {
            let at = (first + step) & (slots - 1);
            let slot = self.slot(at)?;
            let mut found = slot.key.load(Ordering::Acquire);
            if found == FREE {
                has_room = has_room || self.reserve();
                if !has_room {
                    return None;
                }
                let taken =
                    slot.key
                        .compare_exchange(FREE, key, Ordering::AcqRel, Ordering::Acquire);
                found = match taken {
                    Ok(_) => {
                        has_room = false;
                        key
                    }
                    Err(other) => other,
                };
            }
            if found == key {
                if has_room {
                    // Another thread made the same entry meanwhile.
                    self.used.fetch_sub(1, Ordering::AcqRel);
                }
                slot.value.get_or_init(make);
                return Some(at);
            }
        }
        None
    }

    /// The value at a place.
    pub(super) fn at(&self, place: usize) -> Option<&T> {
        self.slot(place)?.value.get()
    }

    fn slot(&self, at: usize) -> Option<&Slot<T>> {
        let part = self.parts.get(at / PART)?;
        let slots = part.get_or_init(|| (0..PART).map(|_| Slot::free()).collect());
        slots.get(at % PART)
    }

    fn reserve(&self) -> bool {
        let more = |used: usize| (used < self.limit).then_some(used + 1);
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
            .is_ok()
    }
}

impl<T> Slot<T> {
    fn free() -> Self {
        Self {
            key: AtomicU64::new(FREE),
            value: OnceLock::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn beyond_the_limit_there_is_no_place() {
        let table = Table::new(1_000);
        let (mut known, mut none) = (0, 0);
        for number in 0..100_000_u64 {
            match table.place(crate::path::mix(number), || number) {
                Some(place) => {
                    known += 1;
                    assert_eq!(table.at(place), Some(&number));
                }
                None => none += 1,
            }
        }
        assert_eq!((known, none, table.len()), (1_000, 99_000, 1_000));
        assert!(table.slots() <= 2_048, "{}", table.slots());
        // Those that have a place keep it.
        assert!(table.place(crate::path::mix(7), || 0).is_some());
        let small: Table<u64> = Table::new(0);
        assert_eq!(small.place(5, || 5), None);
    }

    #[test]
    fn memory_is_taken_as_keys_come() {
        let table = Table::new(1_024);
        assert_eq!(table.slots(), 0);
        table.place(1, || ());
        table.place(2, || ());
        assert_eq!(table.slots(), PART);
    }

    #[test]
    fn threads_make_every_entry_once() {
        const KEYS: u64 = 500;
        let table = Table::new(500);
        let made = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for key in 1..=KEYS {
                        let make = || made.fetch_add(1, Ordering::Relaxed);
                        table.place(crate::path::mix(key), make);
                    }
                });
            }
        });
        let all = (1..=KEYS).filter(|key| {
            let place = table.place(crate::path::mix(*key), || 0);
            place.is_some()
        });
        assert_eq!(all.count(), 500);
        assert_eq!((table.len(), made.into_inner()), (500, 500));
    }

    proptest! {
        #[test]
        fn a_key_has_one_place(keys in proptest::collection::vec(1..200_u64, 1..300)) {
            let table = Table::new(256);
            for key in &keys {
                let place = table.place(*key, || *key).unwrap();
                prop_assert_eq!(table.at(place), Some(key));
                prop_assert_eq!(table.place(*key, || 999), Some(place));
            }
            let mut distinct = keys.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(table.len(), distinct.len());
        }
    }
}

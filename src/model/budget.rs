//! How many bytes of requests the process holds at once, and room for one request in it.
//!
//! Room is taken before the bytes are held, and is free again when the last [`Held`] of it is
//! dropped, wherever that happens: a cancelled request, a panic. Nobody waits for room while
//! holding some, so nothing can lock up: who finds none is refused.
//!
//! A request may have three times what it leaves free, so the large ones feel first that room gets
//! short, and however many of them there are, some is left for small ones: dynamic thresholds,
//! as switches share their memory (Choudhury and Hahne, 1998).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A request may have so many times what it leaves free.
const SHARE: u64 = 3;
/// Room is short when less than this part of the budget is free.
const SHORT: u64 = 4;

/// The bytes that all requests together may take; a clone is the same budget.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max_bytes: u64,
    held_bytes: AtomicU64,
}

/// There is no room for a request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for {bytes} bytes of requests")]
pub struct NoRoom {
    /// What the request would take.
    pub bytes: u64,
}

impl Budget {
    /// A budget of `max_bytes`, all of it free.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        Self(Arc::new(Shared {
            max_bytes,
            held_bytes: AtomicU64::new(0),
        }))
    }

    /// What all requests may take.
    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        self.0.max_bytes
    }

    /// What they take now.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.0.held_bytes.load(Ordering::Relaxed)
    }

    /// What one request may take when it is alone.
    #[must_use]
    pub fn max_request_bytes(&self) -> u64 {
        self.0.max_bytes / (SHARE + 1) * SHARE
    }

    /// Whether who takes long to fill its room should give it back.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.0.max_bytes.saturating_sub(self.held_bytes()) < self.0.max_bytes / SHORT
    }

    /// Whether a request of `bytes` finds room now.
    #[must_use]
    pub fn has_room(&self, bytes: u64) -> bool {
        self.sum(self.held_bytes(), bytes, bytes).is_some()
    }

    /// Room of no bytes, to be grown.
    #[must_use]
    pub fn hold(&self) -> Held {
        Held {
            budget: self.clone(),
            bytes: 0,
        }
    }

    /// What is held with `more`, which makes a request `bytes`; none if it may not have that.
    fn sum(&self, held: u64, more: u64, bytes: u64) -> Option<u64> {
        let sum = held.checked_add(more)?;
        let free = self.0.max_bytes.checked_sub(sum)?;
        (bytes <= free.saturating_mul(SHARE)).then_some(sum)
    }
}

/// Room of one request; free again when it is dropped.
#[derive(Debug)]
pub struct Held {
    budget: Budget,
    bytes: u64,
}

impl Held {
    /// Takes as much more as makes it `bytes`; it never gets less.
    ///
    /// # Errors
    /// If there is no room; what is held stays.
    pub fn grow_to(&mut self, bytes: u64) -> Result<(), NoRoom> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let add = |held| self.budget.sum(held, more, bytes);
        let held = &self.budget.0.held_bytes;
        match held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => {
                self.bytes = bytes;
                Ok(())
            }
            Err(_) => Err(NoRoom { bytes }),
        }
    }

    /// Gives back what is above `bytes`.
    pub fn shrink_to(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        self.budget.0.held_bytes.fetch_sub(less, Ordering::Relaxed);
        self.bytes -= less;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, NoRoom};
    use std::sync::Arc;

    #[test]
    fn room_is_free_again_when_the_last_holder_drops_it() {
        let budget = Budget::new(6_400);
        let mut held = budget.hold();
        assert_eq!(held.grow_to(500), Ok(()));
        assert_eq!(held.grow_to(40), Ok(()), "it does not shrink by growing");
        assert_eq!(budget.held_bytes(), 500);
        held.shrink_to(300);
        let (held, other) = (Arc::new(held), budget.hold());
        let second = Arc::clone(&held);
        drop((held, other));
        assert_eq!(budget.held_bytes(), 300);
        drop(second);
        assert_eq!(budget.held_bytes(), 0);
        let outcome = std::panic::catch_unwind(|| {
            let mut held = budget.hold();
            held.grow_to(900).unwrap();
            panic!("in the middle of a request");
        });
        assert!(outcome.is_err());
        assert_eq!(budget.held_bytes(), 0);
    }

    #[test]
    fn one_request_may_have_most_of_it() {
        let budget = Budget::new(4_000);
        assert_eq!(budget.max_request_bytes(), 3_000);
        let mut held = budget.hold();
        assert_eq!(held.grow_to(3_001), Err(NoRoom { bytes: 3_001 }));
        assert_eq!((held.grow_to(2_900), held.grow_to(3_000)), (Ok(()), Ok(())));
        assert!(!budget.is_short() && budget.has_room(750) && !budget.has_room(751));
        assert_eq!(budget.hold().grow_to(751), Err(NoRoom { bytes: 751 }));
        assert_eq!(held.grow_to(u64::MAX), Err(NoRoom { bytes: u64::MAX }));
        assert_eq!(budget.held_bytes(), 3_000, "what is held stays");
    }

    #[test]
    fn however_many_are_greedy_some_is_left_for_small_requests() {
        let budget = Budget::new(128 << 20);
        let mut greedy: Vec<_> = (0..64).map(|_| budget.hold()).collect();
        let mut has_grown = true;
        while has_grown {
            has_grown = false;
            for held in &mut greedy {
                let more = held.bytes + (16 << 10);
                has_grown |= held.grow_to(more).is_ok();
            }
        }
        assert!(budget.is_short());
        let (mut small, mut large) = (budget.hold(), budget.hold());
        assert_eq!(small.grow_to(400 << 10), Ok(()));
        assert!(large.grow_to(2 << 20).is_err());
        drop(greedy);
        assert_eq!(large.grow_to(2 << 20), Ok(()));
    }

    #[test]
    fn many_threads_never_hold_more_than_there_is() {
        let budget = Budget::new(64_000);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for size in (0..2_000).map(|number| number * 37 % 900) {
                        let mut held = budget.hold();
                        if held.grow_to(size * 20).is_ok() {
                            assert!(budget.held_bytes() <= 64_000);
                        }
                        held.shrink_to(size);
                    }
                });
            }
        });
        assert_eq!(budget.held_bytes(), 0);
    }
}

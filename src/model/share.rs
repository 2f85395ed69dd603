//! How much waits somewhere, told by what is there and not by what was counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A share of a sum that others read; it is part of the sum until the last clone of it is dropped.
#[derive(Clone, Debug)]
pub struct Share(Arc<Part>);

#[derive(Debug)]
struct Part {
    sum: Arc<AtomicI64>,
    number: AtomicI64,
}

impl Share {
    /// A share of `sum`.
    ///
    /// ```
    /// use rabtrace::model::Share;
    ///
    /// let sum = Default::default();
    /// let share = Share::new(&sum, 3);
    /// assert_eq!(sum.load(std::sync::atomic::Ordering::Relaxed), 3);
    /// drop(share);
    /// assert_eq!(sum.load(std::sync::atomic::Ordering::Relaxed), 0);
    /// ```
    #[must_use]
    pub fn new(sum: &Arc<AtomicI64>, number: i64) -> Self {
        sum.fetch_add(number, Ordering::Relaxed);
        Self(Arc::new(Part {
            sum: Arc::clone(sum),
            number: AtomicI64::new(number),
        }))
    }

    /// Makes the share, clones of it included, as large as that.
    pub fn set(&self, number: i64) {
        let before = self.0.number.swap(number, Ordering::Relaxed);
        self.0.sum.fetch_add(number - before, Ordering::Relaxed);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let number = self.number.load(Ordering::Relaxed);
        self.sum.fetch_sub(number, Ordering::Relaxed);
    }
}

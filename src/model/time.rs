//! Time as numbers.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch; zero before it, cut at the greatest number (in the year 2262).
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// let time = UNIX_EPOCH + Duration::from_millis(1);
/// assert_eq!(rabtrace::model::unix_nano(time), 1_000_000);
/// ```
#[must_use]
pub fn unix_nano(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

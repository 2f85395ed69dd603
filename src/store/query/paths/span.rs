//! Spans of time, and which tables of an hour answer for them.

use std::collections::BTreeSet;

use crate::store::schema::{hour_of, start_of};

/// Width of the sums that a closed hour has.
pub(super) const PIECE_NANOS: i64 = 300 * 1_000_000_000;

/// From when to when; nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) since: i64,
    pub(super) until: i64,
}

impl Span {
    /// Everything since then, with what is being counted now.
    pub(super) const fn open(since: i64) -> Self {
        Self {
            since,
            until: i64::MAX,
        }
    }

    /// Whether what was counted from `start` on for so long belongs to the span.
    pub(super) const fn holds(self, start: i64, width: i64) -> bool {
        let end = start.saturating_add(width);
        if width >= PIECE_NANOS {
            return start >= self.since && end <= self.until;
        }
        end > self.since && end <= self.until
    }

    fn touches(self, hour: i64) -> bool {
        start_of(hour + 1) > self.since && start_of(hour) < self.until
    }
}

/// What is read of one hour.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Every window.
    Windows,
    /// The sums of 5 minutes, but windows in those pieces (their beginnings) that a span cuts.
    Sums { cut: BTreeSet<i64> },
}

/// How `hour` is read for these spans; none if none of them touches it.
pub(super) fn reading(hour: i64, has_sums: bool, spans: &[Span]) -> Option<Reading> {
    if !spans.iter().any(|span| span.touches(hour)) {
        return None;
    }
    if !has_sums {
        return Some(Reading::Windows);
    }
    let borders = spans.iter().flat_map(|span| [span.since, span.until]);
    let cut = borders
        .filter(|border| hour_of(*border) == hour && border.rem_euclid(PIECE_NANOS) != 0)
        .map(|border| border - border.rem_euclid(PIECE_NANOS))
        .collect();
    Some(Reading::Sums { cut })
}

#[cfg(test)]
mod tests {
    use super::{PIECE_NANOS, Reading, Span, reading};
    use crate::store::schema::start_of;

    const WINDOW: i64 = 10_000_000_000;

    #[test]
    fn a_window_belongs_where_it_ends() {
        let span = Span {
            since: 100 * WINDOW,
            until: 200 * WINDOW,
        };
        let belong = [99, 100, 199, 200].map(|start| span.holds(start * WINDOW, WINDOW));
        assert_eq!(belong, [false, true, true, false]);
        assert!(span.holds(99 * WINDOW + 1, WINDOW));
        assert!(Span::open(0).holds(i64::MAX - 1, WINDOW));
    }

    #[test]
    fn windows_are_read_where_a_span_cuts_a_piece_and_sums_elsewhere() {
        let at = |pieces: i64| start_of(100) + pieces * PIECE_NANOS;
        let now = Span::open(at(3) + 1);
        let before = Span {
            since: at(-9) + 1,
            until: at(6),
        };
        assert_eq!(
            reading(100, true, &[now, before]),
            Some(Reading::Sums {
                cut: [at(3)].into()
            })
        );
        assert_eq!(
            reading(101, true, &[now, before]),
            Some(Reading::Sums { cut: [].into() })
        );
        assert_eq!(reading(101, false, &[now]), Some(Reading::Windows));
        assert_eq!(reading(99, true, &[now]), None);
        assert_eq!(reading(101, true, &[before]), None);
    }
}

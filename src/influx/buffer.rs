//! Lines that wait: one open batch that fills, sealed batches behind each other, and those in
//! flight. Pure.
//!
//! When it is full the oldest sealed batch goes, then the open one; what is in flight stays.
//! Lines in = lines taken out for good + dropped + [`Buffer::lines`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::batch::Batch;
use super::line_protocol::encode;
use crate::config;
use crate::model::Point;

/// When a batch is full, and when the buffer is.
#[derive(Clone, Copy, Debug)]
struct Limits {
    batch_lines: u64,
    batch_bytes: usize,
    age: Duration,
    bytes: usize,
}

/// What happened to points that came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Added {
    /// Points that line protocol cannot express.
    pub(super) without_fields: u64,
    /// Older lines that had to go.
    pub(super) overflow: u64,
}

/// The lines that wait, and those in flight.
pub(super) struct Buffer {
    limits: Limits,
    open: Vec<u8>,
    open_lines: u64,
    open_since: Option<Instant>,
    sealed: VecDeque<Batch>,
    sealed_bytes: usize,
    in_flight_bytes: usize,
    in_flight_lines: u64,
}

impl Buffer {
    /// An empty buffer with the limits of `config`.
    pub(super) fn new(config: &config::Influx) -> Self {
        Self {
            limits: Limits {
                batch_lines: config.batch_lines as u64,
                batch_bytes: config.batch_bytes.min(config.buffer_bytes),
                age: config.flush_interval,
                bytes: config.buffer_bytes,
            },
            open: Vec::new(),
            open_lines: 0,
            open_since: None,
            sealed: VecDeque::new(),
            sealed_bytes: 0,
            in_flight_bytes: 0,
            in_flight_lines: 0,
        }
    }

    /// Encodes `points` behind what is there.
    pub(super) fn add(&mut self, points: &[Point], now: Instant) -> Added {
        let mut added = Added::default();
        for point in points {
            let start = self.open.len();
            if !encode(point, &mut self.open) {
                added.without_fields += 1;
                continue;
            }
            if self.open.len() > self.limits.batch_bytes && start > 0 {
                let last = self.open.split_off(start);
                self.seal();
                self.open = last;
            }
            self.open_lines += 1;
            self.open_since.get_or_insert(now);
            let full = self.open.len() >= self.limits.batch_bytes
                || self.open_lines >= self.limits.batch_lines;
            if full {
                self.seal();
            }
            added.overflow += self.evict();
        }
        added
    }

    /// Closes the open batch, however full it is.
    pub(super) fn seal(&mut self) {
        if self.open_lines > 0 {
            let batch = Batch::seal(&self.open, self.open_lines);
            self.sealed_bytes += batch.size();
            self.sealed.push_back(batch);
        }
        self.clear_open();
    }

    /// When there is something to send: now, when the open batch is old enough, or not at all.
    pub(super) fn ready_at(&self, now: Instant) -> Option<Instant> {
        if self.sealed.is_empty() {
            self.open_since.map(|since| since + self.limits.age)
        } else {
            Some(now)
        }
    }

    /// Takes the oldest batch for sending; it counts as in flight until [`Buffer::settle`].
    ///
    /// The open batch goes on filling while sealed ones wait before it, so that an outage does
    /// not leave thousands of small ones.
    pub(super) fn take(&mut self, now: Instant) -> Option<Batch> {
        if self.ready_at(now)? > now {
            return None;
        }
        if self.sealed.is_empty() {
            self.seal();
        }
        let batch = self.sealed.pop_front()?;
        self.sealed_bytes -= batch.size();
        self.in_flight_bytes += batch.size();
        self.in_flight_lines += batch.lines();
        Some(batch)
    }

    /// Ends the flight of a batch of `size` bytes and `lines` lines. What is left of it, `rest`,
    /// becomes the oldest again. Returns how many lines had to go.
    pub(super) fn settle(&mut self, size: usize, lines: u64, rest: Vec<Batch>) -> u64 {
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(size);
        self.in_flight_lines = self.in_flight_lines.saturating_sub(lines);
        for batch in rest.into_iter().rev() {
            self.sealed_bytes += batch.size();
            self.sealed.push_front(batch);
        }
        self.evict()
    }

    /// Bytes that are kept, those in flight included.
    pub(super) fn bytes(&self) -> usize {
        self.open.len() + self.sealed_bytes + self.in_flight_bytes
    }

    /// Lines that are kept, those in flight included.
    pub(super) fn lines(&self) -> u64 {
        let sealed: u64 = self.sealed.iter().map(Batch::lines).sum();
        self.open_lines + sealed + self.in_flight_lines
    }

    fn evict(&mut self) -> u64 {
        let mut dropped = 0;
        while self.bytes() > self.limits.bytes {
            if let Some(batch) = self.sealed.pop_front() {
                self.sealed_bytes -= batch.size();
                dropped += batch.lines();
            } else if self.open_lines > 0 {
                dropped += self.open_lines;
                self.clear_open();
            } else {
                break;
            }
        }
        dropped
    }

    fn clear_open(&mut self) {
        self.open.clear();
        self.open_lines = 0;
        self.open_since = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq};
    use proptest::proptest;

    use super::{Added, Buffer};
    use crate::config::{Config, Influx};
    use crate::model::Point;

    fn config() -> Influx {
        Influx {
            batch_lines: 3,
            batch_bytes: 60,
            flush_interval: Duration::from_secs(1),
            buffer_bytes: 400,
            ..Config::default().influx
        }
    }

    fn points(number: usize) -> Vec<Point> {
        let point = |n| Point::new("m", i64::try_from(n).unwrap()).int("f", Some(1));
        (0..number).map(point).collect()
    }

    #[test]
    fn a_batch_is_taken_when_full_or_old() {
        let (mut buffer, begun) = (Buffer::new(&config()), Instant::now());
        assert_eq!(buffer.add(&points(2), begun), Added::default());
        assert!(buffer.take(begun).is_none());
        assert_eq!(buffer.ready_at(begun), Some(begun + Duration::from_secs(1)));
        let batch = buffer.take(begun + Duration::from_secs(1)).unwrap();
        assert_eq!(batch.lines(), 2);
        buffer.settle(batch.size(), batch.lines(), Vec::new());
        assert_eq!((buffer.bytes(), buffer.lines()), (0, 0));
        buffer.add(&points(4), begun);
        assert_eq!(buffer.take(begun).unwrap().lines(), 3, "three are a batch");
        assert!(buffer.take(begun).is_none(), "the fourth waits");
    }

    #[test]
    fn a_batch_never_exceeds_its_bytes_unless_one_line_does() {
        let (mut buffer, now) = (Buffer::new(&config()), Instant::now());
        let long = |length: usize| Point::new("m", 1).text("f", Some("x".repeat(length)));
        buffer.add(&[long(10), long(40), long(100)], now);
        let sizes: Vec<_> = std::iter::from_fn(|| buffer.take(now))
            .map(|batch| batch.text().unwrap().len())
            .collect();
        assert_eq!(sizes, [19, 49, 109]);
    }

    #[test]
    fn the_oldest_go_first_and_what_is_in_flight_stays() {
        let (mut buffer, now) = (Buffer::new(&config()), Instant::now());
        buffer.add(&points(3), now);
        let flying = buffer.take(now).unwrap();
        let added = buffer.add(&points(60), now);
        assert!(added.overflow > 0 && buffer.bytes() <= 400);
        assert_eq!(buffer.lines() + added.overflow, 63);
        let dropped = buffer.settle(flying.size(), flying.lines(), vec![flying]);
        assert!(dropped == 0 || dropped == 3, "only the oldest: {dropped}");
    }

    proptest! {
        #[test]
        fn no_line_goes_uncounted(steps in prop::collection::vec((0_usize..20, any::<u8>()), 1..60)) {
            let (mut buffer, mut now) = (Buffer::new(&config()), Instant::now());
            let (mut came, mut gone, mut dropped) = (0_u64, 0_u64, 0_u64);
            let mut flying = Vec::new();
            for (number, choice) in steps {
                now += Duration::from_millis(300);
                came += number as u64 + 1;
                let mut new = points(number);
                new.push(Point::new("empty", 1));
                let added = buffer.add(&new, now);
                dropped += added.overflow + added.without_fields;
                flying.extend(buffer.take(now));
                if choice % 3 == 0 && let Some(batch) = flying.pop() {
                    let (size, lines) = (batch.size(), batch.lines());
                    let rest = match batch.halves() {
                        _ if choice % 2 == 0 => vec![batch],
                        Some((head, tail)) => {
                            gone += head.lines();
                            vec![tail]
                        }
                        None => {
                            gone += lines;
                            Vec::new()
                        }
                    };
                    dropped += buffer.settle(size, lines, rest);
                }
                prop_assert_eq!(came, gone + dropped + buffer.lines());
                prop_assert!(flying.len() > 1 || buffer.bytes() <= 400 + 100);
            }
        }
    }
}

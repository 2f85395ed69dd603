//! Lines that wait in memory: one open group that fills, sealed groups behind each other, and those
//! in flight. Pure.
//!
//! A group is made of whole records of the spool, so that it is known which records are written.
//! When it is full no record is taken from the spool; nothing is dropped here.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::batch::{Batch, Group};
use crate::config;
use crate::spool::Record;

/// When a group is full, and when the buffer is.
#[derive(Clone, Copy, Debug)]
struct Limits {
    lines: u64,
    batch_bytes: usize,
    age: Duration,
    bytes: usize,
}

/// The lines that wait, and those in flight.
pub(super) struct Buffer {
    limits: Limits,
    open: Vec<u8>,
    open_lines: u64,
    open_records: Vec<Record>,
    open_since: Option<Instant>,
    sealed: VecDeque<Group>,
    sealed_bytes: usize,
    in_flight_bytes: usize,
    /// Groups of which an attempt left something, those in flight included.
    rests: usize,
    /// Lines that are written or given up, of records that are not done.
    settled: u64,
}

impl Buffer {
    /// An empty buffer with the limits of `config`; the other half of its memory is the spool's.
    pub(super) fn new(config: &config::Influx) -> Self {
        Self {
            limits: Limits {
                lines: config.batch_lines as u64,
                batch_bytes: config.batch_bytes,
                age: config.flush_interval,
                bytes: config.buffer_bytes / 2,
            },
            open: Vec::new(),
            open_lines: 0,
            open_records: Vec::new(),
            open_since: None,
            sealed: VecDeque::new(),
            sealed_bytes: 0,
            in_flight_bytes: 0,
            rests: 0,
            settled: 0,
        }
    }

    /// Whether another record may be taken from the spool.
    pub(super) fn has_room(&self) -> bool {
        self.bytes() < self.limits.bytes
    }

    /// Puts the lines of `record` behind what is there.
    pub(super) fn add(&mut self, mut record: Record, now: Instant) {
        let text = std::mem::replace(&mut record.payload, Bytes::new());
        let lines = u64::from(record.items);
        if self.open.len() + text.len() > self.limits.batch_bytes
            || self.open_lines + lines > self.limits.lines
        {
            self.seal();
        }
        self.open.extend_from_slice(&text);
        self.open_lines += lines;
        self.open_records.push(record);
        self.open_since.get_or_insert(now);
        if self.open.len() >= self.limits.batch_bytes || self.open_lines >= self.limits.lines {
            self.seal();
        }
    }

    /// Closes the open group, however full it is.
    pub(super) fn seal(&mut self) {
        if !self.open_records.is_empty() {
            let group = Group {
                pieces: vec![Batch::seal(&self.open, self.open_lines)],
                records: std::mem::take(&mut self.open_records),
                is_proven: false,
                is_rest: false,
                settled: 0,
            };
            self.sealed_bytes += group.size();
            self.sealed.push_back(group);
        }
        self.open.clear();
        self.open_lines = 0;
        self.open_since = None;
    }

    /// When there is something to send: now, when the open group is old enough, or not at all.
    pub(super) fn ready_at(&self, now: Instant) -> Option<Instant> {
        if self.sealed.is_empty() {
            self.open_since.map(|since| since + self.limits.age)
        } else {
            Some(now)
        }
    }

    /// Takes the oldest group for sending; it counts as in flight until [`Buffer::settle`].
    ///
    /// The open group goes on filling while sealed ones wait before it, so that an outage does
    /// not leave thousands of small ones.
    pub(super) fn take(&mut self, now: Instant) -> Option<Group> {
        if self.ready_at(now)? > now {
            return None;
        }
        if self.sealed.is_empty() {
            self.seal();
        }
        let group = self.sealed.pop_front()?;
        self.sealed_bytes -= group.size();
        self.in_flight_bytes += group.size();
        Some(group)
    }

    /// Ends the flight of a group of `size` bytes. What is left of it, `rest`, gets its place by age
    /// again; if nothing is, the records come back that are written or given up.
    pub(super) fn settle(&mut self, size: usize, mut rest: Group) -> Vec<Record> {
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(size);
        self.settled = self.settled.saturating_sub(rest.settled);
        self.rests -= usize::from(rest.is_rest);
        if rest.pieces.is_empty() {
            return rest.records;
        }
        let records = rest.records.iter().map(|record| u64::from(record.items));
        rest.settled = records.sum::<u64>().saturating_sub(rest.lines());
        self.settled += rest.settled;
        self.sealed_bytes += rest.size();
        rest.is_rest = true;
        self.rests += 1;
        let first = |group: &Group| group.records.first().map(|record| record.number);
        let place = self
            .sealed
            .partition_point(|group| first(group) < first(&rest));
        self.sealed.insert(place, rest);
        Vec::new()
    }

    /// Whether an attempt left something that is still to be sent.
    pub(super) const fn has_rest(&self) -> bool {
        self.rests > 0
    }

    /// Lines that are written or given up, though their records still wait for others.
    pub(super) const fn settled(&self) -> u64 {
        self.settled
    }

    /// Bytes that are kept, those in flight included.
    pub(super) fn bytes(&self) -> usize {
        self.open.len() + self.sealed_bytes + self.in_flight_bytes
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq};
    use proptest::proptest;

    use super::Buffer;
    use crate::config::{Config, Influx};
    use crate::influx::batch::Group;
    use crate::spool::Record;

    fn config() -> Influx {
        Influx {
            batch_lines: 3,
            batch_bytes: 60,
            flush_interval: Duration::from_secs(1),
            buffer_bytes: 800,
            ..Config::default().influx
        }
    }

    fn record(number: u64, lines: u32) -> Record {
        let text: String = (0..lines)
            .map(|line| format!("m f={number}i {line}\n"))
            .collect();
        Record {
            kind: 0,
            items: lines,
            payload: text.into(),
            number,
        }
    }

    fn numbers(group: &Group) -> Vec<u64> {
        group.records.iter().map(|record| record.number).collect()
    }

    #[test]
    fn a_group_is_taken_when_full_or_old_and_has_whole_records() {
        let (mut buffer, begun) = (Buffer::new(&config()), Instant::now());
        buffer.add(record(1, 2), begun);
        assert!(buffer.take(begun).is_none());
        assert_eq!(buffer.ready_at(begun), Some(begun + Duration::from_secs(1)));
        buffer.add(record(2, 2), begun);
        let first = buffer.take(begun).unwrap();
        assert_eq!(numbers(&first), [1], "the second has no place in it");
        assert!(buffer.take(begun).is_none(), "the second waits for more");
        buffer.add(record(3, 1), begun);
        let second = buffer.take(begun).unwrap();
        assert_eq!((numbers(&second), second.lines()), (vec![2, 3], 3));
        for group in [first, second] {
            let records = group.records.clone();
            let done = Group {
                pieces: Vec::new(),
                ..group
            };
            assert_eq!(buffer.settle(0, done), records);
        }
        buffer.add(record(4, 1), begun);
        let late = buffer.take(begun + Duration::from_secs(1)).unwrap();
        assert_eq!(numbers(&late), [4]);
    }

    #[test]
    fn what_is_left_of_groups_goes_in_their_order() {
        let (mut buffer, now) = (Buffer::new(&config()), Instant::now());
        for number in 1..=3 {
            buffer.add(record(number, 3), now);
        }
        let flying = [(); 2].map(|()| buffer.take(now).unwrap());
        assert!(!buffer.has_rest());
        for group in flying {
            assert_eq!(buffer.settle(group.size(), group), []);
        }
        for number in 1..=3 {
            assert_eq!(buffer.has_rest(), number < 3);
            let group = buffer.take(now).unwrap();
            assert_eq!(numbers(&group), [number]);
            let (size, pieces) = (group.size(), Vec::new());
            assert_eq!(buffer.settle(size, Group { pieces, ..group }).len(), 1);
        }
    }

    proptest! {
        #[test]
        fn every_record_is_done_once_when_all_of_it_is_gone(
            steps in prop::collection::vec((1_u32..4, any::<u8>()), 1..60),
        ) {
            let (mut buffer, mut now) = (Buffer::new(&config()), Instant::now());
            let (mut flying, mut done, mut came) = (Vec::<Group>::new(), Vec::new(), 0);
            for (lines, choice) in steps {
                now += Duration::from_millis(300);
                if buffer.has_room() {
                    buffer.add(record(came, lines), now);
                    came += 1;
                }
                flying.extend(buffer.take(now));
                if choice % 3 == 0 && let Some(mut group) = flying.pop() {
                    let size = group.size();
                    let tail = group.pieces.pop().and_then(|piece| piece.cut(2).pop());
                    // Half of it is left, or nothing.
                    if choice % 2 == 0 {
                        group.pieces.extend(tail);
                    }
                    done.extend(buffer.settle(size, group));
                }
                prop_assert!(buffer.bytes() <= 400 + 400, "{}", buffer.bytes());
            }
            for group in flying {
                let size = group.size();
                done.extend(buffer.settle(size, Group { pieces: Vec::new(), ..group }));
            }
            buffer.seal();
            while let Some(group) = buffer.take(now) {
                let size = group.size();
                done.extend(buffer.settle(size, Group { pieces: Vec::new(), ..group }));
            }
            let mut numbers: Vec<u64> = done.iter().map(|record| record.number).collect();
            numbers.sort_unstable();
            prop_assert_eq!(numbers, (0..came).collect::<Vec<_>>());
            prop_assert_eq!(buffer.bytes(), 0);
            prop_assert!(!buffer.has_rest());
        }
    }
}

//! The reading end: records from the segments, over gaps and damage.
//!
//! Records are numbered through, so what is missing between two of them is counted exactly,
//! whatever made it unreadable. Records of a segment that the next segment begins with again are
//! void: they belong to a commit that failed.

use std::io::ErrorKind;

use super::count::{Count, Position};
use super::format::{RecordHeader, SEGMENT_HEADER, segment_name};
use super::log::{Log, Segment};
use super::packing::Packer;
use super::reader::Record;
use super::scan::Scan;

/// Bytes read at once.
const CHUNK: usize = 256 << 10;

/// What one step came upon.
pub(super) enum Step {
    /// A record, where it begins and ends, and what is missing before it.
    Record(Record, Position, Count),
    /// So much cannot be read.
    Lost(Count),
    /// Everything durable was read.
    CaughtUp,
    /// The segment cannot be opened now.
    Stuck(std::io::Error),
}

/// Where reading goes on.
pub(super) struct Feed {
    pub(super) at: Position,
    scan: Option<Scan>,
    packer: Packer,
}

impl Feed {
    pub(super) fn new(at: Position) -> Self {
        Self {
            at,
            scan: None,
            packer: Packer::new(),
        }
    }

    /// Whether there are records that were not read yet.
    pub(super) fn is_behind(&self, log: &Log) -> bool {
        self.at.before.records < log.next.records
    }

    /// Reads one record, or finds out that there is none.
    pub(super) fn step(&mut self, log: &Log) -> Step {
        while self.is_behind(log) {
            let Some((segment, until)) = log.segment(self.at.segment) else {
                if let Some(lost) = self.next_segment(log) {
                    return Step::Lost(lost);
                }
                continue;
            };
            if let Err(error) = self.open(log, &segment) {
                return Step::Stuck(error);
            }
            match self.read(&segment, until) {
                Some(step) => return step,
                None if self.at.before.records < until.records => {
                    let lost = until.minus(self.at.before);
                    self.at.before = until;
                    return Step::Lost(lost);
                }
                None => _ = self.next_segment(log),
            }
        }
        Step::CaughtUp
    }

    /// Goes on to the segment after this one, and says what is missing between them. Without one
    /// everything up to the newest record is.
    fn next_segment(&mut self, log: &Log) -> Option<Count> {
        let before = self.at.before;
        if let Some(segment) = log.segment_after(self.at.segment) {
            self.at = segment.start();
        } else {
            self.at.before = log.next;
        }
        let lost = self.at.before.minus(before);
        self.at.before = self.at.before.further(before);
        (lost != Count::default()).then_some(lost)
    }

    /// Opens the segment, if it is not open. One that is gone is left without a scan.
    fn open(&mut self, log: &Log, segment: &Segment) -> std::io::Result<()> {
        if self
            .scan
            .as_ref()
            .is_some_and(|scan| scan.segment() == segment.number)
        {
            return Ok(());
        }
        self.scan = None;
        match log.disk.open(&segment_name(segment.number)) {
            Ok(file) => {
                self.scan = Some(Scan::new(file, segment.number, self.at.offset, CHUNK));
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The next record of the segment before `until` that is whole.
    fn read(&mut self, segment: &Segment, until: Count) -> Option<Step> {
        let scan = self.scan.as_mut()?;
        scan.go_to(self.at.offset.max(SEGMENT_HEADER as u64));
        while let Some(header) = scan.header(segment.size) {
            if header.before.records >= until.records {
                break;
            }
            let offset = scan.at().saturating_add(header.length());
            let wanted = header.before.records >= self.at.before.records;
            let payload = wanted
                .then(|| scan.stored(&header))
                .flatten()
                .and_then(|stored| self.packer.unpack(&header, stored));
            scan.go_to(offset);
            let Some(payload) = payload else {
                continue;
            };
            let (start, lost) = (self.at, header.before.minus(self.at.before));
            self.at = Position {
                segment: segment.number,
                offset,
                before: header.after(),
            };
            return Some(Step::Record(record(&header, payload), start, lost));
        }
        self.at.offset = segment.size;
        None
    }

    /// The record that was just written is handed on from memory.
    pub(super) fn skip_to(&mut self, at: Position) {
        if self.at.segment != at.segment {
            self.scan = None;
        }
        self.at = at;
    }
}

fn record(header: &RecordHeader, payload: bytes::Bytes) -> Record {
    Record {
        kind: header.kind,
        items: header.items,
        payload,
        number: header.before.records,
    }
}

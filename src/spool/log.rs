//! The writing end: segments, and commits at the end of the newest.
//!
//! A commit is one write and one sync. If the write fails the segment is cut back to what is
//! durable; if that or the sync fails it is closed and never written again, and what it may hold
//! of the failed commit is void, because the next segment begins with the same record.

use std::collections::VecDeque;
use std::io;

use super::count::{Count, Position};
use super::disk::{Disk, DiskFile};
use super::format::{RecordHeader, SEGMENT_HEADER, SegmentHeader, checksum, segment_name};
use super::packing::Packer;

/// What a buffer may keep between commits.
const KEEP: usize = 8 << 20;

/// A segment on the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    /// What came before its first record.
    pub(super) first: Count,
    /// Its bytes that may be read.
    pub(super) size: u64,
}

impl Segment {
    /// Before its first record.
    pub(super) const fn start(&self) -> Position {
        Position {
            segment: self.number,
            offset: SEGMENT_HEADER as u64,
            before: self.first,
        }
    }
}

/// A payload that is to be written.
pub(super) struct Payload<'a> {
    pub(super) kind: u8,
    pub(super) items: u32,
    pub(super) bytes: &'a [u8],
}

/// A record as it was written.
pub(super) struct Place {
    pub(super) start: Position,
    pub(super) end: Position,
}

/// See the module.
pub(super) struct Log {
    pub(super) disk: Box<dyn Disk>,
    /// Oldest first.
    pub(super) segments: VecDeque<Segment>,
    /// What the next record comes after: all before it is durable.
    pub(super) next: Count,
    /// The newest segment, while it is written.
    active: Option<Box<dyn DiskFile>>,
    last_segment: u64,
    segment_bytes: u64,
    packer: Packer,
    /// Records of the commit that is made, without segment and checksum in their headers yet.
    buffer: Vec<u8>,
    headers: Vec<(usize, RecordHeader)>,
}

/// Where a log goes on.
pub(super) struct LogSetup {
    pub(super) disk: Box<dyn Disk>,
    pub(super) segments: VecDeque<Segment>,
    pub(super) next: Count,
    pub(super) last_segment: u64,
    pub(super) segment_bytes: u64,
}

impl Log {
    pub(super) fn new(setup: LogSetup) -> Self {
        Self {
            disk: setup.disk,
            segments: setup.segments,
            next: setup.next,
            active: None,
            last_segment: setup.last_segment,
            segment_bytes: setup.segment_bytes,
            packer: Packer::new(),
            buffer: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// Packs the payloads of the next commit, and says how many bytes it takes.
    pub(super) fn prepare<'a>(&mut self, payloads: impl Iterator<Item = Payload<'a>>) -> u64 {
        self.buffer.clear();
        self.buffer.shrink_to(KEEP);
        self.headers.clear();
        let mut before = self.next;
        for payload in payloads {
            let at = self.buffer.len();
            self.buffer.extend([0; super::format::RECORD_HEADER]);
            let from = self.buffer.len();
            let packing = self.packer.pack(payload.bytes, &mut self.buffer);
            let stored = self.buffer.get(from..).unwrap_or_default();
            let header = RecordHeader {
                before,
                items: payload.items,
                stored: u32::try_from(stored.len()).unwrap_or(u32::MAX),
                unpacked: u32::try_from(payload.bytes.len()).unwrap_or(u32::MAX),
                kind: payload.kind,
                packing,
                first_of_commit: at == 0,
                checksum: checksum(stored),
            };
            before = header.after();
            self.headers.push((at, header));
        }
        (self.buffer.len() + SEGMENT_HEADER) as u64
    }

    /// Writes what was prepared and makes it durable. After an error nothing of it counts.
    ///
    /// # Errors
    /// If the disk fails or is full.
    pub(super) fn commit(&mut self) -> io::Result<Vec<Place>> {
        let adds = self.buffer.len() as u64;
        let size = self.segments.back().map_or(0, |newest| newest.size);
        if size + adds > self.segment_bytes {
            self.active = None;
        }
        if self.active.is_none() {
            self.begin_segment()?;
        }
        let result = self.write_and_sync();
        if result.is_err() {
            self.undo();
        }
        result
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        // A number is never used twice, whatever becomes of the file.
        self.last_segment += 1;
        let number = self.last_segment;
        let name = segment_name(number);
        let mut file = self.disk.create(&name)?;
        let header = SegmentHeader::encode(number, self.next);
        let made = file
            .write_all_at(&header, 0)
            .and_then(|()| self.disk.sync());
        if let Err(error) = made {
            // It is empty: if it stays, the next start removes it.
            let _ = self.disk.remove(&name);
            return Err(error);
        }
        self.active = Some(file);
        self.segments.push_back(Segment {
            number,
            first: self.next,
            size: SEGMENT_HEADER as u64,
        });
        Ok(())
    }

    fn write_and_sync(&mut self) -> io::Result<Vec<Place>> {
        let gone = || io::Error::other("no segment is open");
        let newest = self.segments.back_mut().ok_or_else(gone)?;
        let file = self.active.as_mut().ok_or_else(gone)?;
        for (at, header) in &self.headers {
            let bytes = header.encode(newest.number);
            let to = self.buffer.get_mut(*at..*at + bytes.len());
            to.ok_or_else(gone)?.copy_from_slice(&bytes);
        }
        file.write_all_at(&self.buffer, newest.size)?;
        file.sync()?;
        let mut places = Vec::with_capacity(self.headers.len());
        let mut start = Position {
            segment: newest.number,
            offset: newest.size,
            before: self.next,
        };
        for (_, header) in &self.headers {
            let end = Position {
                segment: newest.number,
                offset: start.offset + header.length(),
                before: header.after(),
            };
            places.push(Place { start, end });
            start = end;
        }
        newest.size = start.offset;
        self.next = start.before;
        Ok(places)
    }

    /// Cuts the newest segment back to what is durable in it, and closes it.
    ///
    /// It is closed even after a failed write: what the disk did with the pages is not known.
    fn undo(&mut self) {
        let Some((mut file, newest)) = self.active.take().zip(self.segments.back().copied()) else {
            return;
        };
        if newest.size > SEGMENT_HEADER as u64 {
            // If it cannot be cut, the beginning of the next segment says what is void.
            let _ = file.set_size(newest.size);
            return;
        }
        drop(file);
        self.segments.pop_back();
        if let Err(error) = self.disk.remove(&segment_name(newest.number)) {
            tracing::warn!(%error, "an empty segment of the spool cannot be removed");
        }
    }

    /// Bytes on the disk.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    /// Removes the oldest segment, which may be the newest too.
    pub(super) fn remove_oldest(&mut self) {
        let Some(oldest) = self.segments.pop_front() else {
            return;
        };
        if self.segments.is_empty() {
            self.active = None;
        }
        if let Err(error) = self.disk.remove(&segment_name(oldest.number)) {
            tracing::warn!(%error, segment = oldest.number, "a segment of the spool cannot be removed");
        }
    }

    /// The segment of that number, and what comes first after it.
    pub(super) fn segment(&self, number: u64) -> Option<(Segment, Count)> {
        let mut from = self
            .segments
            .iter()
            .skip_while(|segment| segment.number < number);
        let found = *from.next().filter(|segment| segment.number == number)?;
        Some((found, from.next().map_or(self.next, |after| after.first)))
    }

    /// The oldest segment after that number.
    pub(super) fn segment_after(&self, number: u64) -> Option<Segment> {
        self.segments
            .iter()
            .find(|segment| segment.number > number)
            .copied()
    }
}

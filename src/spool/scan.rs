//! Walking through a segment, over what is damaged.
//!
//! Input: a segment's file. Output: the whole headers in it, in their order, and the payloads of
//! those that are asked for. A part that cannot be read counts as zeros, which is damage.

use super::disk::DiskFile;
use super::format::{RECORD_HEADER, RecordHeader, SEGMENT_HEADER, checksum};

/// What a disk fails on at once is tried again in pieces of this size.
const PIECE: usize = 4096;

/// A place in a segment that moves forward.
pub(super) struct Scan {
    file: Box<dyn DiskFile>,
    segment: u64,
    /// Where the next record is looked for.
    at: u64,
    /// What was read of the file, from `start` on.
    buffer: Vec<u8>,
    start: u64,
    /// Bytes read at once.
    chunk: usize,
}

impl Scan {
    /// Begins at `at`; reads `chunk` bytes at once.
    pub(super) fn new(file: Box<dyn DiskFile>, segment: u64, at: u64, chunk: usize) -> Self {
        Self {
            file,
            segment,
            at: at.max(SEGMENT_HEADER as u64),
            buffer: Vec::new(),
            start: 0,
            chunk,
        }
    }

    /// The segment that it walks through.
    pub(super) const fn segment(&self) -> u64 {
        self.segment
    }

    /// Where the next record is looked for.
    pub(super) const fn at(&self) -> u64 {
        self.at
    }

    /// Looks for the next record at `at`.
    pub(super) fn go_to(&mut self, at: u64) {
        self.at = at;
    }

    /// The next whole header before `end`; [`Scan::at`] is then where its record begins.
    pub(super) fn header(&mut self, end: u64) -> Option<RecordHeader> {
        while self.at < end {
            let segment = self.segment;
            let bytes = self.bytes(RECORD_HEADER);
            if bytes.is_empty() {
                break;
            }
            if let Some(header) = RecordHeader::decode(bytes, segment) {
                return Some(header);
            }
            let skip = RecordHeader::next_candidate(bytes);
            self.at += skip as u64;
        }
        None
    }

    /// The stored bytes of the record that begins here, if they are whole.
    pub(super) fn stored(&mut self, header: &RecordHeader) -> Option<&[u8]> {
        let length = usize::try_from(header.length()).ok()?;
        let record = self.bytes(length).get(..length)?;
        let stored = record.get(RECORD_HEADER..)?;
        (checksum(stored) == header.checksum).then_some(stored)
    }

    /// What the file has here, at least `length` bytes of it unless it ends before.
    fn bytes(&mut self, length: usize) -> &[u8] {
        let end = self.start + self.buffer.len() as u64;
        if self.at < self.start || self.at + length as u64 > end {
            self.fill(length.max(self.chunk));
        }
        let from = usize::try_from(self.at - self.start).unwrap_or(usize::MAX);
        self.buffer.get(from..).unwrap_or_default()
    }

    fn fill(&mut self, length: usize) {
        // What the file does not have is not made room for, whatever a header says.
        let size = self.file.size().unwrap_or(0).saturating_sub(self.at);
        let length = usize::try_from(size).unwrap_or(usize::MAX).min(length);
        self.start = self.at;
        self.buffer.clear();
        self.buffer.resize(length, 0);
        if self.buffer.capacity() > 4 * length.max(self.chunk) {
            self.buffer.shrink_to_fit();
        }
        let mut read = 0;
        let mut unreadable = false;
        while let Some(rest) = self.buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
            let piece = if unreadable { PIECE } else { rest.len() }.min(rest.len());
            let Some(rest) = rest.get_mut(..piece) else {
                break;
            };
            match self.file.read_at(rest, self.at + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(_) if unreadable => {
                    rest.fill(0);
                    read += piece;
                }
                Err(_) => unreadable = true,
            }
        }
        self.buffer.truncate(read);
    }
}

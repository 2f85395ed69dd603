//! What a folder holds when it is opened, whatever happened to it before.
//!
//! Input: a disk. Output: the segments from the cursor on, and how many records there ever were.
//! Segments before the cursor are removed. One in which nothing can be read is left where it is,
//! until the cursor has passed it: the disk may give it back later.

use std::collections::VecDeque;

use super::count::{Count, Position};
use super::cursor::{Cursor, Mark};
use super::disk::{Disk, DiskFile};
use super::error::SpoolError;
use super::format::{SEGMENT_HEADER, SegmentHeader, segment_name, segment_number};
use super::log::Segment;
use super::scan::Scan;

/// Bytes read at once for headers alone; payloads between them are passed over.
const CHUNK: usize = 4096;

/// What was found.
pub(super) struct Found {
    /// Oldest first, none of them open for writing.
    pub(super) segments: VecDeque<Segment>,
    pub(super) cursor: Cursor,
    /// The first record that is to be delivered.
    pub(super) start: Position,
    /// What the next record comes after.
    pub(super) next: Count,
    /// The largest number that a segment ever had.
    pub(super) last_segment: u64,
}

/// Reads what is on `disk`.
///
/// # Errors
/// The reason, if the folder cannot be read, or if it belongs to a newer version.
pub(super) fn recover(disk: &dyn Disk) -> Result<Found, String> {
    let names = disk.list().map_err(|error| error.to_string())?;
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| segment_number(name))
        .collect();
    numbers.sort_unstable();
    let (cursor, mark) = Cursor::open(disk);
    let Mark { delivered, durable } = mark.unwrap_or_default();
    let last_segment = numbers.last().copied().unwrap_or(0).max(delivered.segment);
    let mut segments = VecDeque::new();
    for number in numbers {
        if number < delivered.segment {
            remove(disk, number);
        } else {
            segments.extend(look_at(disk, number)?);
        }
    }
    let newest = segments.back().map(|newest| end_of(disk, newest));
    let next = newest
        .unwrap_or_default()
        .further(durable)
        .further(delivered.before);
    let oldest = segments.front().map_or(Position::default(), Segment::start);
    let start = match mark {
        Some(_) => delivered,
        None => oldest,
    };
    Ok(Found {
        segments,
        cursor,
        start,
        next,
        last_segment,
    })
}

/// A segment, if anything in it can be read.
fn look_at(disk: &dyn Disk, number: u64) -> Result<Option<Segment>, String> {
    let name = segment_name(number);
    let Ok(file) = disk.open(&name) else {
        return Ok(None);
    };
    let size = file.size().unwrap_or(0);
    let mut header = [0; SEGMENT_HEADER];
    let whole = read_header(file.as_ref(), &mut header);
    let first = match SegmentHeader::decode(&header, number) {
        SegmentHeader::OtherVersion(version) => {
            return Err(format!(
                "{name} is of version {version}, which this program does not know"
            ));
        }
        SegmentHeader::First(first) if whole => Some(first),
        // The first record tells it as well.
        _ => {
            let mut scan = Scan::new(file, number, 0, CHUNK);
            scan.header(size).map(|header| header.before)
        }
    };
    Ok(first.map(|first| Segment {
        number,
        first,
        size,
    }))
}

fn read_header(file: &dyn DiskFile, header: &mut [u8; SEGMENT_HEADER]) -> bool {
    let mut read = 0;
    while let Some(rest) = header.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, read as u64) {
            Ok(0) | Err(_) => return false,
            Ok(more) => read += more,
        }
    }
    true
}

/// How many records there were at the end of the newest segment. Only the last commit can be torn:
/// of its records the payloads are read too, and what is not whole at the end never was there.
fn end_of(disk: &dyn Disk, newest: &Segment) -> Count {
    let Ok(file) = disk.open(&segment_name(newest.number)) else {
        return newest.first;
    };
    let mut scan = Scan::new(file, newest.number, 0, CHUNK);
    let mut commit = (scan.at(), newest.first);
    let mut next = newest.first;
    while let Some(header) = scan.header(newest.size) {
        if header.before.records >= next.records {
            if header.first_of_commit {
                commit = (scan.at(), header.before);
            }
            next = header.after();
        }
        scan.go_to(scan.at().saturating_add(header.length()));
    }
    scan.go_to(commit.0);
    next = commit.1;
    while let Some(header) = scan.header(newest.size) {
        if header.before.records >= next.records && scan.stored(&header).is_some() {
            next = header.after();
        }
        scan.go_to(scan.at().saturating_add(header.length()));
    }
    next
}

fn remove(disk: &dyn Disk, number: u64) {
    if let Err(error) = disk.remove(&segment_name(number)) {
        tracing::warn!(%error, segment = number, "a segment of the spool cannot be removed");
    }
}

/// What an unreadable folder means to whoever opens it.
pub(super) fn refusal(folder: &std::path::Path, why: &str) -> SpoolError {
    let fix = format!(
        "move it away: mv {0} {0}.old; a new one is made at the next start",
        folder.display()
    );
    SpoolError::unusable("the spool cannot be read", folder, why, fix)
}

//! What a folder holds when it is opened, whatever happened to it before.
//!
//! Input: a disk. Output: the segments from the cursor on, and how many records there ever were.
//! Segments before the cursor are removed. One in which nothing can be read is left where it is,
//! until the cursor has passed it: the disk may give it back later.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind};

use rustix::io::Errno;

use super::count::{Count, Position};
use super::cursor::{self, Cursor, Mark};
use super::disk::{Disk, DiskFile};
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
/// If the folder or its files cannot be opened, or if a newer version wrote them.
pub(super) fn recover(disk: &dyn Disk) -> Result<Found, Refusal> {
    let names = disk
        .list()
        .map_err(|error| no_access("the folder", &error))?;
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| segment_number(name))
        .collect();
    numbers.sort_unstable();
    let (cursor, mark) = Cursor::open(disk).map_err(|error| no_access(cursor::NAME, &error))?;
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
fn look_at(disk: &dyn Disk, number: u64) -> Result<Option<Segment>, Refusal> {
    let name = segment_name(number);
    let file = match disk.open(&name) {
        Ok(file) => file,
        Err(error) if is_of_this_process(&error) => return Err(no_access(&name, &error)),
        Err(_) => return Ok(None),
    };
    let size = file.size().unwrap_or(0);
    let mut header = [0; SEGMENT_HEADER];
    let whole = read_header(file.as_ref(), &mut header);
    let first = match SegmentHeader::decode(&header, number) {
        SegmentHeader::OtherVersion(version) => return Err(other_version(&name, version)),
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

/// Why a spool is not opened; its contents are left as they are.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) why: String,
    pub(super) fix: &'static str,
}

/// Whether it is not the file that is wrong, but what this process may or can do now.
pub(super) fn is_of_this_process(error: &Error) -> bool {
    let kinds = [ErrorKind::PermissionDenied, ErrorKind::OutOfMemory];
    let too_many = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
    kinds.contains(&error.kind()) || too_many.contains(&error.raw_os_error())
}

fn no_access(name: &str, error: &Error) -> Refusal {
    Refusal {
        why: format!("{name}: {error}"),
        fix: "run as the user that owns it, and allow enough open files",
    }
}

fn other_version(name: &str, version: u32) -> Refusal {
    Refusal {
        why: format!("{name} is of version {version}, which this program does not know"),
        fix: "use the version that wrote it, or move the folder away: a new one is made",
    }
}

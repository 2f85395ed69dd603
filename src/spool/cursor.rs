//! Up to where records were delivered: a file with two slots, so that a torn write leaves one.
//!
//! Between two syncs the same slot is written again and again, and the other one is the last that
//! was synced. A write without sync survives the end of the process, not that of the machine.

use std::io::Result;

use super::count::{Count, Position};
use super::disk::{Disk, DiskFile};
use super::format::checksum;
use super::recover::is_of_this_process;

/// The file.
pub(super) const NAME: &str = "cursor";
const MAGIC: u64 = u64::from_le_bytes(*b"rabcurs1");
/// Bytes of a slot, its checksum included.
const SLOT: usize = 68;
/// Bytes of the file; the first slot has one half of it.
const SIZE: usize = 8192;
/// Where the second slot begins: in another page and sector than the first.
const SECOND: u64 = 4096;

/// What the cursor says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Everything before it was delivered or given up.
    pub(super) delivered: Position,
    /// What was durable when this was written: shows later that the newest records are missing.
    pub(super) durable: Count,
}

/// The open cursor.
pub(super) struct Cursor {
    file: Option<Box<dyn DiskFile>>,
    /// Which slot is written until the next sync.
    second: bool,
    /// Number of the last write.
    turn: u64,
    written: Option<Mark>,
    synced: Option<Mark>,
}

impl Cursor {
    /// Reads the cursor; what cannot be read is as if it were not there.
    ///
    /// # Errors
    /// If this process may not open it, or cannot now.
    pub(super) fn open(disk: &dyn Disk) -> Result<(Self, Option<Mark>)> {
        let file = match disk.open(NAME) {
            Err(error) if is_of_this_process(&error) => return Err(error),
            file => file.ok(),
        };
        let mut cursor = Self {
            file,
            second: false,
            turn: 0,
            written: None,
            synced: None,
        };
        let Some(file) = &mut cursor.file else {
            return Ok((cursor, None));
        };
        let slots = [0, SECOND].map(|at| read(file.as_ref(), at));
        // What was written last may be in memory alone; the other slot may be written only after.
        let synced = file.sync().is_ok();
        let newest = match slots {
            [Some(first), Some(second)] => Some((second.0 > first.0, first.max(second))),
            [Some(first), None] => Some((false, first)),
            [None, Some(second)] => Some((true, second)),
            [None, None] => None,
        };
        let Some((in_second, Slot(turn, mark))) = newest else {
            return Ok((cursor, None));
        };
        cursor.second = in_second != synced;
        cursor.turn = turn;
        cursor.written = Some(mark);
        cursor.synced = synced.then_some(mark);
        Ok((cursor, Some(mark)))
    }

    /// Whether what was written is not durable yet.
    pub(super) fn is_dirty(&self) -> bool {
        self.written != self.synced
    }

    /// Writes `mark`, not yet for good.
    pub(super) fn write(&mut self, disk: &dyn Disk, mark: Mark) -> Result<()> {
        if self.written == Some(mark) {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(create(disk)?),
        };
        let at = if self.second { SECOND } else { 0 };
        file.write_all_at(&encode(self.turn + 1, mark), at)?;
        self.turn += 1;
        self.written = Some(mark);
        Ok(())
    }

    /// Makes what was written durable.
    pub(super) fn sync(&mut self) -> Result<()> {
        if !self.is_dirty() {
            return Ok(());
        }
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        file.sync()?;
        self.second = !self.second;
        self.synced = self.written;
        Ok(())
    }
}

/// Makes the file at its full size, so that later writes need no room on the disk.
fn create(disk: &dyn Disk) -> Result<Box<dyn DiskFile>> {
    let mut file = match disk.create(NAME) {
        Ok(file) => file,
        // It was there and could not be opened, or what follows failed the last time.
        Err(_) => disk.open(NAME)?,
    };
    file.write_all_at(&[0; SIZE], 0)?;
    file.sync()?;
    disk.sync()?;
    Ok(file)
}

/// The number of a write, and what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot(u64, Mark);

impl Slot {
    fn max(self, other: Self) -> Self {
        if other.0 > self.0 { other } else { self }
    }
}

fn encode(turn: u64, mark: Mark) -> Vec<u8> {
    let Position {
        segment,
        offset,
        before,
    } = mark.delivered;
    let durable = mark.durable;
    let numbers = [
        MAGIC,
        turn,
        segment,
        offset,
        before.records,
        before.items,
        durable.records,
        durable.items,
    ];
    let mut bytes = numbers.map(u64::to_le_bytes).as_flattened().to_vec();
    bytes.extend(checksum(&bytes).to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; SLOT]) -> Option<Slot> {
    let (numbers, sum) = bytes.split_last_chunk::<4>()?;
    let (numbers, _) = numbers.as_chunks::<8>();
    if checksum(numbers.as_flattened()) != u32::from_le_bytes(*sum) {
        return None;
    }
    let [
        magic,
        turn,
        segment,
        offset,
        records,
        items,
        durable_records,
        durable_items,
    ]: [u64; 8] = numbers
        .iter()
        .map(|number| u64::from_le_bytes(*number))
        .collect::<Vec<_>>()
        .try_into()
        .ok()?;
    let delivered = Position {
        segment,
        offset,
        before: Count { records, items },
    };
    let durable = Count {
        records: durable_records,
        items: durable_items,
    };
    (magic == MAGIC).then_some(Slot(turn, Mark { delivered, durable }))
}

fn read(file: &dyn DiskFile, at: u64) -> Option<Slot> {
    let mut bytes = [0; SLOT];
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + read as u64) {
            Ok(0) | Err(_) => return None,
            Ok(more) => read += more,
        }
    }
    decode(&bytes)
}

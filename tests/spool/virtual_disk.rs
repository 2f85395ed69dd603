//! A disk in memory that loses its power: what was not synced is lost, kept or torn, sector by
//! sector, and so are the names of files.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex};

use rabtrace::spool::{Disk, DiskFile};

const SECTOR: usize = 512;

enum Change {
    Write(usize, Vec<u8>),
    Size(usize),
}

#[derive(Default)]
struct Content {
    durable: Vec<u8>,
    current: Vec<u8>,
    pending: Vec<Change>,
}

/// How the disk behaves.
#[derive(Clone, Copy, Default)]
pub(crate) struct Nature {
    /// Operations until the power is cut; none: never.
    pub(crate) cut_after: Option<u64>,
    /// Bytes of all files together; none: endless.
    pub(crate) capacity: Option<usize>,
    /// Syncs succeed and do nothing: a control.
    pub(crate) lies: bool,
    /// Every so many syncs of a file one fails.
    pub(crate) failing_syncs: Option<u64>,
    /// Files cannot be made shorter or longer.
    pub(crate) never_cuts_files: bool,
    /// No file can be opened: the process has too many.
    pub(crate) too_many_open: bool,
}

struct Platter {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    nature: Nature,
    off: bool,
    syncs: u64,
    random: fastrand::Rng,
}

/// See the module. A clone is the same disk.
#[derive(Clone)]
pub(crate) struct VirtualDisk(Arc<Mutex<Platter>>);

struct VirtualFile {
    disk: VirtualDisk,
    file: usize,
}

impl VirtualDisk {
    pub(crate) fn new(seed: u64) -> Self {
        Self::holding(BTreeMap::new(), seed)
    }

    /// A disk with these files.
    pub(crate) fn holding(files: BTreeMap<String, Vec<u8>>, seed: u64) -> Self {
        let mut platter = Platter {
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            nature: Nature::default(),
            off: false,
            syncs: 0,
            random: fastrand::Rng::with_seed(seed),
        };
        for (name, bytes) in files {
            platter.names.insert(name, platter.files.len());
            platter.files.push(Content {
                durable: bytes.clone(),
                current: bytes,
                pending: Vec::new(),
            });
        }
        platter.durable_names = platter.names.clone();
        Self(Arc::new(Mutex::new(platter)))
    }

    pub(crate) fn behave(&self, nature: Nature) {
        self.0.lock().unwrap().nature = nature;
    }

    /// The files as they are now.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let platter = self.0.lock().unwrap();
        let content =
            |(name, file): (&String, &usize)| (name.clone(), platter.files[*file].current.clone());
        platter.names.iter().map(content).collect()
    }

    /// Turns bytes of a file over.
    pub(crate) fn spoil(&self, name: &str, range: std::ops::Range<usize>) {
        let mut platter = self.0.lock().unwrap();
        let file = platter.names[name];
        let bytes = &mut platter.files[file].current[range];
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }

    /// The disk that is found when the power is back.
    pub(crate) fn restart(&self) -> Self {
        let mut platter = self.0.lock().unwrap();
        platter.off = true;
        let Platter {
            files,
            names,
            durable_names,
            random,
            ..
        } = &mut *platter;
        let mut survived = BTreeMap::new();
        let both: BTreeSet<_> = names.keys().chain(durable_names.keys()).collect();
        for name in both {
            let now = if random.bool() {
                &*names
            } else {
                &*durable_names
            };
            if let Some(file) = now.get(name) {
                survived.insert(name.clone(), files[*file].after_cut(random));
            }
        }
        Self::holding(survived, random.u64(..))
    }
}

impl Content {
    /// What is found of it: of every change since the last sync, any part.
    fn after_cut(&self, random: &mut fastrand::Rng) -> Vec<u8> {
        let mut found = self.durable.clone();
        let likely = random.f64();
        for change in &self.pending {
            match change {
                Change::Size(size) if random.f64() < likely => found.resize(*size, 0),
                Change::Size(_) => {}
                Change::Write(at, bytes) => tear(&mut found, (*at, bytes), random, likely),
            }
        }
        found
    }
}

/// Writes some sectors whole, some in part, some not at all. The file may be longer than what was
/// written in it.
fn tear(found: &mut Vec<u8>, (at, bytes): (usize, &[u8]), random: &mut fastrand::Rng, likely: f64) {
    let mut from = 0;
    if random.f64() < 0.2 {
        found.resize(found.len().max(at + bytes.len()), 0);
    }
    while from < bytes.len() {
        let to = (from + SECTOR - (at + from) % SECTOR).min(bytes.len());
        let kept = match random.f64() {
            dice if dice < likely => to - from,
            dice if dice < likely + 0.05 => random.usize(0..=to - from),
            _ => 0,
        };
        if kept > 0 {
            found.resize(found.len().max(at + from + kept), 0);
            found[at + from..at + from + kept].copy_from_slice(&bytes[from..from + kept]);
        }
        from = to;
    }
}

impl Platter {
    /// One operation: the power may go before its end.
    fn tick(&mut self) -> Result<()> {
        if let Some(left) = &mut self.nature.cut_after {
            self.off |= *left == 0;
            *left = left.saturating_sub(1);
        }
        match self.off {
            true => Err(Error::other("the power is off")),
            false => Ok(()),
        }
    }

    fn room(&self, file: usize, size: usize) -> usize {
        let sizes = self
            .names
            .values()
            .map(|file| self.files[*file].current.len());
        let used: usize = sizes.sum();
        let grows = size.saturating_sub(self.files[file].current.len());
        let free = self
            .nature
            .capacity
            .map_or(usize::MAX, |all| all.saturating_sub(used));
        grows.min(free)
    }
}

impl Disk for VirtualDisk {
    fn list(&self) -> Result<Vec<String>> {
        let mut platter = self.0.lock().unwrap();
        platter.tick()?;
        Ok(platter.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> Result<Box<dyn DiskFile>> {
        let mut platter = self.0.lock().unwrap();
        if platter.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        platter.tick()?;
        let file = platter.files.len();
        platter.files.push(Content::default());
        platter.names.insert(name.to_owned(), file);
        let disk = self.clone();
        Ok(Box::new(VirtualFile { disk, file }))
    }

    fn open(&self, name: &str) -> Result<Box<dyn DiskFile>> {
        let mut platter = self.0.lock().unwrap();
        platter.tick()?;
        if platter.nature.too_many_open {
            return Err(Error::from_raw_os_error(24));
        }
        let file = *platter.names.get(name).ok_or(ErrorKind::NotFound)?;
        let disk = self.clone();
        Ok(Box::new(VirtualFile { disk, file }))
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut platter = self.0.lock().unwrap();
        platter.tick()?;
        let gone = platter.names.remove(name);
        gone.map(|_| ()).ok_or(ErrorKind::NotFound.into())
    }

    fn sync(&self) -> Result<()> {
        let mut platter = self.0.lock().unwrap();
        platter.tick()?;
        if !platter.nature.lies {
            platter.durable_names = platter.names.clone();
        }
        Ok(())
    }
}

impl DiskFile for VirtualFile {
    fn size(&self) -> Result<u64> {
        let platter = self.disk.0.lock().unwrap();
        Ok(platter.files[self.file].current.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut platter = self.disk.0.lock().unwrap();
        platter.tick()?;
        let bytes = &platter.files[self.file].current;
        let from = usize::try_from(offset).unwrap().min(bytes.len());
        let length = buffer.len().min(bytes.len() - from);
        buffer[..length].copy_from_slice(&bytes[from..from + length]);
        Ok(length)
    }

    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> Result<()> {
        let mut platter = self.disk.0.lock().unwrap();
        let at = usize::try_from(offset).unwrap();
        if platter.off {
            return platter.tick();
        }
        let end = at + bytes.len();
        let grows = platter.room(self.file, end);
        let content = &mut platter.files[self.file];
        let fits = bytes
            .len()
            .min((content.current.len() + grows).saturating_sub(at));
        let size = content.current.len().max(at + fits);
        content.current.resize(size, 0);
        content.current[at..at + fits].copy_from_slice(&bytes[..fits]);
        content
            .pending
            .push(Change::Write(at, bytes[..fits].to_vec()));
        platter.tick()?;
        match fits == bytes.len() {
            true => Ok(()),
            false => Err(ErrorKind::StorageFull.into()),
        }
    }

    fn set_size(&mut self, size: u64) -> Result<()> {
        let mut platter = self.disk.0.lock().unwrap();
        let size = usize::try_from(size).unwrap();
        if platter.off {
            return platter.tick();
        }
        if platter.nature.never_cuts_files {
            return Err(Error::other("input/output error"));
        }
        let content = &mut platter.files[self.file];
        content.current.resize(size, 0);
        content.pending.push(Change::Size(size));
        platter.tick()
    }

    fn sync(&mut self) -> Result<()> {
        let mut platter = self.disk.0.lock().unwrap();
        platter.tick()?;
        platter.syncs += 1;
        if platter
            .nature
            .failing_syncs
            .is_some_and(|every| platter.syncs.is_multiple_of(every))
        {
            // As Linux does: the pages count as clean, and any of them may have been written.
            let Platter { files, random, .. } = &mut *platter;
            let content = &mut files[self.file];
            content.durable = content.after_cut(random);
            content.pending.clear();
            return Err(Error::other("input/output error"));
        }
        if !platter.nature.lies {
            let content = &mut platter.files[self.file];
            content.durable = content.current.clone();
            content.pending.clear();
        }
        Ok(())
    }
}

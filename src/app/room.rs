//! Whether the disk has room for what store and spools may grow to. Where it has not, they fill it, and
//! senders are refused until something else makes room.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::health::{Failure, Finding};
use crate::store::{free_bytes, max_bytes};

/// A folder, and what may be in it.
struct Share {
    folder: PathBuf,
    /// The key that names the folder, and the one that says how large it may be.
    keys: (&'static str, &'static str),
    max_bytes: u64,
}

/// For each file system that they are on: what they may still take and what is free, and the key of
/// the first folder there. One that cannot be looked at is left out: who opens the folders says what is
/// wrong with it.
pub(crate) fn room(config: &Config) -> Vec<(&'static str, Finding)> {
    let mut disks: Vec<(u64, Vec<Share>)> = Vec::new();
    for share in shares(config) {
        let Ok(device) = fs::metadata(existing(&share.folder)) else {
            continue;
        };
        match disks.iter_mut().find(|(known, _)| *known == device.dev()) {
            Some((_, shares)) => shares.push(share),
            None => disks.push((device.dev(), vec![share])),
        }
    }
    disks
        .iter()
        .filter_map(|(_, shares)| {
            let first = shares.first()?;
            let free = free_bytes(existing(&first.folder)).ok()?;
            Some((first.keys.0, finding(shares, free)?))
        })
        .collect()
}

fn shares(config: &Config) -> Vec<Share> {
    let (store, spool) = (&config.store, &config.spool);
    let mut shares = vec![Share {
        folder: store.folder.clone(),
        keys: ("store.folder", "store.max_bytes"),
        max_bytes: max_bytes(existing(&store.folder), store.max_bytes),
    }];
    let sinks = [
        ("forward", config.forward.endpoint.is_some()),
        ("influx", config.influx.url.is_some()),
    ];
    let used = sinks.iter().filter(|(_, is_used)| *is_used);
    shares.extend(used.map(|(sink, _)| Share {
        folder: config.spool_folder().join(sink),
        keys: ("spool.folder", "spool.max_bytes"),
        max_bytes: spool.max_bytes.saturating_add(spool.dead_letter_bytes),
    }));
    shares
}

fn finding(shares: &[Share], free: u64) -> Option<Finding> {
    let mut needed: u64 = 0;
    for share in shares {
        let used = used_bytes(&share.folder).ok()?;
        needed = needed.saturating_add(share.max_bytes.saturating_sub(used));
    }
    let mut keys: Vec<&str> = shares.iter().map(|share| share.keys.1).collect();
    keys.dedup();
    let said = format!(
        "{} may still take {}; {} are free",
        keys.join(" and "),
        size(needed),
        size(free)
    );
    let outcome = match needed <= free {
        true => Ok(said),
        false => Err(Failure {
            why: said,
            fix: format!(
                "lower {}, or give them a larger disk: a full one makes the agent refuse what comes",
                keys.join(" or ")
            ),
        }),
    };
    let folder = shares.first()?.folder.display();
    Some(Finding {
        name: "disk",
        url: folder.to_string(),
        outcome,
    })
}

/// The folder, or the next above it that is there.
fn existing(folder: &Path) -> &Path {
    let mut folders = folder.ancestors();
    folders.find(|path| path.exists()).unwrap_or(Path::new("."))
}

/// What the files of a folder take, those of folders in it left out; nothing if it is not there.
fn used_bytes(folder: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let files = entries.flatten().filter_map(|entry| entry.metadata().ok());
    let files = files.filter(fs::Metadata::is_file);
    Ok(files.map(|file| file.len()).sum())
}

/// A size in the largest unit of which there is one.
fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.iter().find(|(_, bits)| bytes >> bits > 0);
    let Some((name, bits)) = unit else {
        return format!("{bytes} bytes");
    };
    let tenths = bytes / (1 << bits) * 10 + (bytes % (1 << bits)) * 10 / (1 << bits);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::{Share, finding, room, size, used_bytes};
    use crate::config::{Config, Secret};

    fn share(folder: &std::path::Path, key: &'static str, max_bytes: u64) -> Share {
        Share {
            folder: folder.to_owned(),
            keys: ("store.folder", key),
            max_bytes,
        }
    }

    #[test]
    fn what_is_there_already_needs_no_room_and_what_may_come_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::write(path.join("a"), vec![1; 8 << 20]).unwrap();
        std::fs::create_dir(path.join("of_another")).unwrap();
        std::fs::write(path.join("of_another/b"), vec![1; 1 << 20]).unwrap();
        assert_eq!(used_bytes(path).unwrap(), 8 << 20);
        let shares = [
            share(path, "store.max_bytes", 12 << 20),
            share(&path.join("later"), "spool.max_bytes", 3 << 20),
        ];
        assert!(finding(&shares, 7 << 20).unwrap().outcome.is_ok());
        let failure = finding(&shares, 6 << 20).unwrap().outcome.unwrap_err();
        assert_eq!(
            failure.why,
            "store.max_bytes and spool.max_bytes may still take 7.0 MiB; 6.0 MiB are free"
        );
        assert!(
            failure
                .fix
                .starts_with("lower store.max_bytes or spool.max_bytes, ")
        );
    }

    #[test]
    fn a_disk_is_looked_at_once_with_the_sinks_that_are_used() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.store.folder = folder.path().join("not/there/yet");
        config.store.max_bytes = 1;
        config.spool.max_bytes = 1 << 60;
        let [(_, alone)] = &room(&config)[..] else {
            panic!("one disk");
        };
        assert!(alone.outcome.is_ok(), "{alone:?}");
        config.influx.url = Some(Secret::new("http://127.0.0.1:9"));
        let [("store.folder", both)] = &room(&config)[..] else {
            panic!("one disk");
        };
        assert!(both.outcome.is_err(), "{both:?}");
    }

    #[test]
    fn sizes() {
        let said = [0, 1023, 1 << 10, 1_600_000, (5 << 30) - 1, 5 << 30].map(size);
        let sizes = [
            "0 bytes",
            "1023 bytes",
            "1.0 KiB",
            "1.5 MiB",
            "4.9 GiB",
            "5.0 GiB",
        ];
        assert_eq!(said, sizes);
    }
}

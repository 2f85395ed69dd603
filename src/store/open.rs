//! Opening the store: the folder, the lock, the file, its version.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{FlockOperation, flock};

use super::catalogue::Catalogue;
use super::error::{StoreError, of_open};
use super::reader::Reader;
use super::reserve::Reserve;
use super::retention::tell_cut;
use super::schema::{APPLICATION_ID, VERSION, VERSION_BEFORE, initialise};
use super::sums::Summing;
use super::write::Dictionaries;
use super::{Writer, views};
use crate::config;
use crate::health::Component;
use crate::metrics::Metrics;

/// The open store of one agent. Dropping it without [`Store::checkpoint`] loses nothing that was
/// written.
pub struct Store {
    pub(super) database: Connection,
    pub(super) catalogue: Catalogue,
    pub(super) dictionaries: Dictionaries,
    /// The hour whose sums are in the making.
    pub(super) summing: Option<Summing>,
    /// Whether catalogue and dictionaries must be read again, after a transaction that failed.
    pub(super) stale: bool,
    pub(super) config: config::Store,
    pub(super) clock: fn() -> SystemTime,
    pub(super) reserve: Reserve,
    /// Held as long as the store is open.
    _lock: File,
}

impl Store {
    /// Opens the store in `config.folder`, making folder (0700) and file (0600) if they are not
    /// there. `clock` is the wall clock: it says which hour is open and what is too old.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] if the folder cannot be made or written, if it or the file is
    /// something else, if another agent has it, or if the file is of another version.
    pub fn open(config: &config::Store, clock: fn() -> SystemTime) -> Result<Self, StoreError> {
        make_folder(&config.folder)?;
        let lock = lock(&config.folder)?;
        let file = config.file();
        make_file(&file)?;
        let mut reserve = Reserve::of(&config.folder);
        // On a full disk there may be no room for what SQLite has beside an open file.
        let (database, catalogue) = match load(&file) {
            Err(_) if reserve.is_needed() && reserve.give() => load(&file)?,
            loaded => loaded?,
        };
        tell_cut(config.retention);
        Ok(Self {
            database,
            catalogue,
            dictionaries: Dictionaries::default(),
            summing: None,
            stale: false,
            config: config.clone(),
            clock,
            reserve,
            _lock: lock,
        })
    }

    /// The part that writes what comes over a channel.
    #[must_use]
    pub fn writer(self, metrics: Metrics, component: Component) -> Writer {
        Writer::new(self, metrics, component)
    }

    /// A reader of the same file.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.config.file())
    }

    /// Moves everything from the write-ahead log into the file and empties the log.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn checkpoint(&mut self) -> Result<(), StoreError> {
        // A reader at work keeps the log from being emptied; the next one does it then.
        self.database
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    /// Now, in nanoseconds since the Unix epoch.
    pub(super) fn now(&self) -> i64 {
        let since = (self.clock)()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }
}

fn unusable(what: &'static str, path: &Path, why: impl ToString, fix: &str) -> StoreError {
    StoreError::Unusable {
        what,
        path: path.to_owned(),
        why: why.to_string(),
        fix: fix.to_owned(),
    }
}

const OTHER_FOLDER: &str = "make it a folder that this user may write, or set store.folder \
                            (RABTRACE_STORE_FOLDER) to another one";

fn make_folder(folder: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| {
            let why = match error.kind() {
                ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
                    "it, or a folder above it, is a file".to_owned()
                }
                _ => error.to_string(),
            };
            unusable(
                "the store's folder cannot be made",
                folder,
                why,
                OTHER_FOLDER,
            )
        })
}

/// Takes the folder for this agent alone, until the file is closed.
fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("rabtrace.lock");
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path);
    let mut file = opened.map_err(|error| {
        unusable(
            "the store's folder cannot be written",
            folder,
            error,
            OTHER_FOLDER,
        )
    })?;
    let mut holder = String::new();
    if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        // Who holds it is a help, not a need.
        let _ = file.read_to_string(&mut holder);
        let why = if error == rustix::io::Errno::WOULDBLOCK {
            format!("another agent writes to it (process {})", holder.trim())
        } else {
            error.to_string()
        };
        let fix = "stop that agent, or give this one its own store.folder (RABTRACE_STORE_FOLDER)";
        return Err(unusable("the store is in use", folder, why, fix));
    }
    let _ = file.set_len(0);
    let _ = file.rewind();
    let _ = writeln!(file, "{}", std::process::id());
    Ok(file)
}

/// Makes the file before SQLite does, so that nobody else can ever read it; its log and its shared
/// memory get the same permissions.
fn make_file(file: &Path) -> Result<(), StoreError> {
    let what = "the store's file cannot be made";
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let permissions = std::fs::Permissions::from_mode(0o600);
            // Not ours to change if another user owns it; opening it tells whether that matters.
            let _ = std::fs::set_permissions(file, permissions);
            Ok(())
        }
        Err(error) => Err(unusable(what, file, error, OTHER_FOLDER)),
    }
}

/// Opens the file, and makes its views anew.
fn load(file: &Path) -> Result<(Connection, Catalogue), StoreError> {
    let database = connect(file)?;
    match catalogue(&database) {
        Err(StoreError::Database(error)) => Err(of_open(file, error)),
        read => Ok((database, read?)),
    }
}

fn catalogue(database: &Connection) -> Result<Catalogue, StoreError> {
    let mut catalogue = Catalogue::read(database)?;
    for view in ["spans", "message_flow", "paths"] {
        catalogue.stale_views.insert(view.to_owned());
    }
    let transaction = database.unchecked_transaction()?;
    views::rebuild(&transaction, &mut catalogue)?;
    transaction.commit()?;
    Ok(catalogue)
}

fn connect(file: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(file, flags).and_then(|database| {
        database.busy_timeout(Duration::from_secs(5))?;
        let number = |pragma: &str| database.query_row(pragma, [], |row| row.get::<_, i32>(0));
        let version = number("PRAGMA user_version")?;
        let tables = number("SELECT count(*) FROM sqlite_schema")?;
        Ok((database, version, tables))
    });
    let (database, version, tables) = opened.map_err(|error| of_open(file, error))?;
    let fresh = version == 0 && tables == 0;
    if !fresh {
        check_version(&database, file)?;
    }
    let prepared = prepare(&database).and_then(|()| match fresh {
        true => initialise(&database),
        false => database.pragma_update(None, "user_version", VERSION),
    });
    prepared.map_err(|error| of_open(file, error))?;
    Ok(database)
}

/// Refuses files of another version or another program.
pub(super) fn check_version(database: &Connection, file: &Path) -> Result<(), StoreError> {
    let number = |pragma: &str| database.query_row(pragma, [], |row| row.get::<_, i32>(0));
    let version = number("PRAGMA user_version").map_err(|error| of_open(file, error))?;
    let program = number("PRAGMA application_id").map_err(|error| of_open(file, error))?;
    if program == APPLICATION_ID && [VERSION, VERSION_BEFORE].contains(&version) {
        return Ok(());
    }
    let why = if program == APPLICATION_ID {
        format!("it has version {version}, this program reads version {VERSION}")
    } else {
        "it is a database of another program".to_owned()
    };
    let fix = format!(
        "move it away: mv {0} {0}.old; a new one is made at the next start",
        file.display()
    );
    Err(unusable("the store's file cannot be read", file, why, &fix))
}

fn prepare(database: &Connection) -> rusqlite::Result<()> {
    // Pages of dropped hours can be given back to the disk; has an effect in a new file only.
    database.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    database.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    database.pragma_update(None, "synchronous", "NORMAL")?;
    database.pragma_update(None, "cache_size", -16_384)?;
    // What a long read made the log grow to is cut after the next checkpoint.
    database.pragma_update(None, "journal_size_limit", 64 << 20)?;
    database.set_prepared_statement_cache_capacity(128);
    Ok(())
}

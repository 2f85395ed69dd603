//! Opening: permissions, what is in the way, another agent, a killed one.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use rabtrace::store::{Done, Reader, SqlLimits, Store, StoreError};

use crate::support::{
    BASE, HOUR, child, childs_folder, clock, config, hop, open, set_clock, spans, told, trace_id,
};

/// The four parts of an error that a person can act on.
fn check_told(error: &StoreError, path: &Path, needles: &[&str]) {
    let text = error.to_string();
    let path = path.display().to_string();
    for needle in ["path", "why", "fix", &path].iter().chain(needles) {
        assert!(text.contains(needle), "no {needle:?} in:\n{text}");
    }
}

fn open_error(folder: &Path) -> StoreError {
    match Store::open(&config(folder), clock) {
        Ok(_) => panic!("{} was opened", folder.display()),
        Err(error) => error,
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn folder_and_files_are_for_their_owner_alone() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("state").join("rab trace %3f?#");
    let mut store = open(&folder);
    store.write(&[spans(vec![hop(1, BASE)])]).unwrap();
    assert_eq!(mode(&folder), 0o700);
    for name in [
        "rabtrace.db",
        "rabtrace.db-wal",
        "rabtrace.db-shm",
        "rabtrace.lock",
    ] {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
    assert_eq!(store.reader().unwrap().stats().unwrap().spans, 1);
}

#[test]
fn what_is_in_the_way_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    check_told(&open_error(&file), &file, &["is a file", "store.folder"]);
    let below = file.join("below");
    check_told(&open_error(&below), &below, &["is a file", "store.folder"]);

    let database = folder.path().join("rabtrace.db");
    std::fs::write(&database, "this is no database, whatever its name says").unwrap();
    check_told(
        &open_error(folder.path()),
        &database,
        &["no database", "mv "],
    );
    check_told(
        &Reader::open(&database).unwrap_err(),
        &database,
        &["no database"],
    );
}

#[test]
fn another_version_and_another_program_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rabtrace.db");
    drop(open(folder.path()));
    let change = |text: &str| {
        rusqlite::Connection::open(&file)
            .unwrap()
            .execute_batch(text)
            .unwrap();
    };
    change("PRAGMA user_version = 7");
    check_told(&open_error(folder.path()), &file, &["version 7", "mv "]);
    check_told(
        &Reader::open(&file).unwrap_err(),
        &file,
        &["version 7", "mv "],
    );
    change("PRAGMA user_version = 1; PRAGMA application_id = 5");
    check_told(
        &open_error(folder.path()),
        &file,
        &["another program", "mv "],
    );
}

/// A file of the version before: an index of SQLite's own, and no table of traces.
#[test]
fn a_file_of_the_version_before_is_read_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rabtrace.db");
    set_clock(3600 + 301);
    let mut store = open(folder.path());
    let hops = (0..5_000).map(|number| hop(number, BASE));
    store.write(&[spans(hops.collect())]).unwrap();
    drop(store);
    let database = rusqlite::Connection::open(&file).unwrap();
    let hour = BASE / HOUR;
    let before = format!(
        "PRAGMA user_version = 2; CREATE INDEX hour_{hour}_by_trace ON hour_{hour}_spans (trace)"
    );
    database.execute_batch(&before).unwrap();
    let check = |reader: &Reader| {
        let trace = reader.trace(&trace_id(4_999).to_string()).unwrap();
        assert_eq!(trace.unwrap().spans.len(), 1);
    };
    check(&Reader::open(&file).unwrap());
    let mut store = open(folder.path());
    assert_eq!(store.step().unwrap(), Done::Part);
    check(&store.reader().unwrap());
    let version = database.query_row("PRAGMA user_version", [], |row| row.get::<_, i32>(0));
    assert_eq!(version.unwrap(), 3, "which a program before does not touch");
    // It goes with its hour.
    set_clock(26 * 3600);
    assert_eq!(store.retain().unwrap().hours_by_age, 1);
}

#[test]
fn a_second_agent_is_refused_until_the_first_one_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let process = std::process::id().to_string();
    check_told(
        &open_error(folder.path()),
        folder.path(),
        &["another agent", &process],
    );
    drop(first);
    drop(open(folder.path()));
}

#[test]
fn no_store_yet_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let error = Reader::open(&folder.path().join("rabtrace.db")).unwrap_err();
    assert!(matches!(error, StoreError::Absent(_)), "{error}");
    assert!(error.to_string().contains("rabtrace agent"), "{error}");
}

const KILLED: &str = "open::what_was_written_outlives_a_killed_agent";

#[test]
fn what_was_written_outlives_a_killed_agent() {
    if let Some(folder) = childs_folder() {
        let mut store = open(&folder);
        store.write(&[spans(vec![hop(1, BASE)])]).unwrap();
        store.write(&[spans(vec![hop(2, BASE)])]).unwrap();
        // No destructor runs: neither log nor lock are put away.
        std::process::abort();
    }
    let folder = tempfile::tempdir().unwrap();
    let binary = std::env::current_exe().unwrap();
    let output = child(&binary, KILLED, folder.path()).output().unwrap();
    assert!(!output.status.success(), "{}", told(&output));
    let log = std::fs::metadata(folder.path().join("rabtrace.db-wal")).unwrap();
    assert!(
        log.len() > 0,
        "the child was to leave a log: {}",
        told(&output)
    );

    let check = |reader: &Reader| {
        for number in [1, 2] {
            let found = reader.trace(&trace_id(number).to_string()).unwrap();
            assert!(found.is_some(), "{number}: {}", told(&output));
        }
    };
    check(&Reader::open(&folder.path().join("rabtrace.db")).unwrap());
    let mut store = open(folder.path());
    store.write(&[spans(vec![hop(3, BASE)])]).unwrap();
    check(&store.reader().unwrap());
    assert_eq!(store.reader().unwrap().stats().unwrap().spans, 3);
}

const READ_ONLY: &str = "open::a_read_only_folder_is_told_and_can_be_read";

/// Nobody else's rights stop root: the child is an ordinary user.
#[test]
fn a_read_only_folder_is_told_and_can_be_read() {
    if let Some(folder) = childs_folder() {
        check_told(
            &open_error(&folder),
            &folder,
            &["cannot be written", "store.folder"],
        );
        let below = folder.join("below");
        check_told(
            &open_error(&below),
            &below,
            &["cannot be made", "store.folder"],
        );
        let reader = Reader::open(&folder.join("rabtrace.db")).unwrap();
        assert!(reader.trace(&trace_id(1).to_string()).unwrap().is_some());
        let answer = reader
            .sql("SELECT count(*) FROM spans", SqlLimits::default())
            .unwrap();
        assert_eq!(answer.rows[0][0], 1);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store_folder = folder.path().join("store");
    let mut store = open(&store_folder);
    store.write(&[spans(vec![hop(1, BASE)])]).unwrap();
    store.checkpoint().unwrap();
    drop(store);
    // A lock file is there only where an agent could write.
    std::fs::remove_file(store_folder.join("rabtrace.lock")).unwrap();
    let permit = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    permit(&store_folder.join("rabtrace.db"), 0o444);
    permit(&store_folder, 0o555);
    permit(folder.path(), 0o755);
    // The build folder may be closed to other users: the child runs a copy.
    let binary = folder.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    permit(&binary, 0o755);
    let mut command = child(&binary, READ_ONLY, &store_folder);
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    let output = command.current_dir("/").output().unwrap();
    permit(&store_folder, 0o755);
    assert!(output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("1 passed"), "{}", told(&output));
}

//! Instructions and allocations of one message, counted by callgrind.
//!
//! The benchmark runs itself under `valgrind --tool=callgrind`, several times per mode, as a client whose
//! server is another process. Callgrind writes its counters at every call of [`mark`]: what lies
//! between the two marks of a side, divided by the messages, is the cost of one. Some runs
//! count the thread that publishes and consumes, which is the application's, others all threads:
//! lapin's, the runtime's and the exporter's as well. Without valgrind there are no counts.

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::io::{Error, Result};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::modes::Mode;
use crate::servers::{Servers, runtime};
use crate::side::{Client, SIDES};

/// Messages before those that are counted: caches and buffers have their size then.
const WARM_UP: u64 = 256;
/// Runs of the same, of which the least counts: a thread that is woken once more than it need be,
/// because the machine has other work, only adds.
const RUNS: usize = 2;
/// Functions that allocate, one call each.
const ALLOCATORS: [&str; 6] = [
    "malloc",
    "calloc",
    "realloc",
    "memalign",
    "aligned_alloc",
    "posix_memalign",
];

/// What one thread, or all of them, did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) instructions: u64,
    pub(crate) allocations: u64,
}

impl Counts {
    fn least((one, other): (Self, Self)) -> Self {
        Self {
            instructions: one.instructions.min(other.instructions),
            allocations: one.allocations.min(other.allocations),
        }
    }
}

/// One side of one mode, all messages together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) application: Counts,
    pub(crate) process: Counts,
}

/// Which threads are counted.
#[derive(Clone, Copy, Debug)]
enum Threads {
    Application,
    All,
}

/// A pattern for the name of [`mark`].
const MARK: &str = "*callgrind::mark*";

#[inline(never)]
pub(crate) fn mark(number: usize) {
    black_box(number);
}

/// The client under callgrind: every side, each between two marks.
pub(crate) fn child(mode: Mode, servers: (&str, &str), count: u64) {
    let runtime = runtime();
    let client = Client::new(&runtime, servers, mode);
    for (at, (_, side)) in SIDES.into_iter().enumerate() {
        let mut run = client.side(side).expect("the scripted server");
        run(WARM_UP).expect("warm");
        client.flush();
        mark(2 * at);
        run(count).expect("counted");
        client.flush();
        mark(2 * at + 1);
    }
    // The dumps are written: closing down is nobody's cost.
    std::process::exit(0);
}

/// Whether there is a valgrind.
pub(crate) fn is_there() -> bool {
    let mut version = Command::new("valgrind");
    let quiet = version
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// The costs of `count` messages, by side.
///
/// # Errors
///
/// If valgrind cannot be started, fails, or leaves no counters.
pub(crate) fn count(
    mode: Mode,
    servers: &Servers,
    count: u64,
) -> Result<Vec<(&'static str, Cost)>> {
    let least = |threads| -> Result<Vec<Counts>> {
        let number = count.to_string();
        let words = ["--one", mode.name, &number, &servers.peer, &servers.sink];
        let run = || dumps(mode.name, &words, (threads, SIDES.len()));
        let mut least = run()?;
        for _ in 1..RUNS {
            let again = run()?;
            least = least.into_iter().zip(again).map(Counts::least).collect();
        }
        Ok(least)
    };
    let (application, process) = (least(Threads::Application)?, least(Threads::All)?);
    let costs = application.into_iter().zip(process);
    let named = SIDES.into_iter().zip(costs);
    Ok(named
        .map(|((name, _), (application, process))| {
            let cost = Cost {
                application,
                process,
            };
            (name, cost)
        })
        .collect())
}

/// The counts of one thread that runs this program with `words`, between each two of its marks.
///
/// # Errors
///
/// As [`count`].
pub(crate) fn alone(name: &str, words: &[&str], sides: usize) -> Result<Vec<Counts>> {
    dumps(name, words, (Threads::Application, sides))
}

/// The counts of each side.
fn dumps(name: &str, words: &[&str], (threads, sides): (Threads, usize)) -> Result<Vec<Counts>> {
    let (switch, suffix) = match threads {
        // A mark writes the counters of its own thread only.
        Threads::Application => ("yes", "-01"),
        Threads::All => ("no", ""),
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("callgrind_{name}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let output = Command::new("valgrind")
        .args(["-q", "--tool=callgrind"])
        .arg(format!("--separate-threads={switch}"))
        .arg(format!("--dump-before={MARK}"))
        .arg(format!("--callgrind-out-file={}/dump", folder.display()))
        .arg(std::env::current_exe()?)
        .args(words)
        .stdout(Stdio::null())
        .output()?;
    if !output.status.success() {
        return Err(Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }
    // Dumps are numbered from one: every second ends where a side does.
    let side = |at: usize| folder.join(format!("dump.{}{suffix}", 2 * at + 2));
    (0..sides)
        .map(|at| Ok(parse(&fs::read_to_string(side(at))?)))
        .collect()
}

/// Reads a profile in callgrind's format (manual, "Callgrind Format Specification").
fn parse(profile: &str) -> Counts {
    let mut counts = Counts::default();
    let mut names = HashMap::new();
    let mut callee = "";
    for line in profile.lines() {
        if let Some(name) = line
            .strip_prefix("fn=")
            .or_else(|| line.strip_prefix("cfn="))
        {
            // `(17) name` the first time, `(17)` afterwards.
            let (id, name) = name.split_once(' ').unwrap_or((name, ""));
            let known = names.entry(id).or_insert(name);
            if line.starts_with('c') {
                callee = known;
            }
        } else if let Some(calls) = line.strip_prefix("calls=") {
            let times = calls.split(' ').next().unwrap_or_default();
            if ALLOCATORS.contains(&callee) {
                counts.allocations += times.parse::<u64>().unwrap_or_default();
            }
        } else if let Some(total) = line.strip_prefix("totals: ") {
            counts.instructions = total.parse().unwrap_or_default();
        }
    }
    counts
}

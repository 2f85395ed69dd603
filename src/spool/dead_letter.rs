//! What a server refuses for good, kept in a file with the server's reason.
//!
//! - Input: [`DeadLetter::keep`], which never waits. Output: lines of JSON in `dead_letter.ndjson`
//!   in the sink's folder, 0600: when, where to, why, and what was refused, as a tool can send it
//!   again.
//! - Full: at half of `max_bytes` the file becomes `dead_letter.1.ndjson`, and what that held is
//!   gone.
//! - Failing, or slower than what comes: what is not written is not kept, and counted as that in
//!   `rabtrace_dead_letters_total`. A server that refuses everything is not worth a processor and a
//!   disk: [`RATE`] is written in a second. The sink does not notice. Nothing is synced: after a power cut
//!   the newest may be missing.

mod file;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::file::Pair;
use crate::metrics::{DeadLetterOutcome, Metrics, Stage};
use crate::model::{rfc3339, unix_nano};

/// Letters that wait to be written at most, and bytes of their contents.
const QUEUE: (usize, usize) = (256, 8 << 20);

/// Bytes of contents that are written in a second, after as many at once.
const RATE: f64 = 1_048_576.0;
/// How often one that waits looks whether all ways into the file are gone.
const LOOK: Duration = Duration::from_millis(50);

/// What [`DeadLetter::open`] needs.
pub struct DeadLetterSetup {
    /// The folder of the sink's spool.
    pub folder: PathBuf,
    /// The sink.
    pub sink: Stage,
    /// Bytes of both files together; zero keeps nothing.
    pub max_bytes: u64,
    /// Counts what is kept and what is not.
    pub metrics: Metrics,
    /// The wall clock.
    pub clock: fn() -> SystemTime,
}

/// Something that a server refused.
pub struct Letter {
    /// Where it went to, without a password.
    pub url: String,
    /// What the server said.
    pub reason: String,
    /// Bytes that `content` holds in memory.
    pub size: usize,
    /// Makes the rest of the line, where nobody waits for it.
    pub content: Box<dyn FnOnce() -> Map<String, Value> + Send>,
}

/// The way into the file; a clone leads to the same one.
#[derive(Clone)]
pub struct DeadLetter {
    letters: mpsc::Sender<(i64, Letter)>,
    file: DeadLetterFile,
}

/// Where the file is, and how much is in it.
#[derive(Clone)]
pub struct DeadLetterFile(Arc<Shared>);

struct Shared {
    sink: Stage,
    path: PathBuf,
    bytes: AtomicU64,
    letters: AtomicU64,
    waiting: AtomicUsize,
    metrics: Metrics,
    clock: fn() -> SystemTime,
}

/// Writes the file; see [`DeadLetterTask::run`].
pub struct DeadLetterTask {
    letters: mpsc::Receiver<(i64, Letter)>,
    file: DeadLetterFile,
    pair: Pair,
}

impl DeadLetter {
    /// None if nothing is to be kept. No file is made before there is something to keep.
    #[must_use]
    pub fn open(setup: DeadLetterSetup) -> Option<(Self, DeadLetterTask)> {
        if setup.max_bytes == 0 {
            return None;
        }
        let pair = Pair::new(&setup.folder, setup.max_bytes);
        let file = DeadLetterFile(Arc::new(Shared {
            sink: setup.sink,
            path: pair.path().to_owned(),
            bytes: AtomicU64::new(pair.bytes()),
            letters: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            metrics: setup.metrics,
            clock: setup.clock,
        }));
        let (sender, letters) = mpsc::channel(QUEUE.0);
        let task = DeadLetterTask {
            letters,
            file: file.clone(),
            pair,
        };
        let dead_letter = Self {
            letters: sender,
            file,
        };
        Some((dead_letter, task))
    }

    /// Where it is written to.
    #[must_use]
    pub fn file(&self) -> DeadLetterFile {
        self.file.clone()
    }

    /// Has `letter` written, if there is room for it to wait.
    pub fn keep(&self, letter: Letter) {
        let Shared {
            sink,
            waiting,
            metrics,
            clock,
            ..
        } = &*self.file.0;
        let size = letter.size;
        // One that is larger than all may wait alone.
        let admit = |bytes: usize| {
            let sum = bytes.saturating_add(size);
            (bytes == 0 || sum <= QUEUE.1).then_some(sum)
        };
        let admitted = waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit)
            .is_ok();
        let now = unix_nano(clock());
        if admitted && self.letters.try_send((now, letter)).is_ok() {
            return;
        }
        if admitted {
            waiting.fetch_sub(size, Ordering::Relaxed);
        }
        metrics.dead_letter(*sink, DeadLetterOutcome::NotKept);
    }
}

impl DeadLetterFile {
    /// The sink whose letters it has.
    #[must_use]
    pub fn sink(&self) -> &'static str {
        self.0.sink.name()
    }

    /// The file that is written now.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Bytes of both files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Letters that were written since the start.
    #[must_use]
    pub fn letters(&self) -> u64 {
        self.0.letters.load(Ordering::Relaxed)
    }
}

impl DeadLetterTask {
    /// Writes what comes until all ways into the file are gone.
    pub async fn run(mut self) {
        let mut failing = false;
        // When all that was written would be, at that rate.
        let mut even = Instant::now();
        while let Some((unix_nano, letter)) = self.letters.recv().await {
            let size = letter.size;
            while even > Instant::now() + Duration::from_secs(1) && !self.letters.is_closed() {
                tokio::time::sleep(LOOK).await;
            }
            even = even.max(Instant::now()) + cost(size);
            let mut pair = self.pair;
            let sink = self.file.sink();
            let written = tokio::task::spawn_blocking(move || {
                let result = pair.append(&line(sink, unix_nano, letter));
                (pair, result)
            });
            self.file.0.waiting.fetch_sub(size, Ordering::Relaxed);
            // Only a bug in there could end it early.
            let Ok((pair, result)) = written.await else {
                return;
            };
            self.pair = pair;
            self.file
                .0
                .bytes
                .store(self.pair.bytes(), Ordering::Relaxed);
            self.tell(&result, &mut failing);
        }
    }

    fn tell(&self, result: &std::io::Result<()>, failing: &mut bool) {
        let Shared {
            sink,
            path,
            letters,
            metrics,
            ..
        } = &*self.file.0;
        let (name, path) = (sink.name(), path.display());
        match result {
            Ok(()) => {
                metrics.dead_letter(*sink, DeadLetterOutcome::Kept);
                if letters.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::warn!(sink = name, %path, "what the server refuses for good is kept");
                }
            }
            Err(error) => {
                metrics.dead_letter(*sink, DeadLetterOutcome::NotKept);
                if !*failing {
                    tracing::warn!(sink = name, %path, %error, "what the server refuses is not kept");
                }
            }
        }
        *failing = result.is_err();
    }
}

/// How long so many bytes take at [`RATE`].
#[expect(clippy::cast_precision_loss, reason = "to the microsecond is enough")]
fn cost(bytes: usize) -> Duration {
    Duration::from_secs_f64(bytes as f64 / RATE)
}

/// The letter as a line of JSON.
fn line(sink: &str, unix_nano: i64, letter: Letter) -> Vec<u8> {
    let mut fields = Map::new();
    fields.insert("time".to_owned(), json!(rfc3339(unix_nano)));
    fields.insert("sink".to_owned(), json!(sink));
    fields.insert("url".to_owned(), json!(letter.url));
    fields.insert("reason".to_owned(), json!(letter.reason));
    fields.extend((letter.content)());
    let mut line = Value::Object(fields).to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests;

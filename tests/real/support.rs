//! What the tests of this ring share: waiting, free ports, other programs' processes.

use std::future::Future;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

/// Waits until `probe` gives a value, for at most `within`; panics with `what` after that.
pub(crate) async fn eventually<T, F, Fut>(what: &str, within: Duration, mut probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let begun = Instant::now();
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(begun.elapsed() < within, "{what}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Runs `trial`, and up to twice more while it was not well and this machine stood still meanwhile, which
/// a thread that wakes every 20 ms finds out. `trial` gives what it saw, and whether that was well.
pub(crate) async fn undisturbed<T>(mut trial: impl AsyncFnMut() -> (T, bool)) -> T {
    for _ in 0..2 {
        let standstill = Standstill::watch();
        let (seen, is_well) = trial().await;
        let longest = standstill.longest();
        if is_well || longest < Duration::from_millis(200) {
            return seen;
        }
        eprintln!("once more: the machine stood still for {longest:.1?}");
    }
    trial().await.0
}

/// How long a thread did not get to run that wanted to.
struct Standstill {
    /// At most, and when it ran last.
    seen: Arc<Mutex<(Duration, Instant)>>,
    _ends: mpsc::Sender<()>,
}

impl Standstill {
    fn watch() -> Self {
        let (_ends, ended) = mpsc::channel();
        let seen = Arc::new(Mutex::new((Duration::ZERO, Instant::now())));
        let told = seen.clone();
        std::thread::spawn(move || {
            while ended.recv_timeout(Duration::from_millis(20)) == Err(RecvTimeoutError::Timeout) {
                let mut seen = told.lock().unwrap();
                *seen = (seen.0.max(seen.1.elapsed()), Instant::now());
            }
        });
        Self { seen, _ends }
    }

    fn longest(&self) -> Duration {
        let seen = self.seen.lock().unwrap();
        seen.0.max(seen.1.elapsed())
    }
}

/// A port on loopback on which nobody listens now, which the kernel gives to nobody who does not ask for
/// it, and which this process was not given before; brokers take theirs from 20,000 on.
pub(crate) fn free_port() -> u16 {
    static FIRST: LazyLock<u16> = LazyLock::new(|| fastrand::u16(0..8_000));
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let next = || 12_000 + (*FIRST + GIVEN.fetch_add(1, Ordering::Relaxed)) % 8_000;
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(next).find(is_free).unwrap()
}

/// Another program's process, killed when dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Starts `command`, its output going to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let file = std::fs::File::create(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn();
        Self(child.unwrap_or_else(|error| {
            panic!("{command:?} cannot be started: {error}; `make test` installs it")
        }))
    }
}

impl Process {
    /// Its id.
    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.0)
    }

    /// Asks it to stop by SIGTERM and waits for its end: its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The Python of the tests' virtual environment, which `make test` lays out.
pub(crate) fn python() -> std::path::PathBuf {
    let chosen = std::env::var_os("RABTRACE_TEST_PYTHON").map(std::path::PathBuf::from);
    chosen.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python3"))
}

/// The program under test.
pub(crate) fn rabtrace() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rabtrace"));
    // What the environment of the test holds must not reach the program.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["RABTRACE_", "INFLUX_", "OTEL_", "AMQP_", "RABBITMQ_"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
    command.env_remove("RUST_LOG");
    command
}

/// Runs a command to its end: exit code, stdout, stderr.
pub(crate) fn output(command: &mut Command) -> (i32, String, String) {
    collected(command.stdin(Stdio::null()))
}

fn collected(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

/// The same with the file `input` on its stdin.
pub(crate) fn output_of(command: &mut Command, input: &Path) -> (i32, String, String) {
    let input = std::fs::File::open(input).unwrap();
    collected(command.stdin(input))
}

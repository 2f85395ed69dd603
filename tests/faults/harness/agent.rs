//! The program under test as a process: started, asked, killed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Balance, eventually};

const WITHIN: Duration = Duration::from_secs(60);

/// The program, with nothing of the test's environment that it would listen to.
pub(crate) fn rabtrace() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rabtrace"));
    clean(&mut command);
    command
}

fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let prefixes = ["RABTRACE_", "INFLUX_", "OTEL_", "AMQP_", "RABBITMQ_"];
        if prefixes.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command.env_remove("RUST_LOG");
}

/// How an agent is started.
#[derive(Clone)]
pub(crate) struct Setup {
    folder: PathBuf,
    keys: Vec<(String, String)>,
    environment: Vec<(OsString, OsString)>,
    small_disk: Option<String>,
    is_full: bool,
    held_up: Duration,
    token: String,
}

impl Setup {
    /// With store and spool in `folder`, free ports and no broker.
    pub(crate) fn new(folder: &Path) -> Self {
        let setup = Self {
            folder: folder.to_owned(),
            keys: Vec::new(),
            environment: Vec::new(),
            small_disk: None,
            is_full: false,
            held_up: Duration::ZERO,
            token: String::new(),
        };
        let store = folder.join("state/store").display().to_string();
        setup
            .set("receiver.grpc_listen", "127.0.0.1:0")
            .set("receiver.http_listen", "127.0.0.1:0")
            .set("api.listen", "127.0.0.1:0")
            .set("broker.amqp_url", "amqp://127.0.0.1:1")
            .set("store.folder", store)
            .set("log.format", "json")
    }

    /// A key of its configuration.
    pub(crate) fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        self.keys.push((key.to_owned(), value.into()));
        self
    }

    /// A variable of its environment.
    pub(crate) fn environment(
        mut self,
        name: impl Into<OsString>,
        value: impl Into<OsString>,
    ) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Its state on a file system of this size, which nobody else sees.
    pub(crate) fn on_small_disk(mut self, size: &str) -> Self {
        self.small_disk = Some(size.to_owned());
        self
    }

    /// The same, and what is in `folder` fills it to the last byte together with somebody else's file.
    pub(crate) fn on_full_disk(mut self, size: &str) -> Self {
        self.is_full = true;
        self.on_small_disk(size)
    }

    /// Stopped for that long as soon as it is there.
    pub(crate) fn held_up(mut self, time: Duration) -> Self {
        self.held_up = time;
        self
    }

    /// Its API is asked with this token.
    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.token = token.to_owned();
        self
    }

    fn command(&self) -> Command {
        let state = self.folder.join("state");
        std::fs::create_dir_all(&state).unwrap();
        let mut command = match &self.small_disk {
            None => rabtrace(),
            Some(size) => {
                let fill = match self.is_full {
                    true => {
                        r#"cp -a "$1.before/." "$1" && { cat /dev/zero 2> /dev/null > "$1/filler" || :; } && "#
                    }
                    false => "",
                };
                if self.is_full {
                    let before = self.folder.join("state.before");
                    let mut copy = Command::new("cp");
                    copy.arg("-a").arg(&state).arg(before);
                    assert!(copy.status().unwrap().success());
                }
                let script = format!(
                    r#"mount -t tmpfs -o size="$0" tmpfs "$1" && {fill}shift && exec "$@""#
                );
                let mut command = Command::new("unshare");
                command.args(["-m", "sh", "-c", &script, size]).arg(&state);
                command.arg(env!("CARGO_BIN_EXE_rabtrace"));
                clean(&mut command);
                command
            }
        };
        command.arg("agent");
        for (key, value) in &self.keys {
            command.args(["--set", &format!("{key}={value}")]);
        }
        command.envs(self.environment.iter().cloned());
        command
    }

    /// Runs it until it ends by itself: its exit code, and what it told.
    pub(crate) async fn run(&self) -> (Option<i32>, String) {
        let mut command = tokio::process::Command::from(self.command());
        let running = command.kill_on_drop(true).output();
        let output = tokio::time::timeout(WITHIN, running).await;
        let output = output.unwrap().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), told)
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(&self) -> Agent {
        let mut number = 0;
        while self.folder.join(format!("log.{number}")).exists() {
            number += 1;
        }
        let log = self.folder.join(format!("log.{number}"));
        let file = std::fs::File::create(&log).unwrap();
        let begun = Instant::now();
        let child = self
            .command()
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut agent = Agent {
            child,
            log,
            state: self.folder.join("state"),
            otlp: String::new(),
            grpc: String::new(),
            api: String::new(),
            ready_after: Duration::ZERO,
            client: rabtrace::app::direct_http_client().unwrap(),
            token: self.token.clone(),
        };
        if !self.held_up.is_zero() {
            agent.signal(Signal::STOP);
            tokio::time::sleep(self.held_up).await;
            agent.signal(Signal::CONT);
        }
        agent.otlp = agent.listens("receiver.http_listen").await;
        agent.grpc = agent.listens("receiver.grpc_listen").await;
        agent.api = agent.listens("api.listen").await;
        eventually("the agent is ready", WITHIN, || async {
            let answer = agent.ask("/health/ready").await?;
            answer.status().is_success().then_some(())
        })
        .await;
        agent.ready_after = begun.elapsed();
        agent
    }
}

/// A running agent, killed when dropped.
pub(crate) struct Agent {
    child: Child,
    log: PathBuf,
    state: PathBuf,
    /// Where it takes OTLP over HTTP.
    pub(crate) otlp: String,
    /// Where it takes OTLP over gRPC.
    pub(crate) grpc: String,
    /// Where its API is.
    pub(crate) api: String,
    /// How long it took to be ready.
    pub(crate) ready_after: Duration,
    client: reqwest::Client,
    token: String,
}

impl Agent {
    async fn listens(&mut self, key: &str) -> String {
        let begun = Instant::now();
        loop {
            let lines = log_lines(&self.log);
            let line = lines.iter().find(|line| line["fields"]["key"] == key);
            if let Some(address) = line.and_then(|line| line["fields"]["address"].as_str()) {
                return format!("http://{address}");
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("it ended by {status}: {}", self.log());
            }
            assert!(begun.elapsed() < WITHIN, "{key}: {}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends it by SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and waits: its exit code, and how long that took.
    pub(crate) fn stop(mut self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        self.signal(Signal::TERM);
        (self.child.wait().unwrap().code(), begun.elapsed())
    }

    /// The same, and what it says that it dropped.
    pub(crate) fn stop_and_tell(mut self) -> BTreeMap<String, f64> {
        self.signal(Signal::TERM);
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        self.told_drops()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What it said at its end that it dropped, by the name of the series.
    pub(crate) fn told_drops(&self) -> BTreeMap<String, f64> {
        let lines = log_lines(&self.log);
        let fields = lines.iter().map(|line| &line["fields"]);
        let told = fields.filter(|fields| fields["message"] == "dropped since the start");
        let series = |fields: &Value| {
            let (stage, reason) = (&fields["stage"], &fields["reason"]);
            let name = format!("rabtrace_dropped_total{{reason={reason},stage={stage}}}");
            (name, fields["dropped"].as_f64().unwrap())
        };
        told.map(series).collect()
    }

    /// Panics that it logged.
    pub(crate) fn panics(&self) -> usize {
        self.log().matches("panicked at").count()
    }

    /// A file or folder as the agent sees it, also on a disk of its own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let path = self.state.join(name);
        let seen = path.strip_prefix("/").unwrap();
        PathBuf::from(format!("/proc/{}/root", self.process_id())).join(seen)
    }

    /// Bytes of its memory: now, and at most so far.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process_id()));
        let status = status.unwrap_or_default();
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            number.unwrap_or(0) << 10
        };
        (kib("VmRSS:"), kib("VmHWM:"))
    }

    /// How long its threads had a processor so far.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process_id())).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap()
    }

    /// Waits until it holds nothing of any request.
    pub(crate) async fn until_nothing_is_in_flight(&self) {
        eventually("no request holds memory", WITHIN, || async {
            let metrics = self.metrics().await;
            (metrics.get("rabtrace_in_flight_bytes") == Some(&0.0)).then_some(())
        })
        .await;
    }

    /// Its process.
    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Counts the most memory from now on.
    pub(crate) fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.process_id()), "5").unwrap();
    }

    /// Bytes of its spools on the disk.
    pub(crate) fn spool_bytes(&self) -> u64 {
        fn size(path: &Path) -> u64 {
            let Ok(entries) = std::fs::read_dir(path) else {
                return std::fs::symlink_metadata(path).map_or(0, |found| found.len());
            };
            entries.flatten().map(|entry| size(&entry.path())).sum()
        }
        size(&self.state.join("store/spool"))
    }

    async fn ask(&self, path: &str) -> Option<reqwest::Response> {
        let request = self.client.get(format!("{}{path}", self.api));
        request.bearer_auth(&self.token).send().await.ok()
    }

    /// An answer of its API.
    pub(crate) async fn get(&self, path: &str) -> Option<String> {
        self.ask(path).await?.text().await.ok()
    }

    /// Its own metrics, by name with labels.
    pub(crate) async fn metrics(&self) -> BTreeMap<String, f64> {
        let text = self.get("/metrics").await.unwrap_or_default();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.rsplit_once(' '));
        pairs
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect()
    }

    /// Waits until its first poll is over, of which being ready says nothing.
    pub(crate) async fn until_polled(&self) {
        eventually("the first poll is over", WITHIN, || async {
            let balance = Balance::of(&self.metrics().await);
            (balance.0.get("monitor")?.sent > 0).then_some(())
        })
        .await;
    }

    /// What it dropped at the stages whose name begins so.
    pub(crate) async fn dropped(&self, stage: &str) -> u64 {
        let metrics = self.metrics().await;
        let stage = format!("stage=\"{stage}");
        let of = |name: &str| name.starts_with("rabtrace_dropped_total") && name.contains(&stage);
        let values = metrics.iter().filter(|(name, _)| of(name));
        values.map(|(_, value)| whole(*value)).sum()
    }

    /// Waits until nothing is left for a sink; how long that took.
    pub(crate) async fn until_drained(&self, sink: &str, within: Duration) -> Duration {
        let begun = Instant::now();
        eventually("nothing is left in the spool", within, || async {
            let status: Value = serde_json::from_str(&self.get("/status").await?).ok()?;
            (status["spools"][sink]["records"] == 0).then_some(())
        })
        .await;
        begun.elapsed()
    }
}

/// A count of the agent's own metrics.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole, and far below 2^53"
)]
pub(crate) fn whole(value: f64) -> u64 {
    value as u64
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log_lines(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines = text.lines();
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

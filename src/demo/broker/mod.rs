//! A private RabbitMQ node on loopback: own name, own ports, own folder, gone when it is stopped.
//!
//! A watchdog process holds the read end of a pipe whose write end is ours: when this process
//! ends, however it ends, the pipe closes and the watchdog kills the node and its `epmd` and
//! removes the folder. `RABTRACE_TEST_BROKER_TREE` names the root of another system, whose
//! RabbitMQ runs instead of this one's.

mod node;
mod ports;
mod server;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use node::Node;
use server::Server;

/// Why a node could not be started.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// There is no RabbitMQ on this machine.
    #[error(
        "no RabbitMQ server is installed\n  looked in /usr/lib/rabbitmq/lib and on PATH\n  fix   \
         `apt-get install --no-install-recommends rabbitmq-server`, or `rabtrace demo --amqp URL`"
    )]
    NotInstalled,
    /// There is none in the tree that the environment names.
    #[error(
        "no RabbitMQ server is installed in {}\n  from  RABTRACE_TEST_BROKER_TREE\n  fix   \
         `scripts/matrix.sh trees` builds such trees", .0.display()
    )]
    NotInTree(PathBuf),
    /// The node ended before it answered.
    #[error("the RabbitMQ node ended while it started: {0}")]
    Ended(String),
    /// The node did not answer in time.
    #[error("the RabbitMQ node did not answer within {} s: {log}", after.as_secs())]
    Silent {
        /// How long it was waited for.
        after: Duration,
        /// The end of its log.
        log: String,
    },
    /// A command of the broker failed.
    #[error("`rabbitmqctl {command}` failed: {output}")]
    Command {
        /// The command's words.
        command: String,
        /// What it printed.
        output: String,
    },
    /// Files or processes could not be made.
    #[error("the RabbitMQ node could not be set up: {0}")]
    Io(#[from] std::io::Error),
}

/// How a node is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether the management plugin runs.
    pub management: bool,
    /// Whether the prometheus plugin runs.
    pub prometheus: bool,
    /// Further lines of `rabbitmq.conf`.
    pub config: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            management: true,
            prometheus: true,
            config: Vec::new(),
        }
    }
}

/// A running node. Dropping it kills it and removes all it wrote.
#[derive(Debug)]
pub struct Broker {
    node: Node,
    server: Server,
    process: Child,
    watchdog: Child,
}

/// Longest wait for a node to answer.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// Longest wait for a killed node's processes to disappear.
const GONE_WITHIN: Duration = Duration::from_secs(10);
/// Starts that are tried when another process took a port in between.
const ATTEMPTS: usize = 3;

impl Broker {
    /// Starts a node with both plugins and waits until it answers.
    ///
    /// # Errors
    /// If RabbitMQ is not installed, or the node ends or stays silent.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), rabtrace::demo::broker::BrokerError> {
    /// let broker = rabtrace::demo::broker::Broker::start().await?;
    /// println!("{}", broker.amqp_url());
    /// broker.stop().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn start() -> Result<Self, BrokerError> {
        Self::start_with(Options::default()).await
    }

    /// Starts a node with `options` and waits until it answers.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub async fn start_with(options: Options) -> Result<Self, BrokerError> {
        let server = Server::find()?;
        Self::begin(&server, &options, None).await
    }

    /// Starts another node with `options` in the cluster of this one.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub async fn join(&self, options: Options) -> Result<Self, BrokerError> {
        Self::begin(&self.server, &options, Some(&self.node)).await
    }

    async fn begin(
        server: &Server,
        options: &Options,
        peer: Option<&Node>,
    ) -> Result<Self, BrokerError> {
        let mut attempt = 1;
        loop {
            let node = Node::create(options, peer)?;
            let watchdog = watch(&node, server)?;
            let process = spawn(&node, server)?;
            let mut broker = Self {
                node,
                server: server.clone(),
                process,
                watchdog,
            };
            match broker.until_ready().await {
                Err(BrokerError::Ended(_))
                    if attempt < ATTEMPTS && broker.node.met_a_taken_port() =>
                {
                    attempt += 1
                }
                Err(error) => return Err(error),
                Ok(()) => return Ok(broker),
            }
        }
    }

    /// `amqp://guest:guest@127.0.0.1:PORT`.
    #[must_use]
    pub fn amqp_url(&self) -> String {
        format!("amqp://guest:guest@{}", self.node.ports.amqp())
    }

    /// Base URL of the management API.
    #[must_use]
    pub fn management_url(&self) -> String {
        format!("http://{}", self.node.ports.management())
    }

    /// Base URL of the prometheus plugin.
    #[must_use]
    pub fn prometheus_url(&self) -> String {
        format!("http://{}", self.node.ports.prometheus())
    }

    /// The node's name, `something@localhost`.
    #[must_use]
    pub fn node_name(&self) -> &str {
        &self.node.name
    }

    /// The process id of the node.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// The folder of all that the node writes.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.node.folder.path()
    }

    /// Runs `rabbitmqctl` against this node and gives what it printed.
    ///
    /// # Errors
    /// If the command cannot be run or fails.
    pub async fn rabbitmqctl(&self, words: &[&str]) -> Result<String, BrokerError> {
        let mut command = tokio::process::Command::from(
            self.node.at_home(self.server.rabbitmqctl(self.folder())),
        );
        let output = command
            .arg("-q")
            .arg("-n")
            .arg(&self.node.name)
            .args(words)
            .output()
            .await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let printed = [output.stdout, output.stderr].concat();
        Err(BrokerError::Command {
            command: words.join(" "),
            output: String::from_utf8_lossy(&printed).into_owned(),
        })
    }

    /// Kills the node at once, as a power cut would; its data stays for [`Broker::restart`].
    ///
    /// # Errors
    /// If the process cannot be waited for.
    pub fn kill(&mut self) -> Result<(), BrokerError> {
        kill_group(&mut self.process)?;
        Ok(())
    }

    /// Stops every process of the node without ending it, as a machine that hangs would.
    ///
    /// # Errors
    /// If the processes cannot be told.
    pub fn pause(&self) -> Result<(), BrokerError> {
        self.signal(rustix::process::Signal::STOP)
    }

    /// Lets it go on after [`Broker::pause`].
    ///
    /// # Errors
    /// If the processes cannot be told.
    pub fn resume(&self) -> Result<(), BrokerError> {
        self.signal(rustix::process::Signal::CONT)
    }

    fn signal(&self, signal: rustix::process::Signal) -> Result<(), BrokerError> {
        let group = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process_group(group, signal).map_err(std::io::Error::from)?;
        Ok(())
    }

    /// Starts the node again after [`Broker::kill`], on the same ports and data.
    ///
    /// # Errors
    /// If it ends or stays silent.
    pub async fn restart(&mut self) -> Result<(), BrokerError> {
        self.process = spawn(&self.node, &self.server)?;
        // The watchdog knew the old process: a new one takes its place.
        let new = watch(&self.node, &self.server)?;
        let mut old = std::mem::replace(&mut self.watchdog, new);
        let _ = old.kill();
        let _ = old.wait();
        self.until_ready().await
    }

    /// Stops the node and waits until all that it wrote is gone.
    ///
    /// # Errors
    /// If a process cannot be waited for.
    pub async fn stop(self) -> Result<(), BrokerError> {
        tokio::task::spawn_blocking(move || drop(self))
            .await
            .map_err(|error| BrokerError::Ended(error.to_string()))
    }

    async fn until_ready(&mut self) -> Result<(), BrokerError> {
        let begun = Instant::now();
        while begun.elapsed() < READY_WITHIN {
            if let Some(status) = self.process.try_wait()? {
                return Err(BrokerError::Ended(format!("{status}\n{}", self.node.log())));
            }
            if self.node.answers().await {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(BrokerError::Silent {
            after: READY_WITHIN,
            log: self.node.log(),
        })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = kill_group(&mut self.process);
        // Closing its pipe lets the watchdog clean up; waiting makes "gone" true on return.
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

fn spawn(node: &Node, server: &Server) -> std::io::Result<Child> {
    use std::os::unix::process::CommandExt;
    let log = std::fs::File::create(node.folder.path().join("console.log"))?;
    let mut command = node.at_home(server.rabbitmq_server(node.folder.path()));
    command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let child = command.spawn()?;
    std::fs::write(node.folder.path().join("group"), child.id().to_string())?;
    Ok(child)
}

/// Starts the process that cleans up when this one is gone.
fn watch(node: &Node, server: &Server) -> std::io::Result<Child> {
    use std::os::unix::process::CommandExt;
    let script = "read -r _; kill -s KILL -- \"-$(cat \"$1/group\")\" 2>/dev/null; \
                  folder=$1; shift; \"$@\" -kill >/dev/null 2>&1; \
                  rm -rf \"$folder\"; sleep 0.2; rm -rf \"$folder\"";
    let epmd = server.epmd(node.folder.path());
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", script, "rabtrace-watchdog"])
        .arg(node.folder.path())
        .arg(epmd.get_program())
        .args(epmd.get_args());
    command.env("ERL_EPMD_PORT", node.ports.epmd().to_string());
    command
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn()
}

/// Kills every process of the group that `leader` leads, and waits until they are gone.
fn kill_group(leader: &mut Child) -> std::io::Result<()> {
    use rustix::io::Errno;
    use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
    let Some(group) = i32::try_from(leader.id()).ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    match kill_process_group(group, Signal::KILL) {
        // A group that is gone already is what was asked for.
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => return Err(error.into()),
    }
    leader.wait()?;
    // The virtual machine is the leader's child: it holds its ports until the kernel is done with it.
    let begun = Instant::now();
    while test_kill_process_group(group).is_ok() && begun.elapsed() < GONE_WITHIN {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
